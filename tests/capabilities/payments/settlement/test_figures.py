"""Row 12 as arithmetic, and the calendar: no database."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.capabilities.payments.settlement.calendar import next_payout, settled_at, settlement_day
from platform_core.capabilities.payments.settlement.figures import DayFigures, day_figures, deductions
from platform_core.ledger.accounts import Guard
from platform_core.ledger.records import AccountActivity, AccountRecord, CodeSums

pytestmark = pytest.mark.unit
SHANGHAI = "Asia/Shanghai"
FRIDAY = date(2026, 10, 2)


def activity(*, held: int = 0, **codes: int) -> AccountActivity:
    """A day's account on which each code brought (or took) so much in all."""
    sums = {code: CodeSums(max(0, -net), max(0, net)) for code, net in codes.items()}
    credits, debits = sum(s.credits for s in sums.values()), sum(s.debits for s in sums.values())
    record = AccountRecord(1, "mer_1", "CNY", "mer_1", "merchant_pending", "d", Guard.GE0, debits, credits, held, 0)
    return AccountActivity(record, sums)


def test_figures_name_what_each_code_did_and_add_up_to_what_is_free() -> None:
    day = activity(
        held=500, capture=10_000, fee=-60, split=-1_000, split_return=200, refund=-1_500, dispute=-400, adjustment=-30
    )
    figures = day_figures(day)
    assert figures == DayFigures(
        gross_minor=10_000,
        fees_minor=60,
        splits_minor=800,
        refunds_minor=1_500,
        disputes_minor=400,
        other_minor=-30,
        held_minor=500,
    )
    assert figures.moved_minor == day.account.available == 6_710


def test_what_was_settled_before_is_no_figure_of_its_own() -> None:
    first = day_figures(activity(held=500, capture=10_000, fee=-60))
    later = day_figures(activity(capture=10_000, fee=-60, refund=-500, settlement=-9_440))
    assert later.since(first) == DayFigures(refunds_minor=500, held_minor=-500)
    assert later.since(first).moved_minor == 0
    assert later.since(later).is_nothing


@pytest.mark.parametrize(
    ("available", "owed", "rate_bp", "expected"),
    [
        (1_000, 0, 0, (0, 0, 1_000)),
        (1_000, 0, 500, (0, 50, 950)),
        (1_000, 300, 500, (300, 50, 650)),
        (1_000, 980, 500, (980, 20, 0)),  # what debt leaves is less than the rate
        (1_000, 5_000, 500, (1_000, 0, 0)),
        (1_400, 1_200, 500, (1_200, 50, 150)),  # debt takes what was there before, too
        (1_400, 300, 10_000, (300, 1_000, 0)),  # the reserve never reaches into earlier days
    ],
)
def test_debt_comes_before_reserve_and_reserve_before_the_rest(
    available: int, owed: int, rate_bp: int, expected: tuple[int, int, int]
) -> None:
    taken = deductions(moved=1_000, available=available, owed=owed, rate_bp=rate_bp)
    assert (taken.debt_minor, taken.reserve_minor, taken.left_minor) == expected


@given(
    moved=st.integers(0, 10**10),
    before=st.integers(0, 10**10),
    owed=st.integers(0, 10**10),
    rate_bp=st.integers(0, 10_000),
)
def test_no_guard_is_broken_by_any_deduction(moved: int, before: int, owed: int, rate_bp: int) -> None:
    taken = deductions(moved=moved, available=before + moved, owed=owed, rate_bp=rate_bp)
    assert 0 <= taken.debt_minor <= owed
    assert min(taken.reserve_minor, taken.left_minor) >= 0
    assert taken.debt_minor + taken.reserve_minor + taken.left_minor <= before + moved
    assert taken.reserve_minor + taken.left_minor <= moved


def test_holidays_put_settlement_off_to_the_first_day_that_is_none() -> None:
    days = {date(2026, 10, day) for day in range(3, 8)}
    assert settlement_day(FRIDAY, frozenset()) == date(2026, 10, 3)
    assert settlement_day(FRIDAY, days) == date(2026, 10, 8)
    assert settlement_day(date(2026, 10, 5), days) == date(2026, 10, 8)
    assert settled_at(FRIDAY, days, SHANGHAI) == datetime(2026, 10, 7, 18, tzinfo=UTC)
    assert settled_at(FRIDAY, days, "America/New_York") == datetime(2026, 10, 8, 6, tzinfo=UTC)


def test_a_schedule_pays_out_at_eight_each_day_or_weekday_of_the_merchants_calendar() -> None:
    before, after = datetime(2026, 10, 1, 23, 59, tzinfo=UTC), datetime(2026, 10, 2, 0, 0, tzinfo=UTC)
    assert next_payout(before, (), SHANGHAI) == datetime(2026, 10, 2, 0, 0, tzinfo=UTC)
    assert next_payout(after, (), SHANGHAI) == datetime(2026, 10, 3, 0, 0, tzinfo=UTC)
    assert next_payout(after, (), SHANGHAI, weekday=1) == datetime(2026, 10, 5, 0, 0, tzinfo=UTC)
    holidays = [date(2026, 10, day) for day in range(3, 8)]
    assert next_payout(after, holidays, SHANGHAI) == datetime(2026, 10, 8, 0, 0, tzinfo=UTC)
    assert next_payout(after, holidays, SHANGHAI, weekday=1) == datetime(2026, 10, 8, 0, 0, tzinfo=UTC)
    behind = datetime(2026, 10, 8, 1, tzinfo=UTC)
    assert next_payout(behind, holidays, SHANGHAI, weekday=1) == datetime(2026, 10, 12, 0, 0, tzinfo=UTC)
