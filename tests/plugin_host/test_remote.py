"""Remote plugins: signed requests, and every way in which an answer can be none. Over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter
from standardwebhooks import Webhook, WebhookVerificationError

from platform_core.contracts.payments import check_payment
from platform_core.contracts.results import Rendered, Verdict
from platform_core.contracts.runtime import Answered, Binding, Fault, FaultKind, OutsideCall
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.http.guarded_client import GuardedClient
from platform_core.kernel.http.webhook_signing import secret_text
from platform_core.plugin_host.remote import ANSWER_BYTES_MAX, CALLS_MAX, Endpoint, RemoteRuntime, read_answer
from tests.delivery.receiver import Received, Receiver, receiving
from tests.plugin_host.stage import MERCHANT, FakeGate, Stages, outside, payment, until

pytestmark = pytest.mark.unit
SECRET = bytes(range(32))
PLUGIN = "example.acme.far"
ASK_URL = "https://platform.example/v1/plugin-asks"
Reply = Callable[[Received], bytes]


class Endpoints:
    def __init__(self, url: str) -> None:
        self.url = url

    def of(self, plugin_id: str, version: str, /) -> Endpoint | None:
        return Endpoint(self.url, [SECRET]) if (plugin_id, version) == (PLUGIN, "1.0.0") else None


class Tokens:
    def __init__(self) -> None:
        self.voided: list[str] = []

    async def mint(self, call: OutsideCall, /) -> str:
        return f"token of {call.id}"

    def void(self, call: OutsideCall, /) -> None:
        self.voided.append(call.id)


@asynccontextmanager
async def far(reply: Reply | None = None, **options: Any) -> AsyncIterator[tuple[RemoteRuntime, Receiver]]:
    """A runtime, and the server of the plugin's publisher."""
    async with receiving(reply=reply, **options) as receiver:
        client = GuardedClient(allow_loopback_http=True)
        runtime = RemoteRuntime(client, Endpoints(receiver.url()), Tokens(), SystemClock(), ask_url=ASK_URL)
        yield runtime, receiver
        await runtime.aclose()
        await client.aclose()


def result(value: object = None, **more: object) -> Reply:
    def reply(received: Received) -> bytes:
        asked = json.loads(received.body)["call"]["id"]
        return json.dumps({"t": "result", "id": asked, "value": value} | more).encode()

    return reply


ALLOW = result({"decision": "allow"})


def call(*, deadline_s: float = 20.0, of: Any = Verdict, plugin_id: str = PLUGIN, **more: Any) -> OutsideCall:
    binding = Binding(
        plugin_id=plugin_id, version="1.0.0", merchant_id=MERCHANT, mode="live", locale="zh", revision=3,
        config=b'{"limit":3}',
    )  # fmt: skip
    return OutsideCall(
        id="a" * 32,
        handle="b" * 32,
        binding=binding,
        target="check_payment",
        major=1,
        context=b'{"call_id":"x"}',
        arguments=b'{"amount":{"amount_minor":7,"currency":"CNY"}}',
        deadline=time.monotonic() + deadline_s,
        result=TypeAdapter(of),
        gate=FakeGate(),
        **more,
    )


async def test_the_request_is_signed_and_holds_what_a_worker_gets_but_not_its_handle() -> None:
    async with far(ALLOW) as (runtime, receiver):
        assert await runtime.begin(call(blobs=(b"\xff",))).outcome() == Answered(Verdict.allow())
        (got,) = receiver.got
    verified = Webhook(secret_text(SECRET)).verify(got.body, dict(got.headers))
    assert got.headers["webhook-id"] == "a" * 32
    assert abs(int(got.headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 300
    assert verified["configure"] == {
        "t": "configure", "merchant_id": MERCHANT, "mode": "live", "locale": "zh", "revision": 3,
        "config": {"limit": 3},
    }  # fmt: skip
    assert verified["ask_url"] == ASK_URL
    assert runtime._tokens.voided == ["a" * 32]
    deadline_ms = verified["call"].pop("deadline_ms")
    assert 0 < deadline_ms <= 20_000
    assert verified["call"] == {
        "t": "call",
        "target": "check_payment",
        "version": 1,
        "id": "a" * 32,
        "handle": f"token of {'a' * 32}",
        "ctx": {"call_id": "x"},
        "args": {"amount": {"amount_minor": 7, "currency": "CNY"}},
        "blobs": ["/w=="],
    }
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(b"x" * 32)).verify(got.body, dict(got.headers))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (lambda _: b"ok", FaultKind.MALFORMED),
        (lambda _: b"", FaultKind.MALFORMED),
        (lambda _: b"[" * 30_000, FaultKind.MALFORMED),
        (result({"decision": "allow"}, extra=1), FaultKind.MALFORMED),
        (result({"decision": "allow"}, t="ready"), FaultKind.MALFORMED),
        (result({"decision": "allow"}, blobs=["no base64"]), FaultKind.MALFORMED),
        (result({"decision": "allow", "score": float("nan")}), FaultKind.MALFORMED),
        (result({"decision": "allow"}, id="c" * 32), FaultKind.FORGED_ID),
        (result({"decision": "perhaps"}), FaultKind.BAD_RESULT),
        (result({"decision": "allow", "also": 1}), FaultKind.BAD_RESULT),
        (result({"decision": "allow", "score": "3"}), FaultKind.BAD_RESULT),
        (result(None), FaultKind.BAD_RESULT),
        (result(error_type="ValueError", detail="no"), FaultKind.EXCEPTION),
        (lambda _: b" " * (ANSWER_BYTES_MAX + 1), FaultKind.OVERSIZE),
    ],
)
async def test_what_is_no_whole_answer_is_a_fault_of_its_kind(reply: Reply, kind: FaultKind) -> None:
    async with far(reply) as (runtime, _):
        fault = await runtime.begin(call()).outcome()
    assert isinstance(fault, Fault)
    assert fault.kind is kind


