"""What the writer alone costs: plans of 3 transfers, 3 insertions and 2 events, 64 callers at once, durable.

Usage: python benchmarks/commit.py [--plans N] [--callers N] [--rounds N] [--spread]
Prints one JSON line per figure. CPU is user and system time: of this process for the client (plans are made before the
clock starts), of the writer's own backend for the database.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import asyncpg
import uvloop
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

from platform_core.bootstrap.appliers import make_appliers
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.commit import BatchReport, Committer, DocumentTable, Event, IdempotencyClaim, Insert, Plan
from platform_core.kernel.database import migrations
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.database.tenancy import tenant_table_sql
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Guard, Transfer

TABLES = [
    Table(
        name,
        MetaData(),
        Column("id", Text, primary_key=True),
        Column("merchant_id", Text, nullable=False),
        Column("number", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("amount", BigInteger, nullable=False),
        Column("version", Integer, nullable=False),
    )
    for name in ("bench_payment", "bench_attempt")
]
PAYMENT = DocumentTable(TABLES[0], version="version", unique=(("merchant_id", "number"),))
ATTEMPT = DocumentTable(TABLES[1], version="version")
CREATE = (
    "CREATE TABLE {0} (id text PRIMARY KEY, merchant_id text NOT NULL, number text NOT NULL, state text NOT NULL, "
    "amount bigint NOT NULL, version integer NOT NULL{1});"
)
BODY = json.dumps({"id": "pay_" + "x" * 26, "state": "succeeded", "amount_minor": 1200, "padding": "x" * 400})


class Counting(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships untyped
    """A driver's connection that counts its round trips (a repeated statement is one)."""

    calls = 0

    async def execute(self, *arguments: object) -> object:
        Counting.calls += 1
        return await super().execute(*arguments)

    async def fetch(self, *arguments: object) -> object:
        Counting.calls += 1
        return await super().fetch(*arguments)

    async def fetchrow(self, *arguments: object) -> object:
        Counting.calls += 1
        return await super().fetchrow(*arguments)


def make_plan(ids: Ids, clock: SystemClock, merchant_id: str) -> Plan:
    """One paid order's rows: a key, two documents, three transfers, two events."""

    def account(role: str, guard: Guard = Guard.FREE) -> Account:
        return Account(merchant_id, "CNY", merchant_id, role, guard=guard)

    now, number = clock.now(), ids.mint("pay")
    channel, clearing = account("channel_receivable"), account("customer_clearing")
    pending, fee = account("merchant_pending", Guard.GE0), account("platform_fee")
    row = {"merchant_id": merchant_id, "number": number, "state": "succeeded", "amount": 1200, "version": 2}
    return Plan(
        merchant_id,
        [
            IdempotencyClaim("app", number, b"f" * 32, number, now, 201, BODY),
            Insert(PAYMENT, {"id": number, **row}),
            Insert(ATTEMPT, {"id": ids.mint("att"), **row}),
            Transfer(ids.mint("tra"), channel, clearing, 1200, "capture", number),
            Transfer(ids.mint("tra"), clearing, pending, 1200, "sale", number),
            Transfer(ids.mint("tra"), pending, fee, 7, "fee", number),
            Event(ids.mint("evt"), "payment.created", number, 1, now, BODY),
            Event(ids.mint("evt"), "payment.captured", number, 2, now, BODY),
        ],
        number,
    )


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def run_round(committer: Committer, plans: list[Plan], *, callers: int) -> tuple[float, float]:
    """Seconds, and CPU seconds of this process."""
    queue = iter(plans)

    async def call() -> None:
        for plan in queue:
            assert await committer.commit(plan) == plan.answer

    started, started_cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call() for _ in range(callers)))
    return time.perf_counter() - started, time.process_time() - started_cpu


async def measure(chosen: argparse.Namespace, url: str) -> dict[str, list[float]]:
    """Warm up, then the figures of every round."""
    clock = SystemClock()
    ids = Ids(clock)
    writer_url, settings = DatabaseUrls(owner=url).of("writer")
    reports: list[BatchReport] = []
    pids: list[int] = []

    async def connect() -> asyncpg.Connection:
        connection = await asyncpg.connect(
            writer_url, server_settings=settings, connection_class=Counting, statement_cache_size=500
        )
        pids.append(connection.get_server_pid())
        return connection

    def make(count: int) -> list[Plan]:
        return [make_plan(ids, clock, f"mer_{n % (1000 if chosen.spread else 1)}") for n in range(count)]

    committer = Committer(connect, make_appliers(clock), clock=clock, ids=ids, observe=reports.append)
    await committer.start()
    await run_round(committer, make(chosen.plans // 4), callers=chosen.callers)
    rounds: dict[str, list[float]] = {}
    for _ in range(chosen.rounds):
        plans = make(chosen.plans)
        reports.clear()
        Counting.calls = 0
        server_s = cpu_s(pids[-1])
        lasted_s, client_s = await run_round(committer, plans, callers=chosen.callers)
        figures = {
            "plans_per_s": len(plans) / lasted_s,
            "client_cpu_us_per_plan": client_s / len(plans) * 1e6,
            "database_cpu_us_per_plan": (cpu_s(pids[-1]) - server_s) / len(plans) * 1e6,
            "plans_per_batch": len(plans) / len(reports),
            "round_trips_per_batch": Counting.calls / len(reports),
            "commit_ms_median": statistics.median(report.commit_s for report in reports) * 1e3,
        }
        for name, value in figures.items():
            rounds.setdefault(name, []).append(value)
    await committer.stop()
    return rounds


def main() -> None:
    """A database of its own in a temporary folder; figures as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=8000)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spread", action="store_true", help="1,000 merchants instead of one")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="arsenal-bench-") as folder:
        server = EmbeddedPostgres(Path(folder) / "pg")
        url = server.start()
        try:
            asyncio.run(migrations.upgrade(url))
            create = CREATE.format("bench_payment", ", UNIQUE (merchant_id, number)") + CREATE.format(
                "bench_attempt", ""
            )
            server.sql(create + ";".join(tenant_table_sql(table.name) for table in TABLES), database="arsenal")
            rounds = uvloop.run(measure(chosen, url))
        finally:
            server.stop()
    for name, values in rounds.items():
        figure = {"median": statistics.median(values), "min": min(values), "max": max(values)}
        rounded = {key: round(value, 1) for key, value in figure.items()}
        print(json.dumps({"benchmark": "commit", "figure": name, **rounded}))


if __name__ == "__main__":
    main()
