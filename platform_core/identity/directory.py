"""Facts about merchants for hot paths: read once, forgotten within a second of a change."""

from __future__ import annotations

from dataclasses import dataclass

from platform_core.identity import repository
from platform_core.identity.errors import MERCHANT_NOT_FOUND
from platform_core.identity.feed_cache import FeedCache
from platform_core.identity.models import Mode, Standing
from platform_core.identity.revocation import RevocationFeed
from platform_core.kernel.clock import Clock
from platform_core.kernel.database.pools import Database


@dataclass(frozen=True, slots=True)
class MerchantFacts:
    """What payments and others need to know about a merchant for every order."""

    merchant_id: str
    standing: Standing
    mode: Mode
    industry: str
    time_zone: str  # IANA name
    store_ids: frozenset[str]  # open ones


@dataclass(frozen=True, slots=True)
class TradeNames:
    """Who sold, as customers know them."""

    merchant: str
    store: str | None


class MerchantDirectory:
    """One per process. A change of merchant or store carries `news(kind="merchant")` in its plan."""

    def __init__(self, *, database: Database, feed: RevocationFeed, clock: Clock) -> None:
        self._database = database
        self._facts = FeedCache(self._read, kind="merchant", feed=feed, clock=clock)

    async def get(self, merchant_id: str) -> MerchantFacts:
        """The merchant's facts, at most a second old. 404 `identity.merchant_not_found`."""
        return await self._facts.get(merchant_id)

    async def trade_names(self, merchant_id: str, *, store_id: str | None) -> TradeNames:
        """The names of merchant and store as they are now, of closed stores too; read each time.

        404 `identity.merchant_not_found`.
        """
        async with self._database.read_auth() as connection:
            merchant = await repository.read_merchant(connection, merchant_id)
            if merchant is None:
                raise MERCHANT_NOT_FOUND.error({"merchant_id": merchant_id})
            store = None
            if store_id is not None:
                store = await repository.read_store(connection, store_id, merchant_id=merchant_id)
        return TradeNames(merchant.name, None if store is None else store.name)

    async def _read(self, merchant_id: str) -> MerchantFacts:
        async with self._database.read_auth() as connection:
            row = await repository.read_merchant(connection, merchant_id)
            if row is None:
                raise MERCHANT_NOT_FOUND.error({"merchant_id": merchant_id})
            store_ids = await repository.read_store_ids(connection, merchant_id)
        return MerchantFacts(row.id, row.standing, row.mode, row.industry, row.time_zone, store_ids)
