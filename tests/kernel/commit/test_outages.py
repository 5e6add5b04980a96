"""Whatever happens to the connection, each plan exists exactly once or is reported as not written."""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from platform_core.bootstrap.appliers import make_appliers
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.commit import Change, Committer, Event, Plan
from platform_core.kernel.database.pools import Database, DatabaseUrls
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Guard, Transfer
from tests.kernel.commit.conftest import NOTE, Bench, note, writing
from tests.kernel.commit.proxy import Choose, Cut, Proxy

pytestmark = pytest.mark.database

BANK = Account("mer_a", "CNY", "mer_a", "channel_receivable")
PURSE = Account("mer_a", "CNY", "mer_a", "merchant_pending", guard=Guard.GE0)
CUTS = [Cut.BEFORE, Cut.HALF, Cut.SENT, Cut.ANSWERED]


@asynccontextmanager
async def committing(
    url: str, *, unavailable_after_s: float = 5.0, statement_s: float = 10.0, batch_plans_max: int = 128
) -> AsyncIterator[Committer]:
    clock = SystemClock()
    database = Database(DatabaseUrls(owner=url), application_name="outage")
    committer = Committer(
        database.connect_writer,
        make_appliers(clock),
        clock=clock,
        ids=Ids(clock),
        unavailable_after_s=unavailable_after_s,
        statement_s=statement_s,
        batch_plans_max=batch_plans_max,
        queue_plans_max=4096,
    )
    await committer.start()
    yield committer
    await committer.stop()


def paying(id_: str) -> Plan:
    """A plan with every kind of look and write: a note, a change of the note `base`, a transfer, an event."""
    event = Event(f"evt_{id_}", "note.made", id_, 1, SystemClock().now(), "{}")
    transfer = Transfer(f"pay_{id_}", BANK, PURSE, 1, "pay", id_)
    return Plan("mer_a", [note(id_), Change(NOTE, "base", {"state": id_}), transfer, event], id_)


async def assert_books(bench: Bench, ids: set[str]) -> None:
    """Exactly these plans are there, each whole and once."""
    assert set(await bench.ids()) - {"base"} == ids
    assert sorted(row[0] for row in await bench.owner.fetch("SELECT object_id FROM outbox")) == sorted(ids)
    assert sorted(row[0] for row in await bench.owner.fetch("SELECT reference FROM ledger_transfer")) == sorted(ids)
    posted = await bench.owner.fetchval("SELECT credits_posted FROM ledger_account WHERE guard = 'ge0'")
    assert (posted or 0) == len(ids)
    assert await bench.owner.fetchval("SELECT sum(plans) FROM commit_batch") == len(ids) + 1, "base, and one each"


def cutting(message: int, cut: Cut, *, times: int = 1) -> Choose:
    """Cut at the n-th message from now, and the connections after it at once, `times` cuts in all."""
    seen = done = 0

    def choose(kind: bytes, payload: bytes) -> Cut | None:
        nonlocal seen, done
        seen += 1
        if done < times and seen > message:
            done += 1
            return cut
        return None

    return choose


def at_commit(cut: Cut) -> Choose:
    """Cut once, at the message COMMIT."""
    is_cut = False

    def choose(kind: bytes, payload: bytes) -> Cut | None:
        nonlocal is_cut
        if kind == b"Q" and payload.startswith(b"COMMIT") and not is_cut:
            is_cut = True
            return cut
        return None

    return choose


@pytest.mark.parametrize("cut", CUTS)
async def test_a_connection_lost_at_commit_is_resolved_by_the_batch_id(bench: Bench, cut: Cut) -> None:
    await bench.commit(writing("base"))
    async with Proxy(bench.url) as proxy, committing(proxy.url) as committer:
        proxy.choose = at_commit(cut)
        outcomes = await asyncio.gather(*(committer.commit(paying(f"n{n}")) for n in range(5)))
        assert outcomes == [f"n{n}" for n in range(5)]
        assert proxy.cuts == [cut]
        await assert_books(bench, {f"n{n}" for n in range(5)})
        fences = await bench.owner.fetchval("SELECT count(*) FROM commit_batch WHERE plans = 0")
        if cut in {Cut.BEFORE, Cut.HALF}:
            assert fences == 1, "the lost batch can never land any more"
        if cut is Cut.ANSWERED:
            assert fences == 0, "the batch was found"


