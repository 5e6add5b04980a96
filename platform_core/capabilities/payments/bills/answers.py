"""How a bill looks from outside: in answers and events alike."""

from __future__ import annotations

from typing import Any, Final

from platform_core.capabilities.payments.answers import Row

DETAIL: Final = "detail.csv"
SUMMARY: Final = "summary.csv"
MANIFEST: Final = "manifest.json"


def bill_answer(row: Row) -> dict[str, Any]:
    """`BillRead`, of a published bill."""
    names = ("id", "merchant_id", "day", "time_zone", "since", "until", "rows")
    return {
        "object": "bill",
        **{name: row[name] for name in names},
        "currencies": row["figures"],
        "detail": {"size_bytes": row["detail_bytes"], "sha256": row["detail_sha256"]},
        "archive": {"size_bytes": row["archive_bytes"], "sha256": row["archive_sha256"]},
        "published_at": row["published_at"],
    }
