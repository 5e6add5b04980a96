"""What the acquirer answers, before it is spoiled, signed and sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from sandbox.simulators.acquirer.scenarios import SUCCESS, Scenario

Payload = dict[str, object]
_MESSAGES: Final = {
    "OK": "Done.",
    "CUSTOMER_PAYING": "The customer has not finished.",
    "NOT_FOUND": "Nothing is known under this key.",
    "KEY_REUSED": "This key stands for another request.",
    "ORDER_PAID": "The order is paid.",
    "ORDER_CLOSED": "The order is closed.",
    "ORDER_CANCELED": "The order was canceled.",
    "ORDER_EXPIRED": "The order has expired.",
    "AMOUNT_EXCEEDED": "More than is left of the original.",
    "PAYEE_REFUSED": "The bank does not take money for this account.",
    "PAYOUT_RETURNED": "The bank sent the money back.",
    "DISPUTE_UNKNOWN": "There is no dispute of this reference.",
    "EVIDENCE_REFUSED": "The dispute is decided, its time is over, or ten documents are there.",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer, and how the scenario spoils it."""

    payload: Payload
    scenario: Scenario = SUCCESS
    status: int = 200


def encoded(payload: Payload) -> bytes:
    """The bytes that are sent and signed."""
    return json.dumps(payload, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def words(code: str, status: str, key: str) -> Payload:
    """What every answer says."""
    message = _MESSAGES.get(code, "Refused.")
    return {"code": code, "message": message, "status": status, "key": key}