@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("cut", CUTS)
async def test_a_connection_lost_at_any_message_loses_and_doubles_nothing(
    bench: Bench, cut: Cut, is_warm: bool
) -> None:
    await bench.commit(writing("base"))
    written: set[str] = set()
    message = 0
    while True:
        async with Proxy(bench.url) as proxy, committing(proxy.url) as committer:
            if is_warm:
                written.add(await committer.commit(paying(f"w{message}")))
            proxy.choose = cutting(message, cut)
            written.add(await committer.commit(paying(f"n{message}")))
            if not proxy.cuts:
                break
        message += 1
    await assert_books(bench, written)
    if is_warm:
        assert message == 8, "BEGIN with the locks, look and write in three messages each, COMMIT: all had their turn"
    else:
        assert message > 15, "and so had those that prepare the statements"


@pytest.mark.parametrize("message", range(8))
async def test_a_connection_lost_again_while_the_doubt_is_resolved(bench: Bench, message: int) -> None:
    """COMMIT never arrives, and the look-up is cut as well, before or after it has left its fence."""
    await bench.commit(writing("base"))
    async with Proxy(bench.url) as proxy, committing(proxy.url) as committer:
        assert await committer.commit(paying("first")) == "first"
        commit, then = at_commit(Cut.BEFORE), cutting(message, Cut.ANSWERED, times=2)
        proxy.choose = lambda kind, payload: then(kind, payload) if proxy.cuts else commit(kind, payload)
        assert await committer.commit(paying("second")) == "second"
        assert proxy.cuts == [Cut.BEFORE, Cut.ANSWERED, Cut.ANSWERED]
        await assert_books(bench, {"first", "second"})


async def test_a_commit_that_stays_unknown_is_said_to_be_unknown(bench: Bench) -> None:
    await bench.commit(writing("base"))
    async with Proxy(bench.url) as proxy, committing(proxy.url, unavailable_after_s=0.3) as committer:
        assert await committer.commit(paying("first")) == "first"
        commit = at_commit(Cut.ANSWERED)

        def choose(kind: bytes, payload: bytes) -> Cut | None:
            cut = commit(kind, payload)
            proxy.refuses = proxy.refuses or cut is not None
            return cut

        proxy.choose = choose
        with pytest.raises(PlatformError) as caught:
            await committer.commit(paying("second"))
        assert (caught.value.code, caught.value.status, caught.value.retry_after_s) == ("kernel.commit_unknown", 503, 1)
        proxy.refuses = False
        assert await committer.commit(paying("third")) == "third"
        await assert_books(bench, {"first", "second", "third"})


async def test_an_unreachable_database_is_reported_and_taken_up_again_without_restart(bench: Bench) -> None:
    await bench.commit(writing("base"))
    async with Proxy(bench.url) as proxy, committing(proxy.url, unavailable_after_s=0.3) as committer:
        proxy.refuses = True
        started = asyncio.get_running_loop().time()
        tasks = [committer.commit(paying(f"n{n}")) for n in range(300)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        lasted_s = asyncio.get_running_loop().time() - started
        assert {(error.code, error.status) for error in outcomes if isinstance(error, PlatformError)} == {
            ("kernel.commit_unavailable", 503)
        }
        assert len({id(error) for error in outcomes}) == 300, "each caller has an error of its own"
        assert lasted_s < 2, "three batches wait side by side, not one after the other"
        proxy.refuses = False
        assert await committer.commit(paying("back")) == "back"
        await assert_books(bench, {"back"})


@pytest.mark.parametrize("message", [0, 3, 7])
async def test_a_silent_server_counts_as_lost(bench: Bench, message: int) -> None:
    """Its session would keep our locks; the next one ends it."""
    await bench.commit(writing("base"))
    async with Proxy(bench.url) as proxy, committing(proxy.url, statement_s=0.4) as committer:
        assert await committer.commit(paying("first")) == "first"
        proxy.choose = cutting(message, Cut.SILENT)
        assert await committer.commit(paying("second")) == "second"
        assert proxy.cuts == [Cut.SILENT]
        await assert_books(bench, {"first", "second"})


async def test_backends_killed_under_load_lose_and_double_nothing(bench: Bench) -> None:
    await bench.commit(writing("base"))
    chance = random.Random(20261122)
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'outage:writer' AND datname = current_database()"
    )
    killed = 0
    async with committing(bench.url, batch_plans_max=32) as committer:
        tasks = [asyncio.create_task(committer.commit(paying(f"n{n:04}"))) for n in range(2000)]
        while not all(task.done() for task in tasks):
            killed += len(await bench.owner.fetch(kill))
            await asyncio.sleep(chance.uniform(0, 0.02))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    acknowledged = {outcome for outcome in outcomes if isinstance(outcome, str)}
    refused = {error.code for error in outcomes if isinstance(error, PlatformError)}
    assert refused <= {"kernel.commit_unavailable", "kernel.commit_unknown"}
    assert len(acknowledged) + sum(isinstance(error, PlatformError) for error in outcomes) == 2000
    assert killed >= 10
    if "kernel.commit_unknown" not in refused:
        await assert_books(bench, acknowledged)
    else:
        assert acknowledged <= set(await bench.ids())


