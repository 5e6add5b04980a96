"""Deliveries that have ended are kept for a month (identity.md section 14), then taken away with all that hangs on
them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import asyncpg

KEPT: Final = timedelta(days=30)
# One that somebody sends again at this moment is locked, and stays.
_PURGE: Final = """
WITH old AS (
  SELECT id, message_id FROM webhook_delivery WHERE finished_at < $1
  ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED
), attempts AS (
  DELETE FROM webhook_attempt AS a USING old WHERE a.delivery_id = old.id
), gone AS (
  DELETE FROM webhook_delivery AS d USING old WHERE d.id = old.id RETURNING d.message_id
)
SELECT count(*), coalesce(array_agg(DISTINCT message_id), '{}') FROM gone
"""
_PURGE_MESSAGES: Final = """
DELETE FROM webhook_message AS m WHERE m.id = ANY ($1)
AND NOT EXISTS (SELECT FROM webhook_delivery AS d WHERE d.message_id = m.id)
"""


async def purge(connection: asyncpg.Connection, *, now: datetime, limit: int = 5000) -> int:
    """Delete at most `limit` deliveries and say how many; `connection` has the role of the workers.

    A message goes with its last delivery.
    """
    async with connection.transaction():
        count, messages = await connection.fetchrow(_PURGE, now - KEPT, limit)
        await connection.execute(_PURGE_MESSAGES, messages)
    return int(count)
