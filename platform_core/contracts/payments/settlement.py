"""What a capability may take out of a merchant's settlement before it is the merchant's to spend.

For capabilities of the platform alone: no plugin hears of this seam. It is asked when a booking day is settled, after
debt and reserve (payments.md sections 5 and 8); the first user is financing, whose advances are repaid so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from platform_core.kernel.commit import Change, Insert

WITHHOLDINGS_MAX = 20
"""How many withholdings one amender may ask for at one settlement."""
LINKED_MAX = 20
"""How many transfers may be linked to one withholding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerAccount:
    """An account by its key. `merchant_id` is the tenant whose plans may touch it; None: the platform's own."""

    unit: str
    owner: str
    role: str
    bucket: str = ""
    guard: Literal["ge0", "le0", "free"] = "ge0"
    merchant_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedTransfer:
    """`amount` from `debit` to `credit` in a unit of the capability's own, moved together with a withholding."""

    debit: LedgerAccount
    credit: LedgerAccount
    amount: int
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withhold:
    """Money of a settlement that goes to `account` instead of the merchant's available money.

    `reference` is the capability's own object; the transfers carry it. `account` is in the settlement's currency and
    is none of payments' own. `document`: a row of the capability's own tables, written in the same plan.
    """

    reference: str
    amount_minor: int
    account: LedgerAccount
    transfers: Sequence[LinkedTransfer] = ()
    document: Insert | Change | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementToAmend:
    """A booking day about to be settled. Minor units; the figures are those of `GET /v1/settlements/{id}`.

    `left_minor` is what may be withheld at most: what is left of the day's money after debt, reserve and the amenders
    that were asked before.
    """

    settlement_id: str
    merchant_id: str
    currency: str
    day: date
    part: int
    gross_minor: int
    funded_minor: int
    fees_minor: int
    splits_minor: int
    refunds_minor: int
    disputes_minor: int
    debt_minor: int
    reserve_minor: int
    left_minor: int


class SettlementAmender(Protocol):
    """A capability that withholds. It reads and decides, writes nothing, and is asked anew when a plan is refused."""

    @property
    def name(self) -> str:
        """The capability's name, as it stands on the settlement."""
        ...

    async def amend_settlement(self, settlement: SettlementToAmend) -> Sequence[Withhold]:
        """What to withhold, in order; nothing for most.

        One that raises, comes late, asks for more than `left_minor` or for what it may not touch, or whose part the
        database refuses, is left out whole and flagged on the settlement; the settlement goes on without it.
        """
        ...
