"""Old rows of the writer's own tables are taken away."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import asyncpg

from platform_core.kernel.database.retention import Kept, take_away

# An event that was never relayed is kept for good. A batch id that is gone can no longer be asked for: doubts are
# resolved within seconds.
KEPT: Final = (
    Kept("idempotency", "created_at", timedelta(days=30), key="ctid"),
    Kept("commit_batch", "committed_at", timedelta(days=1)),
    Kept("outbox", "relayed_at", timedelta(days=30)),
    Kept("request_log", "created_at", timedelta(days=30)),
)


async def purge(connection: asyncpg.Connection, *, now: datetime, limit: int = 5000) -> dict[str, int]:
    """See `take_away`."""
    return await take_away(connection, KEPT, now=now, limit=limit)
