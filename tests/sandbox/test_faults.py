"""Scripted faults happen to the app that asked, as often as it asked, and are seen; recordings hold no secret."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from platform_core.bootstrap.sandbox import faults_of
from platform_core.delivery.webhooks.dispatch import Meddling
from sandbox.testbed.fault_layer import DROP
from sandbox.testbed.faults import FaultCreate
from sandbox.testbed.recording import REDACTED, redacted
from sandbox.testbed.replay import Renaming, Replayer, shape_difference
from tests.sandbox.conftest import SANDBOX_SCOPES
from tests.support.world import Till, World

pytestmark = pytest.mark.database
FAULTS = "/sandbox/v1/faults"
PAY = "POST /v1/payments"


async def add(till: Till, operation: str, effect: str, **more: Any) -> httpx.Response:
    body = {"operation": operation, "effect": effect, **more}
    return await till.client.post(FAULTS, json=body, headers=till.headers())


async def uses(till: Till) -> Sequence[dict[str, Any]]:
    answer = await till.client.get(FAULTS, headers={"Authorization": f"Bearer {till.token}"})
    return list(answer.json()["uses"])


async def payments(till: Till) -> list[str]:
    return [each["out_trade_no"] for each in (await till.get("/payments")).json()["data"]]


async def test_a_status_is_answered_so_often_to_this_app_alone_and_nothing_is_done(
    sandbox_world: World, sandbox_till: Till
) -> None:
    other = await sandbox_world.new_till(scopes=SANDBOX_SCOPES)
    made = await add(sandbox_till, PAY, "http_status", argument="503", times=2, match={"order_minor": 8_200})
    assert (made.status_code, made.json()["times_left"]) == (201, 2)
    assert (await other.pay()).status_code == 201
    assert (await sandbox_till.pay(order_minor=900)).status_code == 201
    refused = [await sandbox_till.pay() for _ in range(2)]
    assert [each.status_code for each in refused] == [503, 503]
    assert refused[0].json()["code"] == "sandbox.fault"
    assert len(await payments(sandbox_till)) == 1
    assert (await sandbox_till.pay()).status_code == 201
    seen = await uses(sandbox_till)
    assert [(use["effect"], use["subject"]) for use in seen] == [("http_status", PAY)] * 2
    assert await uses(other) == []


async def test_a_dropped_answer_was_done_and_a_repeat_under_its_key_says_what(
    sandbox_world: World, sandbox_till: Till
) -> None:
    cut: list[str] = []
    inner = sandbox_world.app

    async def server(scope: Any, receive: Any, send: Any) -> None:
        scope[DROP] = lambda: cut.append(scope["path"])
        await inner(scope, receive, send)

    transport = httpx.ASGITransport(app=server, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        till = Till(client, sandbox_till.token, sandbox_till.merchant_id, sandbox_till.store_id)
        await add(sandbox_till, PAY, "drop_before")
        await add(sandbox_till, PAY, "drop_after")
        for _ in range(2):
            with pytest.raises(AssertionError):  # the transport of the test wants an answer; the connection was cut
                await till.pay(key="same", out_trade_no="dropped_1")
        again = await till.pay(key="same", out_trade_no="dropped_1")
    assert cut == ["/v1/payments", "/v1/payments"]
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert await payments(sandbox_till) == ["dropped_1"]


async def test_clearing_ends_all_of_the_apps_and_webhooks_are_meddled_with_once_each(
    sandbox_world: World, sandbox_till: Till
) -> None:
    await add(sandbox_till, PAY, "latency", argument="1", times=9)
    await add(sandbox_till, "webhook", "webhook_lose", match={"type": "payment.captured"})
    await add(sandbox_till, "webhook", "webhook_late", argument="3")
    faults = faults_of(sandbox_world.platform)
    app_id = (await sandbox_world.platform.access.authenticate(sandbox_till.token)).app_id
    assert await faults.meddle("app_other", "payment.captured", "evt_1") is None
    assert await faults.meddle(app_id, "payment.captured", "evt_1") == Meddling("lose")
    assert await faults.meddle(app_id, "payment.captured", "evt_1") == Meddling("late", 3)
    assert await faults.meddle(app_id, "payment.captured", "evt_1") is None
    cleared = await sandbox_till.client.post(f"{FAULTS}/clear", headers=sandbox_till.headers())
    assert (cleared.json()["data"], len(cleared.json()["uses"])) == ([], 2)
    await sandbox_till.pay()
    assert len(await uses(sandbox_till)) == 2


@pytest.mark.unit
def test_a_fault_that_cannot_be_is_refused() -> None:
    for wrong in (
        {"operation": "webhook", "effect": "drop_after"},
        {"operation": PAY, "effect": "webhook_lose"},
        {"operation": PAY, "effect": "http_status", "argument": "200"},
        {"operation": PAY, "effect": "latency", "argument": "long"},
        {"operation": "POST /oauth/token", "effect": "latency"},
        {"operation": PAY, "effect": "explode"},
    ):
        with pytest.raises(ValidationError):
            FaultCreate.model_validate(wrong)


async def test_what_was_recorded_replays_elsewhere_with_new_numbers_and_a_changed_answer_is_found(
    sandbox_world: World, sandbox_till: Till
) -> None:
    begun = await sandbox_till.client.post("/sandbox/v1/recordings", json={}, headers=sandbox_till.headers())
    paid = (await sandbox_till.pay(out_trade_no="rec_1", store_id=sandbox_till.store_id)).json()
    await sandbox_till.get(f"/payments/{paid['id']}")
    await sandbox_till.get("/payments/out_trade_no:rec_1")
    refund = {"out_request_no": "back_1", "amount_minor": 100, "reason": "cold"}
    await sandbox_till.post(f"/payments/{paid['id']}/refunds", refund)
    assert (await sandbox_till.pay(out_trade_no="rec_1", order_minor=1)).status_code == 409
    headers = {"Authorization": f"Bearer {sandbox_till.token}"}
    address = f"/sandbox/v1/recordings/{begun.json()['id']}/exchanges"
    page = (await sandbox_till.client.get(address, headers=headers)).json()
    exchanges = [json.loads(line) for line in page["lines"]]
    assert [each["status"] for each in exchanges] == [201, 200, 200, 201, 409]
    assert sandbox_till.token not in str(page)
    other = await sandbox_world.new_till(scopes=SANDBOX_SCOPES)
    stranger = await other.client.get(address, headers={"Authorization": f"Bearer {other.token}"})
    assert (stranger.status_code, stranger.json()["code"]) == (404, "sandbox.recording_unknown")
    renaming = Renaming("again", {sandbox_till.store_id: other.store_id})
    replayer = Replayer(other.client, "http://127.0.0.1:8080", other.token, renaming)
    found = [await replayer.play(number, each) for number, each in enumerate(exchanges, start=1)]
    assert found == [None] * 5
    assert await payments(other) == ["rec_1_again"]
    exchanges[1]["answer"]["colour"] = "red"
    exchanges[2]["status"] = 404
    changed = [await replayer.play(number, each) for number, each in enumerate(exchanges[1:3], start=2)]
    assert [each.what for each in changed if each] == [
        "/ lacks ['colour'], has [] besides", "status 200 , was 404",
    ]  # fmt: skip


@pytest.mark.unit
def test_secrets_go_ids_are_paired_and_shapes_compared() -> None:
    kept = redacted({"client_secret": "ask_test_x", "note": "secret", "rows": [{"access_token": "t"}], "secret": None})
    assert kept == {"client_secret": REDACTED, "note": "secret", "rows": [{"access_token": REDACTED}], "secret": None}
    one, other = "pay_01m82bf6mfj0b22b7h08mp5f83", "pay_01m82bf6xpv7szb4xdb9xk9hz5"
    renaming = Renaming("x")
    renaming.learn({"id": one, "state": "a"}, {"id": other, "state": "b"})
    renaming.mint({"out_trade_no": "n_1", "lines": [{"out_request_no": "r" * 64}]})
    assert renaming.in_text(f"/v1/payments/{one}/refunds") == f"/v1/payments/{other}/refunds"
    assert renaming.in_text("/v1/payments/out_trade_no:n_1") == "/v1/payments/out_trade_no:n_1_x"
    assert renaming.apply({"a": "n_1", "b": ["r" * 64], "c": "free text"}) == {
        "a": "n_1_x", "b": ["r" * 62 + "_x"], "c": "free text",
    }  # fmt: skip
    assert shape_difference({"a": [1], "b": None}, {"a": ["x"], "b": {}}) == "/a/0 is text, was number"
    assert shape_difference({"a": [], "n": True}, {"a": [1], "n": False}) == ""
