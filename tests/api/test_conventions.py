"""What every route answers in the same way: the order of the checks, the document's words, the trace of a request."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema_rs
import pytest

from platform_core.kernel.errors import catalogue
from tests.capabilities.payments.shop import Shop
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
METHODS = ("get", "put", "post", "patch", "delete")


@pytest.fixture(scope="module")
async def document(shop: Shop) -> dict[str, Any]:
    found: dict[str, Any] = (await shop.client.get("/openapi.json")).json()
    return found


async def test_checks_come_in_their_order(shop: Shop) -> None:
    """Everything is wrong at once; each answer names the first fault that is left."""
    till = await shop.new_till(scopes=("payments:read",))
    rich = await shop.new_till()
    limits = shop.platform.access.limits
    bad = {"Arsenal-Version": "1999-01-01", "Content-Type": "text/plain"}
    json_type = {"Content-Type": "application/json"}
    before = await shop.counts()

    async def ask(status: int, code: str, headers: dict[str, str], content: bytes = b"{") -> None:
        answer = await shop.client.post("/v1/payments", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text

    poor, enough = ({"Authorization": f"Bearer {one.token}"} for one in (till, rich))
    await ask(413, "kernel.body_too_large", {**bad, "Content-Length": "999999999"})
    await ask(401, "identity.token_missing", bad)
    await ask(401, "identity.token_invalid", {**bad, "Authorization": "Bearer no"})
    own = limits._own
    try:
        limits._own = type(own)(own.app, own.merchant, at_once=0)
        limits._under_way[(await shop.platform.access.authenticate(till.token)).client_id] = 1
        await ask(429, "identity.concurrency_exceeded", {**bad, **poor})
    finally:
        limits._own = own
        limits._under_way.clear()
    await ask(400, "kernel.version_unknown", {**bad, **poor})
    await ask(403, "identity.scope_missing", {**poor, "Content-Type": "text/plain"})
    await ask(415, "kernel.media_type_unsupported", {**enough, "Content-Type": "text/plain"})
    await ask(400, "kernel.json_invalid", {**enough, **json_type})
    await ask(400, "kernel.idempotency_key_missing", {**enough, **json_type}, b"{}")
    await ask(422, "kernel.validation_failed", {**enough, **json_type, "Idempotency-Key": "order-1"}, b"{}")
    assert await shop.counts() == before


async def test_a_used_key_is_told_before_what_is_not_valid(seller: Till) -> None:
    assert (await seller.pay(key="used-1")).status_code == 201
    answer = await seller.post("/payments", {"nothing": "valid"}, key="used-1")
    assert (answer.status_code, answer.json()["code"]) == (422, "kernel.idempotency_key_reused")


def every_operation(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS and path.startswith("/v1/")
    ]


def test_every_route_names_itself_its_scope_and_all_it_answers(document: dict[str, Any]) -> None:
    codes = catalogue()
    names = [operation["operationId"] for _, operation in every_operation(document)]
    assert len(names) == len(set(names))
    for route, operation in every_operation(document):
        assert operation["operationId"].count(".") == 1, route
        assert operation["summary"], route
        assert operation["security"][0]["oauth2"], route
        for status, answer in operation["responses"].items():
            assert {"Request-Id", "Arsenal-Version", "RateLimit", "RateLimit-Policy"} <= answer["headers"].keys(), route
            if int(status) < 400:
                content = answer.get("content", {}).get("application/json")  # a document is of another type
                assert content is None or "example" in content, (route, status)
                continue
            assert answer["x-codes"], (route, status)
            assert all(codes[code].status == int(status) for code in answer["x-codes"]), (route, status)
            wanted = {f"{code}.{language}" for code in answer["x-codes"] for language in ("en", "zh")}
            assert answer["content"]["application/problem+json"]["examples"].keys() == wanted, (route, status)


def test_every_example_is_valid_and_in_its_language(document: dict[str, Any]) -> None:
    for name, example in document["components"]["examples"].items():
        problem, language = example["value"], name.rpartition(".")[2]
        assert problem["code"] == name.removesuffix(f".{language}")
        validator(document, {"$ref": "#/components/schemas/Problem"}).validate(problem)
        assert any("\u4e00" <= letter <= "\u9fff" for letter in problem["detail"]) == (language == "zh"), name
    checked = 0
    for route, operation in every_operation(document):
        for part in (operation.get("requestBody", {}), *operation["responses"].values()):
            content = part.get("content", {}).get("application/json")
            if content is not None:
                faults = [
                    fault.message for fault in validator(document, content["schema"]).iter_errors(content["example"])
                ]
                assert faults == [], (route, faults)
                checked += 1
    assert checked > 40


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})


async def test_the_trace_of_a_request_stands_in_its_events(shop: Shop, seller: Till) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    body = {"out_trade_no": f"t_{trace}", "subject": "x", "form": "local", "currency": "CNY", "order_minor": 1}
    headers = {**seller.headers(), "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    paid = await shop.client.post("/v1/payments", json=body, headers=headers)
    rows = await shop.fetch("SELECT traceparent FROM outbox WHERE object_id = $1", paid.json()["id"])
    assert [row["traceparent"].split("-")[1::2] for row in rows] == [[trace, "01"]] * 2


async def test_every_answer_carries_what_the_document_says(shop: Shop, seller: Till) -> None:
    answers: list[httpx.Response] = [
        await seller.pay(),
        await seller.pay(order_minor=0),
        await seller.get("/payments/pay_none"),
        await shop.client.get("/v1/stores"),
        await shop.client.get("/v1/nowhere"),
        await shop.client.post("/oauth/token", data={"grant_type": "nothing"}),
    ]
    assert [answer.status_code for answer in answers[:4]] == [201, 422, 404, 401]
    for answer in answers:
        assert {"request-id", "arsenal-version", "ratelimit", "ratelimit-policy"} <= set(answer.headers), answer.url
        if answer.headers["content-type"] == "application/problem+json":
            assert json.loads(answer.content)["request_id"] == answer.headers["request-id"]
