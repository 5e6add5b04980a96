"""Which request or event the running code works for, and OpenTelemetry's spans and metrics.

Correlation (W3C Trace Context, www.w3.org/TR/trace-context, level 1, read 2026-11-22) is always on and ours: it must
travel through outbox, tasks and webhooks also where no collector is configured. Spans and metrics cost one comparison
until `start_telemetry`.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_TRACESTATE_MAX: Final = 512
_NO_TRACE: Final = "0" * 32
_NO_SPAN_ID: Final = "0" * 16
_EXPORTERS: Final = "opentelemetry.exporter.otlp.proto.http"

EXPORTER_MISSING: Final = declare(
    "kernel.telemetry_exporter_missing",
    status=500,
    title=Text(en="Telemetry exporter missing", zh="缺少遥测导出器"),
    detail=Text(
        en="A collector is configured, but the package opentelemetry-exporter-otlp-proto-http is not installed.",
        zh="已配置采集端，但未安装 opentelemetry-exporter-otlp-proto-http。",
    ),
    hint=Text(en="Install it or unset ARSENAL_OTEL_ENDPOINT.", zh="请安装该软件包，或取消设置 ARSENAL_OTEL_ENDPOINT。"),
)


@dataclass(frozen=True, slots=True)
class Correlation:
    """The request and trace that the running code works for."""

    trace_id: str
    span_id: str
    """Our own span; the parent of whatever we call."""
    request_id: str | None = None
    is_sampled: bool = False
    tracestate: str = ""

    @property
    def traceparent(self) -> str:
        """The header and event field that hands this trace on."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"


_correlation: ContextVar[Correlation | None] = ContextVar("arsenal_correlation", default=None)


def current_correlation() -> Correlation | None:
    """What the running code works for; None outside of requests and tasks."""
    return _correlation.get()


def current_traceparent() -> str | None:
    """The header and event field that hands the current trace on; None outside of requests and tasks."""
    correlation = _correlation.get()
    return None if correlation is None else correlation.traceparent


class correlated:
    """A block that works for `correlation`; blocks nest. Named like the function it would be, but that costs thrice."""

    __slots__ = ("_correlation", "_token")

    def __init__(self, correlation: Correlation) -> None:
        self._correlation = correlation

    def __enter__(self) -> Correlation:
        self._token = _correlation.set(self._correlation)
        return self._correlation

    def __exit__(self, *_: object) -> None:
        _correlation.reset(self._token)


