"""What identity no longer needs is taken away, a bounded number at a time. What was done with it stays audited."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import asyncpg

# Table, the column that tells its end, and how long it is kept behind that: a code or a token that comes late is told
# from one that never was while its family could still be harmed, and who asks about a session finds it for a month.
KEPT: Final = (
    ("oauth_pushed_request", "expires_at", timedelta(days=1)),
    ("oauth_used_once", "until", timedelta(0)),
    ("oauth_code", "expires_at", timedelta(days=30)),
    ("oauth_device_code", "expires_at", timedelta(days=30)),  # with what was decided about it
    ("oauth_token_family", "expires_at", timedelta(days=1)),  # with its refresh tokens
    ("revocation", "until", timedelta(days=1)),
    ("console_session", "expires_at", timedelta(days=30)),
    ("one_time_link", "expires_at", timedelta(days=1)),
    ("person_message", "created_at", timedelta(days=30)),
    ("invitation", "expires_at", timedelta(days=30)),
    ("sign_in_counter", "last_at", timedelta(days=1)),  # a wait ends within a quarter hour
)


async def sweep(connection: asyncpg.Connection, *, now: datetime, limit: int = 5000) -> dict[str, int]:
    """Delete at most `limit` rows of each table, and say how many. `connection` has the role of the workers.

    `now` is of the real clock, by which all of these live. Any number of processes may sweep at once.
    """
    deleted = {}
    for table, column, kept in KEPT:
        tag = await connection.execute(
            f"DELETE FROM {table} WHERE {column} < $1 AND id = ANY(ARRAY("
            f"SELECT id FROM {table} WHERE {column} < $1 ORDER BY {column} LIMIT $2))",
            now - kept,
            limit,
        )
        deleted[table] = int(tag.split()[1])
    return deleted
