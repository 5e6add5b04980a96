"""What cannot be read or is not valid: a problem in two languages that names the place, and nothing written or sent."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.capabilities.payments.shop import Shop
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
ORDER: dict[str, Any] = {
    "out_trade_no": "bad_1",
    "subject": "Two coffees",
    "form": "local",
    "currency": "CNY",
    "order_minor": 8_200,
}
CHINESE = re.compile("[\u4e00-\u9fff]")


def body_with(**changes: Any) -> bytes:
    """The order with changes; an Ellipsis takes a field out."""
    return json.dumps({name: value for name, value in {**ORDER, **changes}.items() if value is not ...}).encode()


def basket(**changes: Any) -> dict[str, Any]:
    line = {"line_id": "l1", "name": "Coffee", "quantity": 2, "unit_minor": 4_100, **changes}
    return {"lines": [line]}


async def refusal(
    shop: Shop, till: Till, content: bytes, path: str = "/payments", **headers: str | None
) -> dict[str, dict[str, Any]]:
    """The problem in en and zh, after comparing all tables and the acquirer's calls."""
    before, calls = await shop.counts(), len(shop.acquirer.calls)
    problems = {}
    for language in ("en", "zh"):
        sent = {"content-type": "application/json", "accept-language": language, **till.headers("bad")}
        for name, value in headers.items():
            wire = name.replace("_", "-")
            sent = {key: kept for key, kept in sent.items() if key.lower() != wire}
            if value is not None:
                sent[wire] = value
        answer = await shop.client.post(f"/v1{path}", content=content, headers=sent)
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["request_id"] == answer.headers["request-id"]
        problems[language] = problem
    assert CHINESE.search(problems["zh"]["detail"]) and not CHINESE.search(problems["en"]["detail"])  # noqa: PT018
    assert await shop.counts() == before
    assert len(shop.acquirer.calls) == calls
    return problems


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1,2",
        b'{"a":1,}',
        b"{'a': 1}",
        b'{"out_trade_no": "a", "out_trade_no": "b"}',
        b'{"subject": "\xff\xfe"}',
        b'{"subject": "a\\u0000b"}',
        b'{"subject": "\\ud800"}',
        b'{"order_minor": NaN}',
        b'{"order_minor": 1e400}',
        b'{"order_minor": 1000000000000000000000000000000}',
        b"\xef\xbb\xbf{}",
        b"[" * 10_000 + b"]" * 10_000,
    ],
)
async def test_body_that_is_no_strict_json_is_400(shop: Shop, seller: Till, content: bytes) -> None:
    problems = await refusal(shop, seller, content)
    assert problems["en"]["status"] == 400, problems["en"]
    assert problems["en"]["code"].startswith("kernel.json")


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"order_minor": 82.0}, "/order_minor", "kernel.field_type"),
        ({"order_minor": 82.5}, "/order_minor", "kernel.field_type"),
        ({"order_minor": "8200"}, "/order_minor", "kernel.field_type"),
        ({"order_minor": True}, "/order_minor", "kernel.field_type"),
        ({"order_minor": -1}, "/order_minor", None),
        ({"order_minor": 0}, "/order_minor", None),
        ({"order_minor": 10_000_000_001}, "/order_minor", None),
        ({"order_minor": None}, "", "payments.amount_missing"),
        ({"currency": "XYZ"}, "/currency", None),
        ({"currency": "cny"}, "/currency", None),
        ({"currency": 156}, "/currency", "kernel.field_type"),
        ({"form": "cheque"}, "/form", "kernel.field_choice"),
        ({"out_trade_no": ...}, "/out_trade_no", "kernel.field_missing"),
        ({"out_trade_no": "a b"}, "/out_trade_no", "kernel.field_pattern"),
        ({"out_trade_no": "a" * 65}, "/out_trade_no", None),
        ({"out_trade_no": "a\n"}, "/out_trade_no", None),
        ({"subject": ""}, "/subject", "kernel.field_too_short"),
        ({"subject": "x" * 257}, "/subject", "kernel.field_too_long"),
        ({"subject": ["x"]}, "/subject", "kernel.field_type"),
        ({"discount": 1}, "/discount", "kernel.field_unknown"),
        ({"basket": basket(quantity=0)}, "/basket/lines/0/quantity", None),
        ({"basket": basket(quantity=1.5)}, "/basket/lines/0/quantity", "kernel.field_type"),
        ({"basket": basket(unit_minor=-1)}, "/basket/lines/0/unit_minor", None),
        ({"basket": basket(colour="red")}, "/basket/lines/0/colour", "kernel.field_unknown"),
        ({"basket": {"lines": []}}, "/basket/lines", None),
        ({"order_minor": ..., "basket": basket(unit_minor=0)}, "", "payments.basket_total"),
        ({"order_minor": ..., "basket": basket(unit_minor=10_000_000_000)}, "", "payments.basket_total"),
        ({"metadata": {"k": 1}}, "/metadata/k", "kernel.field_type"),
        ({"metadata": {str(n): "v" for n in range(21)}}, "/metadata", "payments.metadata_too_large"),
        ({"metadata": {"k": "v" * 501}}, "/metadata", "payments.metadata_too_large"),
        ({"expires_at": "2020-01-01T00:00:00"}, "/expires_at", "kernel.field_time"),
        ({"expires_at": 1_700_000_000}, "/expires_at", None),
        ({"store_id": "sto_x"}, "/store_id", "kernel.field_pattern"),
        ({"is_capture": "yes"}, "/is_capture", "kernel.field_type"),
        ({"return_url": "javascript:alert(1)"}, "/return_url", "kernel.field_pattern"),
    ],
)
async def test_field_that_is_not_valid_is_422_and_named(
    shop: Shop, seller: Till, changes: dict[str, Any], param: str, code: str | None
) -> None:
    problems = await refusal(shop, seller, body_with(**changes))
    problem = problems["en"]
    assert (problem["status"], problem["code"]) == (422, "kernel.validation_failed")
    faults = {(fault["param"], fault["code"]) for fault in problem["errors"]}
    assert param in {place for place, _ in faults}, faults
    assert code is None or (param, code) in faults, faults
    for fault in problems["zh"]["errors"]:
        assert CHINESE.search(fault["detail"]), fault


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"expires_at": "2020-01-01T00:00:00Z"}, 422, "payments.expires_in_past", "/expires_at"),
        ({"expires_at": "2120-01-01T00:00:00Z"}, 422, "payments.expires_in_past", "/expires_at"),
        ({"basket": basket(unit_minor=1)}, 422, "payments.sums_differ", "/order_minor"),
        ({"store_id": "sto_" + "0" * 26}, 422, "payments.store_unknown", "/store_id"),
        ({"expected_payable_minor": 1}, 409, "payments.payable_changed", None),
        ({"currency": "USD"}, 409, "payments.no_route", None),
    ],
)
async def test_order_that_cannot_be_taken_says_why(
    shop: Shop, seller: Till, changes: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    problem = (await refusal(shop, seller, body_with(**changes)))["en"]
    assert (problem["status"], problem["code"], problem.get("param")) == (status, code, param)
    assert problem["hint"]


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, "kernel.idempotency_key_missing"),
        ("", "kernel.idempotency_key_malformed"),
        ("a b", "kernel.idempotency_key_malformed"),
        ("x" * 256, "kernel.idempotency_key_malformed"),
        ('"open', "kernel.idempotency_key_malformed"),
    ],
)
async def test_idempotency_key_is_asked_for(shop: Shop, seller: Till, key: str | None, code: str) -> None:
    problem = (await refusal(shop, seller, body_with(), idempotency_key=key))["en"]
    assert (problem["status"], problem["code"]) == (400, code)


