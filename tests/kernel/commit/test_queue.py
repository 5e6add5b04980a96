"""The queue is bounded, a caller may leave at any time, and stopping writes what is queued."""

from __future__ import annotations

import asyncio

import pytest

from platform_core.bootstrap.appliers import make_appliers
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import BatchReport, Committer, PlanRefused
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.ids import Ids
from tests.kernel.commit.conftest import Bench, writing

pytestmark = pytest.mark.database


async def test_a_full_queue_refuses_with_retry_after_and_writes_nothing(
    bench: Bench, database: Database, clock: ManualClock, ids: Ids
) -> None:
    committer = Committer(
        database.connect_writer, make_appliers(clock), clock=clock, ids=ids, batch_plans_max=8, queue_plans_max=50
    )
    await committer.start()
    async with bench.owner.transaction():
        await bench.owner.execute("LOCK TABLE note IN EXCLUSIVE MODE")
        first = asyncio.create_task(committer.commit(writing("first")))
        await bench.until_blocked()
        tasks = [asyncio.create_task(committer.commit(writing(f"n{n:03}"))) for n in range(2000)]
        await asyncio.sleep(0)
        assert committer.queued == 50, "memory is bounded whatever arrives"
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert await first == "first"
    assert outcomes[:50] == [f"n{n:03}" for n in range(50)]
    refusals = [outcome for outcome in outcomes[50:] if isinstance(outcome, PlatformError)]
    assert {(error.code, error.status, error.retry_after_s, error.is_retryable) for error in refusals} == {
        ("kernel.commit_busy", 503, 1, True)
    }
    assert len(refusals) == 1950
    assert len(await bench.ids()) == 51
    await committer.stop()


async def test_a_caller_who_leaves_while_queued_withdraws_the_plan(bench: Bench) -> None:
    async with bench.owner.transaction():
        await bench.owner.execute("LOCK TABLE note IN EXCLUSIVE MODE")
        first = asyncio.create_task(bench.committer.commit(writing("first")))
        await bench.until_blocked()
        leaving = asyncio.create_task(bench.committer.commit(writing("leaving")))
        staying = asyncio.create_task(bench.committer.commit(writing("staying")))
        await asyncio.sleep(0)
        assert bench.committer.queued == 2
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert bench.committer.queued == 1
    assert [await first, await staying] == ["first", "staying"]
    assert await bench.ids() == ["first", "staying"]


async def test_a_caller_who_leaves_as_the_writer_takes_the_plan_withdraws_it(bench: Bench) -> None:
    leaving = asyncio.create_task(bench.committer.commit(writing("leaving")))
    staying = asyncio.create_task(bench.committer.commit(writing("staying")))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == "staying"
    assert leaving.cancelled()
    assert await bench.ids() == ["staying"]


async def test_a_plan_in_flight_is_written_once_without_its_caller(bench: Bench) -> None:
    async with bench.owner.transaction():
        await bench.owner.execute("LOCK TABLE note IN EXCLUSIVE MODE")
        leaving = asyncio.create_task(bench.committer.commit(writing("leaving")))
        mate = asyncio.create_task(bench.committer.commit(writing("mate")))
        await bench.until_blocked()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert await mate == "mate"
    assert await bench.ids() == ["leaving", "mate"]
    assert [report.plans for report in bench.reports] == [2]


async def test_stopping_writes_what_is_queued_and_takes_no_more(bench: Bench) -> None:
    async with bench.owner.transaction():
        await bench.owner.execute("LOCK TABLE note IN EXCLUSIVE MODE")
        tasks = [asyncio.create_task(bench.committer.commit(writing(f"n{n:03}"))) for n in range(300)]
        await bench.until_blocked()
        stopping = asyncio.create_task(bench.committer.stop())
        await asyncio.sleep(0)
        with pytest.raises(PlatformError) as caught:
            await bench.committer.commit(writing("late"))
        assert caught.value.code == "kernel.commit_stopping"
    await stopping
    assert await asyncio.gather(*tasks) == [f"n{n:03}" for n in range(300)]
    assert await bench.ids() == [f"n{n:03}" for n in range(300)]
    await bench.until_none(
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'test:writer' AND datname = current_database()"
    )


async def test_no_caller_hangs_when_the_writer_is_cancelled(bench: Bench) -> None:
    async with bench.owner.transaction():
        await bench.owner.execute("LOCK TABLE note IN EXCLUSIVE MODE")
        flying = asyncio.create_task(bench.committer.commit(writing("flying")))
        await bench.until_blocked()
        queued = asyncio.create_task(bench.committer.commit(writing("queued")))
        await asyncio.sleep(0)
        bench.writer.cancel()
        outcomes = await asyncio.gather(flying, queued, return_exceptions=True)
    assert [error.code for error in outcomes if isinstance(error, PlatformError)] == [
        "kernel.commit_unknown",
        "kernel.commit_stopping",
    ]
    assert await bench.ids() == []


async def test_an_observer_that_fails_stops_nothing(
    bench: Bench, database: Database, clock: ManualClock, ids: Ids
) -> None:
    seen: list[int] = []

    def observe(report: BatchReport) -> None:
        seen.append(report.plans)
        raise ValueError("no meter")

    committer = Committer(database.connect_writer, make_appliers(clock), clock=clock, ids=ids, observe=observe)
    await committer.start()
    assert await committer.commit(writing("a")) == "a"
    assert await committer.commit(writing("b")) == "b"
    await committer.stop()
    assert seen == [1, 1]


async def test_reports_count_what_happened(bench: Bench) -> None:
    await bench.commit(writing("a"), writing("b", "a"), writing("c", state="poison"))
    report = bench.reports[0]
    assert (report.plans, report.refused, report.failed, report.queued) == (
        3,
        {"Duplicate": 1},
        {"CheckViolationError": 1},
        0,
    )
    assert 0 <= report.wait_s < 5
    assert 0 < report.commit_s < 5


async def test_a_refusal_carries_its_reason(bench: Bench) -> None:
    await bench.commit(writing("a"))
    with pytest.raises(PlanRefused, match="existing_id='a'"):
        await bench.committer.commit(writing("b", "a"))
