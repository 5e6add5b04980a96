"""New rows of payments, attempts and their first transactions, as plain columns by name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from platform_core.capabilities.payments.routing import Route
from platform_core.capabilities.payments.schemas import PaymentCreate
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.ids import Ids

EXPIRY: Final = {
    "merchant_scan": timedelta(minutes=5),
    "customer_scan": timedelta(hours=2),
    "local": timedelta(minutes=5),
}


def payment_row(
    ids: Ids,
    merchant_id: str,
    request: PaymentCreate,
    idempotent: IdempotentRequest,
    *,
    order_minor: int,
    now: datetime,
) -> dict[str, Any]:
    """A payment with one attempt in flight, of which nothing is known yet."""
    return {
        "id": ids.mint("pay"),
        "merchant_id": merchant_id,
        "out_trade_no": request.out_trade_no,
        "fingerprint": idempotent.fingerprint,
        "subject": request.subject,
        "form": request.form,
        "channel": request.channel,
        "is_capture": request.is_capture,
        "state": "processing",
        "closed_reason": None,
        "version": 1,
        "sequence": 1,
        "currency": request.currency,
        "order_minor": order_minor,
        "payable_minor": order_minor,
        "authorized_minor": 0,
        "voided_minor": 0,
        "capturing_minor": 0,
        "captured_minor": 0,
        "refunding_minor": 0,
        "refunded_minor": 0,
        "disputed_minor": 0,
        "fee_minor": 0,
        "fee_returned_minor": 0,
        "fee_plan": None,
        "authorization_id": None,
        "booking_day": None,
        "store_id": request.store_id,
        "terminal_id": request.terminal_id,
        "operator_id": request.operator_id,
        "customer": None if request.customer is None else request.customer.model_dump(exclude_none=True),
        "basket": None if request.basket is None else request.basket.model_dump(exclude_none=True),
        "labels": request.metadata,
        "return_url": request.return_url,
        "next_action": None,
        "last_error": None,
        "charge": None,
        "discounts": None,
        "risk": None,
        "degraded": None,
        "split_minor": 0,
        "splitting_minor": 0,
        "split_count": 0,
        "split_mode": None,
        "split_wish": None,
        "attempts": 1,
        "disputes": 0,
        "created_at": now,
        "updated_at": now,
        "expires_at": request.expires_at or now + EXPIRY[request.form],
        "captured_at": None,
        "canceled_at": None,
    }


def attempt_rows(ids: Ids, payment: Mapping[str, Any], route: Route) -> tuple[dict[str, Any], dict[str, Any]]:
    """The attempt number `attempts` of a payment, and its first transaction, both of the moment `updated_at`."""
    now = payment["updated_at"]
    attempt = {
        "id": ids.mint("att"),
        "merchant_id": payment["merchant_id"],
        "payment_id": payment["id"],
        "number": payment["attempts"],
        "provider_id": route.description.id,
        "channel_account_id": route.account.id,
        "form": payment["form"],
        "state": "started",
        "route": route.why,
        "error": None,
        "created_at": now,
        "ended_at": None,
    }
    transaction = {
        "id": ids.mint("txn"),
        "merchant_id": payment["merchant_id"],
        "payment_id": payment["id"],
        "attempt_id": attempt["id"],
        "kind": "sale" if payment["is_capture"] else "authorize",
        "request_key": attempt["id"],
        "original_id": None,
        "state": "pending",
        "amount_minor": payment["payable_minor"],
        "released_minor": 0,
        "is_final": True,
        "provider_id": route.description.id,
        "channel_account_id": route.account.id,
        "provider_reference": None,
        "holds": [],
        "charge": None,
        "split_parts": None,
        "fee_minor": 0,
        "reason": "",
        "booking_day": None,
        "error": None,
        "created_at": now,
        "finished_at": None,
    }
    return attempt, transaction
