"""Rows 12 to 14 of payments.md section 4 as transfers: from what is pending to the merchant's bank."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Guard, Transfer
from platform_core.ledger.records import AccountKey


@dataclass(frozen=True, slots=True)
class MerchantBooks:
    """A merchant's own accounts in one currency. `reference`: the settlement, payout or top-up that moves money."""

    merchant_id: str
    currency: str
    reference: str
    ids: Ids

    def _account(self, role: str, bucket: str = "", guard: Guard = Guard.GE0) -> Account:
        return Account(self.merchant_id, self.currency, self.merchant_id, role, bucket, guard)

    @property
    def available(self) -> Account:
        """Free to pay out."""
        return self._account("merchant_available")

    @property
    def debt(self) -> Account:
        """What the merchant owes us: debits less credits."""
        return self._account("merchant_debt", guard=Guard.LE0)

    @property
    def reserve(self) -> Account:
        """Kept back for disputes to come."""
        return self._account("merchant_reserve")

    @property
    def payout(self) -> Account:
        """On its way to the merchant's bank."""
        return self._account("merchant_payout")

    def pending(self, day: date) -> Account:
        """Received on a booking day, before T+1."""
        return self._account("merchant_pending", day.isoformat())

    def receiver_available(self, receiver_id: str) -> Account:
        """A split receiver's share after T+1."""
        return self._account("receiver_available", receiver_id)

    def receivable(self, channel_account_id: str) -> Account:
        """What the acquirer collected and owes."""
        return self._account("channel_receivable", channel_account_id, Guard.FREE)

    def bank(self, bank_account: str) -> Account:
        """Our bank, by channel account or by the name of a bank account."""
        return self._account("bank", bank_account, Guard.FREE)

    @property
    def channel_cost(self) -> Account:
        """What acquirers charge."""
        return self._account("channel_cost", guard=Guard.FREE)

    def _move(self, debit: Account, credit: Account, amount: int, code: str, *, id_: str | None = None) -> Transfer:
        return Transfer(id_ or self.ids.mint("tra"), debit, credit, amount, code, self.reference)

    def settled(self, pending: Account, available: Account, amount: int, *, id_: str) -> Transfer:
        """Row 12: a booking day's money, of the merchant or of a receiver. `id_` makes it happen once."""
        return self._move(pending, available, amount, "settlement", id_=id_)

    def debt_paid(self, amount: int) -> Transfer:
        """Row 12: what the merchant owed."""
        return self._move(self.available, self.debt, amount, "debt")

    def reserved(self, amount: int) -> Transfer:
        """Row 12: kept back."""
        return self._move(self.available, self.reserve, amount, "reserve")

    def reserve_released(self, amount: int) -> Transfer:
        """Row 12: back when due."""
        return self._move(self.reserve, self.available, amount, "reserve_release")

    def withheld(self, account: Account, amount: int) -> Transfer:
        """Row 12: for a capability."""
        return self._move(self.available, account, amount, "withhold")

    def acquirer_paid(self, channel_account_id: str, *, gross: int, cost: int) -> list[Transfer]:
        """Row 13."""
        owed = self.receivable(channel_account_id)
        moves = []
        if gross > cost:
            moves.append(self._move(self.bank(channel_account_id), owed, gross - cost, "acquirer_payout"))
        if cost:
            moves.append(self._move(self.channel_cost, owed, cost, "acquirer_cost"))
        return moves

    def payout_created(self, amount: int) -> Transfer:
        """Row 14: set aside."""
        return self._move(self.available, self.payout, amount, "payout")

    def payout_paid(self, bank_account: str, amount: int) -> Transfer:
        """Row 14: it has left our bank. Its id is the payout's: money leaves once."""
        return self._move(self.payout, self.bank(bank_account), amount, "payout_paid", id_=f"paid:{self.reference}")

    def payout_returned(self, amount: int) -> Transfer:
        """Row 14: it failed, or came back: the merchant's again, once."""
        id_ = f"returned:{self.reference}"
        return self._move(self.payout, self.available, amount, "payout_returned", id_=id_)

    def payout_came_back(self, bank_account: str, amount: int) -> list[Transfer]:
        """Row 14: returned after it was paid, so it comes in at our bank first."""
        id_ = f"back:{self.reference}"
        back = Transfer(
            id_,
            self.bank(bank_account),
            self.payout,
            amount,
            "payout_returned",
            self.reference,
            reverses=f"paid:{self.reference}",
        )
        return [back, self.payout_returned(amount)]

    def topped_up(self, bank_account: str, amount: int, *, id_: str) -> Transfer:
        """Row 14: money came in from the merchant's bank. `id_` makes it happen once."""
        return self._move(self.bank(bank_account), self.available, amount, "top_up", id_=id_)


def key_of(account: Account) -> AccountKey:
    """The key under which an account is read."""
    return AccountKey(account.unit, account.owner, account.role, account.bucket)
