"""Rows of settlement as they are shown."""

from __future__ import annotations

from typing import Any

from platform_core.capabilities.payments.answers import Row


def settlement_answer(row: Row) -> dict[str, Any]:
    """`SettlementRead`."""
    return {
        "id": row["id"],
        "object": "settlement",
        "merchant_id": row["merchant_id"],
        "day": row["day"],
        "currency": row["currency"],
        "part": row["part"],
        "net_minor": row["net_minor"],
        "settled_at": row["settled_at"],
    }
