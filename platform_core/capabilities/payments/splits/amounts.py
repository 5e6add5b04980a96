"""The arithmetic of splits: what may be split, what each share is, what a refund takes back. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from platform_core.capabilities.payments.answers import Row
from platform_core.capabilities.payments.splits.errors import (
    RECEIVER_NOT_BOUND,
    SPLIT_LIMIT_EXCEEDED,
    SPLIT_SHARE_EMPTY,
)
from platform_core.capabilities.payments.splits.models import Split, SplitPolicy, SplitShare
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.money import Money

SHARE_CAP_BP: Final = 3_000
"""Of what was captured, all shares of a payment together, unless the merchant's policy says otherwise."""
SPLITS_MAX: Final[Mapping[str, int]] = {"all_or_nothing": 50, "partial": 300}
SHARES_MAX: Final[Mapping[str, int]] = {"all_or_nothing": 5, "partial": 50}
ALL_BP: Final = 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A share that is asked for: an amount, or basis points of what was captured."""

    receiver_id: str
    amount_minor: int | None
    percent_bp: int | None
    note: str

    def minor(self, captured_minor: int) -> int:
        """Percents are floored; what is left over stays with the merchant."""
        if self.amount_minor is not None:
            return self.amount_minor
        assert self.percent_bp is not None, "validated: one of the two"
        return captured_minor * self.percent_bp // ALL_BP


@dataclass(frozen=True, slots=True)
class Judged:
    """What becomes of a share that was asked for; `error` says why nothing."""

    wanted: Wanted
    amount_minor: int
    error: PlatformError | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may still be split of a payment: under the cap, and of what it has left for the merchant."""

    payment_id: str
    currency: str
    captured_minor: int
    cap_bp: int
    under_cap_minor: int
    unspent_minor: int

    def check(self, amount_minor: int) -> None:
        """Raise 409 `payments.split_limit_exceeded` unless so much may still be split."""
        left = max(0, min(self.under_cap_minor, self.unspent_minor))
        if amount_minor > left:
            limit = f"cap_bp {self.cap_bp}" if self.under_cap_minor <= self.unspent_minor else "unspent"
            raise exceeded(self.payment_id, self.currency, asked=amount_minor, left=left, limit=limit)

    def less(self, amount_minor: int) -> Bounds:
        """After one more share."""
        return Bounds(
            self.payment_id,
            self.currency,
            self.captured_minor,
            self.cap_bp,
            self.under_cap_minor - amount_minor,
            self.unspent_minor - amount_minor,
        )


def cap_of(policy: SplitPolicy | None) -> int:
    """Basis points of what was captured that all shares of one payment may be together; the one place that says so."""
    return SHARE_CAP_BP if policy is None or policy.share_cap_bp is None else policy.share_cap_bp


def bounds_of(payment: Row, shares: Sequence[SplitShare], *, cap_bp: int) -> Bounds:
    """`payment` as it stands in this decision. What came back by refunds does not widen the cap; what was never given
    to anybody does.
    """
    given = sum(share.amount_minor - share.given_back_minor for share in shares if share.state != "failed")
    fee = payment["fee_minor"] - payment["fee_returned_minor"]
    shared = payment["split_minor"] + payment["splitting_minor"]
    gone = payment["refunded_minor"] + payment["refunding_minor"] + payment["disputed_minor"] + shared
    captured: int = payment["captured_minor"]
    return Bounds(
        payment["id"],
        payment["currency"],
        captured,
        cap_bp,
        captured * cap_bp // ALL_BP - given,
        captured - fee - gone,
    )


def judge(wanted: Sequence[Wanted], bounds: Bounds, *, is_bound: Callable[[str], bool]) -> list[Judged]:
    """Each share by itself, in their order: those before it have taken what they take."""
    judged = []
    for each in wanted:
        amount = each.minor(bounds.captured_minor)
        error = _refusal(each, amount, bounds, is_bound=is_bound(each.receiver_id))
        judged.append(Judged(each, amount, error))
        if error is None:
            bounds = bounds.less(amount)
    return judged


