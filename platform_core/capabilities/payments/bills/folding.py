"""From transfers to rows: the transfers of one act become one row, whatever accounts they pass through.

Pure; fed in the order of booking. An act begins and ends with a customer_clearing of zero: every plan leaves it so, and
plans on one clearing account stand behind each other, since each holds the account locked and booking never steps back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from platform_core.capabilities.payments.bills.entries import (
    ALONE,
    CHANNEL,
    CLEARING,
    FEES,
    JOINED,
    RECEIVERS,
    Entry,
    UnknownMovement,
    group_of,
)
from platform_core.capabilities.payments.bills.rows import NAMELESS, BillRow, Names

Key = tuple[datetime, int]  # when a transfer was booked, and its position in the journal


@dataclass(frozen=True, slots=True)
class Moved:
    """A transfer that moved money: kinds `transfer` and `post`."""

    position: int
    id: str
    booked_at: datetime
    currency: str
    amount: int
    code: str
    reference: str
    debit_role: str
    credit_role: str

    @property
    def key(self) -> Key:
        """Its place in the order."""
        return self.booked_at, self.position


_TRANSACTION: Final = "txn_"


@dataclass(slots=True)
class _Act:
    """The transfers of one act so far."""

    entry: Entry
    first: Moved
    anchor: Moved
    since: int  # how many transfers were fed before it
    behind: Key | None  # the last of those
    reference: str  # of the transfer that the channel is part of, where there is one
    size: int = 0
    clearing: int = 0
    is_undone: bool = False
    paid: int = 0
    funded: int = 0
    refunded: int = 0
    fee: int = 0
    effects: dict[str, int] = field(default_factory=dict)

    def add(self, moved: Moved) -> None:
        self.size += 1
        self.is_undone |= moved.code == "cancel"
        if moved.code == "refund" and self.entry == "capture":  # begun by a funder
            self.entry = "refund"
        if CHANNEL in (moved.debit_role, moved.credit_role):
            self.reference = moved.reference
        self._side(moved, moved.debit_role, moved.credit_role, -moved.amount)
        self._side(moved, moved.credit_role, moved.debit_role, moved.amount)

    def _side(self, moved: Moved, role: str, other: str, amount: int) -> None:
        """One account of a transfer; `amount` is negative where it is debited."""
        if role == CLEARING:
            self.clearing += amount
            return
        group = group_of(role)
        if group is not None:
            if not self.effects:
                self.anchor = moved
            self.effects[group] = self.effects.get(group, 0) + amount
        elif role == FEES:
            self.fee += amount
        elif role == CHANNEL:
            if amount < 0 and self.entry == "capture":
                self.paid -= amount
            else:
                self.refunded += amount
        elif other == CLEARING:  # a funder, whatever account a capability lets pay for a discount
            self.funded -= amount

    def rows(self, names: Names) -> list[BillRow]:
        """One row for each group that it moved; one that moves nothing where it moved the customer's money alone."""
        entry: Entry = "refund" if self.is_undone else self.entry
        first = BillRow(
            booked_at=self.anchor.booked_at,
            entry=entry,
            currency=self.anchor.currency,
            net_minor=0,
            account="",
            transfer_id=self.anchor.id,
            names=names,
            customer_paid_minor=self.paid,
            funded_discount_minor=self.funded,
            refund_minor=self.refunded,
            fee_minor=self.fee,
            note=note_of(self.anchor, entry, is_undone=self.is_undone),
        )
        if not self.effects:
            return [first]
        (account, net), *others = self.effects.items()
        bare = replace(first, customer_paid_minor=0, funded_discount_minor=0, refund_minor=0, fee_minor=0, net_minor=0)
        return [
            replace(first, account=account, net_minor=net),
            *(replace(bare, account=group, net_minor=amount) for group, amount in others),
        ]


