"""Adding to a grant ends no token; taking from it ends every token of before, in all processes within a second."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64decode
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from platform_core.contracts.rar import Detail
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import GRANT_REFUSED
from platform_core.identity.grants import Giving, Grants
from platform_core.identity.parties import Parties
from platform_core.identity.schemas import GrantNarrow, StoreCreate
from platform_core.kernel.commit import Plan
from platform_core.kernel.errors import PlatformError
from tests.identity.conftest import Process, Shop
from tests.identity.people.conftest import fetch
from tests.support.patience import HEARD_S

pytestmark = pytest.mark.database


def refunds(day: int) -> tuple[Detail, ...]:
    limits = [{"per": "day", "amount_minor": day, "currency": "CNY"}]
    return (Detail.model_validate({"type": "payment_refund", "limits": limits}),)


@dataclass
class Scene:
    """A merchant's own app with a grant of two stores out of three, for thirty days, with a limit."""

    deps: IdentityDeps
    shop: Shop
    stores: list[str]
    base: Giving

    async def give(self, **changed: Any) -> int:
        """What the merchant gives from now on, in place of what it gave; the grant's version."""
        given = replace(self.base, **{"action": "replace", **changed})
        parts = await Grants(self.deps).give(given)
        await self.deps.committer.commit(Plan(self.shop.merchant.id, list(parts.parts)))
        return parts.version

    async def floor(self, process: Process) -> tuple[int, int]:
        [row] = await fetch(
            process, "SELECT version, floor_version FROM access_grant WHERE id = $1", self.shop.grant.id
        )
        return row["version"], row["floor_version"]


@pytest.fixture
async def scene(deps: IdentityDeps, shop: Shop) -> Scene:
    made = [await Parties(deps).create_store(StoreCreate(merchant_id=shop.merchant.id, name=name)) for name in "ABC"]
    stores = [store.id for store in made]
    base = Giving(
        app_id=shop.app.id,
        merchant_id=shop.merchant.id,
        mode="test",
        scopes=frozenset({"stores:read", "payments:read", "refunds:write"}),
        stores=frozenset(stores[:2]),
        details=refunds(500),
        expires_at=deps.clock.now() + timedelta(days=30),
        by="per_owner",
        action="replace",
    )
    scene = Scene(deps, shop, stores, base)
    assert await scene.give() == 2
    return scene


async def passes(process: Process, token: str) -> bool:
    answer = await process.get("/v1/stores", token)
    assert answer.status_code == 200 or answer.json()["code"] == "identity.token_invalid"
    return answer.status_code == 200


def changes(scene: Scene) -> dict[str, tuple[dict[str, Any], bool]]:
    """What the merchant gives next, and whether tokens live on."""
    scopes, ends = scene.base.scopes, scene.base.expires_at
    assert ends is not None
    day = timedelta(days=1)
    return {
        "a scope more": ({"scopes": scopes | {"merchant:read"}}, True),
        "a scope less": ({"scopes": scopes - {"payments:read"}}, False),
        "another scope instead": ({"scopes": scopes - {"payments:read"} | {"merchant:read"}}, False),
        "a store more": ({"stores": frozenset(scene.stores)}, True),
        "all stores": ({"stores": None}, True),
        "a store less": ({"stores": frozenset(scene.stores[:1])}, False),
        "another store instead": ({"stores": frozenset(scene.stores[1:])}, False),
        "a later end": ({"expires_at": ends + day}, True),
        "no end": ({"expires_at": None}, True),
        "an earlier end": ({"expires_at": ends - day}, False),
        "a higher limit": ({"details": refunds(600)}, True),
        "a lower limit": ({"details": refunds(400)}, False),
        "a new limit beside": ({"details": (*refunds(500), *of_a_store(scene.stores[0]))}, True),
        "a limit more on the same": ({"details": both_limits()}, False),
        "merged": ({"scopes": frozenset({"merchant:read"}), "stores": frozenset(), "action": "merge"}, True),
    }


def of_a_store(store_id: str) -> tuple[Detail, ...]:
    limits = [{"per": "day", "amount_minor": 100, "currency": "USD"}]
    return (Detail.model_validate({"type": "payment_refund", "stores": [store_id], "limits": limits}),)


def both_limits() -> tuple[Detail, ...]:
    limits = [{"per": "day", "amount_minor": 500, "currency": "CNY"}, {"per": "month", "quantity": 5}]
    return (Detail.model_validate({"type": "payment_refund", "limits": limits}),)


