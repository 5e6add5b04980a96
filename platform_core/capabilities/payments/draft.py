"""What one decision changes on one payment, gathered until it becomes a plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from platform_core.capabilities.payments.answers import encoded, json_text, payment_answer, refund_answer
from platform_core.capabilities.payments.models import ATTEMPTS, PAYMENTS, REFUNDS, TRANSACTIONS, Payment, Refund
from platform_core.identity import limits
from platform_core.kernel.commit import Change, Due, DueDone, Event, Insert, Plan
from platform_core.kernel.ids import Ids

ASK = "payments.ask"  # due: learn, or bring about, the outcome of a transaction
EXPIRE = "payments.expire"  # due: close a payment that nobody paid
SETTLE = "payments.settle"  # due: move a booking day's money to available
SETTLE_AT = time(2)


class Draft:
    """One payment, what it becomes, and everything written with it. Reading an attribute gives the new value."""

    def __init__(self, payment: Payment, *, ids: Ids, now: datetime) -> None:
        self.before = payment
        self.ids = ids
        self.now = now
        self._row: dict[str, Any] = payment.model_dump()
        self._changed: dict[str, Any] = {}
        self._events: list[tuple[str, Mapping[str, Any] | None]] = []
        self._parts: list[object] = []
        self._refunds: dict[str, tuple[Refund, dict[str, Any]]] = {}
        self.splits: dict[str, dict[str, Any]] = {}
        """`SplitRead` by id of the splits that this decision changes, as they will stand."""

    def __getitem__(self, name: str) -> Any:  # of the column's type
        return self._row[name]

    @property
    def row(self) -> dict[str, Any]:
        """The payment as it will stand."""
        return self._row

    def set(self, **values: Any) -> None:  # of the columns' types
        """New values of the payment's columns."""
        self._row |= values
        self._changed |= values

    def add(self, *parts: object) -> None:
        """Transfers and other parts of the plan."""
        self._parts += parts

    @property
    def announced(self) -> list[str]:
        """The types of the events so far, in order."""
        return [type_ for type_, _ in self._events]

    def emit(self, type_: str, about: Mapping[str, Any] | None = None) -> None:
        """An event of this payment; `about` is the object it shows (a refund), by default the payment."""
        self._events.append((type_, about))

    def insert_attempt(self, row: Mapping[str, Any]) -> None:
        """A new attempt."""
        self.add(Insert(ATTEMPTS, encoded(row)))

    def insert_transaction(self, row: Mapping[str, Any]) -> None:
        """A new transaction, with the question that will be asked if its answer does not come."""
        self.add(Insert(TRANSACTIONS, encoded(row)))

    def change_attempt(self, attempt_id: str, **values: Any) -> None:  # of the columns' types
        """Move an attempt."""
        self.add(Change(ATTEMPTS, attempt_id, encoded(values)))

    def change_transaction(self, transaction_id: str, **values: Any) -> None:  # of the columns' types
        """Move a transaction."""
        self.add(Change(TRANSACTIONS, transaction_id, encoded(values)))

    def insert_refund(self, row: Mapping[str, Any]) -> None:
        """A new refund, announced."""
        self.add(Insert(REFUNDS, encoded(row)))
        self.emit("refund.created", refund_answer(row))

    def change_refund(self, refund: Refund, type_: str | None, **values: Any) -> None:  # of the columns' types
        """Move a refund, perhaps for a second time in this decision, and announce where it stands then."""
        _, changed = self._refunds.setdefault(refund.id, (refund, {}))
        changed |= {**values, "updated_at": self.now}
        if type_ is not None:
            self.emit(type_, self.refund_as_it_will_be(refund))

    def refund_as_it_will_be(self, refund: Refund) -> dict[str, Any]:
        """`RefundRead` of a refund with what this decision changes."""
        changed = self._refunds[refund.id][1] if refund.id in self._refunds else {}
        return refund_answer({**refund.model_dump(), **changed})

    def ask_at(self, transaction_id: str, due_at: datetime, *, tries: int = 0) -> None:
        """Have the outcome asked for."""
        self.add(Due(ASK, transaction_id, due_at, tries))

    def asked(self, transaction_id: str) -> None:
        """Nothing is left to ask."""
        self.add(DueDone(ASK, transaction_id))

    def expire_at(self, due_at: datetime) -> None:
        """Close the payment then, unless it is paid."""
        self.add(Due(EXPIRE, self["id"], due_at))

    def unexpire(self) -> None:
        """It will not expire any more."""
        self.add(DueDone(EXPIRE, self["id"]))

    def _move_charge(self, charge: Mapping[str, Any]) -> None:
        """What the payment takes of its grant's limits follows it: used when taken, freed when nothing was taken in
        the end, given back when what was taken is undone.
        """
        is_held, captured = charge["state"] == "held", self["captured_minor"]
        is_over = self["state"] in ("canceled", "closed")
        if is_held and is_over:
            state, movements = "freed", limits.voided(charge, ids=self.ids)
        elif is_held and self["state"] == "captured":
            state, movements = "spent", limits.posted(charge, ids=self.ids, amount=captured)
        elif charge["state"] == "spent" and is_over:
            state = "freed"
            movements = limits.given_back(
                charge, merchant_id=self["merchant_id"], reference=self["id"], amount=captured
            )
        else:
            return
        self.add(*movements)
        self.set(charge={**charge, "state": state})

    def plan(self) -> Plan:
        """All of it as one plan; the answer is the payment as it will stand."""
        if self["charge"] is not None:
            self._move_charge(self["charge"])
        self.set(updated_at=self.now, sequence=self.before.sequence + len(self._events))
        answer = payment_answer(self._row)
        plan = Plan(self.before.merchant_id, answer=answer)
        plan.add(Change(PAYMENTS, self.before.id, encoded(self._changed), expected=self.before.version))
        plan.add(*self._parts)
        for refund, changed in self._refunds.values():
            plan.add(Change(REFUNDS, refund.id, encoded(changed), expected=refund.version))
        whole = json_text(answer) if self._events else ""
        for n, (type_, about) in enumerate(self._events, start=1):
            plan.add(
                Event(
                    self.ids.mint("evt"),
                    type_,
                    self.before.id,
                    self.before.sequence + n,
                    self.now,
                    whole if about is None else json_text(about),
                )
            )
        return plan


def settle_due(merchant_id: str, currency: str, day: date, time_zone: str) -> Due:
    """The due row of a booking day; a second one for the same day is the same row."""
    moment = datetime.combine(day + timedelta(days=1), SETTLE_AT, ZoneInfo(time_zone))
    return Due(SETTLE, f"{merchant_id}/{currency}/{day.isoformat()}", moment)
