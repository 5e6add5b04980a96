"""Three events: money taken, money returned, and what becomes of this plugin."""

from __future__ import annotations

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.payments import PaymentCaptured, RefundSucceeded
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.plugins import PluginChange
from platform_core.contracts.results import DONE, Acknowledged

from .client import CrmClient


@hookimpl
def on_payment_captured(ctx: HookContext, event: PaymentCaptured) -> Acknowledged:
    """Tell the CRM of an order. The member is named where the merchant allows it."""
    facts = {
        "source": str(ctx.config.get("source", "arsenal")),
        "payment_id": event.payment_id,
        "order_no": event.out_trade_no,
        "sequence": event.sequence,
        "amount_minor": event.amount.amount_minor,
        "currency": event.amount.currency,
        "store_id": event.store_id,
        "member_id": event.member_id,
        "occurred_at": event.occurred_at.isoformat(),
    }
    return CrmClient(ctx).tell("orders", facts)


@hookimpl
def on_refund_succeeded(ctx: HookContext, event: RefundSucceeded) -> Acknowledged:
    """Tell the CRM of a refund, unless the merchant has switched that off."""
    if not ctx.config.get("sends_refunds", True):
        return DONE
    facts = {
        "source": str(ctx.config.get("source", "arsenal")),
        "refund_id": event.refund_id,
        "payment_id": event.payment_id,
        "sequence": event.sequence,
        "amount_minor": event.amount.amount_minor,
        "refunded_total_minor": event.refunded_total_minor,
        "currency": event.amount.currency,
        "occurred_at": event.occurred_at.isoformat(),
    }
    return CrmClient(ctx).tell("refunds", facts)


@hookimpl
def on_plugin_changed(ctx: HookContext, change: PluginChange) -> Acknowledged:
    """Try the token when it may have become wrong, and forget the account when the plugin is switched off."""
    if change.change == "disabled":
        ctx.state.delete("account")
    elif change.change != "unknown":
        account = CrmClient(ctx).account()
        if account is not None:
            ctx.state.put("account", account)
    return DONE
