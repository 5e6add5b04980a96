"""The log of an app's requests: what it holds and must not hold, who sees it, and that it never stands in the way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import pytest
from pydantic import BaseModel

from platform_core.identity.request_log import RequestLog
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit.purge import purge
from platform_core.kernel.http.redaction import PERSONAL, SECRET, redacted, redactors_of
from tests.capabilities.payments.shop import Shop
from tests.support.world import SCOPES, Till, World

pytestmark = [pytest.mark.api, pytest.mark.database]
LOGGED = (*SCOPES, "request_log:read", "webhooks:write", "webhooks:read")
SIGHTED = "280000000000000007"


@pytest.fixture
async def reader(shop: Shop) -> Till:
    return await shop.new_till(scopes=LOGGED)


async def logged(shop: Shop, till: Till, query: str = "") -> list[dict[str, Any]]:
    """What the app sees, the oldest first, without its own looking."""
    await shop.platform.request_log.flush()
    answer = await till.get(f"/request-log{query}")
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"][::-1]
    return [row for row in rows if row["operation"] != "request_log.list"]


async def test_requests_are_logged_with_their_bodies(shop: Shop, reader: Till) -> None:
    taken = await reader.pay(key="log-1")
    refused = await reader.pay(key="log-2", order_minor=-1)
    missing = await reader.get("/payments/pay_unheard_of")
    first, second, third = await logged(shop, reader)
    assert first["id"] == taken.headers["request-id"]
    assert (first["method"], first["operation"], first["path"]) == ("POST", "payments.create", "/v1/payments")
    assert (first["status"], first["code"], first["idempotency_key"]) == (201, None, "log-1")
    assert (first["merchant_id"], first["api_version"]) == (reader.merchant_id, "2026-11-22")
    assert first["request_body"]["order_minor"] == 8200
    assert first["answer_body"]["id"] == taken.json()["id"]
    assert 0 < first["elapsed_us"] < 60_000_000
    assert (second["status"], second["code"]) == (422, "kernel.validation_failed")
    assert second["answer_body"] == refused.json()
    assert (third["status"], third["operation"], third["request_body"]) == (404, "payments.get", None)
    assert third["answer_body"] == missing.json()


async def test_nothing_secret_personal_or_unknown_is_kept(shop: Shop, reader: Till) -> None:
    await reader.pay(
        form="merchant_scan",
        auth_code=SIGHTED,
        customer={"channel": "alipay", "channel_user_id": "2088-secret"},
        password="hunter2",
    )
    made = await reader.post("/webhook-endpoints", {"url": "https://shop.example.com/h", "event_types": ["*"]})
    await reader.client.post("/v1/payments", content=b"hunter2", headers=reader.headers())
    secret = made.json()["secret"]
    first, second, third = await logged(shop, reader)
    assert first["request_body"]["auth_code"] == "[secret]"
    assert first["request_body"]["customer"] == {"channel": "alipay", "channel_user_id": "[personal]"}
    assert first["request_body"]["password"] == "[not in the schema]"
    assert second["answer_body"]["secret"] == "[secret]"
    assert third["request_body"] is None
    rows = await shop.fetch("SELECT t::text FROM request_log AS t WHERE merchant_id = $1", reader.merchant_id)
    text = " ".join(row[0] for row in rows)
    for word in (SIGHTED, "2088-secret", "hunter2", secret, reader.token, reader.token[-40:]):
        assert word not in text


async def test_an_app_sees_its_own_requests_alone(shop: Shop, reader: Till, seller: Till) -> None:
    other = await shop.new_till(scopes=LOGGED)
    await other.pay()
    await seller.pay()
    await reader.pay()
    assert [row["merchant_id"] for row in await logged(shop, reader)] == [reader.merchant_id]
    assert [row["merchant_id"] for row in await logged(shop, other)] == [other.merchant_id]


async def test_two_who_write_at_once_lose_nothing(shop: Shop, reader: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_core.identity.request_log.BATCH_MAX", 1)
    log = shop.platform.request_log
    for _ in range(6):
        await reader.pay()
    await asyncio.gather(*(log.flush() for _ in range(3)))
    assert (len(await logged(shop, reader)), log.dropped) == (6, 0)


async def test_the_log_filters_and_pages(shop: Shop, reader: Till) -> None:
    for number in range(3):
        await reader.pay(terminal_id=f"t{number}")
    await reader.get("/payments/pay_unheard_of")
    assert [row["status"] for row in await logged(shop, reader, "?status=404")] == [404]
    assert len(await logged(shop, reader, "?operation=payments.create")) == 3
    assert await logged(shop, reader, "?created_from=2090-01-01T00:00:00Z") == []
    page = (await reader.get("/request-log?operation=payments.create&limit=2")).json()
    rest = (await reader.get(f"/request-log?operation=payments.create&limit=2&cursor={page['next_cursor']}")).json()
    terminals = [row["request_body"]["terminal_id"] for row in (*page["data"], *rest["data"])]
    assert terminals == ["t2", "t1", "t0"]
    foreign = await reader.get(f"/request-log?status=404&cursor={page['next_cursor']}")
    assert (foreign.status_code, foreign.json()["code"]) == (400, "kernel.cursor_invalid")


async def test_bodies_are_kept_of_the_first_requests_of_a_second_good_and_bad_apart(
    shop: Shop, reader: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(datetime.now(UTC))
    monkeypatch.setattr(shop.platform.request_log, "_clock", clock)
    monkeypatch.setattr("platform_core.identity.request_log.BODIES_PER_S", 2)
    for _ in range(3):
        await reader.pay()
        await reader.pay(order_minor=-1)
    clock.advance(timedelta(seconds=1))
    await reader.pay()
    rows = await logged(shop, reader)
    assert [row["status"] for row in rows] == [201, 422] * 3 + [201]
    kept = [row["answer_body"] is not None for row in rows]
    assert kept == [row["request_body"] is not None for row in rows] == [True] * 4 + [False] * 2 + [True]
    assert [row["code"] for row in rows[:6]] == [None, "kernel.validation_failed"] * 3, "the code is always kept"


async def test_a_full_queue_and_a_database_that_is_away_drop_and_count(shop: Shop, reader: Till) -> None:
    async def refuse() -> Any:
        raise ConnectionRefusedError

    hooks = shop.app.state.hooks
    log = RequestLog(refuse, clock=ManualClock(datetime.now(UTC)), queue_max=2)
    before, hooks.log = hooks.log, log
    try:
        answers = [await reader.pay() for _ in range(3)]
    finally:
        hooks.log = before
    assert [answer.status_code for answer in answers] == [201] * 3
    assert log.dropped == 1
    assert await log.flush() == 0
    assert log.dropped == 3


async def test_the_log_is_purged_after_30_days(world: World) -> None:
    till = await world.new_till(scopes=LOGGED)
    await till.pay()
    await world.platform.request_log.flush()
    connection = await world.platform.database.connect("job")
    try:
        now = datetime.now(UTC)
        assert (await purge(connection, now=now + timedelta(days=29)))["request_log"] == 0
        assert (await purge(connection, now=now + timedelta(days=31)))["request_log"] == 1
        assert await connection.fetchval("SELECT count(*) FROM request_log") == 0
    finally:
        await connection.close()


class Inner(BaseModel):
    phone: Annotated[str, PERSONAL] | None = None
    note: str = ""


class Outer(BaseModel):
    code: Annotated[str, SECRET]
    labels: dict[str, str]
    free: dict[str, Any]
    people: list[Inner]
    either: Inner | list[Inner] | int


def test_redaction_follows_the_schema_to_every_depth() -> None:
    content = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Outer"}}}}
    schema = Outer.model_json_schema(ref_template="#/components/schemas/{model}")
    document = {
        "paths": {"/x": {"post": {"operationId": "x.make", "requestBody": content, "responses": {"200": content}}}},
        "components": {"schemas": {**schema.pop("$defs"), "Outer": schema}},
    }
    redactor = redactors_of(document)["x.make"].request
    person = {"phone": "138", "note": "n", "extra": {"phone": "138"}}
    hidden = {"phone": "[personal]", "note": "n", "extra": "[not in the schema]"}
    body = {
        "code": ["a", {"b": 1}],
        "labels": {"k": "v"},
        "free": {"deep": {"er": [1]}},
        "people": [person, {"phone": None}],
        "either": [person],
        "more": "x",
    }
    assert msgspec.json.decode(redacted(msgspec.json.encode(body), redactor) or "") == {
        "code": "[secret]",
        "labels": {"k": "v"},
        "free": {"deep": {"er": [1]}},
        "people": [hidden, {"phone": None}],
        "either": [hidden],
        "more": "[not in the schema]",
    }
    assert redacted(b"{", redactor) is None
    assert "\\u0000" not in (redacted(b'{"labels":{"a":"\\u0000"}}', redactor) or "")
