"""Rows of payouts as they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from platform_core.capabilities.payments.answers import Row

SHOWN: Final = (
    "id",
    "merchant_id",
    "out_payout_no",
    "origin",
    "state",
    "approval",
    "currency",
    "amount_minor",
    "destination_id",
    "destination_hint",
    "channel_account_id",
    "provider_reference",
    "note",
    "requested_by",
    "decided_by",
    "last_error",
    "sequence",
    "created_at",
    "updated_at",
    "paid_at",
    "ended_at",
)


def payout_answer(row: Row) -> dict[str, Any]:
    """`PayoutRead`."""
    return {"object": "payout", **{name: row[name] for name in SHOWN}}


def terms_answer(row: Row, *, next_payout_at: datetime | None) -> dict[str, Any]:
    """`PayoutTermsRead`."""
    names = ("currency", "schedule", "weekday", "payout_minor_min", "approval_above_minor", "last_skipped")
    return {"object": "payout_terms", **{name: row[name] for name in names}, "next_payout_at": next_payout_at}
