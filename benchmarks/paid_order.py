"""`paid_order`: OAuth-scoped request, idempotency, payment, ledger, events in one commit, over HTTP.

Compared, alternated in every round: the application at 64 connections, pgbench with one transaction an order at 1, 4,
16 and 64 clients, the set-based call of 128 orders, the naive path at 64; the application at one connection and one
stored function an order at one client; the application at 16, and at 64 spread over 50 merchants.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.figures import Figure, Goal, Rounds
from benchmarks.floor import Floor, make_floor
from benchmarks.ground import Ground, Seller, fetch_token, open_ground, seed_sellers, serving
from benchmarks.load import Job, Outcome, WrongAnswer, drive
from benchmarks.options import Options
from benchmarks.processes import Child, cpu_s, running
from benchmarks.statements import count_statements

NAME = "paid_order"
SPREAD = 50
MULTI = (1, 4, 16, 64)
WARM_S = 2.0
TOKEN_S = 300.0
GOALS = {
    "against_pgbench": Goal(">=", 1.0, 2.0),
    "against_set_based": Goal(">=", 0.2, 0.5),
    "against_naive": Goal(">=", 10, 25),
    "one_against_one_call": Goal(">=", 0.3, 0.5),
    "server_cpu": Goal("<=", 500, 250),
    "database_cpu": Goal("<=", 250, 130),
    "p99": Goal("<=", 100, 30),
}


@dataclass
class Field:
    """Everything that is compared, running side by side and driven one at a time."""

    ground: Ground
    options: Options
    server: Child
    naive: Child
    floor: Floor
    sellers: Sequence[Seller]
    runs: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    acknowledged: int = 0

    def orders(self, name: str, *, connections: int, spread: bool = False) -> dict[str, float]:
        """The application for one measurement; figures by name."""
        sellers = self.sellers[1:] if spread else self.sellers[:1]
        tokens = [self._token(seller) for seller in sellers]
        server_s, database_s = cpu_s(self.server.pid), self.ground.cpu_s()
        outcome = self._drive(self.server, tokens, connections)
        self.acknowledged += outcome.orders
        return {
            f"{name}_per_s": outcome.orders_per_s,
            f"{name}_server_us": (cpu_s(self.server.pid) - server_s) / outcome.orders * 1e6,
            f"{name}_database_us": (self.ground.cpu_s() - database_s) / outcome.orders * 1e6,
            f"{name}_load_us": outcome.cpu_s / outcome.orders * 1e6,
            f"{name}_load_share": outcome.cpu_s / outcome.seconds,
            f"{name}_p50_ms": outcome.p50_ms,
            f"{name}_p99_ms": outcome.p99_ms,
        }

    def _token(self, seller: Seller) -> str:
        """Of the last few minutes: a till does not ask for a new one with every order."""
        token, fetched_at = self.tokens.get(seller.merchant_id, ("", -TOKEN_S))
        if time.monotonic() - fetched_at >= TOKEN_S:
            token, fetched_at = fetch_token(self.server.port, seller), time.monotonic()
            self.tokens[seller.merchant_id] = (token, fetched_at)
        return token

    def naively(self) -> dict[str, float]:
        """The naive path at 64 connections."""
        before_s = cpu_s(self.naive.pid)
        outcome = self._drive(self.naive, ["none"], 64)
        return {
            "naive_per_s": outcome.orders_per_s,
            "naive_server_us": (cpu_s(self.naive.pid) - before_s) / outcome.orders * 1e6,
            "naive_p99_ms": outcome.p99_ms,
        }

    def pgbench(self, script: str, *, clients: int) -> dict[str, float]:
        """A script of the floor."""
        before_s, before = self.ground.cpu_s(), self.floor.orders()
        start = next(self.runs) * 1_000_000
        per_s = self.floor.run(script, clients=clients, seconds=self.options.seconds, start=start)
        orders = self.floor.orders() - before
        name = f"{script}_{clients}"
        return {f"{name}_per_s": per_s, f"{name}_database_us": (self.ground.cpu_s() - before_s) / orders * 1e6}

    def _drive(self, child: Child, tokens: Sequence[str], connections: int) -> Outcome:
        run = f"r{next(self.runs)}"
        return drive(Job(child.port, tokens, connections, self.options.seconds, run))

    def round(self) -> Iterator[dict[str, float]]:
        """One measurement of each, neighbours being what is compared."""
        yield self.pgbench("set_based", clients=1)
        yield self.orders("hot_64", connections=64)
        for clients in MULTI:
            yield self.pgbench("multi_statement", clients=clients)
        yield self.naively()
        yield self.orders("hot_1", connections=1)
        yield self.pgbench("one_call", clients=1)
        yield self.orders("hot_16", connections=16)
        yield self.orders("spread_64", connections=64, spread=True)

    def warm_up(self) -> None:
        """Connections, caches and plans; then statistics, which a database that has lived for a minute has."""
        for child, seller in ((self.server, self.sellers[0]), (self.naive, None)):
            token = "none" if seller is None else fetch_token(child.port, seller)
            drive(Job(child.port, [token], 16, min(WARM_S, self.options.seconds), f"w{next(self.runs)}"))
        self.acknowledged = self.stored()
        for name in ("app", "naive", self.floor.name):
            self.ground.sql("ANALYZE", database=name)

    def stored(self) -> int:
        """Orders in the application's database."""
        return int(self.ground.sql("SELECT count(*) FROM pay_payment WHERE state = 'captured'", database="app"))

    def verify(self) -> None:
        """Every acknowledged order exists, nothing else does, and all units sum to zero. Raises `WrongAnswer`."""
        stored = self.stored()
        if stored != self.acknowledged:
            raise WrongAnswer(f"{self.acknowledged} orders were acknowledged, {stored} are stored")
        off = "SELECT sum(credits_posted - debits_posted) FROM ledger_account"
        transfers = "SELECT count(*) FROM ledger_transfer"
        if self.ground.sql(off, database="app") != "0":
            raise WrongAnswer("the accounts do not sum to zero")
        if int(self.ground.sql(transfers, database="app")) != 3 * stored:
            raise WrongAnswer("an order without its three transfers, or transfers without an order")


