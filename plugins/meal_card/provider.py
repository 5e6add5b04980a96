"""The provider `meal_card`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.payments import (
    ALREADY_PAID,
    CUSTOMER_PAYING,
    NOT_FOUND,
    AmountLimit,
    Bill,
    BillRequest,
    ErrorClass,
    Notice,
    NoticeOutcome,
    NoticeRefused,
    PaymentProvider,
    ProviderCall,
    ProviderDescription,
    ProviderResult,
    Wait,
    not_supported,
)

from .codes import CLASS_OF
from .network import Answer, AnswerLost, NotSent, ask

POLL_AFTER_S: Final = 5.0
_READS: Final = "lookups"
_DESCRIPTION: Final = ProviderDescription(
    id="meal_card",
    forms=frozenset({"merchant_scan"}),
    limits=(AmountLimit("CNY", amount_minor_min=1, amount_minor_max=50_000),),
    features=frozenset({"cancel", "partial_refund"}),
    auth_code_pattern=r"66[0-9]{16}",
    cost_bp=100,
    settings_schema=json.loads(files(__package__).joinpath("config.schema.json").read_bytes()),
)


class MealCardProvider:
    """Speaks to the network for all merchants; what differs between them rides in the call."""

    __slots__ = ()

    def describe(self) -> ProviderDescription:
        """The till scans the code on the holder's phone; CNY up to 500.00."""
        return _DESCRIPTION

    async def pay(self, call: ProviderCall) -> ProviderResult:
        """Charge the card by its code, once for each key."""
        order = {"amount_minor": call.amount_minor, "currency": call.currency, "card": call.auth_code or ""}
        return _asked(call, "charges", order)

    async def refund(self, call: ProviderCall) -> ProviderResult:
        """Return a part or all of a charge."""
        return _asked(call, "refunds", {"amount_minor": call.amount_minor, "charge": _original(call)})

    async def cancel(self, call: ProviderCall) -> ProviderResult:
        """Undo a charge whatever became of it."""
        return _asked(call, "cancels", {"charge": _original(call), "is_close": False})

    async def close(self, call: ProviderCall) -> ProviderResult:
        """End a charge if it is unpaid."""
        return _asked(call, "cancels", {"charge": _original(call), "is_close": True})

    async def query(self, call: ProviderCall) -> ProviderResult:
        """The network's word on a key."""
        return _asked(call, _READS, {})

    async def query_refund(self, call: ProviderCall) -> ProviderResult:
        """The same: keys are of one book."""
        return _asked(call, _READS, {})

    async def create(self, call: ProviderCall) -> ProviderResult:
        """Not offered."""
        return not_supported("create")

    async def authorize(self, call: ProviderCall) -> ProviderResult:
        """Not offered."""
        return not_supported("authorize")

    async def capture(self, call: ProviderCall) -> ProviderResult:
        """Not offered."""
        return not_supported("capture")

    async def void(self, call: ProviderCall) -> ProviderResult:
        """Not offered."""
        return not_supported("void")

    async def parse_notice(self, notice: Notice) -> NoticeOutcome:
        """The network sends none."""
        raise NoticeRefused("not_supported", "Meal cards have no notices.")

    async def fetch_bill(self, request: BillRequest) -> Bill:
        """There is no bill."""
        raise LookupError("meal cards have no bill; the description declares none")


def _asked(call: ProviderCall, operation: str, facts: Mapping[str, Any]) -> ProviderResult:  # Any: JSON
    """The result of one question. A question that only reads is never a failure of what it asks about."""
    try:
        answer = ask(call, operation, {"key": call.idempotency_key, **facts})
    except NotSent as error:
        if operation == _READS:
            return ProviderResult.unknown("not_sent", str(error), poll_after_s=POLL_AFTER_S)
        return ProviderResult.failed(ErrorClass.NOT_SENT, "not_sent", str(error))
    except AnswerLost as error:
        return ProviderResult.unknown(error.code, str(error), poll_after_s=POLL_AFTER_S)
    if answer.key == "" and operation == _READS:
        return ProviderResult.unknown(answer.code, "The network did not take the question.", poll_after_s=POLL_AFTER_S)
    return _result(answer)


def _result(answer: Answer) -> ProviderResult:
    if answer.state == "DONE":
        if answer.amount_minor is None or answer.occurred_at is None:
            return ProviderResult.unknown("answer_unreadable", "The network's success names no amount or moment.")
        return ProviderResult.success(
            amount_minor=answer.amount_minor, occurred_at=answer.occurred_at, provider_reference=answer.reference
        )
    if answer.state == "PENDING":
        return ProviderResult.unknown(
            CUSTOMER_PAYING,
            "The card's holder has not confirmed yet.",
            error_class=ErrorClass.CUSTOMER_ACTION,
            provider_reference=answer.reference,
            poll_after_s=POLL_AFTER_S,
            action=Wait(POLL_AFTER_S),
        )
    if answer.state in {"UNSURE", "UNSEEN"}:
        code = NOT_FOUND if answer.state == "UNSEEN" else "unsure"
        return ProviderResult.unknown(code, f"The network says {answer.state}.", poll_after_s=POLL_AFTER_S)
    return _refused(answer)


def _refused(answer: Answer) -> ProviderResult:
    error_class, said = CLASS_OF.get(answer.code, ErrorClass.UNKNOWN), f"The network refused with {answer.code}."
    if answer.code == "PAID":
        return ProviderResult.failed(ErrorClass.DUPLICATE, ALREADY_PAID, said)
    if error_class in {ErrorClass.UNKNOWN, ErrorClass.DUPLICATE}:
        return ProviderResult.unknown(answer.code, said, error_class=error_class)
    return ProviderResult.failed(error_class, answer.code, said, provider_reference=answer.reference)


def _original(call: ProviderCall) -> str:
    if call.original is None:
        raise ValueError(f"a {call.kind} names its original")
    return call.original.idempotency_key


@hookimpl
def register_payment_provider() -> PaymentProvider:
    """Hand over the provider `meal_card`."""
    return MealCardProvider()
