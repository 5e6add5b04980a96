"""What identity no longer needs is taken away, a bounded number at a time. What was done with it stays audited."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import asyncpg

from platform_core.kernel.database.retention import Kept, take_away

# Behind its end a row is kept for a while: a code or a token that comes late is told from one that never was while its
# family could still be harmed, and who asks about a session finds it for a month.
KEPT: Final = (
    Kept("oauth_pushed_request", "expires_at", timedelta(days=1)),
    Kept("oauth_used_once", "until", timedelta(0)),
    Kept("oauth_code", "expires_at", timedelta(days=30)),
    Kept("oauth_device_code", "expires_at", timedelta(days=30)),  # with what was decided about it
    Kept("oauth_token_family", "expires_at", timedelta(days=1)),  # with its refresh tokens
    Kept("revocation", "until", timedelta(days=1)),
    Kept("console_session", "expires_at", timedelta(days=30)),
    Kept("one_time_link", "expires_at", timedelta(days=1)),
    Kept("person_message", "created_at", timedelta(days=30)),
    Kept("invitation", "expires_at", timedelta(days=30)),
    Kept("sign_in_counter", "last_at", timedelta(days=1)),  # a wait ends within a quarter hour
)


async def sweep(connection: asyncpg.Connection, *, now: datetime, limit: int = 5000) -> dict[str, int]:
    """See `take_away`. `now` is of the real clock, by which all of these live."""
    return await take_away(connection, KEPT, now=now, limit=limit)
