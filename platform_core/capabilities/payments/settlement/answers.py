"""Rows of settlement as they are shown."""

from __future__ import annotations

from typing import Any, Final

from platform_core.capabilities.payments.answers import Row

FIGURES: Final = (
    "gross_minor",
    "funded_minor",
    "fees_minor",
    "splits_minor",
    "refunds_minor",
    "disputes_minor",
    "other_minor",
    "held_minor",
    "moved_minor",
    "debt_minor",
    "reserve_minor",
    "withheld_minor",
    "net_minor",
    "receivers_minor",
)


def settlement_answer(row: Row) -> dict[str, Any]:
    """`SettlementRead`."""
    return {
        "id": row["id"],
        "object": "settlement",
        "merchant_id": row["merchant_id"],
        "day": row["day"],
        "currency": row["currency"],
        "part": row["part"],
        **{name: row[name] for name in FIGURES},
        "withholdings": row["withholdings"] or [],
        "degraded": row["degraded"] or [],
        "settled_at": row["settled_at"],
    }
