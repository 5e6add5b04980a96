"""What the victim decides about, and how its calls and answers are written down."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from platform_core.contracts.payments.hooks import Basket, PaymentToCheck, ReceiptToRender
from platform_core.contracts.results import BasketOperations, Rendered, Verdict
from platform_core.contracts.runtime import Answered, Ask, Fault, Told

Json = dict[str, Any]
RESULTS: Final[dict[str, TypeAdapter[Any]]] = {
    "check_payment": TypeAdapter(Verdict),
    "amend_basket": TypeAdapter(BasketOperations),
    "render_receipt": TypeAdapter(Rendered),
}
PAYLOADS: Final[dict[str, Any]] = {
    "check_payment": PaymentToCheck,
    "amend_basket": Basket,
    "render_receipt": ReceiptToRender,
}


class Books:
    """What this host decides about; a plugin may read its own merchant's payments, and nothing else."""

    def __init__(self, told: Json) -> None:
        self.payments: Json = told["payments"]
        self.refunds: list[str] = []
        self.asked = 0
        self.balance = ctypes.c_long(100)

    def refund(self, payment_id: str) -> None:
        """What no plugin may."""
        self.refunds.append(payment_id)

    def ask(self, merchant_id: str, operation: str, arguments: Mapping[str, Any]) -> Told:
        """The gate's answer; no operation but `payments.get` and the store's is granted."""
        self.asked += 1
        if operation.startswith("state."):
            return Told(value=b"1")
        if operation != "payments.get":
            return Told(code="plugin.scope_missing", hint="It was not granted.")
        found = self.payments.get(arguments.get("id"))
        if set(arguments) != {"id"} or found is None or found["merchant_id"] != merchant_id:
            return Told(code="payments.not_found", hint="There is no such payment.")
        return Told(value=json.dumps(found).encode())


def score_of(answer: object) -> Json:
    """An answer as the witnesses read it."""
    if isinstance(answer, Fault):
        return {"outcome": str(answer.kind), "detail": answer.detail}
    value = answer.value if isinstance(answer, Answered) else answer
    if isinstance(value, Verdict):
        told = {"outcome": str(value.decision), "score": value.score}
        return told | {"extra": sorted(set(value.__dict__) - {"decision", "score", "reasons"})}
    return {"outcome": type(value).__name__, "seen": repr(value)[:200]}


def payload_json(told: Json) -> bytes:
    """The payload of a call as JSON, as the host sends it."""
    hook, mode = told["hook"], told["mode"]
    amount = {"amount_minor": told["amount"], "currency": "CNY"}
    if hook == "amend_basket":
        made: Json = {"basket_id": "bas_1", "store_id": mode, "lines": [], "total": amount, "operations": []}
        return json.dumps(made).encode()
    if hook == "render_receipt":
        card = {"name": "m", "store": None, "phone": None}
        made = {"payment_id": "pay_1", "out_trade_no": mode, "merchant_card": card, "lines": [], "tenders": [],
                "total": amount, "paid_at": "2026-11-22T12:00:00Z", "time_zone": "UTC", "points_earned": None,
                "invoice_ticket_url": None, "locale": "en", "media_type": "text/html"}  # fmt: skip
        return json.dumps(made).encode()
    made = {"payment_id": "pay_1", "out_trade_no": "o-1", "subject": mode, "form": "app", "channel": None,
            "amount": amount, "store_id": None, "terminal_id": None, "operator_id": None, "attempt": 1,
            "created_at": "2026-11-22T12:00:00Z", "risk_context": told["known"]}  # fmt: skip
    return json.dumps(made).encode()


def context_json(hook: str, deadline_s: float) -> Json:
    """What a `HookContext` says of a call."""
    return {"call_id": "cal_1", "hook": hook, "contract": "1.0", "store_id": None, "now": "2026-11-22T12:00:00Z",
            "deadline_ms": int(deadline_s * 1000), "idempotency_key": "key_1"}  # fmt: skip


class GateOf:
    """The gate for one call: it knows whose call it is."""

    def __init__(self, books: Books, merchant_id: str) -> None:
        self._books = books
        self._merchant_id = merchant_id

    async def tell(self, ask: Ask) -> Told:
        """Answer at once."""
        return self._books.ask(self._merchant_id, ask.operation, ask.arguments)
