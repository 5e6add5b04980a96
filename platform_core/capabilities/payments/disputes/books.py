"""Row 15 of payments.md section 4 as transfers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Guard, Transfer


@dataclass(frozen=True, slots=True)
class DisputeBooks:
    """The accounts of one merchant, currency and channel account; `reference` is the dispute."""

    merchant_id: str
    currency: str
    channel_account_id: str
    reference: str
    ids: Ids

    def _account(self, role: str, bucket: str = "", guard: Guard = Guard.GE0) -> Account:
        return Account(self.merchant_id, self.currency, self.merchant_id, role, bucket, guard)

    @property
    def disputed(self) -> Account:
        """What is disputed, until it is decided."""
        return self._account("merchant_dispute")

    @property
    def receivable(self) -> Account:
        """What the acquirer collected and owes."""
        return self._account("channel_receivable", self.channel_account_id, Guard.FREE)

    def pending(self, day: date) -> Account:
        """Received on a booking day, before T+1."""
        return self._account("merchant_pending", day.isoformat())

    @property
    def available(self) -> Account:
        """Free to pay out."""
        return self._account("merchant_available")

    @property
    def reserve(self) -> Account:
        """Kept back."""
        return self._account("merchant_reserve")

    @property
    def debt(self) -> Account:
        """What the merchant owes the platform; its balance is never above zero."""
        return self._account("merchant_debt", guard=Guard.LE0)

    def take(self, parts: Sequence[tuple[Account, int]]) -> list[Transfer]:
        """Opened: these amounts of these accounts, in this order."""
        return [self._transfer(account, self.disputed, amount, "dispute") for account, amount in parts]

    def withdraw(self, amount: int) -> list[Transfer]:
        """The acquirer took it."""
        return [self._transfer(self.disputed, self.receivable, amount, "dispute_withdrawn")] if amount else []

    def win(self, amount: int, *, is_withdrawn: bool, debt: int) -> list[Transfer]:
        """Decided for the merchant: back from the acquirer if it took it, then debt first. `debt`: what is owed."""
        repaid = min(debt, amount)
        transfers = []
        if is_withdrawn and amount:
            transfers.append(self._transfer(self.receivable, self.disputed, amount, "dispute_won"))
        if repaid:
            transfers.append(self._transfer(self.disputed, self.debt, repaid, "dispute_won_debt"))
        if amount > repaid:
            transfers.append(self._transfer(self.disputed, self.available, amount - repaid, "dispute_won"))
        return transfers

    def _transfer(self, debit: Account, credit: Account, amount: int, code: str) -> Transfer:
        return Transfer(self.ids.mint("tra"), debit, credit, amount, code, self.reference)


@dataclass(frozen=True, slots=True)
class Purse:
    """What a merchant's accounts could give at a moment, in the order of row 15, and what he owes."""

    free: Sequence[tuple[Account, int]]
    debt: int

    def share(self, amount: int, debt: Account) -> list[tuple[Account, int]]:
        """Where `amount` comes from: each account in turn, the rest as debt."""
        parts: list[tuple[Account, int]] = []
        left = amount
        for account, free in self.free:
            taken = min(left, free)
            if taken:
                parts.append((account, taken))
                left -= taken
        return [*parts, (debt, left)] if left else parts