async def test_a_missing_database_role_is_an_unavailable_database(bench: Bench) -> None:
    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(bench.url, server_settings={"role": "nobody_here"})

    clock = SystemClock()
    committer = Committer(connect, make_appliers(clock), clock=clock, ids=Ids(clock), unavailable_after_s=0.1)
    await committer.start()
    with pytest.raises(PlatformError) as caught:
        await committer.commit(writing("n"))
    assert caught.value.code == "kernel.commit_unavailable"
    await committer.stop()
    assert await bench.ids() == []


RIVAL = """
import asyncio, sys
from platform_core.bootstrap.appliers import make_appliers
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.commit import Committer, PlanRefused
from platform_core.kernel.database.pools import Database, DatabaseUrls
from platform_core.kernel.ids import Ids
from tests.kernel.commit.test_outages import rival_plans

async def main(url, name):
    clock = SystemClock()
    connect = Database(DatabaseUrls(owner=url)).connect_writer
    committer = Committer(connect, make_appliers(clock), clock=clock, ids=Ids(clock))
    await committer.start()
    print("ready", flush=True)
    sys.stdin.readline()
    outcomes = await asyncio.gather(*map(committer.commit, rival_plans(name)), return_exceptions=True)
    await committer.stop()
    for outcome in outcomes:
        print(outcome if isinstance(outcome, str) else f"{type(outcome).__name__} {outcome}", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""
RIVALS, NUMBERS = 2, 600


def rival_plans(name: str) -> list[Plan]:
    """Plans of one process: the same numbers as its rival's in another order, on the same hot accounts and rows."""
    order = random.Random(name).sample(range(NUMBERS), NUMBERS)
    plans = []
    for number in order:
        transfer = Transfer(f"pay_{number}", BANK, PURSE, 1, "pay", str(number))
        touched = [Change(NOTE, f"hot{n}", {"amount": number}) for n in (number % 7, (number * 3 + 1) % 7 + 7)]
        plans.append(Plan("mer_a", [*touched, note(f"{name}{number}", str(number)), transfer], f"{name}{number}"))
    return plans


async def test_rival_processes_share_keys_and_rows_without_deadlock(bench: Bench) -> None:
    await bench.commit(*(writing(f"hot{n}") for n in range(14)))
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", RIVAL, bench.url, name, stdin=PIPE, stdout=PIPE, cwd=Path(__file__).parents[3]
        )
        for name in ("a", "b")[:RIVALS]
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    lines = [line for out, _ in answers for line in out.decode().splitlines()]
    won = [line for line in lines if " " not in line]
    assert sorted(int(line[1:]) for line in won) == list(range(NUMBERS)), "each number has exactly one winner"
    lost = [line for line in lines if line.startswith("PlanRefused Duplicate(")]
    assert len(lost) == NUMBERS
    assert {line[0] for line in won} == {"a", "b"}, "they did run side by side"
    assert set(await bench.ids()) == {*won, *(f"hot{n}" for n in range(14))}
    assert await bench.owner.fetchval("SELECT credits_posted FROM ledger_account WHERE guard = 'ge0'") == NUMBERS
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await bench.owner.fetchval(deadlocks) == 0