def _refusal(wanted: Wanted, amount: int, bounds: Bounds, *, is_bound: bool) -> PlatformError | None:
    if not is_bound:
        return RECEIVER_NOT_BOUND.error({"receiver_id": wanted.receiver_id})
    if amount == 0:
        captured = Money(bounds.captured_minor, bounds.currency)
        return SPLIT_SHARE_EMPTY.error({"percent_bp": str(wanted.percent_bp), "captured": captured})
    try:
        bounds.check(amount)
    except PlatformError as error:
        return error
    return None


def exceeded(payment_id: str, currency: str, *, asked: int, left: int, limit: str) -> PlatformError:
    """409 `payments.split_limit_exceeded` for an amount."""
    values = {
        "asked": Money(asked, currency),
        "left": Money(left, currency),
        "payment_id": payment_id,
        "limit": limit,
    }
    return SPLIT_LIMIT_EXCEEDED.error(values)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a share that a refund takes back: out of the hold where it is frozen, else from its receiver."""

    share: SplitShare
    amount_minor: int
    is_frozen: bool


def pieces(share: SplitShare, amount_minor: int) -> list[Piece]:
    """`amount_minor` of a share: first what is frozen, so that the receiver is bothered last."""
    assert 0 <= amount_minor <= share.frozen_minor + share.settled_minor, share
    frozen = min(amount_minor, share.frozen_minor)
    both = [Piece(share, frozen, True), Piece(share, amount_minor - frozen, False)]
    return [piece for piece in both if piece.amount_minor]


def pro_rata(
    splits: Sequence[Split],
    shares_of: Mapping[str, Sequence[SplitShare]],
    *,
    captured_minor: int,
    gone_minor: int,
    most_minor: int,
) -> list[Piece]:
    """What comes back when nothing is named: of each split the part that has gone back of the payment since it was
    split, floored, over all refunds together; the last refund brings all that is left.

    `gone_minor`: refunded so far, this refund included. `most_minor`: what may come back at most. Within a split the
    shares take their parts by cumulative floor in their order, so that they add up to the split's part.
    """
    back: list[Piece] = []
    for split in splits:
        shares = shares_of.get(split.id, ())
        here = _of_split(split, shares, captured_minor=captured_minor, gone_minor=gone_minor)
        for share, wanted in zip(shares, here, strict=True):
            amount = min(wanted, most_minor)
            back += pieces(share, amount)
            most_minor -= amount
    return back


def _of_split(split: Split, shares: Sequence[SplitShare], *, captured_minor: int, gone_minor: int) -> list[int]:
    whole = captured_minor - split.refunded_before_minor
    part = min(max(0, gone_minor - split.refunded_before_minor), whole)
    bases = [share.frozen_minor + share.settled_minor + share.returned_minor for share in shares]
    there = [share.frozen_minor + share.settled_minor for share in shares]
    if whole == 0 or part == 0:
        return [0] * len(shares)
    wanted, before = [], 0
    for base, share, most in zip(bases, shares, there, strict=True):
        target = (before + base) * part // whole - before * part // whole
        wanted.append(min(max(0, target - share.returned_minor), most))
        before += base
    left = before * part // whole - sum(share.returned_minor for share in shares) - sum(wanted)
    for n, most in enumerate(there):  # what earlier refunds took by other sums is made even here, where there is room
        step = max(-wanted[n], min(most - wanted[n], left))
        wanted[n] += step
        left -= step
    return wanted


def share_state(share: Row) -> str:
    """Where the amounts of a share that was given put it."""
    if share["frozen_minor"]:
        return "frozen"
    return "settled" if share["settled_minor"] else "returned"


def split_state(shares: Sequence[Row]) -> str:
    """Where its shares put a split."""
    states = {share["state"] for share in shares}
    for state in ("pending", "unknown", "frozen", "settled", "returned"):
        if state in states:
            return state
    return "failed"


def told(error: PlatformError) -> dict[str, Any]:
    """A refusal as it is kept on a share."""
    return {"code": error.code, "message": error.detail("en")}