async def test_an_answer_of_just_64_kib_is_read() -> None:
    def reply(received: Received) -> bytes:
        return ALLOW(received).ljust(ANSWER_BYTES_MAX)

    async with far(reply) as (runtime, _):
        assert isinstance(await runtime.begin(call()).outcome(), Answered)


@pytest.mark.parametrize("status", [204, 301, 307, 404, 500, 503])
async def test_only_200_is_an_answer_and_redirects_are_not_followed(status: int) -> None:
    async with far(ALLOW, status=status, headers={"location": "http://127.0.0.1:1/"}) as (runtime, receiver):
        assert await runtime.begin(call()).outcome() == Fault(FaultKind.EXCEPTION, f"its server answered {status}")
        assert len(receiver.got) == 1


async def test_a_server_that_hangs_up_is_died_and_one_that_is_not_there_was_never_reached() -> None:
    async with far(ALLOW, status=0) as (runtime, _):
        fault = await runtime.begin(call()).outcome()
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.DIED
    async with far(ALLOW) as (runtime, receiver):
        runtime._endpoints = Endpoints("http://127.0.0.1:1/hooks")
        fault = await runtime.begin(call()).outcome()
        assert fault == Fault(FaultKind.LOAD, "its server could not be reached: connect")
        assert receiver.got == []


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "http://example.com/", "https://user@example.com/"])
async def test_an_address_inside_is_not_called(url: str) -> None:
    async with far(ALLOW) as (runtime, _):
        runtime._endpoints = Endpoints(url)
        fault = await runtime.begin(call()).outcome()
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.LOAD


async def test_the_deadline_of_the_call_ends_it() -> None:
    async with far(ALLOW, delay_s=60) as (runtime, _):
        fault = await runtime.begin(call(deadline_s=0.05)).outcome()
    assert fault == Fault(FaultKind.TIMEOUT, "no whole answer by the deadline")


async def test_an_unknown_version_and_one_call_too_many_send_nothing() -> None:
    async with far(ALLOW, delay_s=60) as (runtime, receiver):
        fault = await runtime.begin(call(plugin_id="example.acme.other")).outcome()
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.UNAVAILABLE
        held = [runtime.begin(call()) for _ in range(CALLS_MAX)]
        fault = await runtime.begin(call()).outcome()
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.SATURATED
        await runtime.end(PLUGIN)
        outcomes = await asyncio.gather(*(one.outcome() for one in held))
        assert {one.kind for one in outcomes if isinstance(one, Fault)} == {FaultKind.DIED}
        assert receiver.got == []


async def test_only_the_calls_of_the_version_and_merchant_named_are_let_go() -> None:
    async with far(ALLOW) as (runtime, receiver):
        receiver.delay_s = 0.2
        mine = runtime.begin(call())
        other = call()
        theirs = runtime.begin(replace(other, binding=replace(other.binding, merchant_id="mer_two")))
        await until(lambda: len(receiver.got) == 2)
        await runtime.end(PLUGIN, version="2.0.0")
        await runtime.end(PLUGIN, merchant_id="mer_two")
        assert await mine.outcome() == Answered(Verdict.allow())
        assert isinstance(await theirs.outcome(), Fault)


async def test_whoever_gives_up_takes_the_request_along() -> None:
    async with far(ALLOW, delay_s=60) as (runtime, receiver):
        asking = asyncio.create_task(runtime.begin(call()).outcome())
        await receiver.wait_for(1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: runtime._under_way[PLUGIN] == {})


def test_bytes_come_beside_the_answer() -> None:
    value = {"media_type": "text/html", "blob": [0, 1]}
    body = json.dumps({"t": "result", "id": "a" * 32, "value": value, "blobs": ["AP8=", "/w=="]}).encode()
    assert read_answer(call(of=Rendered), body) == Answered(
        Rendered(media_type="text/html", blob=b"\x00\xff\xff"), (b"\x00\xff", b"\xff")
    )


async def test_dispatch_asks_a_remote_plugin_as_any_other(stages: Stages) -> None:
    stage = stages(outside(PLUGIN, tier="remote"))
    async with far(result({"decision": "deny", "reasons": [{"rule_id": "far", "text": "No."}]})) as (runtime, got):
        stage.runtimes["remote"] = runtime
        decision = await stage.dispatcher.check(
            check_payment, payment, merchant_id=MERCHANT, store_id="s", idempotency_key="k", amount_minor=1
        )
        assert decision.result.decision == "deny", decision
        context = json.loads(got.got[0].body)["call"]["ctx"]
        assert context["call_id"] == decision.answers[0].call_id
