"""Receivers: bound by a reference, unbound for good, several at once under one number."""

from __future__ import annotations

import asyncio

import pytest

from platform_core.capabilities.payments.splits import receivers as receivers_module
from platform_core.capabilities.payments.splits.schemas import ReceiverCreate
from platform_core.kernel.errors import PlatformError
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.splits.scene import bind
from tests.capabilities.payments.test_acts import refused
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
BODY = {"reference": "north", "name": "North", "type": "channel_user", "account": "2088102"}


def asked(reference: str, account: str = "2088102") -> ReceiverCreate:
    return ReceiverCreate(reference=reference, name="North", type="channel_user", account=account)


async def test_a_reference_is_one_receiver_until_it_is_unbound(shop: Shop, seller: Till) -> None:
    first = await seller.post("/split-receivers", BODY)
    again = await seller.post("/split-receivers", BODY)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = seller.post("/split-receivers", {**BODY, "account": "2088103"})
    await refused(shop, other, "payments.receiver_reference_taken")
    path = f"/v1/split-receivers/{first.json()['id']}"
    gone = await seller.client.delete(path, headers=seller.headers())
    assert (gone.status_code, gone.json()["is_bound"], gone.json()["unbound_at"] is not None) == (200, False, True)
    assert (await seller.client.delete(path, headers=seller.headers())).json() == gone.json()
    anew = await seller.post("/split-receivers", {**BODY, "account": "2088103"})
    assert anew.status_code == 201
    page = (await seller.get("/split-receivers")).json()["data"]
    assert [(each["id"], each["is_bound"]) for each in page] == [
        (anew.json()["id"], True),
        (first.json()["id"], False),
    ]
    bound = (await seller.get("/split-receivers?is_bound=true")).json()["data"]
    assert bound == [anew.json()]
    assert (await seller.get(f"/split-receivers/{anew.json()['id']}")).json() == anew.json()
    stranger = await shop.new_till()
    await refused(shop, stranger.get(f"/split-receivers/{anew.json()['id']}"), "payments.not_found", 404)


async def test_another_merchant_is_one_that_exists(shop: Shop, seller: Till) -> None:
    other = await shop.new_till()
    whole = {**BODY, "type": "platform_merchant"}
    for account in (seller.merchant_id, "mer_" + "0" * 26, "nobody"):
        body = {**whole, "account": account}
        await refused(shop, seller.post("/split-receivers", body), "payments.receiver_unknown_merchant", 422)
    assert (await seller.post("/split-receivers", {**whole, "account": other.merchant_id})).status_code == 201


async def test_the_number_bound_never_passes_its_limit(
    shop: Shop, seller: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers_module, "RECEIVERS_MAX", 3)
    bodies = [{**BODY, "reference": f"r{n}"} for n in range(5)]
    answers = await asyncio.gather(*(seller.post("/split-receivers", body) for body in bodies))
    codes = sorted(answer.status_code for answer in answers)
    assert codes.count(201) <= 3
    for body in bodies:  # whoever was turned away while they were all at it; a bound one answers 200
        assert (await seller.post("/split-receivers", body)).status_code in (200, 201, 409)
    rows = await shop.fetch(
        "SELECT p.receivers_bound, count(r.id) FROM pay_split_policy AS p JOIN pay_split_receiver AS r "
        "ON r.merchant_id = p.merchant_id AND r.bound_as IS NOT NULL WHERE p.id = $1 GROUP BY 1",
        seller.merchant_id,
    )
    assert [tuple(row) for row in rows] == [(3, 3)]
    await refused(
        shop, seller.post("/split-receivers", {**BODY, "reference": "r9"}), "payments.receiver_limit_exceeded"
    )


async def test_several_are_bound_and_unbound_once_under_a_number(shop: Shop, seller: Till) -> None:
    service, merchant_id = shop.platform.payments.receivers, seller.merchant_id
    standing = await bind(seller, "north", name="North", type="channel_user", account="2088102")
    both = [asked("north"), asked("south", "2088103")]
    made = await service.bind_all(merchant_id, both, out_request_no="b1", fingerprint=b"1")
    assert made[0].id == standing
    assert [each.reference for each in made] == ["north", "south"]
    before = await shop.counts()
    again = await service.bind_all(merchant_id, both, out_request_no="b1", fingerprint=b"1")
    assert [each.id for each in again] == [each.id for each in made]
    with pytest.raises(PlatformError) as taken:
        await service.bind_all(merchant_id, both, out_request_no="b1", fingerprint=b"2")
    assert taken.value.code == "payments.out_request_no_taken"
    with pytest.raises(PlatformError) as other:
        await service.bind_all(merchant_id, [asked("east"), asked("south")], out_request_no="b2", fingerprint=b"3")
    assert other.value.code == "payments.receiver_reference_taken"
    with pytest.raises(PlatformError) as missing:
        await service.unbind_all(merchant_id, ["north", "west"], out_request_no="u1", fingerprint=b"4")
    assert missing.value.code == "payments.receiver_not_bound"
    assert await shop.counts() == before
    gone = await service.unbind_all(merchant_id, ["north", "south"], out_request_no="u1", fingerprint=b"5")
    assert {each.bound_as for each in gone} == {None}
    same = await service.unbind_all(merchant_id, ["north", "south"], out_request_no="u1", fingerprint=b"5")
    assert {each.id for each in same} == {each.id for each in gone}
    assert await service.bound_as(merchant_id, ["north", "south"]) == {}
