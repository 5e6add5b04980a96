"""The sandbox's clock: everybody follows it, a drain does what is due in order, and it goes on when cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.bootstrap.sandbox import clock_desk
from platform_core.bootstrap.upkeep import EVERY, Upkeep
from platform_core.bootstrap.worker import needs_of
from platform_core.delivery.assembly import Delivery, open_delivery
from platform_core.delivery.draining import Draining
from platform_core.delivery.queues import DueHandler
from platform_core.kernel.commit import Due, DueDone, Plan
from platform_core.kernel.commit.due import DueWork, lease_due
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.settings import Settings
from sandbox.testbed.clock import SandboxClock
from sandbox.testbed.clock_desk import ClockDesk
from sandbox.testbed.drain import Drainer
from tests.support.patience import HEARD_S

pytestmark = pytest.mark.database


async def wait_until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(HEARD_S):
        while not is_so():  # noqa: ASYNC110 - what is waited for happens in rows and other tasks
            await asyncio.sleep(0.005)


DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@dataclass
class Bench:
    """A sandbox of one process, with a desk, a drainer and due work that notes when it was done."""

    platform: Platform
    desk: ClockDesk
    done: list[tuple[str, datetime]] = field(default_factory=list)
    more: Mapping[str, Callable[[DueWork], Sequence[object]]] = field(default_factory=dict)

    @property
    def clock(self) -> SandboxClock:
        assert isinstance(self.platform.clock, SandboxClock)
        return self.platform.clock

    async def handle(self, work: DueWork) -> Plan:
        self.done.append((f"{work.kind}/{work.subject_id}", self.clock.now()))
        more = self.more.get(work.subject_id, lambda _: ())(work)
        return Plan(None, [*(() if more else [DueDone(work.kind, work.subject_id)]), *more])

    async def plan(self, *rows: tuple[str, str, datetime]) -> None:
        await self.platform.committer.commit(Plan(None, [Due(*row) for row in rows]))

    @asynccontextmanager
    async def delivery(self, *, is_whole: bool = False) -> AsyncIterator[Delivery]:
        needs = needs_of(self.platform, Upkeep(self.platform))
        if not is_whole:
            needs = replace(needs, due_handlers=[DueHandler("a", self.handle), DueHandler("b", self.handle)])
        async with open_delivery(needs, lambda queue, ids: None) as delivery:
            yield delivery

    async def drain(self, *, is_whole: bool = False) -> Drainer:
        drainer = Drainer(self.desk, frozenset(EVERY))
        async with self.delivery(is_whole=is_whole) as delivery:
            await drainer.drain(Draining(delivery))
        return drainer


@pytest.fixture
async def bench(sandbox_database_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    settings = Settings(home=tmp_path, is_sandbox=True)
    async with open_platform(settings, DatabaseUrls(owner=sandbox_database_url), is_asking_plugins=False) as platform:
        assert isinstance(platform.clock, SandboxClock)
        yield Bench(platform, clock_desk(platform, platform.clock))


async def test_a_drain_does_what_is_due_in_order_across_kinds_with_the_clock_at_its_moment(bench: Bench) -> None:
    start = bench.clock.now()
    at = [start + n * HOUR for n in range(80)]
    bench.more = {"chain": lambda work: [Due("b", "link", at[5]), DueDone("a", "chain")]}
    await bench.plan(("b", "late", at[30]), ("a", "chain", at[2]), ("b", "first", at[1]), ("a", "beyond", at[79]))
    shown = await bench.desk.advance(3 * DAY)
    assert (shown.state, shown.target_at) == ("draining", bench.clock.reading.target_at)
    await bench.drain()
    assert bench.done == [("b/first", at[1]), ("a/chain", at[2]), ("b/link", at[5]), ("b/late", at[30])]
    assert bench.clock.reading.target_at is None
    ahead = bench.clock.now() - bench.clock.real.now()
    assert timedelta(days=3) - timedelta(minutes=1) < ahead < timedelta(days=3) + timedelta(minutes=1)
    async with bench.delivery() as delivery:
        assert (await Draining(delivery).look(bench.clock.now())).next_at == at[79]


async def test_work_that_fails_is_tried_again_within_the_span(bench: Bench) -> None:
    start = bench.clock.now()

    def fails_once(work: DueWork) -> Sequence[object]:
        if work.tries == 0:
            raise RuntimeError("not yet")
        return [DueDone("a", "shaky")]

    bench.more = {"shaky": fails_once}
    await bench.plan(("a", "shaky", start + HOUR))
    await bench.desk.advance(2 * HOUR)
    await bench.drain()
    assert bench.done == [("a/shaky", start + HOUR), ("a/shaky", start + HOUR + timedelta(minutes=1))]


async def test_a_drain_that_was_cut_goes_on_where_it_stood_and_does_nothing_twice(bench: Bench) -> None:
    start = bench.clock.now()
    moments = [start + n * HOUR for n in range(1, 6)]
    await bench.plan(*(("a", f"s{n}", moment) for n, moment in enumerate(moments)))
    await bench.desk.advance(DAY)
    async with bench.delivery() as delivery:
        draining = asyncio.create_task(Drainer(bench.desk).drain(Draining(delivery)))
        await wait_until(lambda: len(bench.done) >= 2)
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
    assert bench.clock.reading.target_at is not None
    assert bench.clock.now() < start + DAY
    for name in [name for name, _ in bench.done]:  # a lease of the cut worker would be waited for
        assert name.startswith("a/")
    connection = await bench.platform.database.connect("job")
    await connection.execute("UPDATE due SET leased_until = NULL")
    await connection.close()
    await bench.drain()
    assert [name for name, _ in dict.fromkeys(bench.done)] == [f"a/s{n}" for n in range(5)]
    assert {moment for _, moment in bench.done} == set(moments)


async def test_work_under_way_elsewhere_holds_the_clock(bench: Bench, sandbox_database_url: str) -> None:
    start = bench.clock.now()
    await bench.plan(("a", "held", start + HOUR), ("a", "after", start + 2 * HOUR))
    await bench.desk.advance(DAY)
    reading = bench.clock.reading
    await bench.desk.step_to(reading, start + HOUR)
    connection = await bench.platform.database.connect("job")
    assert [work.subject_id for work in await lease_due(connection, kind="a", now=bench.clock.now())] == ["held"]
    draining = asyncio.create_task(bench.drain())
    await asyncio.sleep(0.3)
    assert (bench.clock.now(), bench.done) == (start + HOUR, [])
    await bench.platform.committer.commit(Plan(None, [DueDone("a", "held")]))
    await draining
    await connection.close()
    assert bench.done == [("a/after", start + 2 * HOUR)]


async def test_another_process_follows_at_once_and_reads_again_after_its_connection_is_lost(
    bench: Bench, sandbox_database_url: str
) -> None:
    other = SandboxClock()
    await other.start(bench.platform.database)
    try:
        await bench.desk.advance(5 * DAY)
        await wait_until(lambda: other.now() == bench.clock.now())
        connection = await bench.platform.database.connect("job")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE '%sandbox_clock%' AND pid <> pg_backend_pid()"
        )
        await connection.close()
        await bench.drain()
        await wait_until(lambda: other.reading == bench.clock.reading)
    finally:
        await other.stop()
    assert other.now() - bench.clock.real.now() > 4 * DAY


async def test_the_clock_goes_back_only_to_real_time(bench: Bench) -> None:
    before = bench.clock.reading
    with pytest.raises(PlatformError) as refused:
        await bench.desk.go_to(bench.clock.now() - HOUR)
    assert refused.value.code == "sandbox.clock_backwards"
    assert await bench.desk.read() == before
    await bench.desk.go_to(bench.clock.now() + DAY)
    assert (await bench.desk.reset()).state == "running"
    assert abs(bench.clock.now() - bench.clock.real.now()) < timedelta(seconds=5)
    stale = replace(bench.clock.reading, version=bench.clock.reading.version - 1)
    with pytest.raises(PlatformError) as moved:
        await bench.desk.step_to(replace(stale, stands_at=bench.clock.now()), bench.clock.now() + DAY)
    assert moved.value.code == "sandbox.clock_moved"
