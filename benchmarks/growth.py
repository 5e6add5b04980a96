"""`growth`: what a paid order, a list, a look-up and a balance cost in a small and in a large database.

The rows are preloaded set-based, in the shape of real orders: of the merchant who is measured and of others alike.
"""

from __future__ import annotations

import statistics
import time
import urllib.request
from collections.abc import Iterator

from benchmarks.figures import Figure
from benchmarks.floor import make_floor
from benchmarks.ground import Ground, Seller, fetch_token, open_ground, seed_sellers, serving
from benchmarks.load import Job, drive
from benchmarks.options import Options
from benchmarks.processes import Child

NAME = "growth"
CALL = 10_000  # orders a preloading call writes
READS = 200


def run(options: Options) -> list[Figure]:
    """The same questions at both sizes; a ratio above that of noise is a bug."""
    with open_ground() as ground:
        url = ground.database("app")
        seller = seed_sellers(ground, url, count=1)[0]
        with serving(ground, url) as server:
            drive(Job(server.port, [fetch_token(server.port, seller)], 1, 0.2, "first"))
        make_floor(ground, source="app", name="template_floor")
        functions = ground.sql("SELECT pg_get_functiondef('place_orders'::regproc)", database="template_floor")
        ground.sql(functions, database="app")
        sizes: dict[int, dict[str, list[float]]] = {}
        loaded = 0
        for size in (_small(options), options.rows):
            _preload(ground, start=loaded, until=size)
            loaded = size
            with serving(ground, url) as server:
                sizes[size] = _measure(ground, server, seller, options, name=f"s{size}")
    return list(_figures(sizes, _small(options), options.rows))


def _preload(ground: Ground, *, start: int, until: int) -> None:
    """Orders `start` to `until`, with the statistics that autovacuum would have made by then."""
    for first in range(start, until, CALL):
        count = min(CALL, until - first)
        ground.sql(f"SELECT place_orders({first + 10**9}, {count})", database="app")
    ground.sql("VACUUM ANALYZE", database="app")
    ground.sql("CHECKPOINT", database="postgres")


def _measure(ground: Ground, server: Child, seller: Seller, options: Options, *, name: str) -> dict[str, list[float]]:
    token = fetch_token(server.port, seller)
    newest = ground.sql("SELECT max(id) FROM pay_payment", database="app")
    drive(Job(server.port, [token], 64, 1.0, f"{name}w"))
    values: dict[str, list[float]] = {}
    for number in range(options.rounds):
        before_s = ground.cpu_s()
        outcome = drive(Job(server.port, [token], 64, options.seconds, f"{name}r{number}"))
        values.setdefault("orders_per_s", []).append(outcome.orders_per_s)
        values.setdefault("database_us", []).append((ground.cpu_s() - before_s) / outcome.orders * 1e6)
    for what, path in (
        ("list_ms", "/v1/payments?limit=20"),
        ("look_up_ms", f"/v1/payments/{newest}"),
        ("balances_ms", "/v1/balances"),
    ):
        values[what] = list(_reads(server, token, path))
    return values


def _reads(server: Child, token: str, path: str) -> Iterator[float]:
    """Milliseconds of single reads, one after another."""
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}")
    request.add_header("Authorization", f"Bearer {token}")
    for _ in range(READS):
        started = time.perf_counter()
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
            answer.read()
            assert answer.status == 200, path
        yield (time.perf_counter() - started) * 1e3


def _small(options: Options) -> int:
    return options.rows // 4


def _figures(sizes: dict[int, dict[str, list[float]]], small: int, large: int) -> Iterator[Figure]:
    units = {"orders_per_s": "orders/s", "database_us": "us/order"}
    for size, values in sizes.items():
        for what, found in values.items():
            yield Figure(NAME, f"{what}_at_{size}", found, units.get(what, "ms"))
    for what, found in sizes[large].items():
        ratio = statistics.median(found) / statistics.median(sizes[small][what])
        yield Figure(NAME, f"{what}_ratio", [ratio], "x")
