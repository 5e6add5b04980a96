"""Which transfer becomes which entry of the bill, and which accounts are the merchant's money: two tables.

A new kind of movement adds its code here. A bill is not made while a code or a merchant's role is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

Entry = Literal[
    "capture",
    "refund",
    "refund_bounce",
    "fee",
    "split",
    "split_return",
    "dispute",
    "reserve",
    "payout",
    "adjustment",
]
"""payments.md section 8, "Daily bill"."""

CLEARING: Final = "customer_clearing"
CHANNEL: Final = "channel_receivable"
FEES: Final = "platform_fee"
RECEIVERS: Final = frozenset({"receiver_pending", "receiver_available"})

JOINED: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        "capture": "capture",
        "funded": "capture",
        "cancel": "capture",
        "refund": "refund",
        "fee_return": "refund",
        "refund_bounce": "refund_bounce",
    }
)
"""Codes whose transfers pass through customer_clearing: those of one act are one row.

`funded` and `fee` belong to the act of their reference that is open; a `fee` without one is a row of its own. `cancel`
returns what a capture of the same reference brought: one row, a refund, that moves nothing of the merchant's.
"""

ALONE: Final[Mapping[str, Entry | None]] = MappingProxyType(
    {
        "authorize": None,
        "fee": "fee",
        "void": None,
        "late_money": None,
        "late_money_return": None,
        "settlement": None,
        "split": "split",
        "split_release": "split",
        "split_hold": None,
        "split_give_back": None,
        "split_return": "split_return",
        "debt": None,
        "reserve": "reserve",
        "reserve_release": "reserve",
        "withhold": "adjustment",
        "acquirer_payout": None,
        "acquirer_cost": None,
        "payout": "payout",
        "payout_paid": "payout",
        "payout_returned": "payout",
        "top_up": "payout",
        "dispute": "dispute",
        "dispute_withdrawn": "dispute",
        "dispute_won": "dispute",
        "dispute_won_debt": "dispute",
        "adjustment": "adjustment",
        "adjustment_cost": "adjustment",
        "reversal": "adjustment",
    }
)
"""Codes whose transfers are rows by themselves. None: never one; it moves nothing between the groups below."""

GROUPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "merchant_pending": "balance",
        "merchant_available": "balance",
        "merchant_split_hold": "balance",
        "merchant_debt": "balance",
        "merchant_reserve": "reserve",
        "merchant_dispute": "dispute",
        "merchant_payout": "payout",
        "merchant_till": "till",
    }
)
"""A merchant's money by the role of the account, as the bill's column `account` names it.

What moves inside a group is no row: settlement, holds for splits, debt paid out of what is available. What moves
between two groups is a row of each.
"""

MERCHANT_ROLE: Final = "merchant_"


class UnknownMovement(ValueError):
    """A code or a role of the ledger that the tables above do not know, or that moved what they say it does not."""


def group_of(role: str) -> str | None:
    """The group of the merchant's money that an account belongs to; None: somebody else's. Raises UnknownMovement."""
    group = GROUPS.get(role)
    if group is None and role.startswith(MERCHANT_ROLE):
        raise UnknownMovement(f"the role {role} is in no group of accounts")
    return group
