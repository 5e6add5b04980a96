"""The one door for a provider's word on a dispute: a notice, the janitor's question, an answer to an act, an operator.

Pure: it reads nothing and writes nothing but the draft. A word tells all that has happened so far, so that words may
come twice or in any order. Final states stay; a word that contradicts one is announced, and no money moves by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from platform_core.capabilities.payments.answers import refundable
from platform_core.capabilities.payments.disputes.answers import dispute_answer
from platform_core.capabilities.payments.disputes.books import DisputeBooks, Purse
from platform_core.capabilities.payments.disputes.models import DISPUTES, Dispute
from platform_core.capabilities.payments.draft import Draft
from platform_core.capabilities.payments.models import Transaction
from platform_core.capabilities.payments.refunding import is_taken, left_of
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.contracts.payments import DisputeWord
from platform_core.kernel.commit import Change, Insert

OPEN = ("opened", "evidence_sent")
DECIDED = ("won", "lost")


class DisputeDraft:
    """One dispute and what it becomes, within the draft of its payment. Reading an attribute gives the new value."""

    def __init__(self, draft: Draft, row: dict[str, Any], *, before: Dispute | None) -> None:
        self.draft = draft
        self.before = before
        self.row = row
        self._changed: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:  # of the column's type
        return self.row[name]

    @property
    def books(self) -> DisputeBooks:
        """Its accounts."""
        draft = self.draft
        return DisputeBooks(draft["merchant_id"], draft["currency"], self["channel_account_id"], self["id"], draft.ids)

    def set(self, **values: Any) -> None:  # of the columns' types
        """New values of its columns."""
        self.row |= values
        self._changed |= values

    def emit(self, type_: str) -> None:
        """An event that shows the dispute as it stands by now."""
        self.set(updated_at=self.draft.now)
        self.draft.emit(type_, dispute_answer(self.row))

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to write."""
        return self.before is None or bool(self._changed)

    def write(self) -> None:
        """Put it into the payment's draft."""
        if self.before is None:
            self.draft.add(Insert(DISPUTES, self.row))
        elif self._changed:
            self.draft.add(Change(DISPUTES, self.before.id, self._changed, expected=self.before.version))


@dataclass(frozen=True, slots=True)
class DisputeCase:
    """Everything that a word on one dispute is about."""

    file: PaymentFile
    draft: Draft
    transaction: Transaction
    purse: Purse

    def found(self, reference: str) -> Dispute | None:
        """The dispute of this reference, if it is known."""
        account_id = self.transaction.channel_account_id
        return next(
            (d for d in self.file.disputes if (d.channel_account_id, d.provider_reference) == (account_id, reference)),
            None,
        )


def apply(case: DisputeCase, word: DisputeWord) -> DisputeDraft:
    """Bring the dispute to where the word puts it, opening it if it was not known."""
    before = case.found(word.provider_reference)
    row = _opened(case, word) if before is None else before.model_dump()
    told = DisputeDraft(case.draft, row, before=before)
    if _contradicts(told, word):
        case.draft.emit("payment.outcome_contradicted")
        return told
    if told["state"] not in DECIDED:
        _follow(case, told, word)
    told.write()
    return told


def _contradicts(told: DisputeDraft, word: DisputeWord) -> bool:
    """Another amount, or another end than the one that stands; what merely comes late does not."""
    if (word.amount_minor, word.currency) != (told["amount_minor"], told["currency"]):
        return True
    if told["state"] == "accepted":
        return word.status == "won"
    return told["state"] in DECIDED and word.status in DECIDED and word.status != told["state"]


def _follow(case: DisputeCase, told: DisputeDraft, word: DisputeWord) -> None:
    draft = case.draft
    owed = case.purse.debt + _hold(case, told)
    if told.before is None:
        draft.set(disputes=draft["disputes"] + 1)
        told.emit("dispute.opened")
    if word.due_at is not None and word.due_at != told["due_at"]:
        told.set(due_at=word.due_at)
    if word.is_withdrawn:
        withdraw(told)
    if word.status == "won":
        held = told["held_minor"]
        draft.add(*told.books.win(held, is_withdrawn=told["is_withdrawn"], debt=owed))
        draft.set(disputed_minor=draft["disputed_minor"] - held)
    if word.status in DECIDED and told["state"] != "accepted":
        told.set(state=word.status, decided_at=draft.now)
        told.emit(f"dispute.{word.status}")


def _hold(case: DisputeCase, told: DisputeDraft) -> int:
    """Take what is missing of the amount, as far as captured money that has not gone back reaches.

    Returns how much of it became debt. While a refund is under way less may be there than is disputed; what the refund
    leaves is taken at the next word.
    """
    draft, transaction = case.draft, case.transaction
    room = 0
    if is_taken(case.file, transaction):
        room = min(refundable(draft.row), left_of(case.file, transaction))
    taken = min(told["amount_minor"] - told["held_minor"], room)
    if taken <= 0:
        return 0
    books = told.books
    parts = case.purse.share(taken, books.debt)
    draft.add(*books.take(parts))
    if told["is_withdrawn"]:
        draft.add(*books.withdraw(taken))
    told.set(held_minor=told["held_minor"] + taken)
    draft.set(disputed_minor=draft["disputed_minor"] + taken)
    return sum(amount for account, amount in parts if account == books.debt)


def withdraw(told: DisputeDraft) -> None:
    """The acquirer took the money, or the merchant gives it up."""
    if told["is_withdrawn"]:
        return
    told.draft.add(*told.books.withdraw(told["held_minor"]))
    told.set(is_withdrawn=True)
    told.emit("dispute.withdrawn")


def _opened(case: DisputeCase, word: DisputeWord) -> dict[str, Any]:
    draft, transaction = case.draft, case.transaction
    return {
        "id": draft.ids.mint("dsp"),
        "merchant_id": draft["merchant_id"],
        "payment_id": draft["id"],
        "transaction_id": transaction.id,
        "provider_id": transaction.provider_id,
        "channel_account_id": transaction.channel_account_id,
        "provider_reference": word.provider_reference,
        "state": "opened",
        "amount_minor": word.amount_minor,
        "held_minor": 0,
        "currency": word.currency,
        "reason": word.reason,
        "is_withdrawn": False,
        "due_at": word.due_at,
        "documents": 0,
        "version": 1,
        "created_at": draft.now,
        "updated_at": draft.now,
        "decided_at": None,
    }
