"""What the health of a plugin tells: what runs, and each thing that is wrong; nothing of another plugin."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from platform_core.bootstrap.commands.plugin_health import lines
from platform_core.contracts.runtime import Fault, FaultKind
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host.answers import Answer
from platform_core.plugin_host.fault_desk import FaultDesk
from platform_core.plugin_host.health import HealthBook, PluginHealth
from platform_core.plugin_host.health_rows import BreakerRows, HealthDeps, Quarantines
from platform_core.plugin_host.problem_book import ProblemBook
from platform_core.plugin_host.schemas import SwitchPull
from tests.plugin_host.conftest import RISK, Market

pytestmark = pytest.mark.database
OTHER = "example.acme.other"


@dataclass(frozen=True, slots=True)
class Opened:
    """What dispatch tells."""

    plugin_id: str
    hook: str
    version: str
    why: str
    until: datetime
    open_s: int


def book(market: Market) -> HealthBook:
    return HealthBook(market.deps.database, market.deps.real_clock)


def answer(plugin_id: str, fault: Fault) -> Answer:
    """What came of one call."""
    return Answer(
        plugin_id=plugin_id, version="1.0.0", tier="confined", hook="check_payment", call_id="c" * 32, fault=fault
    )


async def test_a_plugin_that_is_well_says_where_it_runs(market: Market) -> None:
    await market.publish()
    await market.publish(plugin_id=OTHER)
    for _ in range(2):
        await market.enable(await market.merchant())
    await market.install(await market.merchant())
    await market.publish(version="1.1.0")
    told = await book(market).of(RISK)
    assert [(each.version, each.state, each.enabled_at) for each in told.versions] == [
        ("1.0.0", "published", 2),
        ("1.1.0", "published", 0),
    ]
    assert told.is_well
    assert lines(told) == [f"{RISK} is well: no problem, no open breaker, no quarantine, no switch."]


async def ill(market: Market, plugin_id: str) -> PluginHealth:
    """Everything that can be wrong with a plugin, and a breaker whose time is over."""
    deps = HealthDeps(
        database=market.deps.database,
        committer=market.deps.committer,
        clock=market.deps.real_clock,
        ids=market.deps.ids,
    )
    problems = ProblemBook(
        database=deps.database, committer=deps.committer, clock=market.deps.clock, ids=market.deps.ids
    )
    breakers, quarantines = BreakerRows(deps, market.feed, hear=lambda **_: None), Quarantines(deps, market.feed)
    desk, merchant_id, now = FaultDesk(problems, quarantines), await market.merchant(), market.clock.now()
    for _ in range(3):
        desk.answered(
            [answer(plugin_id, Fault(FaultKind.EXCEPTION, "IndexError: list index out of 4711"))], merchant_id
        )
    desk.answered([answer(plugin_id, Fault(FaultKind.FORBIDDEN_CALL, "socket"))], merchant_id)
    for hook, left_s in (("check_payment", 120), ("check_refund", -1)):
        until = now + timedelta(seconds=left_s)
        breakers.opened(Opened(plugin_id, hook, "1.0.0", "5 faults of 9 calls", until, 120))
    await breakers.stop()
    await asyncio.gather(*quarantines._tasks)
    await problems.flush()
    pull = SwitchPull(plugin_id=plugin_id, rule="PLG-007", reason="Counts twice.")
    await market.life.switches.pull(pull, by="per_operator")
    return await book(market).of(plugin_id)


async def test_everything_that_is_wrong_is_told_and_the_gravest_first(market: Market) -> None:
    await market.publish()
    await market.publish(plugin_id=OTHER)
    told = await ill(market, RISK)
    assert not told.is_well
    quarantine, switch, breaker, *problems = lines(told)
    assert quarantine.startswith("quarantine: 1.0.0, forbidden_call since ")
    assert quarantine.endswith(" UTC: socket")
    assert switch.startswith("suspended: every version at all merchants by PLG-007: Counts twice.")
    assert breaker.startswith("breaker open: check_payment of 1.0.0 until ")
    assert breaker.endswith(" UTC: 5 faults of 9 calls")
    assert len(told.breakers) == 1
    assert {(each.kind, each.count, each.call_id) for each in told.problems} == {
        ("exception", 3, "c" * 32),
        ("forbidden_call", 1, "c" * 32),
    }
    [said] = [line for line in problems if "exception" in line or "raised" in line]
    assert said.startswith("warning: 1.0.0 in check_payment, 3 times, last at ")
    assert ": The plugin raised IndexError. " in said
    assert "4711" not in "".join(lines(told))
    assert (await book(market).of(OTHER)).is_well


async def test_a_plugin_that_nobody_knows_has_no_health(market: Market) -> None:
    with pytest.raises(PlatformError) as refused:
        await book(market).of("example.acme.none")
    assert refused.value.code == "plugins.not_found"


@pytest.mark.parametrize("detail", ["", "Call 13800000000: no", "A b", "x" * 81, "<b>: x"])
async def test_an_exception_without_a_proper_type_is_told_without_it(market: Market, detail: str) -> None:
    await market.publish()
    problems = ProblemBook(
        database=market.deps.database, committer=market.deps.committer, clock=market.clock, ids=market.deps.ids
    )
    health = HealthDeps(
        database=market.deps.database, committer=market.deps.committer, clock=market.clock, ids=market.deps.ids
    )
    desk = FaultDesk(problems, Quarantines(health, market.feed))
    desk.answered([answer(RISK, Fault(FaultKind.EXCEPTION, detail))], await market.merchant())
    await problems.flush()
    [problem] = (await book(market).of(RISK)).problems
    assert (problem.message.en, problem.message.zh) == ("The plugin raised an exception.", "插件抛出异常。")
