"""The two checks. Both count first and judge then, so that what is refused counts as well."""

from __future__ import annotations

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.payments import PaymentToCheck, RefundToCheck
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.results import Verdict

from .settings import Settings
from .windows import Measured, counted, key_of, verdict

_HOUR_S = 3_600
_DAY_S = 86_400


@hookimpl
def check_payment(ctx: HookContext, payment: PaymentToCheck) -> Verdict:
    """Count the attempt by payer, device and store. What the merchant did not grant is not counted."""
    settings = Settings.of(ctx.config)
    window_s, minutes = settings.window_minutes * 60, settings.window_minutes
    measured: list[Measured] = []

    def measure(rule_id: str, key: str, *, by: int, most: int, what: str) -> None:
        value = counted(ctx.state, key, by=by, window_s=window_s)
        measured.append(Measured(rule_id=rule_id, what=f"{what} in {minutes} minutes", value=value, most=most))

    if payment.payer_ref is not None:
        most = settings.payer_payments_max
        measure("velocity.payer", key_of("payer", payment.payer_ref), by=1, most=most, what="payments of this payer")
    if payment.payer_ref is not None and payment.amount is not None:
        key = key_of(f"sum:{payment.amount.currency}", payment.payer_ref)
        most = settings.payer_amount_max_minor
        what = f"minor units of {payment.amount.currency} by this payer"
        measure("velocity.payer_amount", key, by=payment.amount.amount_minor, most=most, what=what)
    if payment.device_ref is not None:
        most = settings.device_payments_max
        measure(
            "velocity.device", key_of("device", payment.device_ref), by=1, most=most, what="payments of this device"
        )
    if payment.store_id is not None:
        most = settings.store_payments_max
        measure("velocity.store", key_of("store", payment.store_id), by=1, most=most, what="payments of this store")
    return verdict(measured, deny_at_percent=settings.deny_at_percent)


@hookimpl
def check_refund(ctx: HookContext, refund: RefundToCheck) -> Verdict:
    """Count the refund by who asks for it; look at the payment's age and at the month. Never denies: staff decide."""
    settings = Settings.of(ctx.config)
    measured: list[Measured] = []
    if refund.requested_by is not None:
        value = counted(ctx.state, key_of("operator", refund.requested_by), by=1, window_s=_HOUR_S)
        what, most = "refunds by this operator in an hour", settings.operator_refunds_max
        measured.append(Measured(rule_id="velocity.operator", what=what, value=value, most=most))
    if refund.refunds_30d is not None:
        value, what, most = refund.refunds_30d.count + 1, "refunds in 30 days", settings.month_refunds_max
        measured.append(Measured(rule_id="velocity.month", what=what, value=value, most=most))
    if refund.payment_age_s is not None:
        value, what, most = refund.payment_age_s // _DAY_S, "days since the payment", settings.refund_age_days_max
        measured.append(Measured(rule_id="age.payment", what=what, value=value, most=most))
    found = verdict(measured, deny_at_percent=settings.deny_at_percent)
    return found if found.decision != "deny" else found.model_copy(update={"decision": "review", "score": 99})
