"""Payloads of the `on_` hooks of payments, out of the objects that their events carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from platform_core.contracts.fields import Money, Payload
from platform_core.contracts.payments import (
    PaymentCaptured,
    RefundSucceeded,
    on_payment_captured,
    on_refund_succeeded,
)
from platform_core.plugin_host.telling import Telling


def payment_captured(telling: Telling) -> PaymentCaptured:
    """Out of a `PaymentRead`."""
    body = msgspec.json.decode(telling.body)
    return PaymentCaptured(
        event_id=telling.event_id,
        sequence=telling.sequence,
        occurred_at=telling.occurred_at,
        payment_id=body["id"],
        out_trade_no=body["out_trade_no"],
        form=body["form"],
        channel=body["channel"],
        amount=Money(amount_minor=body["amounts"]["captured_minor"], currency=body["currency"]),
        store_id=body["store_id"],
    )


def refund_succeeded(telling: Telling) -> RefundSucceeded:
    """Out of a `RefundRead`."""
    body = msgspec.json.decode(telling.body)
    return RefundSucceeded(
        event_id=telling.event_id,
        sequence=telling.sequence,
        occurred_at=telling.occurred_at,
        refund_id=body["id"],
        payment_id=body["payment_id"],
        out_request_no=body["out_request_no"],
        amount=Money(amount_minor=body["amount_minor"], currency=body["currency"]),
        refunded_total_minor=body["amount_minor"],
    )


NEWS: Final[Mapping[str, tuple[Callable[..., Any], Callable[[Telling], Payload]]]] = {  # Any: a hook's result
    on_payment_captured.__name__: (on_payment_captured, payment_captured),
    on_refund_succeeded.__name__: (on_refund_succeeded, refund_succeeded),
}
"""By hook: the hookspec, and how its payload is built."""
