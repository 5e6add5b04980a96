"""What the demo checks once its orders are played, each by what the platform shows of itself over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from platform_core.bootstrap.demo_receiver import Inbox
from sandbox.testbed.trigger import Played
from sandbox.testbed.trigger_till import Till

WEBHOOKS_WITHIN_S: Final = 30.0
LOOKS_MAX: Final = 5  # somebody may use the demo while it is checked: what moved meanwhile is looked at again
MERCHANTS_MONEY: Final = frozenset({"merchant_pending", "merchant_available", "merchant_till"})


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to hold, and how it stood."""

    name: str
    is_held: bool
    words: str


@dataclass(frozen=True, slots=True)
class Books:
    """A merchant's sums in minor units: by its payments (gross, fees, refunds), and by its accounts (balance)."""

    merchant: str
    orders: int
    gross_minor: int
    fees_minor: int
    refunds_minor: int
    balance_minor: int

    @property
    def net_minor(self) -> int:
        """What the accounts must hold."""
        return self.gross_minor - self.fees_minor - self.refunds_minor


def check_orders(played: Sequence[Played], failed: Sequence[str], wanted: int) -> Check:
    """Every order was answered and ended as its scenario has it."""
    faults = [each.fault for each in played if each.fault] + list(failed)
    held = not faults and len(played) == wanted
    words = f"{len(played)} of {wanted} orders ended as they had to" if held else "; ".join(faults[:3])
    return Check("orders", held, words)


def check_doubts(played: Sequence[Played]) -> Check:
    """Every order whose outcome was unknown got one, by notice or by the janitor."""
    doubted = [each for each in played if each.order.scenario.is_doubted]
    seen = [each for each in doubted if each.was_unknown]
    open_ = [each.payment["id"] for each in doubted if each.payment["state"] == "unknown"]
    words = f"{len(seen)} outcomes were unknown and all were resolved" if not open_ else f"still unknown: {open_[:3]}"
    return Check("unknown resolved", not open_ and bool(seen), words)


async def read_books(name: str, till: Till) -> Books:
    """One merchant's payments and balances; read again while a payment came in between."""
    for _ in range(LOOKS_MAX):
        payments = await till.listed("/payments")
        balances = await till.listed("/balances")
        if [payment["sequence"] for payment in await till.listed("/payments")] == [
            payment["sequence"] for payment in payments
        ]:
            break
    amounts = [payment["amounts"] for payment in payments]
    return Books(
        merchant=name,
        orders=len(payments),
        gross_minor=sum(each["captured_minor"] for each in amounts),
        fees_minor=sum(each["fee_minor"] for each in amounts),
        refunds_minor=sum(each["refunded_minor"] for each in amounts),
        balance_minor=sum(each["posted_minor"] for each in balances if each["role"] in MERCHANTS_MONEY),
    )


def check_books(books: Sequence[Books]) -> Check:
    """For each merchant: gross - fees - refunds = what its accounts hold."""
    wrong = [f"{each.merchant}: {each.net_minor} by payments, {each.balance_minor} by accounts"
             for each in books if each.net_minor != each.balance_minor]  # fmt: skip
    words = "; ".join(wrong) or "gross - fees - refunds = balance, for every merchant"
    return Check("amounts add up", not wrong and any(each.gross_minor for each in books), words)


async def check_webhooks(inbox: Inbox, tills: Sequence[Till]) -> Check:
    """Every event that the API lists has arrived by its id, and nothing else has; each was signed."""
    deadline = time.monotonic() + WEBHOOKS_WITHIN_S
    while True:
        told = {event["id"] for till in tills for event in await till.listed("/events")}
        missing, strange = told - inbox.received.keys(), inbox.received.keys() - told
        if not missing or time.monotonic() >= deadline:
            break
        await asyncio.sleep(0.5)
    held = bool(told) and not missing and not strange and not inbox.refused
    again = sum(inbox.received.values()) - len(inbox.received)
    words = f"{len(told)} events arrived by their ids, all signed ({again} sent more than once)"
    if not held:
        words = f"of {len(told)} events {len(missing)} missing, {len(strange)} unknown; {inbox.refused} badly signed"
    return Check("webhooks", held, words)
