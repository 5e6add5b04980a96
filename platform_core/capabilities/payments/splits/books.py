"""Rows 9 to 11 of payments.md section 4 as transfers. Every one of them names its split as reference."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Guard, Post, Transfer, Void
from platform_core.ledger.records import AccountKey

PENDING, AVAILABLE = "receiver_pending", "receiver_available"


@dataclass(frozen=True, slots=True)
class SplitBooks:
    """The accounts of a merchant's receivers, and what moves between them and the merchant's own."""

    merchant_id: str
    currency: str
    reference: str
    ids: Ids

    def account(self, role: str, bucket: str = "") -> Account:
        """One of the merchant's accounts; all that splits touch never go below zero."""
        return Account(self.merchant_id, self.currency, self.merchant_id, role, bucket, Guard.GE0)

    @property
    def hold(self) -> Account:
        """What is frozen for splits."""
        return self.account("merchant_split_hold")

    def receiver(self, receiver_id: str, day: date | None) -> Account:
        """A receiver's money of a booking day before T+1; without a day what is available."""
        if day is None:
            return self.account(AVAILABLE, receiver_id)
        return self.account(PENDING, f"{receiver_id}/{day.isoformat()}")

    def move(
        self,
        debit: Account,
        credit: Account,
        amount: int,
        *,
        code: str,
        is_pending: bool = False,
        reverses: str | None = None,
    ) -> Transfer:
        """One transfer of a split; `code`: split, split_hold, split_release, split_give_back or split_return."""
        id_ = self.ids.mint("tra")
        return Transfer(id_, debit, credit, amount, code, self.reference, is_pending=is_pending, reverses=reverses)

    def post(self, pending_id: str, code: str) -> Post:
        """What was held for a provider's word is moved."""
        return Post(self.ids.mint("tra"), pending_id, code=code)

    def void(self, pending_id: str) -> Void:
        """What was held is released."""
        return Void(self.ids.mint("tra"), pending_id, code="split_failed")


def day_key(merchant_id: str, currency: str, receiver_id: str, *, day: date | None) -> AccountKey:
    """How the ledger finds a receiver's account."""
    if day is None:
        return AccountKey(currency, merchant_id, AVAILABLE, receiver_id)
    return AccountKey(currency, merchant_id, PENDING, f"{receiver_id}/{day.isoformat()}")