def note_of(moved: Moved, entry: Entry, *, is_undone: bool = False) -> str:
    """What the columns do not say: the ledger's word where it is another, the object where it is no transaction."""
    words = ["paid and returned"] if is_undone else []
    if moved.code not in (entry, "cancel", "capture"):
        words.append(moved.code)
    if not moved.reference.startswith(_TRANSACTION):
        words.append(moved.reference)
    return " ".join(words)


class Fold:
    """Takes transfers one by one, gives rows as soon as they are whole."""

    def __init__(self) -> None:
        self._acts: dict[str, _Act] = {}  # by currency
        self._fed = 0
        self._last: Key | None = None

    def feed(self, moved: Moved, names: Mapping[str, Names]) -> list[BillRow]:
        """The rows that are whole now. `names` by reference. Raises UnknownMovement."""
        act, entry = self._acts.get(moved.currency), JOINED.get(moved.code)
        if entry is None and moved.code not in ALONE:
            raise UnknownMovement(f"the code {moved.code} of {moved.id} has no entry")
        if act is not None and _continues(act, moved, entry):
            act.add(moved)
            rows = []
        else:
            rows = self._closed(names)
            if entry is None:
                rows += alone(moved, names.get(moved.reference, NAMELESS))
            else:
                act = _Act(entry, moved, moved, self._fed, self._last, moved.reference)
                act.add(moved)
                self._acts[moved.currency] = act
        self._fed += 1
        self._last = moved.key
        return rows

    def end(self, names: Mapping[str, Names]) -> list[BillRow]:
        """The rows of what is still open; nothing comes behind it."""
        rows = [row for act in self._acts.values() for row in act.rows(names.get(act.reference, NAMELESS))]
        self._acts.clear()
        return rows

    @property
    def can_rest(self) -> bool:
        """Whether a new fold that is fed from behind `resumes_after` gives exactly the rows still to come."""
        begun = min((act.since for act in self._acts.values()), default=self._fed)
        return sum(act.size for act in self._acts.values()) == self._fed - begun

    @property
    def resumes_after(self) -> Key | None:
        """The last transfer whose rows were all given; None: there is none."""
        return min(self._acts.values(), key=lambda act: act.since).behind if self._acts else self._last

    def _closed(self, names: Mapping[str, Names]) -> list[BillRow]:
        """The rows of the acts that are over, whatever comes next."""
        rows: list[BillRow] = []
        for currency in [currency for currency, act in self._acts.items() if act.clearing == 0]:
            act = self._acts.pop(currency)
            rows += act.rows(names.get(act.reference, NAMELESS))
        return rows


def _continues(act: _Act, moved: Moved, entry: Entry | None) -> bool:
    """Whether a transfer is part of the act that is open in its currency."""
    if act.clearing != 0 and entry is not None:
        return True
    is_of_it = moved.reference == act.reference
    return is_of_it and act.entry == ("capture" if moved.code == "fee" else entry)


def alone(moved: Moved, names: Names) -> list[BillRow]:
    """The rows of a transfer that is no part of an act. Raises UnknownMovement where it should have none."""
    entry = ALONE[moved.code]
    debit, credit = group_of(moved.debit_role), group_of(moved.credit_role)
    if debit == credit:
        return []
    if entry is None:
        raise UnknownMovement(f"{moved.code} moves {moved.debit_role} > {moved.credit_role} in {moved.id}")
    rows = []
    for group, other, amount in ((debit, moved.credit_role, -moved.amount), (credit, moved.debit_role, moved.amount)):
        if group is not None:
            rows.append(
                BillRow(
                    booked_at=moved.booked_at,
                    entry=entry,
                    currency=moved.currency,
                    net_minor=amount,
                    account=group,
                    transfer_id=moved.id,
                    names=names,
                    fee_minor=-amount if entry == "fee" and other == FEES else 0,
                    split_minor=-amount if other in RECEIVERS else 0,
                    note=note_of(moved, entry),
                )
            )
    return rows
