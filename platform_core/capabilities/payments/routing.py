"""Who is offered a payment: ids that fit form, currency, limits and code, in the order that the merchant's rules
give.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from platform_core.capabilities.payments.forms import is_by_code, wanted_forms
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
    freeze_by: str | None = None
    payment_id: str = ""  # what weights draw by
    hour: int = 0  # of the merchant's day


class Route(msgspec.Struct, frozen=True):
    """One way: a channel account and the provider behind it."""

    account: Account
    description: ProviderDescription
    why: Mapping[str, Any]  # kept on the attempt: the rule, and what was offered in which order


def routes(
    wish: Wish, terms: MerchantTerms, providers: Providers, *, closed: frozenset[str] = frozenset()
) -> list[Route]:
    """All ways that fit, best first. The merchant's first rule that fits decides; without rules, the accounts by age.

    A rule with weights draws its order by the payment's id, the same each time. A preferred channel comes first; the
    others stay behind it. `closed`: providers that take no new payment.
    """
    rule = next((rule for rule in terms.rules if _rule_fits(rule, wish)), None)
    ordered: Iterable[str] = terms.channel_accounts
    if rule is not None:
        ordered = rule.channel_account_ids
        if rule.weights:
            ordered = drawn(ordered, rule.weights, by=wish.payment_id)
    fitting = [found for found in _fitting(wish, ordered, terms, providers) if found[1].id not in closed]
    if wish.channel is not None:
        fitting.sort(key=lambda found: found[1].id != wish.channel)
    why = {
        "rule_id": None if rule is None else rule.id,
        "preferred": wish.channel,
        "inputs": {
            "form": wish.form,
            "amount_minor": wish.amount_minor,
            "currency": wish.currency,
            "store_id": wish.store_id,
            "hour": wish.hour,
        },
        "offered": [account.id for account, _ in fitting],
    }
    return [Route(account, description, why) for account, description in fitting]


def as_ranked(found: list[Route], earlier: Mapping[str, Any] | None) -> list[Route]:
    """The ways in the order that a plugin gave an earlier attempt of the payment; others stay behind, as they are."""
    ranked: list[str] = (earlier or {}).get("ranked") or []
    places = {id_: place for place, id_ in enumerate(ranked)}
    return sorted(found, key=lambda route: places.get(route.account.id, len(places)))


def drawn(ids: Sequence[str], weights: Sequence[int], *, by: str) -> list[str]:
    """The ids in an order drawn without replacement, each in proportion to its weight, by a hash of `by`.

    A weight of 0 is offered after all others.
    """
    left = [(id_, weight) for id_, weight in zip(ids, weights, strict=True) if weight]
    stock = int.from_bytes(hashlib.sha256(by.encode()).digest())
    order: list[str] = []
    while left:
        stock, at = divmod(stock, sum(weight for _, weight in left))
        for index, (_, weight) in enumerate(left):
            if at < weight:
                order.append(left.pop(index)[0])
                break
            at -= weight
    return order + [id_ for id_, weight in zip(ids, weights, strict=True) if not weight]


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
        and _is_hour_within(wish.hour, rule.hour_from, rule.hour_until)
    )


def _is_hour_within(hour: int, since: int | None, until: int | None) -> bool:
    """Whether an hour of the day lies in [since, until); a window that begins late goes over midnight."""
    if since is None or until is None:
        return True
    return since <= hour < until if since < until else hour >= since or hour < until


def _fits(wish: Wish, description: ProviderDescription) -> bool:
    if not wanted_forms(wish.form, by=wish.freeze_by, is_capture=wish.is_capture) <= description.forms:
        return False
    limit = next((limit for limit in description.limits if limit.currency == wish.currency), None)
    if limit is None or not limit.amount_minor_min <= wish.amount_minor <= limit.amount_minor_max:
        return False
    if is_by_code(wish.form, wish.freeze_by):
        pattern = description.auth_code_pattern
        return pattern is not None and wish.auth_code is not None and re.fullmatch(pattern, wish.auth_code) is not None
    return True


def wish_for(row: dict[str, Any], request: PaymentCreate, *, hour: int) -> Wish:
    """What a new order wants; one that discounts pay in full needs no network. `hour`: of the merchant's day."""
    return Wish(
        form=request.form if row["payable_minor"] else "local",
        currency=request.currency,
        amount_minor=row["payable_minor"],
        is_capture=row["is_capture"] or not row["payable_minor"],
        store_id=request.store_id,
        channel=request.channel,
        auth_code=request.auth_code,
        freeze_by=row["freeze_by"] if row["payable_minor"] else None,
        payment_id=row["id"],
        hour=hour,
    )


def wish_of(
    payment: Payment,
    *,
    form: str,
    channel: str | None,
    hour: int,
    auth_code: str | None = None,
    freeze_by: str | None = None,
) -> Wish:
    """What another attempt at a payment wants."""
    return Wish(
        form=form,
        currency=payment.currency,
        amount_minor=payment.payable_minor,
        is_capture=payment.is_capture,
        store_id=payment.store_id,
        channel=channel,
        auth_code=auth_code,
        freeze_by=freeze_by,
        payment_id=payment.id,
        hour=hour,
    )
