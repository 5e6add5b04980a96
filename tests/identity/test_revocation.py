"""What is revoked or changed in one process holds in all of them within a second, or nothing passes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import CHANGED_MEANWHILE
from platform_core.identity.grants import Grants
from platform_core.identity.parties import Parties
from platform_core.identity.revocation import news
from platform_core.identity.schemas import StoreCreate
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Plan
from platform_core.kernel.errors import PlatformError
from tests.identity.conftest import Process, Shop
from tests.support.patience import HEARD_S

pytestmark = pytest.mark.database


async def _passes(process: Process, token: str) -> bool:
    try:
        await process.access.authenticate(token)
    except PlatformError as refused:
        if refused.code != "identity.token_invalid":
            raise
        return False
    return True


async def test_a_revoked_grant_is_refused_in_every_process(
    process: Process, other_process: Process, shop: Shop, deps: IdentityDeps
) -> None:
    token = await process.token(shop.app)
    assert [await _passes(each, token) for each in (process, other_process)] == [True, True]
    heard = asyncio.Event()

    async def on_news(subject_id: str) -> None:
        if subject_id == shop.grant.id:
            heard.set()

    other_process.feed.listen("grant", on_news)
    await other_process.feed.start()
    await Grants(deps).revoke(shop.grant.id, merchant_id=shop.merchant.id, by="per_owner", why="left")
    await asyncio.wait_for(heard.wait(), HEARD_S)
    assert not await _passes(other_process, token)


async def test_without_a_poll_a_stale_feed_asks_the_rows(
    process: Process, shop: Shop, deps: IdentityDeps, clock: ManualClock
) -> None:
    token = await process.token(shop.app)
    assert await _passes(process, token)
    await Grants(deps).revoke(shop.grant.id, merchant_id=shop.merchant.id, by="per_owner", why="left")
    clock.advance(timedelta(seconds=1.01))
    assert not await _passes(process, token)


async def test_one_token_can_be_revoked_alone(process: Process, shop: Shop, deps: IdentityDeps) -> None:
    first, second = await process.token(shop.app), await process.token(shop.app)
    who = await process.access.authenticate(first)
    assert await _passes(process, second)
    part = news(deps.ids, kind="token", subject_id=who.token_id, merchant_id=shop.merchant.id, now=deps.clock.now())
    await deps.committer.commit(Plan(shop.merchant.id).add(part))
    await process.feed.poll()
    assert [await _passes(process, token) for token in (first, second)] == [False, True]


async def test_a_disabled_client_is_refused(process: Process, shop: Shop, other_shop: Shop, deps: IdentityDeps) -> None:
    token, other = await process.token(shop.app), await process.token(other_shop.app)
    assert [await _passes(process, each) for each in (token, other)] == [True, True]
    await Apps(deps).disable_client(shop.app.client.id)
    await process.feed.poll()
    assert [await _passes(process, each) for each in (token, other)] == [False, True]


async def test_a_changed_standing_shows_on_the_principal_and_in_the_directory(
    process: Process, shop: Shop, deps: IdentityDeps
) -> None:
    token = await process.token(shop.app)
    assert (await process.access.authenticate(token)).standing == "active"
    assert (await process.directory.get(shop.merchant.id)).standing == "active"
    await Parties(deps).change_standing(shop.merchant.id, "suspended")
    await process.feed.poll()
    assert (await process.access.authenticate(token)).standing == "suspended"
    assert (await process.directory.get(shop.merchant.id)).standing == "suspended"


async def test_the_directory_learns_of_a_new_store(process: Process, shop: Shop, deps: IdentityDeps) -> None:
    before = await process.directory.get(shop.merchant.id)
    assert (before.mode, before.industry, before.time_zone) == ("test", "retail.convenience", "Asia/Shanghai")
    assert before.store_ids == frozenset()
    store = await Parties(deps).create_store(StoreCreate(merchant_id=shop.merchant.id, name="Front"))
    assert await process.directory.get(shop.merchant.id) is before  # not heard of yet
    await process.feed.poll()
    assert (await process.directory.get(shop.merchant.id)).store_ids == {store.id}
    with pytest.raises(PlatformError) as missing:
        await process.directory.get(deps.ids.mint("mer"))
    assert missing.value.code == "identity.merchant_not_found"


async def test_a_number_that_commits_late_is_still_heard(process: Process, deps: IdentityDeps, shop: Shop) -> None:
    """Positions are drawn in another order than transactions commit: the lower one may show later."""
    slow, quick = await deps.database.connect("writer"), await deps.database.connect("writer")
    sql = "INSERT INTO revocation (id, kind, subject_id, created_at, until) VALUES ($1, 'grant', $1, now(), now())"
    try:
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(sql, "rev_slow")
        await quick.execute(sql, "rev_quick")
        await process.feed.poll()
        assert process.feed.has_news("grant", "rev_quick", since=0)
        assert not process.feed.has_news("grant", "rev_slow", since=0)
        await transaction.commit()
        await process.feed.poll()
        assert process.feed.has_news("grant", "rev_slow", since=0)
    finally:
        await slow.close()
        await quick.close()


async def test_old_news_is_forgotten_and_not_heard_twice(
    process: Process, shop: Shop, deps: IdentityDeps, clock: ManualClock
) -> None:
    await Parties(deps).change_standing(shop.merchant.id, "warned")
    await process.feed.poll()
    epoch = process.feed.epoch
    for _ in range(20):
        clock.advance(timedelta(seconds=10))
        await process.feed.poll()
    assert process.feed.epoch == epoch
    assert not process.feed.has_news("merchant", shop.merchant.id, since=0)


async def test_rotation_refuses_no_valid_token_and_overlaps_24_hours(
    process: Process, other_process: Process, shop: Shop, clock: ManualClock
) -> None:
    published = [key["kid"] for key in process.keys.jwks()["keys"]]
    assert len(published) == 2
    old = await process.token(shop.app)
    signs_now = await process.keys.rotate()
    assert signs_now == published[0]  # the newest first: it was next
    new = await process.token(shop.app)
    # The other process has not heard yet, and knows both keys all the same.
    assert [await _passes(other_process, token) for token in (old, new)] == [True, True]
    await other_process.feed.poll()
    assert other_process.keys.signing.keys[0].kid == signs_now
    assert len(other_process.keys.jwks()["keys"]) == 3
    assert [await _passes(other_process, token) for token in (old, new)] == [True, True]
    clock.advance(timedelta(hours=23, minutes=59))
    assert len(other_process.keys.jwks()["keys"]) == 3
    clock.advance(timedelta(minutes=1))
    assert published[1] not in {key["kid"] for key in other_process.keys.jwks()["keys"]}


async def test_rotation_under_load_refuses_nobody(process: Process, other_process: Process, shop: Shop) -> None:
    for _ in range(3):
        tokens = [await process.token(shop.app), await other_process.token(shop.app)]
        await process.keys.rotate()
        tokens.append(await process.token(shop.app))
        await other_process.feed.poll()
        tokens.append(await other_process.token(shop.app))
        for each in (process, other_process):
            assert [await _passes(each, token) for token in tokens] == [True] * 4


async def test_an_emergency_refuses_the_old_key_at_once(process: Process, other_process: Process, shop: Shop) -> None:
    token = await process.token(shop.app)
    assert await _passes(other_process, token)
    compromised = str(process.keys.signing.keys[0].kid)
    await process.keys.revoke(compromised)
    await other_process.feed.poll()
    assert [await _passes(each, token) for each in (process, other_process)] == [False, False]
    assert compromised not in {key["kid"] for key in other_process.keys.jwks()["keys"]}
    assert await _passes(other_process, await process.token(shop.app))


async def test_what_is_read_while_the_news_is_worked_on_is_not_kept(
    process: Process, other_process: Process, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that comes while the keys are being read again still finds the old key: it may pass, but not stay."""
    token = await process.token(shop.app)
    assert await _passes(other_process, token)
    keys, read_again = other_process.keys, other_process.keys.load
    met: list[bool] = []

    async def load() -> None:
        met.append(await _passes(other_process, token))
        await read_again()

    monkeypatch.setattr(keys, "load", load)
    await process.keys.revoke(str(process.keys.signing.keys[0].kid))
    await other_process.feed.poll()
    assert met == [True], "the old key was still there when the request came"
    assert not await _passes(other_process, token)


