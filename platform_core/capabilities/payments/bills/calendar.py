"""Days of a merchant, and when their bills are due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

READY_AT: Final = time(9)
ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class BillDay:
    """A calendar day where the merchant is. `since` (with) and `until` (without) are UTC."""

    day: date
    time_zone: str
    since: datetime
    until: datetime

    @property
    def ready_at(self) -> datetime:
        """09:00 of the day after it, UTC."""
        return ready_at(self.day, self.time_zone)


def ready_at(day: date, time_zone: str) -> datetime:
    """When the bill of a day is made, UTC."""
    return datetime.combine(day + ONE_DAY, READY_AT, ZoneInfo(time_zone)).astimezone(UTC)


def midnight(day: date, time_zone: str) -> datetime:
    """Where a day begins, UTC."""
    return datetime.combine(day, time.min, ZoneInfo(time_zone)).astimezone(UTC)


def bill_day(day: date, time_zone: str, *, behind: datetime | None) -> BillDay:
    """A day that begins where the bill before it ended (`behind`), however clocks and zones were set meanwhile."""
    since, until = midnight(day, time_zone), midnight(day + ONE_DAY, time_zone)
    if behind is not None:
        since = max(since, behind)
    while until <= since:
        day, until = day + ONE_DAY, midnight(day + 2 * ONE_DAY, time_zone)
    return BillDay(day, time_zone, since, until)


def following(day: date, time_zone: str, *, behind: datetime) -> BillDay:
    """The day directly behind a bill, without a gap, also when the zone was changed."""
    found = bill_day(day + ONE_DAY, time_zone, behind=behind)
    return BillDay(found.day, found.time_zone, behind, found.until)
