"""The events of payments: what each says, under which scope it may be told, and where the object is read.

Those of payments, refunds and splits carry the payment's `sequence` (from 1, no gaps) and the object as of their
commit: `payment.*` the payment, `refund.*` the refund, `split.*` the split. `receipt.ready` shows the receipt, and its
`sequence` counts that receipt's drawings. Apart from the list of payments.md section 9 there are
`payment.capture_failed`, `payment.void_failed` and `payment.cancel_failed`, so that every change of a payment is
announced.
"""

from __future__ import annotations

from typing import Final

from platform_core.capabilities.payments.disputes.events import DISPUTE_EVENTS

PAYMENT_EVENTS: Final = (
    "payment.created",
    "payment.review_started",
    "payment.review_decided",
    "payment.attempt_failed",
    "payment.authorized",
    "payment.captured",
    "payment.capture_failed",
    "payment.voided",
    "payment.void_failed",
    "payment.canceled",
    "payment.cancel_failed",
    "payment.closed",
    "payment.finished",
    "payment.unknown_entered",
    "payment.unknown_resolved",
    "payment.outcome_contradicted",
    "payment.late_money_received",
)
REFUND_EVENTS: Final = ("refund.created", "refund.succeeded", "refund.failed", "refund.bounced")
SPLIT_EVENTS: Final = ("split.frozen", "split.settled", "split.released", "split.returned", "split.failed")
PAYOUT_EVENTS: Final = ("payout.created", "payout.paid", "payout.failed", "payout.returned")
SETTLEMENT_EVENTS: Final = ("settlement.completed",)
BILL_EVENTS: Final = ("bill.published",)

RECEIPT_EVENTS: Final = ("receipt.ready",)

SCOPES_AND_PATHS: Final = {
    **dict.fromkeys(PAYMENT_EVENTS, ("payments:read", "/v1/payments/{id}")),
    **dict.fromkeys(REFUND_EVENTS, ("refunds:read", "/v1/payments/{id}")),
    **dict.fromkeys(SPLIT_EVENTS, ("splits:write", "/v1/payments/{id}")),
    **dict.fromkeys(DISPUTE_EVENTS, ("disputes:read", "/v1/payments/{id}")),
    **dict.fromkeys(RECEIPT_EVENTS, ("payments:read", "/v1/receipts/{id}")),
    **dict.fromkeys(PAYOUT_EVENTS, ("ledger:read", "/v1/payouts/{id}")),
    **dict.fromkeys(SETTLEMENT_EVENTS, ("ledger:read", "/v1/settlements/{id}")),
    **dict.fromkeys(BILL_EVENTS, ("ledger:read", "/v1/bills/{id}")),
}
