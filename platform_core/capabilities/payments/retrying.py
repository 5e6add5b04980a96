"""What an error's class brings about at the same provider, by the table of the contract (payments.md section 6)."""

from __future__ import annotations

from typing import Final

import structlog

from platform_core.capabilities.payments import metrics
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.forms import is_by_code
from platform_core.capabilities.payments.models import Payment
from platform_core.contracts.payments import (
    RETRY_RULES,
    ErrorClass,
    Outcome,
    ProviderCall,
    ProviderResult,
    RetryRule,
)

NO_RULE: Final = RetryRule()
ABOUT_THE_QUESTION: Final = frozenset(
    {ErrorClass.NOT_SENT, ErrorClass.BUSY, ErrorClass.CONFIGURATION, ErrorClass.INVALID_REQUEST}
)
"""A refused question says nothing of the transaction: the network, the rate or the settings were at fault."""
log = structlog.get_logger(__name__)


def rule_of(result: ProviderResult) -> RetryRule:
    """What the table says of the result's error; a result without one asks for nothing."""
    return NO_RULE if result.error is None else RETRY_RULES[result.error.error_class]


async def ask_patiently(desk: Desk, call: ProviderCall, *, provider_id: str, method: str) -> ProviderResult:
    """Ask; repeat under the same key, or have the provider look, where the failure's class says so.

    Not longer than the waits of the first failure; each call has its own deadline. What stays unknown is the
    janitor's. A class that wants a person is counted and logged.
    """
    providers = desk.tools.providers
    result = await providers.call(provider_id, method, call)
    for wait_s in rule_of(result).same_after_s:
        await desk.tools.sleep(wait_s)
        result = await providers.call(provider_id, method, call)
        if not rule_of(result).same_after_s:
            break
    if result.outcome is Outcome.UNKNOWN and rule_of(result).asks == "query":
        result = await _looked_up(desk, call, result, provider_id=provider_id)
    if rule_of(result).is_alert:
        tell_operator(result, provider_id=provider_id, method=method, transaction_id=call.idempotency_key)
    return result


async def _looked_up(desk: Desk, call: ProviderCall, before: ProviderResult, *, provider_id: str) -> ProviderResult:
    """The order exists there already: its own word counts, if it has one. A question that fails says nothing."""
    result = await desk.tools.providers.call(provider_id, "query", call)
    is_refused = result.outcome is Outcome.FAILED and result.error and result.error.error_class in ABOUT_THE_QUESTION
    return before if is_refused else result.checked(amount_minor=call.amount_minor)


def tell_operator(result: ProviderResult, *, provider_id: str, method: str, transaction_id: str) -> None:
    """The request or the settings are wrong, which no repeat mends: a person must look."""
    assert result.error is not None, "only errors have a class"
    error_class = str(result.error.error_class)
    metrics.PROVIDER_ALERTS.add(1, {"provider": provider_id, "operation": method, "class": error_class})
    log.error(
        "payments.provider_alert",
        provider=provider_id,
        operation=method,
        error_class=error_class,
        code=result.error.code,
        transaction_id=transaction_id,
    )


def may_try_other(payment: Payment, result: ProviderResult) -> bool:
    """A one-use code is one wallet's; everything else may go to another provider if the failure's class says so."""
    if result.outcome is not Outcome.FAILED or result.error is None or is_by_code(payment.form, payment.freeze_by):
        return False
    return rule_of(result).may_try_other
