"""How a merchant takes payments, as plain records: read once, asked for at every payment.

An attribute of a table's row goes through SQLAlchemy's instrumentation, which costs four times a plain one; a payment
asks for some twenty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from platform_core.capabilities.payments.fees import NO_FEE, FeeTerms
from platform_core.capabilities.payments.models import ChannelAccount, FeePlan, RoutingRule
from platform_core.contracts import payments as contract


class Account(msgspec.Struct, frozen=True):
    """A merchant's contract with an acquirer, reached through one provider."""

    id: str
    merchant_id: str
    provider_id: str
    name: str
    is_active: bool
    secrets: Mapping[str, Sequence[str]]
    """As stored; only the host opens them."""
    contract: contract.ChannelAccount
    """The account as a plugin sees it: settings, and the names of its secrets."""


class Rule(msgspec.Struct, frozen=True):
    """Which channel accounts are offered, in which order, for which payments. None: any."""

    id: str
    form: str | None
    store_id: str | None
    amount_minor_min: int | None
    amount_minor_max: int | None
    channel_account_ids: Sequence[str]
    weights: Sequence[int] = ()
    hour_from: int | None = None
    hour_until: int | None = None


class Plan(msgspec.Struct, frozen=True):
    """What the platform charges for a form, or with None for every form that has no plan of its own."""

    currency: str
    form: str | None
    valid_from: datetime
    fee: FeeTerms


class MerchantTerms(msgspec.Struct, frozen=True):
    """Contracts, routing in order, fees.

    As of `read_at`; `changes_at` is the next moment at which a rule or plan begins or ends, if one is known of.
    """

    channel_accounts: Mapping[str, Account]
    rules: Sequence[Rule]
    plans: Sequence[Plan]
    read_at: datetime
    changes_at: datetime | None

    def hold_at(self, moment: datetime) -> bool:
        """Whether they are those of this moment too; a clock may also have been put back."""
        return self.read_at <= moment and (self.changes_at is None or moment < self.changes_at)

    def fee(self, form: str, currency: str) -> FeeTerms:
        """The newest fee plan of a form, else that of all forms, else none."""
        found: Plan | None = None
        for plan in self.plans:
            if plan.currency != currency or plan.form not in (None, form):
                continue
            if found is None or (plan.form is not None, plan.valid_from) > (found.form is not None, found.valid_from):
                found = plan
        return NO_FEE if found is None else found.fee


def account_of(row: ChannelAccount) -> Account:
    """The record of a row."""
    names = {name: name for name in row.secrets}
    seen: contract.ChannelAccount = contract.ChannelAccount(id=row.id, settings=row.settings, secret_names=names)
    return Account(row.id, row.merchant_id, row.provider_id, row.name, row.is_active, row.secrets, seen)


def rule_of(row: RoutingRule) -> Rule:
    """The record of a row."""
    return Rule(
        row.id,
        row.form,
        row.store_id,
        row.amount_minor_min,
        row.amount_minor_max,
        tuple(row.channel_account_ids),
        tuple(row.weights or ()),
        row.hour_from,
        row.hour_until,
    )


def plan_of(row: FeePlan) -> Plan:
    """The record of a row."""
    fee = FeeTerms(row.rate_bp, row.fixed_minor, row.fee_minor_min, row.fee_minor_max, row.is_kept_on_refund)
    return Plan(row.currency, row.form, row.valid_from, fee)
