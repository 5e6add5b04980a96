"""The other plugin on the victim: it behaves, and its answers show whether anybody meddled with them."""

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.results import Verdict


@hookimpl
def check_payment(ctx, payment):
    """A figure that depends on the call and on the merchant's configuration."""
    if payment.subject == "remember":
        ctx.state.put("last", payment.payment_id)
    return Verdict.allow(score=(payment.amount.amount_minor * 3 + ctx.config["salt"]) % 101)
