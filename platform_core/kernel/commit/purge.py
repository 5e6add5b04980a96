"""Old rows of the writer's own tables are taken away, oldest first, a bounded number at a time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import asyncpg

# Table, the column that tells the age, and how long a row is kept. An event that was never relayed is kept for good.
KEPT: Final = (
    ("idempotency", "created_at", timedelta(days=30)),
    ("commit_batch", "committed_at", timedelta(days=1)),
    ("outbox", "relayed_at", timedelta(days=30)),
    ("request_log", "created_at", timedelta(days=30)),
)


async def purge(connection: asyncpg.Connection, *, now: datetime, limit: int = 5000) -> dict[str, int]:
    """Delete at most `limit` rows of each table and say how many; call again while a table reaches the limit.

    `connection` has the role of the workers (`arsenal_job`). Each table is one short transaction. A batch id that is
    gone can no longer be asked for: doubts are resolved within seconds.
    """
    deleted = {}
    for table, column, kept in KEPT:
        tag = await connection.execute(
            f"DELETE FROM {table} WHERE {column} < $1 AND ctid = ANY(ARRAY("
            f"SELECT ctid FROM {table} WHERE {column} < $1 ORDER BY {column} LIMIT $2))",
            now - kept,
            limit,
        )
        deleted[table] = int(tag.split()[1])
    return deleted
