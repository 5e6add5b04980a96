"""CRM sync against a CRM with real connections: told once, later when busy, and never silently lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from platform_core.contracts import catalogue
from platform_core.contracts.payments import PaymentCaptured, RefundSucceeded
from platform_core.contracts.plugin import Refused
from platform_core.contracts.plugins import PluginChange
from platform_core.contracts.results import DONE, RetryLater
from platform_core.contracts.testing import FakeHost, fixtures_of, load_plugin
from plugins.crm_sync import on_payment_captured, on_plugin_changed, on_refund_succeeded
from sandbox.simulators.crm.app import Crm, running_crm
from sandbox.testbed.outside import SimulatedOutside

MANIFEST = load_plugin("plugins.crm_sync").manifest
HOST = "crm.arsenal.example"


@dataclass
class Scene:
    """One merchant's host, and the CRM."""

    host: FakeHost
    crm: Crm
    url: str
    outside: SimulatedOutside

    def script(self, operation: str, fault: str) -> None:
        body = {"operation": operation, "fault": fault}
        assert httpx.post(f"{self.url}/_script", json=body, trust_env=False).json() == {"code": "OK"}

    def captured(self, **changed: Any) -> Any:  # Any: fields of several types
        event = told("on_payment_captured", "by_a_member", **changed)
        assert isinstance(event, PaymentCaptured)
        return on_payment_captured(self.host.context("on_payment_captured", idempotency_key=event.event_id), event)

    def changed(self, change: str) -> Any:
        event = told("on_plugin_changed", "enabled", change=change)
        assert isinstance(event, PluginChange)
        return on_plugin_changed(self.host.context("on_plugin_changed"), event)


def told(hook: str, name: str, **changed: Any) -> Any:  # Any: a payload
    [found] = [each for each in fixtures_of(catalogue.hooks()[hook]) if each.name.endswith(f"/{name}")]
    assert found.payload is not None
    return found.payload.model_copy(update=changed)


@pytest.fixture
def scene() -> Iterator[Scene]:
    crm = Crm(token="t0ken")
    with running_crm(crm) as url:
        outside = SimulatedOutside({HOST: url})
        host = FakeHost(MANIFEST, secrets={"crm_token": b"t0ken"}, outside=outside)
        yield Scene(host, crm, url, outside)


def test_an_order_arrives_once_however_often_the_event_comes(scene: Scene) -> None:
    assert [scene.captured() for _ in range(3)] == [DONE] * 3
    assert list(scene.crm.entries.values()) == [
        {
            "kind": "orders",
            "source": "arsenal",
            "payment_id": "pay_01hx3t8k2m5n7p9q1r3s5t7v9w",
            "order_no": "T20261122-0001",
            "sequence": 1,
            "amount_minor": 8_200,
            "currency": "CNY",
            "store_id": "sto_01hx3t8k2m5n7p9q1r3s5t7v9w",
            "member_id": "mem_01hx3t8k2m5n7p9q1r3s5t7v9w",
            "occurred_at": "2026-11-22T03:59:58+00:00",
        }
    ]


def test_a_refund_names_the_payment_and_can_be_switched_off(scene: Scene) -> None:
    event = told("on_refund_succeeded", "a_part")
    assert isinstance(event, RefundSucceeded)
    assert on_refund_succeeded(scene.host.context("on_refund_succeeded", idempotency_key="evt_r"), event) == DONE
    assert (scene.crm.entries["evt_r"]["kind"], scene.crm.entries["evt_r"]["amount_minor"]) == ("refunds", 3_200)
    off = FakeHost(MANIFEST, config={"sends_refunds": False}, outside=scene.outside)
    assert on_refund_succeeded(off.context("on_refund_succeeded", idempotency_key="evt_s"), event) == DONE
    assert (off.egress.sent, "evt_s" in scene.crm.entries) == ([], False)


@pytest.mark.parametrize(
    ("fault", "later"),
    [
        ("busy", RetryLater(after_s=17, reason="The CRM answered 429.")),
        ("unavailable", RetryLater(after_s=60, reason="The CRM answered 503.")),
        ("garbage", RetryLater(after_s=60, reason="The CRM answered 502.")),
        ("lost_before", RetryLater(after_s=60, reason="The CRM could not be reached.")),
        ("lost_after", RetryLater(after_s=60, reason="The CRM could not be reached.")),
    ],
)
def test_a_busy_or_lost_crm_is_told_later_and_once(scene: Scene, fault: str, later: RetryLater) -> None:
    scene.script("orders", fault)
    assert scene.captured() == later
    assert scene.captured() == DONE
    assert len(scene.crm.entries) == 1
    assert scene.host.problems == []


def test_a_crm_that_is_not_there_is_asked_later(scene: Scene) -> None:
    scene.outside.hosts = {HOST: "http://127.0.0.1:1"}
    assert scene.captured() == RetryLater(after_s=60, reason="The CRM could not be reached.")


def test_a_refusal_is_shown_to_people_and_the_event_is_kept(scene: Scene) -> None:
    scene.script("orders", "refused")
    assert scene.captured() == RetryLater(after_s=3_600, reason="The CRM refused with 422.")
    assert [(each.key, each.severity) for each in scene.host.problems] == [("crm.refused", "warning")]
    assert scene.crm.entries == {}


def test_a_wrong_token_is_found_when_the_plugin_is_enabled(scene: Scene) -> None:
    scene.crm.token = "another"
    assert scene.changed("enabled") == DONE
    assert [(each.key, each.severity) for each in scene.host.problems] == [("crm.token", "critical")]
    assert scene.host.state.contents() == {}
    assert scene.captured() == RetryLater(after_s=3_600, reason="The CRM refused with 401.")


def test_the_account_is_kept_while_the_plugin_is_on(scene: Scene) -> None:
    scene.changed("configured")
    assert scene.host.state.contents() == {"account": "acc_1"}
    scene.changed("disabled")
    assert scene.host.state.contents() == {}
    scene.changed("unknown")
    assert len(scene.host.egress.sent) == 1


def test_the_token_goes_nowhere_else_and_is_in_no_line(scene: Scene) -> None:
    scene.captured()
    [sent] = scene.host.egress.sent
    assert sent.headers["authorization"] == "Bearer t0ken"
    assert not any("t0ken" in line for line in scene.host.lines)
    with pytest.raises(Refused, match="egress_not_declared"):
        scene.host.context("on_payment_captured").egress.fetch("POST", "https://elsewhere.example/")
