"""Text messages against the gateway's simulator: sent once, and never claimed without its word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from platform_core.contracts.messages import NOT_FOUND, Delivery, MessageCall, MessageResult
from platform_core.contracts.testing import FakeHost, load_plugin
from plugins.sms import SmsChannel
from sandbox.simulators.sms.app import SmsGateway, running_gateway
from sandbox.testbed.outside import SimulatedOutside

MANIFEST = load_plugin("plugins.sms").manifest
HOST = "sms.arsenal.example"
KEY = b"g" * 32
CHANNEL = SmsChannel()


@dataclass
class Scene:
    """One merchant's host, and the gateway."""

    host: FakeHost
    gateway: SmsGateway
    url: str
    outside: SimulatedOutside

    def script(self, fault: str, operation: str = "send") -> None:
        body = {"operation": operation, "fault": fault}
        assert httpx.post(f"{self.url}/_script", json=body, trust_env=False).json() == {"code": "OK"}

    def message(self, key: str = "msg_1", to: str = "+8613800000000") -> MessageCall:
        return MessageCall(
            idempotency_key=key,
            message_id=key,
            recipient=to,
            body="您的验证码是 3141。",
            locale="zh",
            deadline_s=10.0,
            now=self.host.now,
            ctx=self.host.context("register_channel"),
            settings={"app": "app-1", "sign": "老张牛肉面"},
        )

    async def send(self, key: str = "msg_1", to: str = "+8613800000000") -> MessageResult:
        return await CHANNEL.send(self.message(key, to))

    async def query(self, key: str = "msg_1") -> MessageResult:
        return await CHANNEL.query(self.message(key))


@pytest.fixture
def scene() -> Iterator[Scene]:
    gateway = SmsGateway(app="app-1", key=KEY)
    with running_gateway(gateway) as url:
        outside = SimulatedOutside({HOST: url})
        host = FakeHost(MANIFEST, secrets={"gateway_key": KEY}, outside=outside, now=datetime.now(UTC))
        yield Scene(host, gateway, url, outside)


async def test_a_text_is_sent_once_however_often_it_is_asked_for(scene: Scene) -> None:
    assert [await scene.send() for _ in range(2)] == [MessageResult.accepted("sms-1")] * 2
    assert await scene.query() == MessageResult.accepted("sms-1")
    assert [text["text"] for text in scene.gateway.texts.values()] == ["您的验证码是 3141。"]


@pytest.mark.parametrize("fault", ["lost_after", "lost_before", "broken_body", "unsigned", "server_error"])
async def test_an_answer_that_cannot_be_believed_is_unknown(scene: Scene, fault: str) -> None:
    scene.script(fault)
    assert (await scene.send()).delivery is Delivery.UNKNOWN
    assert await scene.send() == MessageResult.accepted("sms-1")
    assert len(scene.gateway.texts) == 1


async def test_a_message_the_gateway_never_saw_is_unknown_and_not_found(scene: Scene) -> None:
    scene.script("lost_before")
    await scene.send()
    asked = await scene.query()
    assert (asked.delivery, asked.code) == (Delivery.UNKNOWN, NOT_FOUND)


async def test_a_gateway_that_is_not_there_was_sent_nothing(scene: Scene) -> None:
    scene.outside.hosts = {HOST: "http://127.0.0.1:1"}
    found = await scene.send()
    assert (found.delivery, found.code, found.is_repeatable) == (Delivery.FAILED, "not_sent", True)
    assert (await scene.query()).delivery is Delivery.UNKNOWN


@pytest.mark.parametrize(
    ("fault", "code", "is_repeatable"),
    [("busy", "busy", True), ("balance", "balance", True), ("blacklisted", "blacklisted", False)],
)
async def test_a_refusal_says_whether_a_later_text_may_succeed(
    scene: Scene, fault: str, code: str, is_repeatable: bool
) -> None:
    scene.script(fault)
    found = await scene.send()
    assert (found.delivery, found.code, found.is_repeatable) == (Delivery.FAILED, code, is_repeatable)
    assert scene.gateway.texts == {}


async def test_a_number_that_is_none_is_refused(scene: Scene) -> None:
    found = await scene.send(to="12345")
    assert (found.delivery, found.code) == (Delivery.FAILED, "invalid")


async def test_a_key_for_another_text_is_unknown_and_sends_nothing(scene: Scene) -> None:
    await scene.send()
    found = await scene.send(to="+8613900000000")
    assert (found.delivery, found.code) == (Delivery.UNKNOWN, "key_reused")
    assert [text["to"] for text in scene.gateway.texts.values()] == ["+8613800000000"]


async def test_a_text_that_did_not_arrive_is_told_by_the_query(scene: Scene) -> None:
    await scene.send()
    scene.gateway.texts["msg_1"]["state"] = "undelivered"
    found = await scene.query()
    assert (found.delivery, found.code) == (Delivery.FAILED, "undelivered")
    scene.gateway.texts["msg_1"]["state"] = "paused"
    assert (await scene.query()).delivery is Delivery.UNKNOWN


async def test_another_key_or_an_old_clock_is_refused(scene: Scene) -> None:
    host = FakeHost(MANIFEST, secrets={"gateway_key": b"x" * 32}, outside=scene.outside, now=scene.host.now)
    stranger = replace(scene.message(), ctx=host.context("register_channel"))
    assert (await CHANNEL.send(stranger)).delivery is Delivery.UNKNOWN  # nor can the answer be verified
    late = replace(scene.message(), now=scene.host.now - timedelta(hours=1))
    assert (await CHANNEL.send(late)).code == "time"
    assert scene.gateway.texts == {}
