"""`ledger_transfers`: transfers through the ledger's own interface, 1,000 a batch, against COPY of the same rows."""

from __future__ import annotations

import asyncio
import os
import time

import asyncpg
import uvloop

from benchmarks.figures import Figure, Goal, Rounds
from benchmarks.ground import Ground, open_ground
from benchmarks.options import Options
from platform_core.bootstrap.appliers import make_appliers
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.commit import Committer, Plan
from platform_core.kernel.database.pools import Database, DatabaseUrls
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Transfer

NAME = "ledger_transfers"
BATCH = 1_000
BATCHES = 10  # a round
ACCOUNTS = 1_000
GOAL = Goal(">=", 0.2, 0.4)
MERCHANT = "mer_bench"


def run(options: Options) -> list[Figure]:
    """Alternated: ten batches of plans with one transfer each, then COPY of those very rows to a table like theirs."""
    with open_ground() as ground:
        rounds = uvloop.run(_measure(ground, ground.database("app"), options))
    return [
        Figure(NAME, "against_copy", rounds.ratios("transfers_per_s", "copied_per_s"), "x", GOAL),
        Figure(NAME, "transfers_per_s", rounds.of("transfers_per_s"), "transfers/s"),
        Figure(NAME, "copied_per_s", rounds.of("copied_per_s"), "rows/s"),
        Figure(NAME, "client_us", rounds.of("client_us"), "us/transfer"),
    ]


async def _measure(ground: Ground, url: str, options: Options) -> Rounds:
    clock = SystemClock()
    ids = Ids(clock)
    database = Database(DatabaseUrls(owner=url))
    committer = Committer(
        database.connect_writer,
        make_appliers(clock),
        clock=clock,
        ids=ids,
        batch_plans_max=BATCH,
        queue_plans_max=BATCH,
    )
    await committer.start()
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE copied (LIKE ledger_transfer INCLUDING ALL EXCLUDING IDENTITY); "
        "ALTER TABLE copied ALTER position SET NOT NULL"
    )
    rounds = Rounds()
    try:
        await _transfer(committer, ids, batches=1)
        ground.sql("ANALYZE", database="app")
        for number in range(options.rounds):
            batches = 1 if options.rounds == 1 else BATCHES
            last = await connection.fetchval("SELECT coalesce(max(position), 0) FROM ledger_transfer")
            cpu = os.times()
            lasted_s = await _transfer(committer, ids, batches=batches)
            used = os.times()
            count = batches * BATCH
            rounds.add(
                {
                    "transfers_per_s": count / lasted_s,
                    "client_us": (used.user + used.system - cpu.user - cpu.system) / count * 1e6,
                    "copied_per_s": count / await _copy(connection, last, count, number),
                }
            )
    finally:
        await connection.close()
        await committer.stop()
        await database.close()
    return rounds


async def _transfer(committer: Committer, ids: Ids, *, batches: int) -> float:
    """Seconds for batches of 1,000 plans over 1,000 accounts of one merchant, each batch awaited."""
    accounts = [Account(MERCHANT, "CNY", MERCHANT, "bench", str(number)) for number in range(ACCOUNTS)]
    plans = [
        [
            Plan(
                MERCHANT,
                [Transfer(ids.mint("tra"), accounts[n], accounts[(n + 1) % ACCOUNTS], 100 + n, "bench", "ref_bench")],
            )
            for n in range(BATCH)
        ]
        for _ in range(batches)
    ]
    started = time.perf_counter()
    for batch in plans:
        await asyncio.gather(*(committer.commit(plan) for plan in batch))
    return time.perf_counter() - started


async def _copy(connection: asyncpg.Connection, last: int, count: int, number: int) -> float:
    """Seconds to COPY the newest rows, 1,000 a transaction, to a table with the same columns and indexes."""
    rows = await connection.fetch("SELECT * FROM ledger_transfer WHERE position > $1 ORDER BY position", last)
    assert len(rows) == count, f"round {number}: {len(rows)} of {count} transfers were written"
    records = [tuple(row) for row in rows]
    columns = list(rows[0].keys())
    started = time.perf_counter()
    for first in range(0, count, BATCH):
        await connection.copy_records_to_table("copied", records=records[first : first + BATCH], columns=columns)
    return time.perf_counter() - started
