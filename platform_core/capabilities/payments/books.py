"""The rows of payments.md section 4 as transfers.

Which accounts a payment's money stands on is said here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache

from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Guard, Movement, Post, Transfer, Void

ACCOUNTS_KEPT_MAX = 10_000


@lru_cache(ACCOUNTS_KEPT_MAX)
def _account(merchant_id: str, currency: str, *, role: str, bucket: str, guard: Guard) -> Account:
    return Account(merchant_id, currency, merchant_id, role, bucket, guard)


@dataclass(frozen=True, slots=True)
class Books:
    """The accounts of one payment, and the transfers of each row of the table.

    `receipt` is where the merchant's share goes: `merchant_pending/<booking day>` until that day is settled,
    `merchant_available`
    afterwards, `merchant_till/<channel account>` where the merchant holds the money himself (cash). One bucket a day
    lets
    settlement move exactly that day's money, whatever arrives or goes back at the same moment.
    """

    merchant_id: str
    currency: str
    channel_account_id: str
    reference: str
    ids: Ids

    def _account(self, role: str, bucket: str = "", guard: Guard = Guard.GE0) -> Account:
        return _account(self.merchant_id, self.currency, role=role, bucket=bucket, guard=guard)

    @property
    def receivable(self) -> Account:
        """What the acquirer collected and owes."""
        return self._account("channel_receivable", self.channel_account_id, Guard.FREE)

    @property
    def clearing(self) -> Account:
        """Passes through; zero after every plan."""
        return self._account("customer_clearing")

    @property
    def fees(self) -> Account:
        """Fees earned by the platform from this merchant."""
        return self._account("platform_fee", guard=Guard.FREE)

    @property
    def available(self) -> Account:
        """Free to pay out."""
        return self._account("merchant_available")

    @property
    def unapplied(self) -> Account:
        """Money without a payment that wants it."""
        return self._account("unapplied", self.channel_account_id)

    def pending(self, day: date) -> Account:
        """Received on a booking day, before T+1."""
        return self._account("merchant_pending", day.isoformat())

    def till(self) -> Account:
        """Money that the merchant took in himself."""
        return self._account("merchant_till", self.channel_account_id)

    def _transfer(
        self,
        debit: Account,
        credit: Account,
        amount: int,
        code: str,
        *,
        is_pending: bool = False,
        reverses: str | None = None,
    ) -> Transfer:
        id_ = self.ids.mint("tra")
        return Transfer(id_, debit, credit, amount, code, self.reference, is_pending=is_pending, reverses=reverses)

    def authorize(self, amount: int, expires_at: datetime | None = None) -> Transfer:
        """Row 1. The authorisation ends with its payment, not by the ledger's clock."""
        return self._transfer(self.receivable, self.clearing, amount, "authorize", is_pending=True)

    def release(self, pending_id: str, code: str = "void") -> Void:
        """Row 4, 7: give a pending transfer up."""
        return Void(self.ids.mint("tra"), pending_id, code=code)

    def sale(self, amount: int, fee: int, receipt: Account) -> list[Movement]:
        """Row 3: captured without an authorisation. An order that discounts pay in full moves nothing."""
        if amount == 0:
            return []
        return [
            self._transfer(self.receivable, self.clearing, amount, "capture"),
            *self._received(amount, fee, receipt),
        ]

    def capture(
        self, pending_id: str, amount: int, fee: int, receipt: Account, *, rest: int
    ) -> tuple[list[Movement], str | None]:
        """Row 2: post `amount` of the authorisation; the `rest` becomes a new one, whose id is returned."""
        movements: list[Movement] = [Post(self.ids.mint("tra"), pending_id, amount, "capture")]
        movements += self._received(amount, fee, receipt)
        if rest == 0:
            return movements, None
        renewed = self.authorize(rest)
        return [*movements, renewed], renewed.id

    def _received(self, amount: int, fee: int, receipt: Account) -> list[Movement]:
        movements: list[Movement] = [self._transfer(self.clearing, receipt, amount, "capture")]
        if fee:
            movements.append(self._transfer(receipt, self.fees, fee, "fee"))
        return movements

    def hold_refund(self, amount: int, fee_back: int, receipt: Account) -> list[Transfer]:
        """Row 5, before the call: the merchant's part, and the platform's part of the fee."""
        holds = []
        if amount > fee_back:
            holds.append(self._transfer(receipt, self.clearing, amount - fee_back, "refund", is_pending=True))
        if fee_back:
            holds.append(self._transfer(self.fees, self.clearing, fee_back, "fee_return", is_pending=True))
        return holds

    def refunded(self, holds: list[str], amount: int) -> list[Movement]:
        """Row 6: post the holds and give the money back to the channel."""
        posts: list[Movement] = [Post(self.ids.mint("tra"), hold, code="refund") for hold in holds]
        return [*posts, self._transfer(self.clearing, self.receivable, amount, "refund")]

    def bounced(self, amount: int) -> list[Movement]:
        """Row 8: a refund that the customer's account would not take comes back to the merchant."""
        return [
            self._transfer(self.receivable, self.clearing, amount, "refund_bounce"),
            self._transfer(self.clearing, self.available, amount, "refund_bounce"),
        ]

    def late(self, amount: int) -> Transfer:
        """Row 16: money for a payment that is over."""
        return self._transfer(self.receivable, self.unapplied, amount, "late_money")

    def late_returned(self, amount: int) -> Transfer:
        """Row 16, second half."""
        return self._transfer(self.unapplied, self.receivable, amount, "late_money_return")

    def paid_and_returned(self, amount: int) -> list[Movement]:
        """A cancel that found money: rows 3, 5 and 6 with fee 0, so that both of the channel's bill rows match."""
        return [
            self._transfer(self.receivable, self.clearing, amount, "capture"),
            self._transfer(self.clearing, self.receivable, amount, "cancel"),
        ]
