"""What operators watch of plugins, by plugin and hook, never by merchant."""

from __future__ import annotations

from platform_core.kernel.telemetry import counter, gauge, histogram
from platform_core.plugin_host.answers import Answer

CALLS = counter("arsenal.plugin.calls", unit="{call}", description="Calls of plugins, by hook, version and outcome.")
CALL_SECONDS = histogram(
    "arsenal.plugin.call", unit="s", description="Duration of calls of plugins, queueing included."
)
FAULTS = counter("arsenal.plugin.faults", unit="{fault}", description="Calls of plugins without an answer, by kind.")
LATE = counter(
    "arsenal.plugin.late_answers",
    unit="{answer}",
    description="Answers of trusted plugins that came after the deadline and were discarded.",
)
BLOCKS = counter(
    "arsenal.plugin.blocked_loops",
    unit="{call}",
    description="Calls of trusted plugins that held up the process for more than 250 ms.",
)
BREAKER_STATE = gauge(
    "arsenal.plugin.breaker_state", unit="1", description="0 closed, 1 half-open, 2 open, by plugin and hook."
)


def measure(answer: Answer, took_s: float | None) -> None:
    """Count one call; nothing but a comparison while nobody collects."""
    if not CALL_SECONDS.is_collected:
        return
    labels = {"plugin": answer.plugin_id, "hook": answer.hook}
    CALLS.add(1, {**labels, "version": answer.version, "outcome": answer.outcome})
    if took_s is not None:
        CALL_SECONDS.record(took_s, labels)
    if answer.fault is not None:
        FAULTS.add(1, {**labels, "kind": answer.fault.kind.value})
