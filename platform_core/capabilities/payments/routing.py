"""Who is offered a payment: ids that fit form, currency, limits and code, in the order that the merchant's rules
give.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from platform_core.capabilities.payments.models import Payment
from platform_core.capabilities.payments.providers import Providers
from platform_core.capabilities.payments.schemas import PaymentCreate
from platform_core.capabilities.payments.terms import Account, MerchantTerms, Rule
from platform_core.contracts.payments import ProviderDescription


class Wish(msgspec.Struct, frozen=True):
    """What is to be paid, as far as routing cares."""

    form: str
    currency: str
    amount_minor: int
    is_capture: bool
    store_id: str | None = None
    channel: str | None = None  # preferred provider
    auth_code: str | None = None


class Route(msgspec.Struct, frozen=True):
    """One way: a channel account and the provider behind it."""

    account: Account
    description: ProviderDescription
    why: Mapping[str, Any]  # kept on the attempt: the rule, and what was offered in which order


def routes(
    wish: Wish, terms: MerchantTerms, providers: Providers, *, closed: frozenset[str] = frozenset()
) -> list[Route]:
    """All ways that fit, best first. The merchant's first rule that fits decides; without rules, the accounts by age.

    A preferred channel comes first; the others stay behind it. `closed`: providers that take no new payment.
    """
    rule = next((rule for rule in terms.rules if _rule_fits(rule, wish)), None)
    ordered = rule.channel_account_ids if rule is not None else terms.channel_accounts
    fitting = [found for found in _fitting(wish, ordered, terms, providers) if found[1].id not in closed]
    if wish.channel is not None:
        fitting.sort(key=lambda found: found[1].id != wish.channel)
    why = {
        "rule_id": None if rule is None else rule.id,
        "preferred": wish.channel,
        "offered": [account.id for account, _ in fitting],
    }
    return [Route(account, description, why) for account, description in fitting]


def _fitting(
    wish: Wish, ordered: Iterable[str], terms: MerchantTerms, providers: Providers
) -> Iterator[tuple[Account, ProviderDescription]]:
    for account_id in ordered:
        account = terms.channel_accounts.get(account_id)
        if account is None or not account.is_active:
            continue
        description = providers.describe(account.provider_id)
        if description is not None and _fits(wish, description):
            yield account, description


def _rule_fits(rule: Rule, wish: Wish) -> bool:
    return (
        rule.form in (None, wish.form)
        and rule.store_id in (None, wish.store_id)
        and (rule.amount_minor_min is None or wish.amount_minor >= rule.amount_minor_min)
        and (rule.amount_minor_max is None or wish.amount_minor <= rule.amount_minor_max)
    )


def _fits(wish: Wish, description: ProviderDescription) -> bool:
    if wish.form not in description.forms:
        return False
    if not wish.is_capture and "preauth" not in description.forms:
        return False
    limit = next((limit for limit in description.limits if limit.currency == wish.currency), None)
    if limit is None or not limit.amount_minor_min <= wish.amount_minor <= limit.amount_minor_max:
        return False
    if wish.form == "merchant_scan":
        pattern = description.auth_code_pattern
        return pattern is not None and wish.auth_code is not None and re.fullmatch(pattern, wish.auth_code) is not None
    return True


def wish_for(row: dict[str, Any], request: PaymentCreate) -> Wish:
    """What a new order wants; one that discounts pay in full needs no network."""
    return Wish(
        form=request.form if row["payable_minor"] else "local",
        currency=request.currency,
        amount_minor=row["payable_minor"],
        is_capture=request.is_capture,
        store_id=request.store_id,
        channel=request.channel,
        auth_code=request.auth_code,
    )


def wish_of(payment: Payment, *, form: str, channel: str | None, auth_code: str | None = None) -> Wish:
    """What another attempt at a payment wants."""
    return Wish(
        form=form,
        currency=payment.currency,
        amount_minor=payment.payable_minor,
        is_capture=payment.is_capture,
        store_id=payment.store_id,
        channel=channel,
        auth_code=auth_code,
    )
