"""What operators watch of plugins, by plugin and hook, never by merchant."""

from __future__ import annotations

from platform_core.kernel.telemetry import counter, gauge, histogram

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
