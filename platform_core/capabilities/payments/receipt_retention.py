"""How long the documents of receipts are kept."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import asyncpg

from platform_core.kernel.database.retention import Kept, take_away

# Three years from the end of a transaction are the least that a platform keeps what was sold and paid (E-Commerce Law
# of the People's Republic of China, article 31, in force since 2019-01-01); a document is drawn after it. The row about
# it stays, with its hash: a copy that somebody kept can still be recognised.
KEPT: Final = timedelta(days=3 * 366)


async def purge(connection: asyncpg.Connection, *, now: datetime, limit: int = 5000) -> dict[str, int]:
    """See `take_away`. `now` is of business time."""
    return await take_away(connection, [Kept("pay_receipt_blob", "created_at", KEPT)], now=now, limit=limit)
