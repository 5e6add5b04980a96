"""How acts on a payment are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from platform_core.capabilities.payments import metrics
from platform_core.capabilities.payments.errors import DENIED_BY_RISK, REFUND_UNFUNDED, STATE_CONFLICT
from platform_core.capabilities.payments.models import Payment
from platform_core.capabilities.payments.splits.books import AVAILABLE, PENDING
from platform_core.capabilities.payments.splits.errors import RECEIVER_UNFUNDED
from platform_core.kernel.commit import PlanRefused
from platform_core.kernel.money import Money
from platform_core.ledger.accounts import METER, GuardRefused


def conflict(payment: Payment, act: str, wanted: str) -> Exception:
    """409 `payments.state_conflict`."""
    return STATE_CONFLICT.error({"payment_id": payment.id, "state": payment.state, "act": act, "wanted": wanted})


def denied(row: Mapping[str, Any]) -> Exception:
    """403 `payments.denied_by_risk`, for a payment that a check refused."""
    reasons = (row["risk"] or {}).get("reasons", ())
    rules = ", ".join(dict.fromkeys(reason["rule_id"] for reason in reasons)) or "a check"
    return DENIED_BY_RISK.error({"payment_id": row["id"], "rules": rules})


def exceeds(declared: Any, payment: Payment, *, asked: int, left: int) -> Exception:  # an ErrorCode with these places
    """The refusal of an amount."""
    error: Exception = declared.error(
        {"asked": Money(asked, payment.currency), "left": Money(left, payment.currency), "payment_id": payment.id},
        param="/amount_minor",
    )
    return error


def lacks_money(refused: PlanRefused) -> bool:
    """Whether an account of money refused; one that meters a limit is for the limits to answer."""
    return isinstance(refused.refusal, GuardRefused) and not refused.refusal.account.startswith(METER)


def unfunded(refused: PlanRefused, currency: str) -> Exception:
    """409 `payments.refund_insufficient_balance` where an account's guard refused; any other refusal as it is."""
    refusal = refused.refusal
    if not lacks_money(refused) or not isinstance(refusal, GuardRefused):
        return refused
    metrics.GUARD_REFUSALS.add(1, {"role": refusal.role})
    if refusal.role in (PENDING, AVAILABLE):
        return _receiver_unfunded(refusal, currency)
    asked, available = Money(refusal.asked, currency), Money(max(0, refusal.available), currency)
    error: Exception = REFUND_UNFUNDED.error({"asked": asked, "available": available})
    return error


def _receiver_unfunded(refusal: GuardRefused, currency: str) -> Exception:
    """409 `payments.receiver_insufficient_balance`; the account reads `unit:owner:role/receiver[/day]`."""
    receiver_id = refusal.account.partition("/")[2].partition("/")[0]
    asked, available = Money(refusal.asked, currency), Money(max(0, refusal.available), currency)
    error: Exception = RECEIVER_UNFUNDED.error({"asked": asked, "available": available, "receiver_id": receiver_id})
    return error
