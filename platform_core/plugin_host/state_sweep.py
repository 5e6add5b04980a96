"""Values of plugins' stores whose time is over are taken away, and stores whose plugin was removed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import asyncpg

from platform_core.plugin_host.state_applier import store_lock

_EXPIRED: Final = (
    "SELECT merchant_id, plugin_id, count(*) FROM (SELECT merchant_id, plugin_id FROM plugin_state "
    "WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) AS old GROUP BY 1, 2 ORDER BY 1, 2"
)
KEPT_AFTER_REMOVAL: Final = timedelta(days=30)
_REMOVED: Final = (
    "SELECT i.merchant_id, i.plugin_id FROM plugin_installation AS i JOIN plugin_state_use AS u "
    "ON u.merchant_id = i.merchant_id AND u.plugin_id = i.plugin_id "
    "WHERE i.state = 'removed' AND i.updated_at < $1 AND u.keys > 0 ORDER BY i.updated_at LIMIT $2"
)
_TAKE: Final = """
WITH gone AS (DELETE FROM plugin_state WHERE merchant_id = $1 AND plugin_id = $2 AND key = ANY(ARRAY(
    SELECT key FROM plugin_state WHERE merchant_id = $1 AND plugin_id = $2
    AND ($3::timestamptz IS NULL OR expires_at < $3) LIMIT $4)) RETURNING size),
  freed AS (SELECT coalesce(sum(size), 0) AS bytes, count(*) AS keys FROM gone)
UPDATE plugin_state_use AS u SET bytes = u.bytes - freed.bytes, keys = u.keys - freed.keys FROM freed
WHERE u.merchant_id = $1 AND u.plugin_id = $2 RETURNING freed.keys
"""


async def sweep(connection: asyncpg.Connection, *, now: datetime, limit: int = 5000) -> int:
    """Delete at most `limit` expired values and say how many. `connection` has the role of the workers.

    `now` is of the clock of business. A store that the writer is busy with is left to the next turn: neither waits for
    the other. Any number of processes may do it at once.
    """
    deleted = 0
    for merchant_id, plugin_id, count in await connection.fetch(_EXPIRED, now, limit):
        deleted += await _take(connection, merchant_id, plugin_id, before=now, limit=count)
    return deleted


async def sweep_removed(connection: asyncpg.Connection, *, now: datetime, limit: int = 5000) -> int:
    """Delete at most `limit` values of stores whose plugin was removed 30 days ago. Otherwise as `sweep`."""
    deleted = 0
    for merchant_id, plugin_id in await connection.fetch(_REMOVED, now - KEPT_AFTER_REMOVAL, limit):
        if deleted >= limit:
            break
        deleted += await remove_store(connection, merchant_id=merchant_id, plugin_id=plugin_id, limit=limit - deleted)
    return deleted


async def remove_store(connection: asyncpg.Connection, *, merchant_id: str, plugin_id: str, limit: int = 5000) -> int:
    """Delete at most `limit` values of a store that nobody needs any more; call again while it says so many."""
    return await _take(connection, merchant_id, plugin_id, before=None, limit=limit)


async def _take(
    connection: asyncpg.Connection, merchant_id: str, plugin_id: str, *, before: datetime | None, limit: int
) -> int:
    async with connection.transaction():
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", store_lock(merchant_id, plugin_id)):
            return 0
        return await connection.fetchval(_TAKE, merchant_id, plugin_id, before, limit) or 0
