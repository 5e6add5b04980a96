"""What operators watch: calls to providers, outcomes, doubts, late money, questions that go on without an answer."""

from __future__ import annotations

from collections.abc import Iterable

from platform_core.kernel.telemetry import counter, histogram

CALL_SECONDS = histogram(
    "arsenal.payments.provider_call", unit="s", description="Duration of calls, by provider, operation and outcome."
)
EVENTS = counter("arsenal.payments.events", unit="{event}", description="Events of payments and refunds, by type.")
JANITOR_LAG = histogram(
    "arsenal.payments.janitor_lag", unit="s", description="How late an open transaction was asked about."
)
JANITOR_STUCK = counter(
    "arsenal.payments.janitor_stuck",
    unit="{question}",
    description="Weekly questions about transactions that daily ones did not settle: a person must look.",
)
GUARD_REFUSALS = counter(
    "arsenal.payments.guard_refusals", unit="{refusal}", description="Plans refused by an account's guard, by role."
)
AMENDERS_DROPPED = counter(
    "arsenal.payments.amenders_dropped",
    unit="{amender}",
    description="Capabilities left out of a settlement, by capability and fault.",
)
PAYOUTS = counter("arsenal.payments.payouts", unit="{payout}", description="Payouts that moved on, by their state.")


def count_events(types: Iterable[str]) -> None:
    """Count what was announced: contradictions, doubts and late money are event types too."""
    for type_ in types:
        EVENTS.add(1, {"type": type_})
