"""The feed: one process's news that what others cached is no longer true, heard everywhere within a second.

Rows decide, not the feed: whoever hears of a subject forgets what was cached about it and reads again. Only a single
token has no row of its own; for it the feed's row is the record (`repository.read_token_state`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import asyncpg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from platform_core.identity.models import REVOCATIONS
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Insert
from platform_core.kernel.ids import Ids

Kind = Literal[
    "grant",
    "client",
    "app",
    "merchant",
    "token",
    "family",
    "keys",
    "terms",
    "origins",
    "plugins",
    "plugin_stop",
    "plugin_health",
    "plugin_trace",
]
"""What the news is about; `merchant` also for its stores and its standing, `family` for all tokens born of one code,
`keys` for the set of signing keys, `terms` for a merchant's channel accounts, routing and fees, `origins` for those of
public clients' pages, all of them together, `plugins` for what is enabled at a merchant (or at all of them),
`plugin_stop` for a plugin whose work is to end everywhere at once, `plugin_health` for a plugin's breakers and
quarantined versions, `plugin_trace` for a merchant whose hooks somebody begins or ceases to watch.
"""
PUBLIC_CLIENTS: Final = "public"
"""The one subject of `origins`."""

POLL_S: Final = 0.25
STALE_S: Final = 1.0
CACHE_S: Final = 60.0  # nobody keeps what was cached longer, so older news needs no remembering
ROW_LIFE: Final = timedelta(seconds=900)  # outlives every access token
_REREAD_S: Final = 30.0
_START_ROWS: Final = 1000
_SQL_NEWS: Final = "SELECT position, kind, subject_id FROM revocation WHERE position > $1 ORDER BY position"
_SQL_START: Final = (
    "SELECT coalesce(min(position) - 1, 0) FROM (SELECT position FROM revocation ORDER BY position DESC LIMIT $1) AS r"
)
DATABASE_AWAY: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError)
"""What reading raises while the database cannot be reached."""
log = structlog.get_logger(__name__)


def news(ids: Ids, *, kind: Kind, subject_id: str, merchant_id: str | None, now: datetime) -> Insert:
    """The part of a plan that tells every process. `merchant_id` is the plan's own; `now` is aware."""
    row = {
        "id": ids.mint("rev"),
        "merchant_id": merchant_id,
        "kind": kind,
        "subject_id": subject_id,
        "created_at": now,
        "until": now + ROW_LIFE,
    }
    return Insert(REVOCATIONS, row)


class RevocationFeed:
    """Polls the table four times a second over a connection of its own. `epoch` rises with any news.

    A cache stamps an entry with the epoch that stood before the entry was read, and trusts it while `has_news` says no.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection[Any]]], *, clock: Clock) -> None:
        """`connect` opens a connection that may read the table, such as `Database.connect("auth")`."""
        self.epoch = 0
        self._connect = connect
        self._clock = clock
        self._connection: asyncpg.Connection[Any] | None = None
        self._turn = asyncio.Lock()
        self._news: dict[tuple[str, str], tuple[int, float]] = {}  # subject > epoch and moment in which it was heard
        self._seen: dict[int, float] = {}
        self._floor: int | None = None
        self._polled: deque[tuple[float, int]] = deque()  # when, and the highest position then
        self._last_good = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._listeners: dict[str, list[Callable[[str], Awaitable[None]]]] = {}

    @property
    def is_fresh(self) -> bool:
        """Whether the last good poll began at most a second ago; if not, caches must not be trusted."""
        return self._clock.monotonic() - self._last_good <= STALE_S

    def has_news(self, kind: Kind, subject_id: str | None, *, since: int) -> bool:
        """Whether the subject was named after epoch `since`."""
        heard = self._news.get((kind, subject_id)) if subject_id is not None else None
        return heard is not None and heard[0] > since

    def listen(self, kind: Kind, listener: Callable[[str], Awaitable[None]]) -> None:
        """Await `listener(subject_id)` on every news of this kind, before the poll counts as good.

        What caches read while a listener works may still rest on what the listener is about to replace; so the news
        counts once more when it is done.
        """
        self._listeners.setdefault(kind, []).append(listener)

    async def start(self) -> None:
        """Poll once, so that a broken database is found at start, then go on in the background."""
        await self.poll()
        self._task = asyncio.create_task(self._run(), name="identity.revocation_feed")

    async def stop(self) -> None:
        """End polling and close the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._drop()

    async def poll(self) -> None:
        """Read what is new, after a poll that is under way. Raises what the driver raises, and TimeoutError; the feed
        then grows stale.
        """
        async with self._turn:
            await self._poll()

    async def _poll(self) -> None:
        began = self._clock.monotonic()
        async with asyncio.timeout(STALE_S):
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            if self._floor is None:
                self._floor = await self._connection.fetchval(_SQL_START, _START_ROWS)
            rows = await self._connection.fetch(_SQL_NEWS, self._floor)
        fresh = [row for row in rows if row[0] not in self._seen]
        self._note([(kind, subject_id) for _, kind, subject_id in fresh], began)
        followed = [(kind, subject_id) for _, kind, subject_id in fresh if kind in self._listeners]
        try:
            for position, kind, subject_id in fresh:
                for listener in self._listeners.get(kind, ()):
                    await listener(subject_id)
                self._seen[position] = began  # last, so that a listener that failed hears it again
        finally:
            self._note(followed, began)
        self._last_good = began
        self._forget(began, highest=rows[-1][0] if rows else self._floor)

    def _note(self, subjects: list[tuple[str, str]], heard_at: float) -> None:
        """Raise the epoch with all of its news in one step: whoever is stamped with it has seen them all."""
        if subjects:
            self.epoch += 1
            self._news.update(dict.fromkeys(subjects, (self.epoch, heard_at)))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.poll()
            except DATABASE_AWAY as error:
                log.warning("identity.feed_poll_failed", error=type(error).__name__)
                self._drop()

    def _forget(self, now: float, *, highest: int) -> None:
        """Raise the floor to where it stood 30 s ago: numbers are drawn in another order than transactions commit."""
        self._polled.append((now, highest))
        while self._polled and now - self._polled[0][0] > _REREAD_S:
            self._floor = self._polled.popleft()[1]
        if self._floor is not None and self._seen:
            floor = self._floor
            self._seen = {position: at for position, at in self._seen.items() if position > floor}
        if self._news:
            self._news = {key: heard for key, heard in self._news.items() if now - heard[1] <= 2 * CACHE_S}

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
