"""Customers' keys: one row each, nothing to compare across merchants, the text itself nowhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from platform_core.identity.customer_keys import CustomerKeys, KnownCustomer, was_faster
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models_customers import CUSTOMER_KEYS
from platform_core.identity.vault import Vault
from platform_core.kernel.commit import Plan, PlanRefused, Refusal
from tests.identity.conftest import Shop

pytestmark = pytest.mark.database
PHONE = "+8613800138000"


@pytest.fixture
def keys(deps: IdentityDeps) -> CustomerKeys:
    return CustomerKeys(deps)


async def add(keys: CustomerKeys, deps: IdentityDeps, merchant_id: str, *, kind: str = "phone") -> KnownCustomer:
    known = await keys.find_or_add(merchant_id, kind=kind, value=PHONE)
    await deps.committer.commit(Plan(merchant_id, list(known.parts)))
    return known


async def rows(deps: IdentityDeps) -> list[tuple[object, ...]]:
    async with deps.database.read_all() as connection:
        found = await connection.execute(CUSTOMER_KEYS.table.select().order_by(CUSTOMER_KEYS.table.c.id))
        return [tuple(row) for row in found]


async def test_a_key_is_added_once_and_found_again(keys: CustomerKeys, deps: IdentityDeps, shop: Shop) -> None:
    assert await keys.find(shop.merchant.id, kind="phone", value=PHONE) is None
    first = await keys.find_or_add(shop.merchant.id, kind="phone", value=PHONE)
    assert (first.id[:4], len(first.parts)) == ("cus_", 1)
    assert await rows(deps) == [], "deciding writes nothing"
    await deps.committer.commit(Plan(shop.merchant.id, list(first.parts)))
    again = await keys.find_or_add(shop.merchant.id, kind="phone", value=PHONE)
    assert again == KnownCustomer(first.id)
    assert await keys.find(shop.merchant.id, kind="phone", value=PHONE) == first.id
    assert await keys.find(shop.merchant.id, kind="phone", value=f"{PHONE} ") is None
    assert len(await rows(deps)) == 1


async def test_merchants_and_kinds_share_neither_id_nor_hash(
    keys: CustomerKeys, deps: IdentityDeps, shop: Shop, other_shop: Shop
) -> None:
    places = ((shop, "phone"), (other_shop, "phone"), (shop, "wechat_user"))
    known = [await add(keys, deps, place.merchant.id, kind=kind) for place, kind in places]
    assert len({one.id for one in known}) == 3
    stored = await rows(deps)
    assert len({row[3] for row in stored}) == 3
    assert PHONE not in repr(stored)
    assert PHONE.encode() not in b"".join(bytes(row[3]) for row in stored)  # type: ignore[call-overload]
    elsewhere = CustomerKeys(replace(deps, vault=Vault(b"another installation's secrets key")))
    assert await elsewhere.find(shop.merchant.id, kind="phone", value=PHONE) is None, "the hash is keyed"


async def test_of_twenty_at_once_one_adds_and_the_others_find_it(
    keys: CustomerKeys, deps: IdentityDeps, shop: Shop
) -> None:
    merchant_id, came = shop.merchant.id, asyncio.Barrier(20)

    async def meet() -> tuple[str, Refusal | None]:
        known = await keys.find_or_add(merchant_id, kind="phone", value=PHONE)
        await came.wait()
        try:
            await deps.committer.commit(Plan(merchant_id, list(known.parts)))
        except PlanRefused as refused:
            return (await keys.find_or_add(merchant_id, kind="phone", value=PHONE)).id, refused.refusal
        return known.id, None

    outcomes = await asyncio.gather(*(meet() for _ in range(20)))
    [the_id] = {id_ for id_, _ in outcomes}
    lost = [refusal for _, refusal in outcomes if refusal is not None]
    assert (len(lost), all(was_faster(refusal) for refusal in lost)) == (19, True)
    assert {getattr(refusal, "existing_id", None) for refusal in lost} == {the_id}
    assert len(await rows(deps)) == 1


async def test_a_plan_of_another_merchant_brings_no_key(
    keys: CustomerKeys, deps: IdentityDeps, shop: Shop, other_shop: Shop
) -> None:
    known = await keys.find_or_add(shop.merchant.id, kind="phone", value=PHONE)
    with pytest.raises(PlanRefused):
        await deps.committer.commit(Plan(other_shop.merchant.id, list(known.parts)))
    assert await rows(deps) == []


@pytest.mark.parametrize(
    ("kind", "value"), [("Phone", "1"), ("", "1"), ("a b", "1"), ("phone", ""), ("phone", "1" * 257)]
)
async def test_what_is_no_key_is_refused(keys: CustomerKeys, shop: Shop, kind: str, value: str) -> None:
    with pytest.raises(ValueError, match="key"):
        await keys.find_or_add(shop.merchant.id, kind=kind, value=value)
