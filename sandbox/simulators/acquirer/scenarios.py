"""What can be scripted: a table, so that a new fault is a row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

Effect = Literal["done", "refused", "pending", "nothing"]
"""done: money moves now. refused: recorded as failed. pending: moves later or never. nothing: leaves no trace."""
AnswerMode = Literal["normal", "dropped", "broken", "forged", "wrong_amount"]
NEVER: Final = -1
_CODE: Final = re.compile(r"sim:([a-z_]+)(?:-([0-9]{1,5}))?(?::.*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scenario:
    """How one operation goes."""

    name: str
    effect: Effect = "done"
    code: str = "OK"
    """The acquirer's code of a refusal."""
    http_status: int = 200
    queries: int = 0
    """After how many queries the truth shows; NEVER: not by asking."""
    shown_as: Literal["PENDING", "UNKNOWN"] = "PENDING"
    ends: Literal["SUCCESS", "FAILED"] = "SUCCESS"
    answer: AnswerMode = "normal"
    delay_ms: int = 0
    notices: tuple[str, ...] = ("FINAL",)
    """What is sent, in order; FINAL: the status as it is, PENDING: a stale word that comes too late."""
    is_bounced: bool = False
    disputed: Literal["", "open", "won", "lost"] = ""
    """Whether the buyer disputes what was paid at once, and how the acquirer decides when evidence came."""


_ROWS: Final = (
    Scenario("success"),
    Scenario("decline_balance", "refused", "BALANCE_NOT_ENOUGH"),
    Scenario("decline_blocked", "refused", "PAYER_BLOCKED"),
    Scenario("decline_code", "refused", "AUTH_CODE_INVALID"),
    Scenario("decline_limit", "refused", "WALLET_LIMIT"),
    Scenario("decline_channel", "refused", "CHANNEL_CLOSED"),
    Scenario("payee_refused", "refused", "PAYEE_REFUSED"),
    Scenario("invalid", "refused", "INVALID_PARAMETER"),
    Scenario("misconfigured", "refused", "MERCHANT_DISABLED"),
    Scenario("unlisted", "refused", "E_7741"),
    Scenario("refund_failed", "refused", "REFUND_REFUSED"),
    Scenario("busy", "nothing", "RATE_LIMITED", http_status=429),
    Scenario("timeout_before_charge", "nothing", answer="dropped"),
    Scenario("timeout_after_charge", answer="dropped"),
    Scenario("silent", answer="dropped", notices=()),
    Scenario("broken_body", answer="broken"),
    Scenario("forged_answer", answer="forged"),
    Scenario("wrong_amount", answer="wrong_amount"),
    Scenario("slow", delay_ms=300),
    Scenario("paying", "pending", queries=2),
    Scenario("paying_declined", "pending", "BALANCE_NOT_ENOUGH", queries=2, ends="FAILED"),
    Scenario("paying_never", "pending", queries=NEVER),
    Scenario("unknown", queries=2, shown_as="UNKNOWN", notices=()),
    Scenario("unknown_failed", "pending", "SYSTEM_REVERSED", queries=2, shown_as="UNKNOWN", ends="FAILED", notices=()),
    Scenario("duplicate_callback", notices=("FINAL", "FINAL", "FINAL")),
    Scenario("unordered_callback", notices=("FINAL", "PENDING")),
    Scenario("refund_bounced", is_bounced=True),
    Scenario("disputed", disputed="open"),
    Scenario("disputed_won", disputed="won"),
    Scenario("disputed_lost", disputed="lost"),
)
SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType({row.name: row for row in _ROWS})
SUCCESS: Final = SCENARIOS["success"]

MAGIC_AMOUNTS: Final[Mapping[int, str]] = MappingProxyType(
    {
        990_001: "decline_balance",
        990_002: "decline_limit",
        990_003: "paying",
        990_004: "timeout_after_charge",
        990_005: "timeout_before_charge",
        990_006: "unknown",
        990_007: "slow",
        990_008: "duplicate_callback",
        990_009: "wrong_amount",
        990_010: "broken_body",
        990_011: "refund_failed",
        990_012: "refund_bounced",
        990_013: "busy",
        990_014: "paying_never",
        990_020: "disputed",
        990_021: "disputed_won",
        990_022: "disputed_lost",
    }
)
"""Scenario by amount in minor units, whatever the operation."""


class UnknownScenario(ValueError):
    """A name that is not in the table, or a number that is none."""


def named(text: str) -> Scenario:
    """The scenario `name` or `name-n`, where n is its number of queries, for `slow` its milliseconds.

    Raises UnknownScenario.
    """
    name, _, number = text.partition("-")
    scenario = SCENARIOS.get(name)
    if scenario is None or (number and not (number.isdecimal() and len(number) <= 5)):
        raise UnknownScenario(f"there is no scenario {text[:40]!r}")
    if not number:
        return scenario
    count = int(number)
    return replace(scenario, delay_ms=count) if scenario.delay_ms else replace(scenario, queries=count)


def in_auth_code(auth_code: str) -> Scenario | None:
    """The scenario that a magic code `sim:<scenario>[:<anything>]` names; None for any other code.

    Raises UnknownScenario.
    """
    match = _CODE.fullmatch(auth_code)
    if match is None:
        return None
    return named(match[1] if match[2] is None else f"{match[1]}-{match[2]}")
