"""Paid orders that go a certain way, as data: how each begins, what is done with it, and where it must end.

The acquirer's part is a code `sim:<scenario>` of docs/reference/simulated-acquirer.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Form = Literal["merchant_scan", "customer_scan", "local"]
StepKind = Literal["capture", "void", "refund", "cancel", "scan"]


@dataclass(frozen=True, slots=True)
class Step:
    """What is done with the payment once it stands still; `percent` of the order's amount, rounded down."""

    kind: StepKind
    percent: int = 100


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way an order can go. `captured` and `refunded`: percent of the order's amount at the end.

    `is_doubted`: the outcome is unknown for a while.
    """

    name: str
    summary: str
    acquirer: str = ""  # scenario of the simulated acquirer
    form: Form = "merchant_scan"
    is_capture: bool = True
    steps: tuple[Step, ...] = ()
    state: str = "captured"
    captured: int = 100
    refunded: int = 0
    is_doubted: bool = False


_ROWS: Final = (
    Scenario("success", "The customer's code is scanned and the money taken.", "success"),
    Scenario("cash", "Taken at the till, without an acquirer.", form="local"),
    Scenario("qr", "The customer scans the merchant's code and pays.", form="customer_scan", steps=(Step("scan"),)),
    Scenario("decline", "The wallet has too little money.", "decline_balance", state="created", captured=0),
    Scenario("blocked", "The acquirer refuses the customer.", "decline_blocked", state="created", captured=0),
    Scenario("user-is-paying", "The customer types a password; the platform asks until it is done.", "paying-1"),
    Scenario("user-gives-up", "The customer types and is declined.", "paying_declined-1", state="created", captured=0),
    Scenario(
        "timeout-after-charge",
        "Money moves, the answer is lost; the acquirer's notice resolves it.",
        "timeout_after_charge",
        is_doubted=True,
    ),
    Scenario("silent", "Money moves, answer and notice are lost; the janitor asks.", "silent", is_doubted=True),
    Scenario("unknown", "The acquirer itself is unsure; the janitor asks.", "unknown-1", is_doubted=True),
    Scenario(
        "unknown-failed",
        "The acquirer is unsure, and nothing moved.",
        "unknown_failed-1",
        state="created",
        captured=0,
        is_doubted=True,
    ),
    Scenario("slow", "The answer takes a while.", "slow"),
    Scenario("duplicate-callback", "The acquirer's notice comes three times.", "duplicate_callback"),
    Scenario("refund", "Paid, then given back in full.", "success", steps=(Step("refund"),), refunded=100),
    Scenario("partial-refund", "Paid, then a part given back.", "success", steps=(Step("refund", 40),), refunded=40),
    Scenario(
        "partial-capture",
        "Authorised, a part captured, the rest released.",
        "success",
        is_capture=False,
        steps=(Step("capture", 60),),
        captured=60,
    ),
    Scenario(
        "void",
        "Authorised, then released.",
        "success",
        is_capture=False,
        steps=(Step("void"),),
        state="canceled",
        captured=0,
    ),
    Scenario(
        "cancel", "Paid, then undone the same day.", "success", steps=(Step("cancel"),), state="canceled", refunded=100
    ),
)
SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType({row.name: row for row in _ROWS})
