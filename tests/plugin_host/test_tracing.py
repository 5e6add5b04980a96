"""Who watches hooks being asked sees all of it, and costs nothing while nobody watches; the log shows no payload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from structlog.testing import capture_logs

from platform_core.contracts.payments import check_payment
from platform_core.contracts.results import Rendered, Verdict
from platform_core.contracts.runtime import Answered, Fault, FaultKind
from platform_core.kernel.telemetry import bind_instruments
from platform_core.plugin_host.answers import Answer, Decision, HookSeen
from platform_core.plugin_host.listening import LogTrace, _brief
from tests.plugin_host.stage import MERCHANT, Stage, Stages, outside, payment

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("patient")]


async def check(stage: Stage) -> Decision[Verdict]:
    return await stage.dispatcher.check(
        check_payment,
        payment,
        merchant_id=MERCHANT,
        store_id="sto_1",
        idempotency_key="pay_1:1",
        amount_minor=1_200,
    )


def two(stages: Stages) -> Stage:
    stage = stages(outside("example.acme.a"), outside("example.acme.b"))
    stage.runtime.script("example.acme.a", Answered(Verdict.deny("stolen", "The card is stolen.")))
    stage.runtime.script("example.acme.b", Fault(FaultKind.DIED, "signal 11"))
    return stage


class Watcher:
    def __init__(self) -> None:
        self.seen: list[HookSeen] = []

    def saw(self, seen: HookSeen, /) -> None:
        self.seen.append(seen)


class Broken:
    def saw(self, seen: HookSeen, /) -> None:
        raise RuntimeError("the screen is gone")


async def test_a_listener_sees_the_whole_decision_until_it_leaves(stages: Stages) -> None:
    stage, watcher = two(stages), Watcher()
    leave = stage.dispatcher.listeners.add(watcher)
    decision = await check(stage)
    (seen,) = watcher.seen
    assert (seen.hook, seen.merchant_id, seen.store_id, seen.idempotency_key) == (
        "check_payment", MERCHANT, "sto_1", "pay_1:1",
    )  # fmt: skip
    assert (seen.answers, seen.degraded, seen.result) == (decision.answers, decision.degraded, decision.result)
    leave()
    await check(stage)
    assert len(watcher.seen) == 1


async def test_a_broken_listener_harms_neither_the_decision_nor_the_others(stages: Stages) -> None:
    stage, watcher = two(stages), Watcher()
    stage.dispatcher.listeners.add(Broken())
    stage.dispatcher.listeners.add(watcher)
    assert (await check(stage)).result.decision == "deny"
    assert len(watcher.seen) == 1


async def test_the_log_tells_order_fields_answers_and_faults_and_no_value_of_the_payload(stages: Stages) -> None:
    stage = two(stages)
    stage.dispatcher.listeners.add(LogTrace())
    with capture_logs() as logs:
        await check(stage)
    (line,) = [one for one in logs if one["event"] == "plugin.hook_asked"]
    shown = [(one["plugin"], one["version"], one["fields"], one["outcome"]) for one in line["answers"]]
    assert shown == [
        ("example.acme.a", "1.0.0", ["amount"], "ok"),
        ("example.acme.b", "1.0.0", ["amount"], "died"),
    ]
    assert line["degraded"] == [["example.acme.b", "1.0.0", "check_payment", "died"]]
    assert "deny" in line["result"]
    assert "1200" not in str(line)


def test_a_documents_bytes_stay_out_of_the_log() -> None:
    assert _brief(Rendered(media_type="text/html", blob=b"secret")) == "text/html, 6 bytes"


def points(reader: InMemoryMetricReader) -> dict[str, list[tuple[dict[str, Any], Any]]]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: [
            (dict(point.attributes or {}), getattr(point, "value", None)) for point in metric.data.data_points
        ]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


async def test_calls_faults_and_breakers_are_measured_by_plugin_and_hook_and_not_by_merchant(stages: Stages) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    bind_instruments(provider.get_meter("test"))
    try:
        stage = two(stages)
        for _ in range(6):
            await check(stage)
        found = points(reader)
    finally:
        bind_instruments(None)
        provider.shutdown()
    a = {"plugin": "example.acme.a", "hook": "check_payment"}
    b = {"plugin": "example.acme.b", "hook": "check_payment"}
    assert sorted(found["arsenal.plugin.calls"], key=str) == [
        ({**a, "version": "1.0.0", "outcome": "ok"}, 6),
        ({**b, "version": "1.0.0", "outcome": "breaker_open"}, 1),
        ({**b, "version": "1.0.0", "outcome": "died"}, 5),
    ]
    assert sorted(found["arsenal.plugin.faults"], key=str) == [
        ({**b, "kind": "breaker_open"}, 1),
        ({**b, "kind": "died"}, 5),
    ]
    assert found["arsenal.plugin.breaker_state"] == [(b, 2)]
    assert [labels for labels, _ in found["arsenal.plugin.call"]] == [a, b]


class Counter:
    def __init__(self) -> None:
        self.heard: list[tuple[list[str], str]] = []

    def answered(self, answers: Sequence[Answer], merchant_id: str, /) -> None:
        self.heard.append(([answer.plugin_id for answer in answers], merchant_id))


class BrokenCounter:
    def answered(self, answers: Sequence[Answer], merchant_id: str, /) -> None:
        raise RuntimeError("the counter is full")


async def test_who_counts_hears_of_answers_though_nobody_watches_and_another_fails(stages: Stages) -> None:
    stage, counter = two(stages), Counter()
    stage.dispatcher.listeners.count(BrokenCounter())
    stage.dispatcher.listeners.count(counter)
    assert not stage.dispatcher.listeners
    assert (await check(stage)).result.decision == "deny"
    assert counter.heard == [(["example.acme.a", "example.acme.b"], MERCHANT)]
