"""Facts about merchants for hot paths: read once, forgotten within a second of a change."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from platform_core.identity import repository
from platform_core.identity.errors import MERCHANT_NOT_FOUND
from platform_core.identity.models import Mode, Standing
from platform_core.identity.revocation import CACHE_S, RevocationFeed
from platform_core.kernel.clock import Clock
from platform_core.kernel.database.pools import Database

ENTRIES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class MerchantFacts:
    """What payments and others need to know about a merchant for every order."""

    merchant_id: str
    standing: Standing
    mode: Mode
    industry: str
    time_zone: str  # IANA name
    store_ids: frozenset[str]  # open ones


@dataclass(slots=True)
class _Entry:
    facts: MerchantFacts
    read_at: float
    epoch: int


class MerchantDirectory:
    """One per process. A change of merchant or store carries `news(kind="merchant")` in its plan."""

    def __init__(self, *, database: Database, feed: RevocationFeed, clock: Clock) -> None:
        self._database = database
        self._feed = feed
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def get(self, merchant_id: str) -> MerchantFacts:
        """The merchant's facts, at most a second old. 404 `identity.merchant_not_found`.

        While the feed is stale every call reads the database.
        """
        entry = self._entries.get(merchant_id)
        if entry is not None and self._holds(merchant_id, entry):
            self._entries.move_to_end(merchant_id)
            return entry.facts
        epoch, now = self._feed.epoch, self._clock.monotonic()
        facts = await self._read(merchant_id)
        self._entries[merchant_id] = _Entry(facts, now, epoch)
        if len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)
        return facts

    def _holds(self, merchant_id: str, entry: _Entry) -> bool:
        feed = self._feed
        if not feed.is_fresh or self._clock.monotonic() - entry.read_at > CACHE_S:
            return False
        if entry.epoch != feed.epoch:
            if feed.has_news("merchant", merchant_id, since=entry.epoch):
                return False
            entry.epoch = feed.epoch
        return True

    async def _read(self, merchant_id: str) -> MerchantFacts:
        async with self._database.read_auth() as connection:
            row = await repository.read_merchant(connection, merchant_id)
            if row is None:
                raise MERCHANT_NOT_FOUND.error({"merchant_id": merchant_id})
            store_ids = await repository.read_store_ids(connection, merchant_id)
        return MerchantFacts(row.id, row.standing, row.mode, row.industry, row.time_zone, store_ids)
