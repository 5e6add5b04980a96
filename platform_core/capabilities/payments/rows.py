"""New rows of payments, attempts and their first transactions, as plain columns by name."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from platform_core.capabilities.payments.draft import Draft
from platform_core.capabilities.payments.forms import expiry, freeze_by, needs_page
from platform_core.capabilities.payments.models import Transaction
from platform_core.capabilities.payments.routing import Route
from platform_core.capabilities.payments.schemas import PaymentCreate
from platform_core.kernel.entropy import entropy
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.ids import Ids

PAYER_PATH: Final = "/pay/"
TOKEN_BYTES: Final = 16
TOKEN_LENGTH: Final = 22
"""Of a payer's token: 16 bytes in base64url."""


def payment_row(
    ids: Ids,
    merchant_id: str,
    request: PaymentCreate,
    idempotent: IdempotentRequest,
    *,
    order_minor: int,
    now: datetime,
    origin: str,
) -> dict[str, Any]:
    """A payment with one attempt in flight, of which nothing is known yet. `origin`: where our own pages are."""
    by = freeze_by(request.form, asked=request.freeze_by, has_code=request.auth_code is not None)
    return {
        "id": ids.mint("pay"),
        "merchant_id": merchant_id,
        "out_trade_no": request.out_trade_no,
        "fingerprint": idempotent.fingerprint,
        "subject": request.subject,
        "form": request.form,
        "channel": request.channel,
        "is_capture": request.is_capture and by is None,
        "freeze_by": by,
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
        "pay_url": payer_url(origin) if needs_page(request.form, by=by) else None,
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
        "expires_at": request.expires_at or now + expiry(request.form, by=by),
        "captured_at": None,
        "canceled_at": None,
    }


def payer_url(origin: str) -> str:
    """A new address of the payer's page; whoever has it may see and pay this one payment."""
    return f"{origin}{PAYER_PATH}{urlsafe_b64encode(entropy(TOKEN_BYTES)).decode().rstrip('=')}"


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


def new_transaction(
    draft: Draft,
    like: Transaction,
    *,
    kind: str,
    amount_minor: int,
    request_key: str,
    is_final: bool = True,
    holds: list[str] | None = None,
    fee_minor: int = 0,
    released_minor: int = 0,
    reason: str = "",
) -> dict[str, Any]:
    """A follow-up on `like`, at the same provider and channel account."""
    return {
        "id": draft.ids.mint("txn"),
        "merchant_id": draft["merchant_id"],
        "payment_id": draft["id"],
        "attempt_id": like.attempt_id,
        "kind": kind,
        "request_key": request_key,
        "original_id": like.id,
        "state": "pending",
        "amount_minor": amount_minor,
        "released_minor": released_minor,
        "is_final": is_final,
        "provider_id": like.provider_id,
        "channel_account_id": like.channel_account_id,
        "provider_reference": None,
        "holds": holds or [],
        "charge": None,
        "split_parts": None,
        "fee_minor": fee_minor,
        "reason": reason,
        "booking_day": None,
        "error": None,
        "created_at": draft.now,
        "finished_at": None,
    }