@pytest.mark.parametrize(
    "media", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=gbk"]
)
async def test_other_media_types_are_415(shop: Shop, seller: Till, media: str | None) -> None:
    problem = (await refusal(shop, seller, body_with(), content_type=media))["en"]
    assert (problem["status"], problem["code"]) == (415, "kernel.media_type_unsupported")


@pytest.mark.parametrize("size", [256 * 1024 + 1, 10 * 1024 * 1024])
async def test_body_over_the_limit_is_413(shop: Shop, seller: Till, size: int) -> None:
    problem = (await refusal(shop, seller, b" " * size))["en"]
    assert (problem["status"], problem["code"]) == (413, "kernel.body_too_large")


@pytest.mark.parametrize(
    ("name", "body", "param"),
    [
        ("refunds", {"out_request_no": "r"}, ""),
        ("refunds", {"out_request_no": "r", "amount_minor": 1, "is_full": True}, ""),
        ("refunds", {"out_request_no": "r", "amount_minor": 0}, "/amount_minor"),
        ("refunds", {"amount_minor": 1}, "/out_request_no"),
        ("capture", {"out_request_no": "c", "amount_minor": 1.0}, "/amount_minor"),
        ("capture", {"out_request_no": "c.2"}, "/out_request_no"),
        ("void", {"out_request_no": "v", "amount_minor": -5}, "/amount_minor"),
        ("cancel", {"force": True}, "/force"),
        ("close", {"reason": "x"}, "/reason"),
        ("attempts", {"form": "sticker"}, "/form"),
    ],
)
async def test_acts_validate_their_bodies(
    shop: Shop, seller: Till, name: str, body: dict[str, Any], param: str
) -> None:
    payment = (await seller.pay(out_trade_no=f"act_{name}_{next(seller.keys)}")).json()
    problem = (await refusal(shop, seller, json.dumps(body).encode(), f"/payments/{payment['id']}/{name}"))["en"]
    assert (problem["status"], problem["code"]) == (422, "kernel.validation_failed")
    assert param in {fault["param"] for fault in problem["errors"]}


