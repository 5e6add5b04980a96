"""What a volume needs, from service times and bytes measured on this machine: `python -m benchmarks.scale_model`.

Measures a paid order over HTTP at 64 connections (cash, one commit), then computes processes, cores, disk and
connections for a volume, and simulates the queue of one server and its writer. Prints the tables of
docs/explanation/scale.md.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.ground import Ground, fetch_token, open_ground, seed_sellers, serving
from benchmarks.load import Job, drive
from benchmarks.processes import cpu_s, memory_mib

MONTH_S = 30 * 86_400
PEAK = 10  # times the average
BUSY = 0.6  # of a core, at peak: above it the queue grows faster than the load
BATCH_MAX = 128
VOLUMES = {"100 million a month": 1e8, "10,000 million a month": 1e10}
_SIZES = """
SELECT relname || '=' || pg_total_relation_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND application_name LIKE 'arsenal%'"


@dataclass(frozen=True, slots=True)
class Measured:
    """One order's cost: CPU in microseconds, bytes on disk with indexes, bytes of write-ahead log. `commit_ms` is the
    answer time of a single connection less the CPU: what one commit waits for the disk and the round trips.
    """

    orders: int
    per_s: float
    server_us: float
    database_us: float
    commit_ms: float
    row_bytes: float
    log_bytes: float
    tables: dict[str, float]
    connections: int
    server_mib: float


def measure(seconds: float) -> Measured:
    """Drive one server for `seconds` and read what that cost."""
    with open_ground() as ground:
        url = ground.database("app")
        [seller] = seed_sellers(ground, url, count=1)
        with serving(ground, url) as server:
            port = server.port
            token = fetch_token(port, seller)
            drive(Job(port, [token], 16, 2.0, "warm"))
            alone = drive(Job(port, [token], 1, 2.0, "alone"))
            ground.sql("CHECKPOINT", database="app")
            sizes, log = _sizes(ground), _log_position(ground)
            server_s, database_s = cpu_s(server.pid), ground.cpu_s()
            many = drive(Job(port, [token], 64, seconds, "many"))
            server_us = (cpu_s(server.pid) - server_s) / many.orders * 1e6
            database_us = (ground.cpu_s() - database_s) / many.orders * 1e6
            log_bytes = (_log_position(ground) - log) / many.orders
            grown = {name: (size - sizes[name]) / many.orders for name, size in _sizes(ground).items()}
            return Measured(
                orders=many.orders,
                per_s=many.orders_per_s,
                server_us=server_us,
                database_us=database_us,
                commit_ms=max(0.2, alone.p50_ms - (server_us + database_us) / 1000),
                row_bytes=sum(grown.values()),
                log_bytes=log_bytes,
                tables={name: size for name, size in grown.items() if size >= 1},
                connections=int(ground.sql(_CONNECTIONS, database="app")),
                server_mib=memory_mib(server.pid),
            )


def _sizes(ground: Ground) -> dict[str, int]:
    lines = ground.sql(_SIZES, database="app").splitlines()
    return {name: int(size) for name, _, size in (line.partition("=") for line in lines)}


def _log_position(ground: Ground) -> int:
    return int(ground.sql("SELECT pg_current_wal_lsn() - '0/0'", database="app"))


@dataclass(frozen=True, slots=True)
class Need:
    """What a volume needs, at its peak unless a name says otherwise."""

    average_per_s: float
    peak_per_s: float
    servers: int
    database_cores: float
    terabytes_a_month: float
    log_mb_per_s: float
    connections: int


def need(measured: Measured, *, orders_a_month: float) -> Need:
    """Everything in proportion; a core is used for `BUSY` of its time."""
    average = orders_a_month / MONTH_S
    peak = average * PEAK
    servers = max(2, -(-int(peak * measured.server_us) // int(BUSY * 1e6)))
    return Need(
        average_per_s=average,
        peak_per_s=peak,
        servers=servers,
        database_cores=peak * measured.database_us / 1e6 / BUSY,
        terabytes_a_month=orders_a_month * measured.row_bytes / 1e12,
        log_mb_per_s=peak * measured.log_bytes / 1e6,
        connections=servers * measured.connections,
    )


def answer_times_ms(measured: Measured, *, per_s: float, orders: int = 40_000, seed: int = 1) -> list[float]:
    """Sorted answer times of one server process and its writer under random arrivals.

    The process serves one order at a time; the writer takes whatever waits, at most 128, as one batch, which costs its
    fixed time once and the database's time for each.
    """
    chance = random.Random(seed)
    batch_s, each_s = measured.commit_ms / 1000, measured.database_us / 1e6
    times: list[float] = []
    waiting: deque[tuple[float, float]] = deque()  # ready for the writer at, arrived at
    writer_free = 0.0
    for ready, arrived in _served(measured, per_s=per_s, orders=orders, chance=chance):
        while waiting and max(writer_free, waiting[0][0]) < ready:
            writer_free = _commit(waiting, writer_free, batch_s=batch_s, each_s=each_s, times=times)
        waiting.append((ready, arrived))
    while waiting:
        writer_free = _commit(waiting, writer_free, batch_s=batch_s, each_s=each_s, times=times)
    return sorted(times)


def _served(measured: Measured, *, per_s: float, orders: int, chance: random.Random) -> Iterator[tuple[float, float]]:
    now = free = 0.0
    for _ in range(orders):
        now += chance.expovariate(per_s)
        free = max(free, now) + measured.server_us / 1e6
        yield free, now


def _commit(
    waiting: deque[tuple[float, float]], writer_free: float, *, batch_s: float, each_s: float, times: list[float]
) -> float:
    start = max(writer_free, waiting[0][0])
    batch = []
    while waiting and waiting[0][0] <= start and len(batch) < BATCH_MAX:
        batch.append(waiting.popleft())
    end = start + batch_s + each_s * len(batch)
    times += [(end - arrived) * 1000 for _, arrived in batch]
    return end


def report(measured: Measured) -> Iterator[str]:
    """The lines of the tables."""
    yield f"measured: {measured.orders} orders, {measured.per_s:.0f} a second at 64 connections, one server process"
    yield f"  server CPU {measured.server_us:.0f} us, database CPU {measured.database_us:.0f} us an order"
    yield f"  one commit waits {measured.commit_ms:.1f} ms"
    yield f"  {measured.connections} connections, {measured.server_mib:.0f} MiB a server"
    yield f"  {measured.row_bytes:.0f} bytes of rows and indexes, {measured.log_bytes:.0f} bytes of log an order"
    for name, size in sorted(measured.tables.items(), key=lambda item: -item[1]):
        yield f"    {name}: {size:.0f}"
    for name, orders in VOLUMES.items():
        found = need(measured, orders_a_month=orders)
        yield (
            f"{name}: {found.average_per_s:,.0f}/s, peak {found.peak_per_s:,.0f}/s: {found.servers:,} servers, "
            f"{found.database_cores:.1f} database cores, {found.terabytes_a_month:.2f} TB a month, "
            f"log {found.log_mb_per_s:.0f} MB/s, {found.connections:,} connections"
        )
    for share in (0.3, 0.6, 0.8, 0.9):
        per_s = share * 1e6 / measured.server_us
        times = answer_times_ms(measured, per_s=per_s)
        median, late = times[len(times) // 2], times[len(times) * 99 // 100]
        yield f"queue: one server {share:.0%} busy, {per_s:.0f} orders/s: median {median:.1f} ms, p99 {late:.1f} ms"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_model", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long to measure")
    for line in report(measure(parser.parse_args().seconds)):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
