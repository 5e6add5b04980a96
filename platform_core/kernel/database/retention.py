"""Rows that have grown old are taken away, oldest first, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import asyncpg


@dataclass(frozen=True, slots=True)
class Kept:
    """How long a table's rows are kept behind the moment in `column`; NULL keeps a row for good."""

    table: str
    column: str
    kept: timedelta
    key: Literal["id", "ctid"] = "id"
    """By what a row is named: its place, where a table has no id. That needs the right to read every column."""


async def take_away(
    connection: asyncpg.Connection, tables: Iterable[Kept], *, now: datetime, limit: int
) -> dict[str, int]:
    """Delete at most `limit` rows of each table and say how many; call again while a table reaches the limit.

    `connection` has the role of the workers (`arsenal_job`). Each table is one short transaction. Any number of
    processes may do it at once.
    """
    deleted = {}
    for one in tables:
        tag = await connection.execute(
            f"DELETE FROM {one.table} WHERE {one.column} < $1 AND {one.key} = ANY(ARRAY("
            f"SELECT {one.key} FROM {one.table} WHERE {one.column} < $1 ORDER BY {one.column} LIMIT $2))",
            now - one.kept,
            limit,
        )
        deleted[one.table] = int(tag.split()[1])
    return deleted
