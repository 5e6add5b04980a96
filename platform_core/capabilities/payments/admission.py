"""Whether an order may be taken, or tried again, at all."""

from __future__ import annotations

from datetime import datetime, timedelta

from platform_core.capabilities.payments.errors import (
    ATTEMPT_IN_FLIGHT,
    EXPIRES_IN_PAST,
    MERCHANT_SUSPENDED,
    OUTCOME_UNKNOWN,
    PAYABLE_CHANGED,
    STATE_CONFLICT,
    STORE_UNKNOWN,
    SUMS_DIFFER,
    TOO_MANY_ATTEMPTS,
)
from platform_core.capabilities.payments.models import Payment
from platform_core.capabilities.payments.outcomes import ATTEMPTS_MAX
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.schemas import PaymentCreate
from platform_core.identity.directory import MerchantFacts
from platform_core.identity.principal import Principal

EXPIRY_DAYS_MAX = 30
TRADING = ("active", "warned")


def check_standing(facts: MerchantFacts) -> None:
    """Raise 403 `payments.merchant_suspended` for a merchant that may not trade."""
    if facts.standing not in TRADING:
        raise MERCHANT_SUSPENDED.error({"standing": facts.standing})


def admit(principal: Principal, request: PaymentCreate, facts: MerchantFacts, now: datetime) -> int:
    """What the order amounts to, if it may be taken at all."""
    check_standing(facts)
    is_named = request.store_id is not None
    if is_named and not (request.store_id in facts.store_ids and principal.may_use_store(str(request.store_id))):
        raise STORE_UNKNOWN.error({"store_id": str(request.store_id)}, param="/store_id")
    if not is_named and principal.stores is not None:
        raise STORE_UNKNOWN.error({"store_id": "null"}, param="/store_id")
    if request.expires_at is not None and not now < request.expires_at <= now + timedelta(days=EXPIRY_DAYS_MAX):
        raise EXPIRES_IN_PAST.error({"days": EXPIRY_DAYS_MAX}, param="/expires_at")
    order_minor = request.order_total_minor
    if request.basket is not None and request.order_minor is not None and request.basket.total_minor != order_minor:
        raise SUMS_DIFFER.error(
            {"lines_minor": request.basket.total_minor, "order_minor": order_minor}, param="/order_minor"
        )
    return order_minor


def check_payable(request: PaymentCreate, payable_minor: int) -> None:
    """Raise 409 `payments.payable_changed` when the customer was told another sum."""
    if request.expected_payable_minor not in (None, payable_minor):
        raise PAYABLE_CHANGED.error({"payable_minor": payable_minor, "expected_minor": request.expected_payable_minor})


def check_may_try(file: PaymentFile, now: datetime) -> None:
    """Raise 409 unless another attempt may begin now."""
    payment = file.payment
    if payment.state == "unknown":
        raise OUTCOME_UNKNOWN.error({"payment_id": payment.id}, retry_after_s=5)
    if payment.state == "processing" or file.open_one("cancel", "close") is not None:
        raise ATTEMPT_IN_FLIGHT.error({"payment_id": payment.id}, retry_after_s=5)
    if payment.state != "created":
        raise STATE_CONFLICT.error(
            {"payment_id": payment.id, "state": payment.state, "act": "attempt", "wanted": "created"}
        )
    if now >= payment.expires_at:
        raise STATE_CONFLICT.error(
            {"payment_id": payment.id, "state": "expired", "act": "attempt", "wanted": "created, before expires_at"}
        )
    if payment.attempts >= ATTEMPTS_MAX:
        raise TOO_MANY_ATTEMPTS.error({"payment_id": payment.id, "attempts": payment.attempts})


def check_way(payment: Payment, form: str) -> None:
    """Raise 409 `payments.state_conflict` for a freeze of what was ordered as a sale: the merchant would wait for money
    that is only held.
    """
    if form == "preauth" and payment.is_capture:
        raise STATE_CONFLICT.error(
            {"payment_id": payment.id, "state": payment.state, "act": "preauth", "wanted": "is_capture false"}
        )
