"""Correlation, and spans and metrics with and without a collector."""

from __future__ import annotations

import importlib.util

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from platform_core.kernel.errors import PlatformError
from platform_core.kernel.telemetry import (
    Correlation,
    Spans,
    bind_instruments,
    continue_trace,
    correlated,
    counter,
    current_correlation,
    histogram,
    start_telemetry,
)

pytestmark = pytest.mark.unit
TRACE = "0af7651916cd43dd8448eb211c80319c"
PLANS = counter("arsenal.testing.plans", unit="{plan}", description="Plans of this test.")
SECONDS = histogram("arsenal.testing.seconds", unit="s", description="Seconds of this test.")


def test_a_trace_goes_on_with_a_span_of_our_own() -> None:
    found = continue_trace(f"00-{TRACE}-b7ad6b7169203331-01", tracestate="a=1", entropy=lambda count: b"\xab" * count)
    assert found == Correlation(trace_id=TRACE, span_id="ab" * 8, is_sampled=True, tracestate="a=1")
    assert found.traceparent == f"00-{TRACE}-{'ab' * 8}-01"
    later_version = continue_trace(f"01-{TRACE}-b7ad6b7169203331-00-more", tracestate="x" * 513)
    assert (later_version.trace_id, later_version.is_sampled, later_version.tracestate) == (TRACE, False, "")


@pytest.mark.parametrize(
    "header",
    [None, "", "00", f"00-{TRACE.upper()}-b7ad6b7169203331-01", f"ff-{TRACE}-b7ad6b7169203331-01",
     f"00-{'0' * 32}-b7ad6b7169203331-01",
     f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-b7ad6b7169203331-01-x", f"00-{TRACE}-b7ad6b7169203331-01\n"],
)  # fmt: skip
def test_anything_else_begins_a_trace(header: str | None) -> None:
    found = continue_trace(header, tracestate="a=1", entropy=lambda count: b"\xcd" * count)
    assert found == Correlation(trace_id="cd" * 16, span_id="cd" * 8)


def test_work_is_correlated_within_its_block_only() -> None:
    mine = continue_trace(None, request_id="req_1")
    with correlated(mine):
        assert current_correlation() is mine
    assert current_correlation() is None


def test_metrics_reach_a_meter_once_bound() -> None:
    PLANS.add(5)
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    assert SECONDS.is_collected is False
    bind_instruments(provider.get_meter("test"))
    try:
        PLANS.add(2, {"outcome": "done"})
        SECONDS.record(0.25)
        assert SECONDS.is_collected is True
        found = reader.get_metrics_data()
    finally:
        bind_instruments(None)
        provider.shutdown()
    assert found is not None
    metrics = {metric.name: metric for metric in found.resource_metrics[0].scope_metrics[0].metrics}
    assert [point.value for point in metrics["arsenal.testing.plans"].data.data_points] == [2]
    assert [point.sum for point in metrics["arsenal.testing.seconds"].data.data_points] == [0.25]
    with pytest.raises(ValueError, match="declared twice"):
        counter("arsenal.testing.plans", unit="{plan}", description="Again.")


def test_a_span_is_the_child_of_the_correlation() -> None:
    spans, exporter, provider = Spans(), InMemorySpanExporter(), TracerProvider()
    with spans.span("nothing") as nothing:
        assert nothing is None
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans.bind(provider.get_tracer("test"))
    with (
        correlated(continue_trace(f"00-{TRACE}-b7ad6b7169203331-01")) as mine,
        spans.span("outer"),
        spans.span("inner"),
    ):
        pass
    provider.shutdown()
    inner, outer = exporter.get_finished_spans()
    assert inner.parent is not None
    assert outer.parent is not None
    assert f"{outer.context.trace_id:032x}" == TRACE
    assert f"{outer.parent.span_id:016x}" == mine.span_id
    assert inner.parent.span_id == outer.context.span_id


def test_a_collector_without_its_exporter_is_refused_with_the_next_step() -> None:
    assert importlib.util.find_spec("opentelemetry.exporter") is None
    with pytest.raises(PlatformError) as caught:
        start_telemetry(endpoint="http://127.0.0.1:4318", service_name="arsenal", sample_ratio=1.0)
    assert caught.value.code == "kernel.telemetry_exporter_missing"
    assert caught.value.hint("en") == "Install it or unset ARSENAL_OTEL_ENDPOINT."
    assert caught.value.hint("zh") == "请安装该软件包，或取消设置 ARSENAL_OTEL_ENDPOINT。"
