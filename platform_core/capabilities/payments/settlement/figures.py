"""What a settlement shows, derived from what moved on the day's account and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from platform_core.kernel.money import round_half_up_bp
from platform_core.ledger.records import AccountActivity, CodeSums

GROSS: Final = frozenset({"capture"})
FEES: Final = frozenset({"fee", "fee_return"})
SPLITS: Final = frozenset({"split", "split_hold", "split_return"})
REFUNDS: Final = frozenset({"refund"})
DISPUTES: Final = frozenset({"dispute", "dispute_withdrawn", "dispute_won"})
SETTLED: Final = "settlement"


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFigures:
    """A booking day's account, or what changed on it since the last part. Minor units; deductions are positive.

    `refunds_minor` is what refunds took from the day's money, after the fees that went back with them. `other_minor`
    is what codes that none of the figures names brought (or took, negative). `held_minor` stands on the account for
    what is still open.
    """

    gross_minor: int = 0
    funded_minor: int = 0
    fees_minor: int = 0
    splits_minor: int = 0
    refunds_minor: int = 0
    disputes_minor: int = 0
    other_minor: int = 0
    held_minor: int = 0

    @property
    def moved_minor(self) -> int:
        """What goes on to available."""
        taken = self.fees_minor + self.splits_minor + self.refunds_minor + self.disputes_minor + self.held_minor
        return self.gross_minor + self.funded_minor + self.other_minor - taken

    def since(self, earlier: DayFigures) -> DayFigures:
        """What has changed."""
        names = [field.name for field in fields(self)]
        return DayFigures(**{name: getattr(self, name) - getattr(earlier, name) for name in names})

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to tell."""
        return self == NOTHING


NOTHING: Final = DayFigures()


def day_figures(activity: AccountActivity) -> DayFigures:
    """All that ever stood on a day's account. What earlier parts moved on is left out; what is held is told apart."""
    codes = activity.by_code

    def net(wanted: frozenset[str]) -> int:
        return sum(_net(codes, code) for code in wanted)

    known = GROSS | FEES | SPLITS | REFUNDS | DISPUTES | {SETTLED}
    return DayFigures(
        gross_minor=net(GROSS),
        fees_minor=-net(FEES),
        splits_minor=-net(SPLITS),
        refunds_minor=-net(REFUNDS),
        disputes_minor=-net(DISPUTES),
        other_minor=sum(_net(codes, code) for code in codes if code not in known),
        held_minor=activity.account.debits_pending,
    )


def _net(codes: Mapping[str, CodeSums], code: str) -> int:
    sums = codes.get(code)
    return 0 if sums is None else sums.credits - sums.debits


@dataclass(frozen=True, slots=True, kw_only=True)
class Deductions:
    """What is taken off a day's money once it is available, in this order."""

    debt_minor: int
    reserve_minor: int
    left_minor: int
    """What capabilities may withhold at most: of the day's money, and of what is available at all."""


def deductions(*, moved: int, available: int, owed: int, rate_bp: int) -> Deductions:
    """Row 12. `available`: what may be debited once the day's money is there; `owed`: the merchant's debt.

    Debt comes first and takes whatever is available; the reserve is its rate of the day's money, as far as that is
    left.
    """
    assert available >= moved >= 0, (available, moved)
    debt = min(owed, available)
    free = min(moved, available - debt)
    reserve = min(round_half_up_bp(moved, rate_bp), free)
    return Deductions(debt_minor=debt, reserve_minor=reserve, left_minor=free - reserve)
