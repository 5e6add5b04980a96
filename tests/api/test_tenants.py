"""Every route that the OpenAPI document names: no token 401, no scope 403 that names it, another merchant's token
nothing.
"""

from __future__ import annotations

from typing import Any

import pytest

from platform_core.identity.requires import scopes_by_route
from platform_core.identity.revocation import news
from platform_core.kernel.commit import Plan
from tests.capabilities.payments.shop import Shop
from tests.support.world import SCOPES, Till

pytestmark = [pytest.mark.api, pytest.mark.database]
HIDDEN = "hidden_order_7"
BODIES: dict[str, dict[str, Any]] = {
    "payments.create": {"out_trade_no": "x", "subject": "x", "form": "local", "currency": "CNY", "order_minor": 1},
    "payments.cancel_by_number": {"out_trade_no": HIDDEN},
    "payments.attempt": {"form": "local"},
    "payments.capture": {"out_request_no": "c"},
    "payments.void": {"out_request_no": "v"},
    "refunds.create": {"out_request_no": "r", "is_full": True},
}


async def operations(shop: Shop) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation under /v1 that needs a token."""
    document = (await shop.client.get("/openapi.json")).json()
    found = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/v1/") and operation.get("security")
    ]
    assert len(found) >= 15, "the document names the routes"
    return found


async def of_another(shop: Shop) -> tuple[Till, dict[str, str]]:
    """A merchant with one of everything; the ids by the name of the path's parameter."""
    other = await shop.new_till()
    payment = (
        await other.pay(out_trade_no=HIDDEN, form="merchant_scan", auth_code=f"sim:success:{other.merchant_id}")
    ).json()
    refund = (await other.post(f"/payments/{payment['id']}/refunds", {"out_request_no": "r", "amount_minor": 1})).json()
    for row in await shop.due_rows(other):
        await shop.platform.payments.settlement.settle(row)
    [settlement] = (await other.get("/settlements")).json()["data"]
    ids = {"payment_id": payment["id"], "refund_id": refund["id"], "settlement_id": settlement["id"]}
    return other, {**ids, "store_id": other.store_id, "merchant_id": other.merchant_id}


async def test_another_merchants_token_sees_nothing(shop: Shop, seller: Till) -> None:
    other, ids = await of_another(shop)
    before = await other.balances(shop.platform)
    events = await shop.events(other, ids["payment_id"])
    for method, path, operation in await operations(shop):
        names = [parameter["name"] for parameter in operation["parameters"] if parameter.get("in") == "path"]
        filled = path
        for name in names:
            filled = filled.replace(f"{{{name}}}", ids.get(name, "unheard_of"))
        answer = await shop.client.request(
            method,
            filled,
            json=BODIES.get(operation["operationId"], {}) if method != "get" else None,
            headers=seller.headers(),
        )
        assert answer.status_code < 500, (method, path, answer.text)
        if names:
            assert answer.status_code in (404, 403, 422), (method, path, answer.text)
        for secret in (*ids.values(), HIDDEN):
            if operation["operationId"] != "payments.cancel_by_number" and f"/{secret}" not in filled:
                assert secret not in answer.text, (method, path, answer.text)
    assert await other.balances(shop.platform) == before
    assert await shop.events(other, ids["payment_id"]) == events


async def test_no_token_and_no_scope(shop: Shop) -> None:
    scopes = scopes_by_route(shop.app)
    _, ids = await of_another(shop)
    poor = await shop.new_till(scopes=("stores:read",))
    rich = await shop.new_till(scopes=tuple(scope for scope in SCOPES if scope != "stores:read"))
    before = await shop.counts()
    for method, path, _operation in await operations(shop):
        [scope] = scopes[f"{method.upper()} {path}"]
        till = rich if scope == "stores:read" else poor
        filled = path
        for name, id_ in ids.items():
            filled = filled.replace(f"{{{name}}}", id_)
        nobody = await shop.client.request(method, filled)
        assert (nobody.status_code, nobody.json()["code"]) == (401, "identity.token_missing"), (method, path)
        refused = await shop.client.request(method, filled, headers=till.headers())
        assert (refused.status_code, refused.json()["code"]) == (403, "identity.scope_missing"), (method, path)
        assert scope in refused.json()["detail"]
    assert await shop.counts() == before


async def test_suspended_merchant_takes_nothing_but_may_refund(shop: Shop, seller: Till) -> None:
    payment = (await seller.pay()).json()
    table = await merchant_table(shop)
    await shop.fetch(f"UPDATE {table} SET standing = 'suspended' WHERE id = $1 RETURNING 1", seller.merchant_id)
    platform, merchant_id = shop.platform, seller.merchant_id
    told = news(
        platform.ids, kind="merchant", subject_id=merchant_id, merchant_id=merchant_id, now=platform.clock.now()
    )
    await platform.committer.commit(Plan(merchant_id, [told]))
    await platform.feed.poll()
    refused = await seller.pay()
    assert (refused.status_code, refused.json()["code"]) == (403, "payments.merchant_suspended")
    body = {"out_request_no": "r", "is_full": True}
    assert (await seller.post(f"/payments/{payment['id']}/refunds", body)).status_code == 201


async def merchant_table(shop: Shop) -> str:
    rows = await shop.fetch("SELECT table_name FROM information_schema.columns WHERE column_name = 'standing'")
    return str(rows[0][0])