@pytest.mark.parametrize(
    "id_",
    [
        "pay_1",
        "%00",
        "pay_%00",
        "out_trade_no:",
        "out_trade_no:%00",
        "%ED%A0%80",
        "x" * 300,
        "..%2f..",
        "pay_" + "0" * 26,
    ],
)
async def test_ids_of_any_shape_are_404(shop: Shop, seller: Till, id_: str) -> None:
    for path in (f"/payments/{id_}", f"/refunds/{id_}", f"/settlements/{id_}"):
        answer = await seller.get(path)
        assert answer.status_code == 404, (path, answer.text)
    problem = (await refusal(shop, seller, b"{}", f"/payments/{id_}/cancel"))["en"]
    assert problem["status"] == 404


@pytest.mark.parametrize(
    "query",
    [
        "state=%00",
        "store_id=%00",
        "created_from=2026-11-22T00:00:00",
        "created_from=yesterday",
        "limit=0",
        "limit=100000",
        "limit=x",
        "cursor=%00",
        "cursor=abc",
        "amount_min_minor=1.5",
        "amount_min_minor=99999999999999999999",
        "order=up",
    ],
)
async def test_queries_are_validated(seller: Till, query: str) -> None:
    answer = await seller.get(f"/payments?{query}")
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["code"].startswith("kernel.")


async def test_lists_filter_and_page(shop: Shop, seller: Till) -> None:
    ids = []
    for amount in (100, 200, 300):
        payment: httpx.Response = await seller.pay(order_minor=amount, terminal_id=f"t{amount}")
        ids.append(payment.json()["id"])
        shop.later(seconds=1)
    moment = shop.clock.now().isoformat().replace("+00:00", "Z")

    async def listed(query: str) -> list[str]:
        answer = await seller.get(f"/payments?{query}")
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["data"]]

    assert await listed("") == ids[::-1]
    assert await listed("order=asc") == ids
    assert await listed("amount_min_minor=200&amount_max_minor=200") == [ids[1]]
    assert await listed("terminal_id=t300") == [ids[2]]
    assert await listed(f"created_from={moment}") == []
    assert await listed(f"captured_to={moment}&state=captured") == ids[::-1]
    first = (await seller.get("/payments?limit=2")).json()
    rest = (await seller.get(f"/payments?limit=2&cursor={first['next_cursor']}")).json()
    assert [row["id"] for row in (*first["data"], *rest["data"])] == ids[::-1]
    assert rest["next_cursor"] is None
