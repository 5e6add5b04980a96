"""Several writers on one database over one set of accounts: no deadlock, nothing lost or doubled, no guard broken."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

import asyncpg
import pytest

from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.pools import Database
from platform_core.ledger.verify import verify
from tests.ledger.hammer import MERCHANT, Outcome, hammer

pytestmark = pytest.mark.database

ROOT = Path(__file__).resolve().parents[2]
PLANS_EACH = 1000


async def deadlocks(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return int(
            await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        )
    finally:
        await connection.close()


async def check(url: str, database: Database, outcomes: list[Outcome]) -> None:
    assert await deadlocks(url) == 0
    accepted = [id_ for outcome in outcomes for id_ in outcome.accepted]
    assert len(accepted) == len(set(accepted))
    async with database.read(MERCHANT) as connection:
        found = [row[0] for row in await connection.exec_driver_sql("SELECT id FROM ledger_transfer")]
        rows = await connection.exec_driver_sql(
            "SELECT bucket, credits_posted - debits_posted, debits_pending, credits_pending FROM ledger_account"
        )
        sums = {bucket: list(values) for bucket, *values in rows}
    assert Counter(found) == Counter(accepted)
    expected = {
        bucket: [sum(values) for values in zip(*(outcome.sums[bucket] for outcome in outcomes), strict=True)]
        for bucket in outcomes[0].sums
    }
    assert sums == expected
    assert (await verify(database, now=SystemClock().now())).offences == ()
    for outcome in outcomes:  # both writers did get their share, and both met refusals
        assert len(outcome.accepted) >= PLANS_EACH / 4
        assert outcome.refused >= PLANS_EACH / 20
        assert outcome.names_won


async def test_two_writers_of_one_process(database_url: str, database: Database) -> None:
    outcomes = await asyncio.gather(*(hammer(database_url, seed=seed, plans=PLANS_EACH) for seed in (1, 2)))
    await check(database_url, database, outcomes)


async def test_two_processes(database_url: str, database: Database) -> None:
    begin_at = str(time.time() + 2.5)
    programs = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.ledger.hammer", database_url, str(seed), str(PLANS_EACH), begin_at),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        for seed in (3, 4)
    ]
    answers = [await program.communicate() for program in programs]
    assert [program.returncode for program in programs] == [0, 0]
    await check(database_url, database, [Outcome(**json.loads(out)) for out, _ in answers])
