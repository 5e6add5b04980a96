"""What operators watch of bills."""

from __future__ import annotations

from platform_core.kernel.telemetry import counter

PUBLISHED = counter("arsenal.payments.bills", unit="{bill}", description="Daily bills that were published.")
MISMATCH = counter(
    "arsenal.payments.bill_mismatch",
    unit="{bill}",
    description="Bills whose rows do not explain the balances and which were not published: alarm at 1.",
)