def continue_trace(
    traceparent: str | None,
    *,
    tracestate: str | None = None,
    request_id: str | None = None,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Correlation:
    """A span of our own in the trace that a header names; in a new trace when there is none or it is malformed."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None or not _is_usable(match):
        chance = entropy(24).hex()
        return Correlation(trace_id=chance[:32], span_id=chance[32:], request_id=request_id)
    state = tracestate if tracestate and len(tracestate) <= _TRACESTATE_MAX and tracestate.isprintable() else ""
    return Correlation(
        trace_id=match[2],
        span_id=entropy(8).hex(),
        request_id=request_id,
        is_sampled=int(match[4], 16) & 1 == 1,
        tracestate=state,
    )


def _is_usable(match: re.Match[str]) -> bool:
    """Whether the fields may be used (sections 3.2.2.1 to 3.2.2.4).

    Version ff is forbidden, version 00 has nothing behind the flags, and all zeros mean none.
    """
    if match[1] == "ff" or (match[1] == "00" and match[5] is not None):
        return False
    return match[2] != _NO_TRACE and match[3] != _NO_SPAN_ID


Attributes = Mapping[str, str | int | bool]


class Counter:
    """A sum that only grows. Made once at import by `counter`."""

    __slots__ = ("_instrument", "description", "name", "unit")

    def __init__(self, name: str, *, unit: str, description: str) -> None:
        self.name = name
        self.unit = unit
        self.description = description
        self._instrument: metrics.Counter | None = None

    def add(self, amount: int, attributes: Attributes | None = None) -> None:
        """Count `amount` more. Costs a comparison while nobody collects."""
        if self._instrument is not None:
            self._instrument.add(amount, attributes)

    def bind(self, meter: metrics.Meter | None) -> None:
        """Collect through this meter from now on, or not at all."""
        if meter is None:
            self._instrument = None
        else:
            self._instrument = meter.create_counter(self.name, unit=self.unit, description=self.description)


class Histogram:
    """A distribution of measured values. Made once at import by `histogram`."""

    __slots__ = ("_instrument", "description", "name", "unit")

    def __init__(self, name: str, *, unit: str, description: str) -> None:
        self.name = name
        self.unit = unit
        self.description = description
        self._instrument: metrics.Histogram | None = None

    @property
    def is_collected(self) -> bool:
        """Whether measuring is worth the while."""
        return self._instrument is not None

    def record(self, value: float, attributes: Attributes | None = None) -> None:
        """Record one value in the histogram's unit. Costs a comparison while nobody collects."""
        if self._instrument is not None:
            self._instrument.record(value, attributes)

    def bind(self, meter: metrics.Meter | None) -> None:
        """Collect through this meter from now on, or not at all."""
        if meter is None:
            self._instrument = None
        else:
            self._instrument = meter.create_histogram(self.name, unit=self.unit, description=self.description)


class Gauge:
    """A value that stands until it changes. Made once at import by `gauge`."""

    __slots__ = ("_instrument", "description", "name", "unit")

    def __init__(self, name: str, *, unit: str, description: str) -> None:
        self.name = name
        self.unit = unit
        self.description = description
        self._instrument: metrics._Gauge | None = None  # the interface's public name has the underscore

    def set(self, value: float, attributes: Attributes | None = None) -> None:
        """State the value from now on. Costs a comparison while nobody collects."""
        if self._instrument is not None:
            self._instrument.set(value, attributes)

    def bind(self, meter: metrics.Meter | None) -> None:
        """Collect through this meter from now on, or not at all."""
        if meter is None:
            self._instrument = None
        else:
            self._instrument = meter.create_gauge(self.name, unit=self.unit, description=self.description)


_instruments: dict[str, Counter | Histogram | Gauge] = {}
_UNTRACED: Final[AbstractContextManager[None]] = nullcontext()


def counter(name: str, *, unit: str, description: str) -> Counter:
    """Declare a counter such as `arsenal.commit.plans` with UCUM unit `{plan}`. ValueError when the name is taken."""
    made = Counter(name, unit=unit, description=description)
    _enter(made)
    return made


def histogram(name: str, *, unit: str, description: str) -> Histogram:
    """Declare a histogram such as `arsenal.commit.seconds` with UCUM unit `s`. ValueError when the name is taken."""
    made = Histogram(name, unit=unit, description=description)
    _enter(made)
    return made


def gauge(name: str, *, unit: str, description: str) -> Gauge:
    """Declare a gauge such as `arsenal.plugin.breaker_state` with UCUM unit `1`. ValueError when the name is taken."""
    made = Gauge(name, unit=unit, description=description)
    _enter(made)
    return made


def _enter(made: Counter | Histogram | Gauge) -> None:
    if made.name in _instruments:
        raise ValueError(f"the metric {made.name} is declared twice")
    _instruments[made.name] = made


def bind_instruments(meter: metrics.Meter | None) -> None:
    """Let all declared metrics collect through a meter; None stops them."""
    for instrument in _instruments.values():
        instrument.bind(meter)


class Spans:
    """Opens spans while a tracer is bound, and otherwise hands out one block that does nothing."""

    __slots__ = ("_tracer",)

    def __init__(self) -> None:
        self._tracer: trace.Tracer | None = None

    def bind(self, tracer: trace.Tracer | None) -> None:
        """Open spans through this tracer from now on, or none."""
        self._tracer = tracer

    def span(self, name: str, attributes: Attributes | None = None) -> AbstractContextManager[object]:
        """A block that is one span, child of the running one or of the current correlation."""
        if self._tracer is None:
            return _UNTRACED
        return self._tracer.start_as_current_span(name, context=_parent(), attributes=attributes)


spans: Final = Spans()


def _parent() -> Context | None:
    """The OpenTelemetry context below our correlation; None leaves the span that is already running as the parent."""
    correlation = _correlation.get()
    if correlation is None or trace.get_current_span().get_span_context().is_valid:
        return None
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if correlation.is_sampled else trace.TraceFlags.DEFAULT)
    trace_id, span_id = int(correlation.trace_id, 16), int(correlation.span_id, 16)
    remote = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(remote))


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Running exporters; `stop` flushes and ends them."""

    tracers: TracerProvider
    meters: MeterProvider

    def stop(self) -> None:
        """Send what is left and stop collecting."""
        spans.bind(None)
        bind_instruments(None)
        self.tracers.shutdown()
        self.meters.shutdown()


def start_telemetry(*, endpoint: str, service_name: str, sample_ratio: float) -> Telemetry:
    """Send spans and metrics to an OTLP collector over HTTP. Raises `kernel.telemetry_exporter_missing`.

    `endpoint` is the collector's base address; its paths /v1/traces and /v1/metrics are the protocol's. A caller's
    sampling decision is kept, otherwise `sample_ratio` of the traces are.
    """
    span_exporter = _exporter("trace_exporter").OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    metric_exporter = _exporter("metric_exporter").OTLPMetricExporter(endpoint=f"{endpoint.rstrip('/')}/v1/metrics")
    resource = Resource.create({"service.name": service_name})
    tracers = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(sample_ratio)))
    tracers.add_span_processor(BatchSpanProcessor(span_exporter))
    meters = MeterProvider(resource=resource, metric_readers=[PeriodicExportingMetricReader(metric_exporter)])
    spans.bind(tracers.get_tracer("arsenal"))
    bind_instruments(meters.get_meter("arsenal"))
    return Telemetry(tracers, meters)


def _exporter(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"{_EXPORTERS}.{module}")
    except ModuleNotFoundError:
        raise EXPORTER_MISSING.error() from None
