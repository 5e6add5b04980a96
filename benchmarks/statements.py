"""How many statements, transactions and batches an order costs, counted in PostgreSQL's own log."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.ground import Ground, Seller, fetch_token, serving
from benchmarks.load import Job, drive

# One line an execution, whether it came as a simple query or as a prepared statement; each is one round trip.
_EXECUTED = re.compile(r"LOG:  (?:execute [^:]+|statement): ")
CONNECTIONS = (1, 64)


def count_statements(ground: Ground, database: str, seller: Seller, *, seconds: float) -> dict[str, float]:
    """Per order, at 1 and 64 connections; a server of its own, whose log slows it: only the counts are of use."""
    ground.sql(f"ALTER DATABASE {database} SET log_statement = 'all'", database="postgres")
    counted: dict[str, float] = {}
    with serving(ground, ground.postgres.url(database)) as server:
        for connections in CONNECTIONS:
            token = fetch_token(server.port, seller)
            drive(Job(server.port, [token], connections, 0.3, f"cw{connections}"))
            log_at, batches, commits = _log_bytes(ground), _batches(ground, database), _commits(ground, database)
            outcome = drive(Job(server.port, [token], connections, seconds, f"c{connections}"))
            executed = len(_EXECUTED.findall(_log_since(ground, log_at)))
            made = _batches(ground, database) - batches
            counted[f"statements_at_{connections}"] = executed / outcome.orders
            counted[f"batches_at_{connections}"] = made / outcome.orders
            counted[f"transactions_at_{connections}"] = (_commits(ground, database) - commits) / outcome.orders
    ground.sql(f"ALTER DATABASE {database} RESET log_statement", database="postgres")
    return counted


def _batches(ground: Ground, database: str) -> int:
    return int(ground.sql("SELECT count(*) FROM commit_batch", database=database))


def _commits(ground: Ground, database: str) -> int:
    query = f"SELECT xact_commit FROM pg_stat_database WHERE datname = '{database}'"
    return int(ground.sql(query, database="postgres"))


def _log_bytes(ground: Ground) -> int:
    return _log(ground).stat().st_size


def _log_since(ground: Ground, position: int) -> str:
    with _log(ground).open("rb") as file:
        file.seek(position)
        return file.read().decode(errors="replace")


def _log(ground: Ground) -> Path:
    return ground.postgres.folder / "log"