NAMES = (
    "a scope more", "a scope less", "another scope instead", "a store more", "all stores", "a store less",
    "another store instead", "a later end", "no end", "an earlier end", "a higher limit", "a lower limit",
    "a new limit beside", "a limit more on the same", "merged",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_tokens_end_when_something_is_taken_and_only_then(
    process: Process, other_process: Process, scene: Scene, name: str
) -> None:
    assert set(changes(scene)) == set(NAMES)
    changed, lives = changes(scene)[name]
    both = (process, other_process)
    for each in both:
        await each.feed.poll()
    token = await process.token(scene.shop.app)
    assert [await passes(each, token) for each in both] == [True, True]
    assert await scene.give(**changed) == 3
    assert await scene.floor(process) == (3, 2 if lives else 3), "version and floor; the scene's own change narrowed"
    for each in both:
        await each.feed.poll()
    assert [await passes(each, token) for each in both] == [lives, lives]
    fresh = await other_process.token(scene.shop.app)
    assert [await passes(each, fresh) for each in both] == [True, True]


async def test_a_token_that_lives_on_gains_no_scope(process: Process, scene: Scene) -> None:
    token = await process.token(scene.shop.app)
    await scene.give(scopes=scene.base.scopes | {"merchant:read"})
    await process.feed.poll()
    path = f"/v1/merchants/{scene.shop.merchant.id}"
    refused = await process.get(path, token)
    assert (refused.status_code, refused.json()["code"]) == (403, "identity.scope_missing")
    assert (await process.get(path, await process.token(scene.shop.app))).status_code == 200


async def test_what_was_taken_and_given_back_revives_no_token(
    process: Process, other_process: Process, scene: Scene
) -> None:
    old = await process.token(scene.shop.app)
    await scene.give(scopes=frozenset({"stores:read", "refunds:write"}))
    between = await process.token(scene.shop.app)
    await scene.give()
    assert await scene.floor(process) == (4, 3)
    for each in (process, other_process):
        await each.feed.poll()
        assert [await passes(each, token) for token in (old, between)] == [False, True]
        form = {"token": old}
        client = scene.shop.app.client.id, scene.shop.app.secret.secret
        assert (await each.http.post("/oauth/introspect", data=form, auth=client)).json() == {"active": False}
        form = {"token": between}
        assert (await each.http.post("/oauth/introspect", data=form, auth=client)).json()["active"] is True


async def test_a_narrowed_grants_tokens_end_in_another_process_too(
    process: Process, other_process: Process, scene: Scene
) -> None:
    await other_process.feed.start()
    token = await process.token(scene.shop.app)
    await scene.give(scopes=scene.base.scopes | {"merchant:read"})
    await asyncio.sleep(0.6)  # the feed is polled four times a second
    assert await passes(other_process, token)
    wanted = GrantNarrow(scopes=frozenset({"stores:read"}))
    grant_id, merchant_id = scene.shop.grant.id, scene.shop.merchant.id
    await Grants(scene.deps).narrow(grant_id, wanted, merchant_id=merchant_id, by="per_owner")
    began = time.monotonic()
    while await passes(other_process, token):
        assert time.monotonic() - began < HEARD_S, "it was not heard"
        await asyncio.sleep(0.02)


async def test_limits_on_what_an_owner_left_free_end_its_tokens(process: Process, scene: Scene) -> None:
    await scene.give(details=())
    await process.feed.poll()
    token = await process.token(scene.shop.app)
    version, _ = await scene.floor(process)
    await scene.give(details=refunds(500))
    assert await scene.floor(process) == (version + 1, version + 1)
    await process.feed.poll()
    assert not await passes(process, token)


async def test_a_refused_change_moves_no_floor(process: Process, scene: Scene) -> None:
    token = await process.token(scene.shop.app)
    with pytest.raises(PlatformError) as refused:
        await scene.give(scopes=frozenset({"staff:write"}))
    assert refused.value.declared is GRANT_REFUSED
    assert await scene.floor(process) == (2, 2)
    await process.feed.poll()
    assert await passes(process, token)


async def test_a_token_of_a_version_that_is_not_there_is_refused(process: Process, scene: Scene) -> None:
    """As after a restored backup: the grant stands at an older version than the token."""
    token = await process.token(scene.shop.app)
    claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["gv"] == 2
    sql = "UPDATE access_grant SET version = 1, floor_version = 1 WHERE id = $1 RETURNING 1"
    await fetch(process, sql, scene.shop.grant.id)
    assert not await passes(process, token)
