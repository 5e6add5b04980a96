"""The acquirer's bill of one day, derived from its movements."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from sandbox.simulators.acquirer.book import Book, Movement

ZONE: Final = ZoneInfo("Asia/Shanghai")
COST_BP: Final = 38
"""What the acquirer keeps of each sale and capture, basis points, halves rounded up; returned on nothing."""
_SIGNS: Final = {
    "sale": 1,
    "capture": 1,
    "refund": -1,
    "cancel": -1,
    "refund_bounce": 1,
    "dispute_withdrawn": -1,
    "dispute_won": 1,
}


def bill_of_day(book: Book, *, merchant_no: str, day: date) -> dict[str, object]:
    """Rows in the order of the book; freezing and releasing are no rows."""
    moved = [m for m in book.movements() if m.merchant_no == merchant_no and m.kind in _SIGNS and _day(m) == day]
    totals: dict[str, int] = {}
    for movement in moved:
        net = _SIGNS[movement.kind] * movement.amount_minor
        totals[movement.currency] = totals.get(movement.currency, 0) + net
    rows = [
        {
            "kind": m.kind,
            "key": m.key,
            "reference": m.reference,
            "amount_minor": m.amount_minor,
            "cost_minor": (m.amount_minor * COST_BP + 5_000) // 10_000 if m.kind in {"sale", "capture"} else 0,
            "currency": m.currency,
            "occurred_at": m.moved_at,
        }
        for m in moved
    ]
    return {"day": day.isoformat(), "rows": rows, "count": len(rows), "total_minor": totals}


def _day(movement: Movement) -> date:
    return datetime.fromisoformat(movement.moved_at).astimezone(ZONE).date()
