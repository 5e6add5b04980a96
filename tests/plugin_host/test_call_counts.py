"""Calls are counted in every process and kept as rows, and rollouts go by them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.contracts.runtime import Fault, FaultKind
from platform_core.kernel.commit import Committer
from platform_core.kernel.commit.due import DueWork
from platform_core.plugin_host.answers import Answer
from platform_core.plugin_host.breakers import Opening
from platform_core.plugin_host.call_counts import LEAST_MS, STEP, CallCounts, CountedHealth, p95_of, step_of
from platform_core.plugin_host.canary import STAGE_CALLS_MIN, Figures
from platform_core.plugin_host.health_rows import BreakerRows, HealthDeps, Quarantines
from platform_core.plugin_host.rollouts import ROLLOUT, Rollouts
from tests.plugin_host.conftest import RISK, Market

OLD, NEW = "1.0.0", "1.1.0"
NOTHING = Figures(calls=0, faults=0, p95_ms=None)


def counts_of(market: Market) -> CallCounts:
    """The counting of one process."""
    return CallCounts(market.deps.committer, clock=market.clock, ids=market.deps.ids)


def health_of(market: Market) -> CountedHealth:
    return CountedHealth(database=market.deps.database, clock=market.clock, real_clock=market.deps.real_clock)


def called(
    counts: CallCounts, version: str, times: int = 1, *, ms: float = 10.0, fault: FaultKind | None = None
) -> None:
    """So many calls of one version, one after another."""
    answer = Answer(
        plugin_id=RISK,
        version=version,
        tier="confined",
        hook="check_payment",
        call_id="c1",
        ms=ms,
        fault=None if fault is None else Fault(fault, ""),
    )
    for _ in range(times):
        counts.answered([answer], "mer_1")


@pytest.mark.unit
@given(st.lists(st.floats(0.01, 30_000), min_size=20, max_size=200))
def test_the_p95_is_that_of_the_durations_to_a_tenth(durations: list[float]) -> None:
    counted = p95_of(sorted(Counter(map(step_of, durations)).items()))
    exact = sorted(durations)[math.ceil(len(durations) * 0.95) - 1]
    assert counted is not None
    assert max(exact, LEAST_MS) <= counted * 1.000_001
    assert counted <= max(exact, LEAST_MS) * STEP * 1.000_001


@pytest.mark.unit
def test_a_handful_of_calls_has_no_p95() -> None:
    assert p95_of([(5, 19)]) is None
    assert p95_of([]) is None


@pytest.mark.database
async def test_all_processes_together_are_what_a_version_did(market: Market) -> None:
    one, other, health = counts_of(market), counts_of(market), health_of(market)
    called(one, OLD, 3)
    await one.flush()
    since = market.clock.now() + timedelta(seconds=1)
    market.clock.advance(timedelta(seconds=1))
    called(one, NEW, 90, ms=10)
    called(one, NEW, 2, ms=150, fault=FaultKind.TIMEOUT)
    called(other, NEW, 8, ms=40)
    called(other, OLD, 1)
    for kind in (FaultKind.SATURATED, FaultKind.UNAVAILABLE, FaultKind.BREAKER_OPEN):
        called(other, NEW, 50, fault=kind)
    assert await health.figures(RISK, NEW, since=since) == NOTHING, "nothing is written yet"
    await one.flush()
    await other.flush()
    await other.flush()
    found = await health.figures(RISK, NEW, since=since)
    assert (found.calls, found.faults) == (100, 2)
    assert found.p95_ms is not None
    assert 40 <= found.p95_ms <= 40 * STEP
    assert await health.figures(RISK, OLD, since=since) == replace(NOTHING, calls=1)
    assert await market.row("SELECT count(*) FROM plugin_call_count") == (4,)
    market.clock.advance(timedelta(hours=1))
    assert await health.figures(RISK, NEW, since=market.clock.now()) == NOTHING


@pytest.mark.database
async def test_what_could_not_be_written_is_written_later(market: Market) -> None:
    since = market.clock.now()
    away = Committer(market.deps.database.connect_writer, [], clock=market.clock, ids=market.deps.ids)
    counts = CallCounts(away, clock=market.clock, ids=market.deps.ids)
    await away.start()
    await away.stop()
    called(counts, NEW, 5)
    await counts.flush()
    assert await market.row("SELECT count(*) FROM plugin_call_count") == (0,)
    called(counts, NEW, 2, fault=FaultKind.DIED)
    counts._committer = market.deps.committer
    await counts.start()
    await counts.stop()
    assert await health_of(market).figures(RISK, NEW, since=since) == Figures(calls=7, faults=2, p95_ms=None)


class Rolling:
    """A rollout of 1.1.0 that goes by what was counted."""

    def __init__(self, market: Market, rollouts: Rollouts, rollout_id: str) -> None:
        self.market = market
        self.counts = counts_of(market)
        self._rollouts = rollouts
        self._id = rollout_id

    async def turn(self) -> tuple[str, int, str | None]:
        """One turn of its due work: state, percent, reason."""
        await self.counts.flush()
        work = DueWork(ROLLOUT, self._id, None, self.market.clock.now(), 0)
        await self.market.deps.committer.commit(await self._rollouts.step(work))
        row = await self.market.row("SELECT state, percent, reason FROM plugin_rollout WHERE id = $1", self._id)
        return row[0], row[1], row[2]


async def rolling(market: Market, *, percent: int = 50) -> Rolling:
    await market.publish()
    await market.enable(await market.merchant())
    await market.publish(version=NEW)
    rollouts = replace(market.life.rollouts, health=health_of(market))
    made = await rollouts.start(RISK, NEW, by="per_operator", percent=percent)
    return Rolling(market, rollouts, made.id)


@pytest.mark.database
async def test_a_stage_takes_a_day_and_two_hundred_calls(market: Market) -> None:
    rollout = await rolling(market)
    called(rollout.counts, OLD, 500)
    called(rollout.counts, NEW, STAGE_CALLS_MIN - 1)
    market.clock.advance(timedelta(hours=24))
    assert await rollout.turn() == ("running", 50, None), "a call is missing"
    called(rollout.counts, NEW, 1)
    assert await rollout.turn() == ("running", 100, None)
    called(rollout.counts, NEW, STAGE_CALLS_MIN)
    market.clock.advance(timedelta(hours=23))
    assert await rollout.turn() == ("running", 100, None), "an hour is missing"
    market.clock.advance(timedelta(hours=1))
    assert await rollout.turn() == ("done", 100, None)


@pytest.mark.database
@pytest.mark.parametrize(
    ("ms", "faults", "reason"),
    [(10.0, 0, None), (20.0, 0, "p95 "), (10.0, 2, None), (10.0, 6, "faults in ")],
)
async def test_a_version_that_does_worse_is_halted(market: Market, ms: float, faults: int, reason: str | None) -> None:
    rollout = await rolling(market)
    called(rollout.counts, OLD, 1_000)
    called(rollout.counts, NEW, 500 - faults, ms=ms)
    called(rollout.counts, NEW, faults, fault=FaultKind.EXCEPTION)
    state, _, said = await rollout.turn()
    assert state == ("running" if reason is None else "halted")
    assert (said or "").startswith(reason or "")
    if reason is not None:
        assert (await rollout.turn())[0] == "rolled_back"
        assert await market.row("SELECT DISTINCT version FROM plugin_installation") == (OLD,)


@pytest.mark.database
@pytest.mark.parametrize("version", [OLD, NEW])
async def test_an_open_breaker_of_the_new_version_halts_it(market: Market, version: str) -> None:
    rollout = await rolling(market)
    deps = market.deps
    health = HealthDeps(database=deps.database, committer=deps.committer, clock=market.clock, ids=deps.ids)
    rows = BreakerRows(health, market.feed, hear=lambda **_: None)
    until = market.clock.now() + timedelta(seconds=120)
    rows.opened(Opening(plugin_id=RISK, hook="check_payment", version=version, why="faults", until=until, open_s=120))
    await rows.stop()
    assert (await rollout.turn())[0] == ("halted" if version == NEW else "running")


@pytest.mark.database
async def test_a_security_fault_halts_it_also_once_it_is_lifted(market: Market) -> None:
    rollout = await rolling(market)
    deps = market.deps
    health = HealthDeps(database=deps.database, committer=deps.committer, clock=market.clock, ids=deps.ids)
    quarantines = Quarantines(health, market.feed, changed=lambda *_: None)
    await quarantines.begin(RISK, NEW, Fault(FaultKind.FORGED_ID, "an id that no call has"))
    await quarantines.lift(RISK, NEW, by="per_a", reason="It was ours.")
    await quarantines.lift(RISK, NEW, by="per_b", reason="It was ours.")
    assert await rollout.turn() == ("halted", 50, "1 security fault(s)")
