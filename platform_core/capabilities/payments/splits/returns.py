"""Row 11: which shares come back with a refund or a cancel, and whether their receivers can give them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.errors import BUSY, OUTCOME_UNKNOWN
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.splits.amounts import Piece, pieces, pro_rata
from platform_core.capabilities.payments.splits.books import day_key
from platform_core.capabilities.payments.splits.errors import SPLIT_RETURN_EXCEEDS
from platform_core.capabilities.payments.splits.models import Split, SplitShare
from platform_core.capabilities.payments.splits.repository import SplitRepository
from platform_core.capabilities.payments.splits.schemas import SplitReturn
from platform_core.capabilities.payments.splits.work import SplitWork
from platform_core.kernel.money import Money
from platform_core.ledger.accounts import Account
from platform_core.ledger.service import LedgerService

Free = dict[tuple[str, date | None], int]  # by receiver and booking day (None: available)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a payment's shares stand outside its own rows, as it was read before the decision."""

    settled_days: frozenset[date] = frozenset()
    free: Free | None = None
    """What receivers can give; None where it does not matter: then one that cannot refuses the refund."""


@dataclass(frozen=True, slots=True)
class Refunded:
    """The refund that shares come back with. `gone_minor`: of the payment in all, this one included."""

    amount_minor: int
    fee_back_minor: int
    gone_minor: int
    named: Sequence[SplitReturn] | None = None


class Returns:
    """Reads what a decision on returns needs; decides in the payment's own decision."""

    def __init__(self, desk: Desk, repository: SplitRepository, ledger: LedgerService) -> None:
        self._desk = desk
        self._repository = repository
        self._ledger = ledger

    async def standing(self, merchant_id: str, payment_id: str, *, merchant_covers: bool) -> Standing | None:
        """None for a payment that is not split."""
        payment = await self._desk.tools.repository.payment(merchant_id, payment_id)
        if payment is None or not payment.split_count:
            return None
        file = await self._desk.file(merchant_id, payment_id)
        days = {share.day for share in file.shares if share.day is not None}
        settled = await self._repository.settled_days(merchant_id, days, currency=payment.currency)
        if not merchant_covers:
            return Standing(settled)
        wanted = {(share.receiver_id, _place(share, settled)) for share in file.shares if share.settled_minor}
        keys = {day_key(merchant_id, payment.currency, who, day=day): (who, day) for who, day in wanted}
        records = await self._ledger.accounts(merchant_id, list(keys))
        return Standing(settled, {place: _free(records.get(key)) for key, place in keys.items()})


def _free(record: Any) -> int:  # an AccountRecord, or None for an account that was never opened
    return 0 if record is None else record.available or 0


def _place(share: SplitShare, settled: frozenset[date]) -> date | None:
    return None if share.day in settled else share.day


def take_back(
    work: SplitWork,
    file: PaymentFile,
    standing: Standing | None,
    refunded: Refunded,
    *,
    target: Account,
) -> list[dict[str, Any]]:
    """Bring shares back to `target`, before the refund is held there; returns what its transaction keeps of them.

    Raises 409 split_return_exceeds; 503 busy for a payment that was split after `standing` was read.
    """
    if not file.splits:
        if refunded.named:
            _refuse(file, asked=sum(each.amount_minor for each in refunded.named), left=0)
        return []
    if standing is None:
        raise BUSY.error({"payment_id": file.payment.id}, retry_after_s=1)
    back = _named(file, refunded) if refunded.named is not None else _pro_rata(file, refunded)
    if standing.free is not None:
        back = _affordable(back, dict(standing.free), standing.settled_days)
    parts = work.take_back(back, target, settled_days=standing.settled_days)
    if parts:
        work.secure(parts, target, held_minor=refunded.amount_minor - refunded.fee_back_minor)
    return parts


def everything(file: PaymentFile) -> Refunded:
    """A cancel: all that is with receivers, or frozen for them, comes back. Raises 409 `payments.outcome_unknown`."""
    payment = file.payment
    if payment.splitting_minor or open_splits(file):
        raise OUTCOME_UNKNOWN.error({"payment_id": payment.id}, retry_after_s=5)
    return Refunded(payment.captured_minor, payment.fee_minor, payment.captured_minor)


def open_splits(file: PaymentFile) -> frozenset[str]:
    """Splits about which a provider has still to say its word: their shares stay where they are."""
    shares = {share.id: share.split_id for share in file.shares}
    opened = [t for t in file.transactions if t.kind == "settle" and t.state in ("pending", "unknown")]
    return frozenset(shares[part["share_id"]] for t in opened for part in t.split_parts)


def _certain(file: PaymentFile) -> tuple[list[Split], Mapping[str, Sequence[SplitShare]]]:
    doubted = open_splits(file)
    shares: dict[str, list[SplitShare]] = defaultdict(list)
    for share in sorted(file.shares, key=lambda share: share.number):
        shares[share.split_id].append(share)
    return [split for split in file.splits if split.id not in doubted], shares


def _pro_rata(file: PaymentFile, refunded: Refunded) -> list[Piece]:
    splits, shares = _certain(file)
    return pro_rata(
        splits,
        shares,
        captured_minor=file.payment.captured_minor,
        gone_minor=refunded.gone_minor,
        most_minor=refunded.amount_minor,
    )


def _named(file: PaymentFile, refunded: Refunded) -> list[Piece]:
    splits, shares = _certain(file)
    there = {(split.id, share.receiver_id): share for split in splits for share in shares[split.id]}
    left = {key: share.frozen_minor + share.settled_minor for key, share in there.items()}
    back: list[Piece] = []
    asked: dict[tuple[str, str], int] = defaultdict(int)
    for each in refunded.named or ():
        asked[each.split_id, each.receiver_id] += each.amount_minor
    for key, amount in asked.items():
        if amount > left.get(key, 0):
            _refuse(file, asked=amount, left=left.get(key, 0))
        back += pieces(there[key], amount)
    total = sum(asked.values())
    if total > refunded.amount_minor:
        _refuse(file, asked=total, left=refunded.amount_minor)
    return back


def _refuse(file: PaymentFile, *, asked: int, left: int) -> None:
    currency = file.payment.currency
    values = {"asked": Money(asked, currency), "left": Money(left, currency), "payment_id": file.payment.id}
    raise SPLIT_RETURN_EXCEEDS.error(values, param="/split_returns")


def _affordable(back: Sequence[Piece], free: Free, settled: frozenset[date]) -> list[Piece]:
    """What receivers cannot give, the merchant bears."""
    kept = []
    for piece in back:
        amount = piece.amount_minor
        if not piece.is_frozen:
            place = piece.share.receiver_id, _place(piece.share, settled)
            amount = min(amount, max(0, free.get(place, 0)))
            free[place] = free.get(place, 0) - amount
        if amount:
            kept.append(Piece(piece.share, amount, piece.is_frozen))
    return kept
