"""`expand` and conditional requests on the real routes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import event

from tests.capabilities.payments.shop import Shop
from tests.support.world import SCOPES, Till

pytestmark = [pytest.mark.api, pytest.mark.database]


async def paid(till: Till, **fields: Any) -> dict[str, Any]:
    payment: dict[str, Any] = (await till.pay(store_id=till.store_id, **fields)).json()
    return payment


async def test_a_payment_shows_its_parts_store_and_merchant(seller: Till) -> None:
    payment = await paid(seller)
    refund = (
        await seller.post(f"/payments/{payment['id']}/refunds", {"out_request_no": "r", "amount_minor": 1})
    ).json()
    answer = await seller.get(f"/payments/{payment['id']}?expand=attempts,transactions,refunds,store,merchant")
    shown = answer.json()
    assert "etag" not in answer.headers, "an ETag is of the payment alone"
    assert [part["id"] for part in shown["refunds"]] == [refund["id"]]
    assert [part["kind"] for part in shown["transactions"]] == ["sale", "refund"]
    assert len(shown["attempts"]) == 1
    assert (shown["store"]["id"], shown["merchant"]["id"]) == (seller.store_id, seller.merchant_id)
    assert shown["store"] == (await seller.get(f"/stores/{seller.store_id}")).json()
    assert shown["merchant"] == (await seller.get(f"/merchants/{seller.merchant_id}")).json()


async def test_lists_expand_two_levels_in_one_query_each(shop: Shop, seller: Till) -> None:
    for number in range(5):
        payment = await paid(seller, terminal_id=f"t{number}")
        await seller.post(f"/payments/{payment['id']}/refunds", {"out_request_no": "r", "amount_minor": 1})
    statements: list[str] = []
    engine = shop.platform.database.engine("app").sync_engine
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    page = (await seller.get("/refunds?expand=payment.store,payment.attempts")).json()["data"]
    assert [refund["payment"]["store"]["id"] for refund in page] == [seller.store_id] * 5
    assert {refund["payment"]["id"] for refund in page} == {refund["payment_id"] for refund in page}
    assert all(len(refund["payment"]["attempts"]) == 1 for refund in page)
    queries = [words for words in statements if "set_config" not in words]
    assert len(queries) == 4, queries
    payments = (await seller.get("/payments?expand=refunds,store&limit=2")).json()["data"]
    assert [len(payment["refunds"]) for payment in payments] == [1, 1]


@pytest.mark.parametrize(
    "expand", ["", "attempts,", "payment", "merchant.store", "nothing", ",".join(["attempts"] * 11), "attempts%00"]
)
async def test_what_cannot_be_expanded_is_422_with_the_list(seller: Till, expand: str) -> None:
    answer = await seller.get(f"/payments?expand={expand}")
    problem = answer.json()
    assert (answer.status_code, problem["param"]) == (422, "/query/expand")
    assert problem["errors"][0]["code"] == "kernel.expand_unknown"
    assert "attempts, disputes, merchant, refunds, splits, store, transactions" in problem["errors"][0]["detail"]


async def test_the_third_level_is_refused(seller: Till) -> None:
    answer = await seller.get("/refunds?expand=payment.refunds.payment")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "kernel.expand_unknown")


@pytest.mark.parametrize(("expand", "scope"), [("store", "stores:read"), ("refunds", "refunds:read")])
async def test_expanding_needs_the_scope_of_what_it_shows(shop: Shop, expand: str, scope: str) -> None:
    till = await shop.new_till(scopes=tuple(name for name in SCOPES if name != scope))
    payment = await paid(till)
    for path in (f"/payments/{payment['id']}?expand={expand}", f"/payments?expand=attempts,{expand}"):
        answer = await till.get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "identity.scope_missing")
        assert scope in answer.json()["detail"]
        assert f'scope="{scope}"' in answer.headers["www-authenticate"]


async def test_a_known_version_is_304_and_a_change_makes_it_another(seller: Till) -> None:
    payment = await paid(seller)
    path = f"/v1/payments/{payment['id']}"

    async def ask(tag: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {seller.token}", "If-None-Match": tag}
        return await seller.client.get(path, headers=headers)

    tag = (await ask('"0"')).headers["etag"]
    for known in (tag, f"W/{tag}", f'"9999", {tag}', "*"):
        same = await ask(known)
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    for other in ('"9999"', tag.strip('"'), "", "W/*"):
        assert (await ask(other)).status_code == 200
    await seller.post(f"/payments/{payment['id']}/refunds", {"out_request_no": "r", "is_full": True})
    changed = await ask(tag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert changed.json()["amounts"]["refunded_minor"] == 8200


HOOKS = (*SCOPES, "webhooks:read", "webhooks:write")


async def test_a_change_names_the_version_it_was_decided_on(shop: Shop) -> None:
    till = await shop.new_till(scopes=HOOKS)
    made = await till.post("/webhook-endpoints", {"url": "https://shop.example.com/hooks", "event_types": ["*"]})
    path = f"/v1/webhook-endpoints/{made.json()['id']}"
    bearer = {"Authorization": f"Bearer {till.token}"}

    async def change(method: str, *matches: str) -> httpx.Response:
        headers = [*bearer.items(), *(("If-Match", match) for match in matches)]
        body = {"description": "new"} if method == "PATCH" else None
        return await till.client.request(method, path, json=body, headers=headers)

    before = (await till.client.get(path, headers=bearer)).json()
    for method in ("PATCH", "DELETE"):
        missing = await change(method)
        assert (missing.status_code, missing.json()["code"]) == (428, "kernel.precondition_missing")
        assert path in missing.json()["hint"]
        for stale in ('"2"', 'W/"1"', "*", "1", '"1", "2"', '"x"'):
            refused = await change(method, stale)
            assert (refused.status_code, refused.json()["code"]) == (412, "kernel.precondition_failed"), stale
        assert (await change(method, '"1"', '"1"')).status_code == 412
    assert (await till.client.get(path, headers=bearer)).json() == before
    changed = await change("PATCH", made.headers["etag"])
    assert (changed.status_code, changed.headers["etag"], changed.json()["description"]) == (200, '"2"', "new")
    assert (await change("DELETE", '"1"')).status_code == 412
    assert (await change("DELETE", '"2"')).status_code == 204
    assert (await till.client.get(path, headers=bearer)).status_code == 404
