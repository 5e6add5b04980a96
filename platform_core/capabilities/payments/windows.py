"""How long a payment can be refunded, and when the payments of a day are finished."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from platform_core.kernel.commit import Due

FINISH: Final = "payments.finish"  # due: finish the payments that were last captured on a day
REFUND_DAYS: Final = 365
REFUND_WINDOW: Final = timedelta(days=REFUND_DAYS)
FINISH_AT: Final = time(3)


def finish_due(merchant_id: str, day: date, time_zone: str) -> Due:
    """The due row of a day where the merchant is; a second one for the same day is the same row."""
    morning = datetime.combine(day + timedelta(days=1), FINISH_AT, ZoneInfo(time_zone))
    return Due(FINISH, f"{merchant_id}/{day.isoformat()}", morning.astimezone(UTC) + REFUND_WINDOW)
