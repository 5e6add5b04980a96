"""Facts are read once, shared by all who ask at once, and read anew after news, in a minute, and in doubt."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.feed_cache import FeedCache
from platform_core.identity.revocation import news
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Plan
from tests.identity.conftest import Process, Shop

pytestmark = pytest.mark.database


class Source:
    """Counts what is read, and lets a test hold a reading up."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.error: Exception | None = None

    async def read(self, subject_id: str) -> int:
        self.reads.append(subject_id)
        number = len(self.reads)
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return number


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(source: Source, process: Process, clock: ManualClock) -> FeedCache[int]:
    return FeedCache(source.read, kind="terms", feed=process.feed, clock=clock, entries_max=2)


async def tell(deps: IdentityDeps, process: Process, shop: Shop) -> None:
    """News of the merchant's terms, heard by the process."""
    merchant_id = shop.merchant.id
    part = news(deps.ids, kind="terms", subject_id=merchant_id, merchant_id=merchant_id, now=deps.clock.now())
    await deps.committer.commit(Plan(merchant_id, [part]))
    await process.feed.poll()


async def test_read_once_until_there_is_news(
    cache: FeedCache[int], source: Source, process: Process, shop: Shop, deps: IdentityDeps
) -> None:
    merchant_id = shop.merchant.id
    assert [await cache.get(merchant_id) for _ in range(3)] == [1, 1, 1]
    assert await cache.get("mer_other") == 2
    await tell(deps, process, shop)
    assert [await cache.get(merchant_id), await cache.get("mer_other")] == [3, 2], "news of one is none of the other"
    cache.forget(merchant_id)
    assert await cache.get(merchant_id) == 4


async def test_all_who_ask_at_once_share_one_reading_but_not_one_from_before_the_news(
    cache: FeedCache[int], source: Source, process: Process, shop: Shop, deps: IdentityDeps
) -> None:
    merchant_id = shop.merchant.id
    source.may_answer.clear()
    early = [asyncio.create_task(cache.get(merchant_id)) for _ in range(5)]
    await asyncio.sleep(0)
    await tell(deps, process, shop)
    late = [asyncio.create_task(cache.get(merchant_id)) for _ in range(5)]
    await asyncio.sleep(0)
    source.may_answer.set()
    assert await asyncio.gather(*early) == [1] * 5
    assert await asyncio.gather(*late) == [2] * 5
    assert source.reads == [merchant_id] * 2
    assert await cache.get(merchant_id) == 2, "the earlier reading does not stand, whichever ended last"


async def test_one_who_leaves_takes_the_reading_from_nobody(cache: FeedCache[int], source: Source) -> None:
    source.may_answer.clear()
    leaving, staying = (asyncio.create_task(cache.get("mer_a")) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    source.may_answer.set()
    assert await staying == 1
    assert leaving.cancelled()


async def test_a_failed_reading_is_not_kept(cache: FeedCache[int], source: Source) -> None:
    source.error = ConnectionRefusedError()
    with pytest.raises(ConnectionRefusedError):
        await cache.get("mer_a")
    source.error = None
    assert await cache.get("mer_a") == 2


async def test_nothing_is_kept_beyond_a_minute_in_doubt_or_without_bounds(
    cache: FeedCache[int], source: Source, process: Process, clock: ManualClock
) -> None:
    assert await cache.get("mer_a") == 1
    clock.advance(timedelta(seconds=61))
    await process.feed.poll()
    assert await cache.get("mer_a") == 2
    clock.advance(timedelta(seconds=2))  # no poll: the feed is stale
    assert [await cache.get("mer_a"), await cache.get("mer_a")] == [3, 4]
    await process.feed.poll()
    assert [await cache.get(name) for name in ("mer_b", "mer_c", "mer_b", "mer_a")] == [5, 6, 5, 7]
