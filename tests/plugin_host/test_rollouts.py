"""A release comes to merchants stage by stage and goes back by itself when it does worse."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.kernel.commit.due import DueWork
from platform_core.plugin_host.canary import STAGES, Figures, is_in, judge, next_stage
from platform_core.plugin_host.rollouts import ROLLOUT
from platform_core.plugin_host.schemas import UpgradeAct
from tests.plugin_host.conftest import RISK, SCOPED, Market
from tests.plugin_host.test_lifecycle import refused

GOOD = Figures(calls=10_000, faults=10, p95_ms=20.0)


@given(st.text(min_size=1, max_size=30), st.integers(0, 99))
def test_a_higher_stage_takes_in_everybody_of_a_lower_one(merchant: str, percent: int) -> None:
    low = is_in(merchant, plugin_id=RISK, release_id="prl_1", percent=percent)
    assert not low or is_in(merchant, plugin_id=RISK, release_id="prl_1", percent=percent + 1)
    assert is_in(merchant, plugin_id=RISK, release_id="prl_1", percent=100)
    assert not is_in(merchant, plugin_id=RISK, release_id="prl_1", percent=0)


def test_a_stage_takes_in_about_its_share_and_another_release_others() -> None:
    names = [f"mer_{number}" for number in range(4_000)]
    first = {name for name in names if is_in(name, plugin_id=RISK, release_id="prl_1", percent=25)}
    second = {name for name in names if is_in(name, plugin_id=RISK, release_id="prl_2", percent=25)}
    assert (len(first), len(second), len(first & second)) == (986, 1018, 270)


@pytest.mark.parametrize(
    ("hours", "new", "verdict"),
    [
        (23, GOOD, "wait"),
        (24, GOOD, "advance"),
        (240, replace(GOOD, calls=199, faults=0), "wait"),
        (0, replace(GOOD, security_faults=1), "halt"),
        (0, replace(GOOD, has_open_breaker=True), "halt"),
        (1, replace(GOOD, faults=60), "wait"),
        (1, replace(GOOD, faults=61), "halt"),
        (24, replace(GOOD, p95_ms=30.0), "advance"),
        (24, replace(GOOD, p95_ms=30.1), "halt"),
    ],
)
def test_a_stage_is_judged_by_time_calls_faults_and_speed(hours: int, new: Figures, verdict: str) -> None:
    since = datetime(2026, 11, 22, tzinfo=UTC)
    judged = judge(percent=5, since=since, now=since + timedelta(hours=hours), new=new, old=GOOD)
    assert judged.verdict == verdict
    assert bool(judged.reason) is (verdict == "halt")


def test_the_last_stage_is_the_end() -> None:
    assert [next_stage(stage) for stage in (0, *STAGES)] == [1, 5, 25, 50, 100, 100]


async def turn(market: Market, rollout_id: str) -> None:
    """One turn of the rollout's due work."""
    work = DueWork(ROLLOUT, rollout_id, None, market.clock.now(), 0)
    await market.deps.committer.commit(await market.life.rollouts.step(work))


async def versions(market: Market) -> dict[str, str]:
    rows = await market.owner.fetch("SELECT merchant_id, version FROM plugin_installation")
    return {row[0]: row[1] for row in rows}


@pytest.mark.database
async def test_each_stage_upgrades_its_merchants_and_the_last_one_all(market: Market) -> None:
    await market.publish()
    merchants = [await market.merchant() for _ in range(8)]
    for merchant in merchants:
        await market.enable(merchant)
    await market.publish(version="1.1.0")
    rollout = await market.life.rollouts.start(RISK, "1.1.0", by="per_operator", percent=50)
    await refused(market, "plugins.rollout_running", market.life.rollouts.start(RISK, "1.1.0", by="per_operator"))
    release = (await market.row("SELECT release_id FROM plugin_rollout"))[0]
    chosen = {one for one in merchants if is_in(one, plugin_id=RISK, release_id=release, percent=50)}
    await turn(market, rollout.id)
    assert {one for one, version in (await versions(market)).items() if version == "1.1.0"} == chosen
    market.health.by_version = {"1.1.0": GOOD, "1.0.0": GOOD}
    market.clock.advance(timedelta(hours=24))
    await turn(market, rollout.id)
    assert await market.row("SELECT percent, state FROM plugin_rollout") == (100, "running")
    await turn(market, rollout.id)
    assert set((await versions(market)).values()) == {"1.1.0"}
    market.clock.advance(timedelta(hours=24))
    await turn(market, rollout.id)
    assert await market.row("SELECT state FROM plugin_rollout") == ("done",)
    assert await market.row("SELECT count(*) FROM due WHERE kind = 'plugins.rollout'") == (0,)
    assert await market.audited(rollout.id) == [
        "plugin_rollout.started",
        "plugin_rollout.advanced",
        "plugin_rollout.done",
    ]


@pytest.mark.database
async def test_whoever_must_be_asked_first_stays_where_it_is(market: Market) -> None:
    await market.publish()
    merchant = await market.merchant()
    await market.enable(merchant)
    wider = SCOPED + '[[scopes]]\nname = "refunds:read"\npurpose = { zh = "退款", en = "Refunds" }\n'
    await market.publish(version="1.1.0", more=wider)
    rollout = await market.life.rollouts.start(RISK, "1.1.0", by="per_operator", percent=100)
    await turn(market, rollout.id)
    assert await versions(market) == {merchant: "1.0.0"}


@pytest.mark.database
async def test_a_worse_version_goes_back_everywhere_but_where_the_merchant_chose_it(market: Market) -> None:
    await market.publish()
    brought, chose = await market.merchant(), await market.merchant()
    for merchant in (brought, chose):
        await market.enable(merchant)
    await market.publish(version="1.1.0")
    made = (await market.row("SELECT id FROM plugin_installation WHERE merchant_id = $1", chose))[0]
    await market.life.upgrades.upgrade(market.actor(chose), made, UpgradeAct())
    rollout = await market.life.rollouts.start(RISK, "1.1.0", by="per_operator", percent=100)
    await turn(market, rollout.id)
    assert set((await versions(market)).values()) == {"1.1.0"}
    market.health.by_version = {"1.1.0": replace(GOOD, security_faults=1)}
    await turn(market, rollout.id)
    assert await market.row("SELECT state, reason FROM plugin_rollout") == ("halted", "1 security fault(s)")
    await turn(market, rollout.id)
    assert await versions(market) == {brought: "1.0.0", chose: "1.1.0"}
    assert await market.row("SELECT state FROM plugin_rollout") == ("rolled_back",)
    again = await market.life.rollouts.start(RISK, "1.1.0", by="per_operator", percent=100)
    market.health.by_version = {}
    await turn(market, again.id)
    assert (await versions(market))[brought] == "1.0.0", "no rollout brings back what was left"


@pytest.mark.database
async def test_one_command_takes_everybody_back(market: Market) -> None:
    await market.publish()
    merchants = [await market.merchant() for _ in range(3)]
    for merchant in merchants:
        await market.enable(merchant)
    await market.publish(version="1.1.0")
    rollout = await market.life.rollouts.start(RISK, "1.1.0", by="per_operator", percent=100)
    await turn(market, rollout.id)
    halted = await market.life.rollouts.halt(RISK, by="per_operator", reason="complaints")
    assert (halted.state, halted.reason) == ("halted", "complaints")
    assert set((await versions(market)).values()) == {"1.0.0"}
    assert await market.life.rollouts.roll_back_all(RISK, "1.1.0", by="per_operator", reason="again") == 0
