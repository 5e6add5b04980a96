"""Deliveries to plugins that have ended are kept for a month, dead ones too, as those of webhooks are."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import asyncpg

from platform_core.delivery.webhooks.purge import KEPT

_PURGE: Final = """
WITH old AS (
  SELECT id FROM plugin_delivery WHERE finished_at < $1 ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED
), gone AS (DELETE FROM plugin_delivery AS d USING old WHERE d.id = old.id RETURNING 1)
SELECT count(*) FROM gone
"""


async def purge(connection: asyncpg.Connection, *, now: datetime, limit: int = 5000) -> int:
    """Delete at most `limit` deliveries and say how many; `connection` has the role of the workers."""
    return int(await connection.fetchval(_PURGE, now - KEPT, limit))