def run(options: Options) -> list[Figure]:
    """All figures. Raises `WrongAnswer` when any answer or any stored row was not as it must be."""
    with open_ground() as ground, ExitStack() as stack:
        field_ = _open(ground, stack, options)
        field_.warm_up()
        rounds = Rounds()
        for _ in range(options.rounds):
            for values in field_.round():
                rounds.add(values)
        field_.verify()
        counted = count_statements(ground, "app", field_.sellers[0], seconds=min(1.0, options.seconds))
    return _figures(rounds, counted, field_.floor)


def _open(ground: Ground, stack: ExitStack, options: Options) -> Field:
    url = ground.database("app")
    sellers = seed_sellers(ground, url, count=1 + SPREAD)
    server = stack.enter_context(serving(ground, url))
    token = fetch_token(server.port, sellers[0])
    drive(Job(server.port, [token], 1, 0.1, "first"))  # the order whose rows the floors repeat
    floor = make_floor(ground, source="app")
    copy = make_floor(ground, source="app", name="naive")
    for table in ("pay_channel_account", "pay_fee_plan"):
        _copy_terms(ground, table, sellers[0].merchant_id)
    naive_url = ground.postgres.url(copy.name)
    naive = stack.enter_context(running([sys.executable, "-m", "benchmarks.naive", naive_url, sellers[0].merchant_id]))
    return Field(ground, options, server, naive, floor, sellers)


def _copy_terms(ground: Ground, table: str, merchant_id: str) -> None:
    """The merchant's terms, for the naive path to read."""
    rows = ground.sql(f"SELECT json_agg(t) FROM {table} AS t WHERE merchant_id = '{merchant_id}'", database="app")
    quoted = rows.replace("'", "''")
    ground.sql(
        f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, '{quoted}')", database="naive"
    )


def _figures(rounds: Rounds, counted: dict[str, float], floor: Floor) -> list[Figure]:
    multi = [f"multi_statement_{clients}_per_s" for clients in MULTI]
    hot = "hot_64_per_s"

    def plain(name: str, unit: str, goal: str | None = None) -> Figure:
        return Figure(NAME, name, rounds.of(name), unit, None if goal is None else GOALS[goal])

    figures = [
        Figure(NAME, "hot_64_against_pgbench", rounds.ratios(hot, multi), "x", GOALS["against_pgbench"]),
        Figure(
            NAME,
            "hot_64_against_set_based",
            rounds.ratios(hot, "set_based_1_per_s"),
            "x",
            GOALS["against_set_based"],
        ),
        Figure(NAME, "hot_64_against_naive", rounds.ratios(hot, "naive_per_s"), "x", GOALS["against_naive"]),
        Figure(
            NAME,
            "hot_1_against_one_call",
            rounds.ratios("hot_1_per_s", "one_call_1_per_s"),
            "x",
            GOALS["one_against_one_call"],
        ),
        plain("hot_64_server_us", "us/order", "server_cpu"),
        plain("hot_64_database_us", "us/order", "database_cpu"),
        plain("hot_64_p99_ms", "ms", "p99"),
    ]
    for name in ("hot_1", "hot_16", "hot_64", "spread_64"):
        figures.append(plain(f"{name}_per_s", "orders/s"))
        goals = {"server_us", "database_us", "p99_ms"} if name == "hot_64" else set()
        units = {
            "server_us": "us/order",
            "database_us": "us/order",
            "load_us": "us/order",
            "load_share": "of a core",
            "p50_ms": "ms",
            "p99_ms": "ms",
        }
        figures += [plain(f"{name}_{part}", unit) for part, unit in units.items() if part not in goals]
    for script in (*(f"multi_statement_{clients}" for clients in MULTI), "one_call_1", "set_based_1"):
        figures += [plain(f"{script}_per_s", "orders/s"), plain(f"{script}_database_us", "us/order")]
    figures += [plain("naive_per_s", "orders/s"), plain("naive_server_us", "us/order"), plain("naive_p99_ms", "ms")]
    figures += [Figure(NAME, name, [value], "1/order") for name, value in counted.items()]
    figures.append(Figure(NAME, "pgbench_statements", [floor.statements], "1/order"))
    return figures
