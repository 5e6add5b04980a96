"""On which days money is settled and paid out, and when: by the merchant's calendar, less the operator's holidays."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

SETTLE_AT = time(2)
PAY_OUT_AT = time(8)
DAYS_MAX = 400  # further than any row of holidays reaches


def settlement_day(day: date, holidays: Collection[date]) -> date:
    """The first day after a booking day that is no holiday."""
    return _working(day + timedelta(days=1), holidays)


def settled_at(day: date, holidays: Collection[date], time_zone: str) -> datetime:
    """The moment from which a booking day's money may be settled, aware."""
    return datetime.combine(settlement_day(day, holidays), SETTLE_AT, ZoneInfo(time_zone))


def next_payout(after: datetime, holidays: Collection[date], time_zone: str, *, weekday: int | None = None) -> datetime:
    """The next moment after `after` at which a schedule pays out: every day, or every ISO weekday (1 is Monday).

    One that falls on a holiday comes on the first day after it that is none; that may meet the next one, and then
    both are one.
    """
    zone = ZoneInfo(time_zone)
    today = after.astimezone(zone).date()
    for ahead in range(-DAYS_MAX, DAYS_MAX):
        planned = today + timedelta(days=ahead)
        if weekday is not None and planned.isoweekday() != weekday:
            continue
        moment = datetime.combine(_working(planned, holidays), PAY_OUT_AT, zone)
        if moment > after:
            return moment
    raise AssertionError("a schedule has a next day")


def _working(day: date, holidays: Collection[date]) -> date:
    for _ in range(DAYS_MAX):
        if day not in holidays:
            return day
        day += timedelta(days=1)
    raise AssertionError(f"more than {DAYS_MAX} holidays in a row")