async def test_while_the_feed_is_stale_the_rows_say_which_keys_hold(
    process: Process, other_process: Process, shop: Shop, clock: ManualClock
) -> None:
    token = await process.token(shop.app)
    assert await _passes(other_process, token)
    await process.keys.revoke(str(process.keys.signing.keys[0].kid))
    clock.advance(timedelta(seconds=1.01))
    assert not await _passes(other_process, token)


async def test_of_two_rotations_at_once_one_wins(process: Process, other_process: Process) -> None:
    outcomes = await asyncio.gather(process.keys.rotate(), other_process.keys.rotate(), return_exceptions=True)
    lost = [outcome for outcome in outcomes if isinstance(outcome, PlatformError)]
    assert [error.declared for error in lost] in ([], [CHANGED_MEANWHILE])
    async with process.deps.database.read_auth() as connection:
        states = await connection.exec_driver_sql("SELECT state FROM signing_key ORDER BY generation")
        found = [row[0] for row in states]
    assert found == ["retired"] * (2 - len(lost)) + ["current", "next"]


async def test_private_keys_are_sealed(process: Process) -> None:
    async with process.deps.database.read_auth() as connection:
        rows = (await connection.exec_driver_sql("SELECT id, sealed, public_jwk FROM signing_key")).all()
    assert len(rows) == 2
    for row in rows:
        assert b'"d"' not in row.sealed
        assert '"d"' not in row.public_jwk
        assert b'"d"' in process.deps.vault.open(row.id, row.sealed)
