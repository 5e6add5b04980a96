"""What is read once and kept until the feed has news of it: a change is seen everywhere within a second."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from platform_core.identity.revocation import CACHE_S, Kind, RevocationFeed
from platform_core.kernel.clock import Clock

Kept = TypeVar("Kept")
ENTRIES_MAX: Final = 10_000


@dataclass(slots=True)
class _Entry(Generic[Kept]):
    value: Kept
    read_at: float
    epoch: int


class FeedCache(Generic[Kept]):
    """One per process and kind of fact, by subject. Whoever changes a fact carries `news(kind=...)` in its plan.

    While the feed is stale every call reads. One call reads for all who want the same subject at that moment, so that
    a busy till does not send a herd of one question; a call never takes an answer that was asked for before it came
    and before the news it has heard.
    """

    def __init__(
        self,
        read: Callable[[str], Awaitable[Kept]],
        *,
        kind: Kind,
        feed: RevocationFeed,
        clock: Clock,
        entries_max: int = ENTRIES_MAX,
        kept_s: float = CACHE_S,
        everybody: str | None = None,
    ) -> None:
        """`clock` is the feed's: the real one. `kept_s`: after how long a fact is read again without any news.

        `everybody`: the subject of news that concern all subjects.
        """
        assert kept_s <= CACHE_S, "the feed forgets news that are older"
        self._read = read
        self._kind: Kind = kind
        self._feed = feed
        self._clock = clock
        self._entries_max = entries_max
        self._kept_s = kept_s
        self._everybody = everybody
        self._entries: OrderedDict[str, _Entry[Kept]] = OrderedDict()
        self._reading: dict[str, tuple[int, asyncio.Future[Kept]]] = {}

    async def get(self, subject_id: str) -> Kept:
        """The fact, at most a second old. Raises what `read` raises; that is not kept."""
        entry = self._entries.get(subject_id)
        if entry is not None and self._holds(subject_id, entry):
            self._entries.move_to_end(subject_id)
            return entry.value
        reading = self._reading.get(subject_id)
        if reading is None or self._has_news(subject_id, since=reading[0]):
            future = asyncio.ensure_future(self._fetch(subject_id))
            reading = self._reading[subject_id] = (self._feed.epoch, future)
            future.add_done_callback(lambda done: self._settle(subject_id, done))
        return await asyncio.shield(reading[1])

    def forget(self, subject_id: str) -> None:
        """Read it anew next time."""
        self._entries.pop(subject_id, None)

    def _holds(self, subject_id: str, entry: _Entry[Kept]) -> bool:
        feed = self._feed
        if not feed.is_fresh or self._clock.monotonic() - entry.read_at > self._kept_s:
            return False
        if entry.epoch != feed.epoch:
            if self._has_news(subject_id, since=entry.epoch):
                return False
            entry.epoch = feed.epoch
        return True

    def _has_news(self, subject_id: str, *, since: int) -> bool:
        if self._feed.has_news(self._kind, subject_id, since=since):
            return True
        return self._everybody is not None and self._feed.has_news(self._kind, self._everybody, since=since)

    async def _fetch(self, subject_id: str) -> Kept:
        epoch, now = self._feed.epoch, self._clock.monotonic()
        value = await self._read(subject_id)
        kept = self._entries.get(subject_id)
        if kept is not None and kept.epoch > epoch:  # a later reading was faster
            return value
        self._entries[subject_id] = _Entry(value, now, epoch)
        self._entries.move_to_end(subject_id)
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)
        return value

    def _settle(self, subject_id: str, done: asyncio.Future[Kept]) -> None:
        reading = self._reading.get(subject_id)
        if reading is not None and reading[1] is done:
            del self._reading[subject_id]
        if not done.cancelled():
            done.exception()  # whoever asked may have left
