"""Merchants' secrets for plugins as the gate reads them: out of rows, kept until the feed has news."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import text

from platform_core.identity.feed_cache import FeedCache
from platform_core.identity.revocation import DATABASE_AWAY, RevocationFeed
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Change, Committer, Plan, PlanRefused
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host.host_deps import EVERYBODY
from platform_core.plugin_host.models import SECRETS
from platform_core.plugin_host.secrets import StoredSecret

log = structlog.get_logger(__name__)
USE_NOTED_EVERY: Final = timedelta(minutes=10)
"""Last use is shown to people: a row is not written for every signature."""
KEPT_S: Final = 30.0
_SECRETS: Final = text(
    "SELECT id, plugin_id, name, kind, boxes, retires_at, used_at, row_version FROM plugin_secret "
    "WHERE merchant_id = :merchant_id"
)


class _Held:
    """One secret as it was read."""

    __slots__ = ("boxes", "id", "kind", "retires_at", "row_version", "used_at")

    def __init__(self, row: object) -> None:
        self.id: str = row.id  # type: ignore[attr-defined]  # a row of _SECRETS
        self.kind = row.kind  # type: ignore[attr-defined]  # as above
        self.boxes = tuple(b64decode(box) for box in row.boxes)  # type: ignore[attr-defined]  # as above
        self.retires_at: datetime | None = row.retires_at  # type: ignore[attr-defined]  # as above
        self.used_at: datetime | None = row.used_at  # type: ignore[attr-defined]  # as above
        self.row_version: int = row.row_version  # type: ignore[attr-defined]  # as above


_Kept = Mapping[tuple[str, str], _Held]


class RowSecrets:
    """`secrets.SecretBook` of one process."""

    def __init__(self, database: Database, committer: Committer, feed: RevocationFeed, *, clock: Clock) -> None:
        """`clock`: the real one, by which rotations end."""
        self._database = database
        self._committer = committer
        self._clock = clock
        self._noting: set[asyncio.Task[None]] = set()
        self._kept: FeedCache[_Kept] = FeedCache(
            self._read, kind="plugins", feed=feed, clock=clock, kept_s=KEPT_S, everybody=EVERYBODY
        )
        self._last: dict[str, tuple[_Held, datetime]] = {}
        self._by_name: dict[tuple[str, str, str], _Held] = {}

    async def secrets_of(self, plugin_id: str, merchant_id: str) -> Mapping[str, StoredSecret]:
        """By name, without what has retired."""
        kept, now = await self._kept.get(merchant_id), self._clock.now()
        found: dict[str, StoredSecret] = {}
        for (owner, name), held in kept.items():
            if owner == plugin_id:
                is_over = held.retires_at is not None and held.retires_at <= now
                found[name] = StoredSecret(held.kind, held.boxes[:1] if is_over else held.boxes)
                self._by_name[plugin_id, merchant_id, name] = held
        return found

    def used(self, plugin_id: str, merchant_id: str, name: str) -> None:
        """Write the moment down, at most every ten minutes."""
        held, now = self._by_name.get((plugin_id, merchant_id, name)), self._clock.now()
        if held is None or (held.used_at is not None and now - held.used_at < USE_NOTED_EVERY):
            return
        held.used_at = now
        task = asyncio.ensure_future(self._note(merchant_id, held, now))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def stop(self) -> None:
        """Wait for what is being written."""
        if self._noting:
            await asyncio.wait(self._noting)

    async def _note(self, merchant_id: str, held: _Held, now: datetime) -> None:
        part = Change(SECRETS, held.id, {"used_at": now}, expected=held.row_version)
        try:
            await self._committer.commit(Plan(merchant_id, [part]))
            held.row_version += 1
        except (PlanRefused, PlatformError, *DATABASE_AWAY) as error:  # another process noted it, or nobody can
            log.info("plugin.secret_use_not_noted", error=type(error).__name__)

    async def _read(self, merchant_id: str) -> _Kept:
        async with self._database.read(merchant_id) as connection:
            rows = (await connection.execute(_SECRETS, {"merchant_id": merchant_id})).all()
        return {(row.plugin_id, row.name): _Held(row) for row in rows}
