"""Parties to try things out with: an ISV whose app hears of everything, and three merchants of different industries."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from platform_core.capabilities.payments.fees import FeeTerms
from platform_core.capabilities.payments.setup import PaymentSetup
from platform_core.identity.apps import Apps
from platform_core.identity.grants import Grants
from platform_core.identity.parties import Parties
from platform_core.identity.schemas import (
    AppCreate,
    AppCreated,
    GrantCreate,
    IsvCreate,
    MerchantCreate,
    StoreCreate,
)

READS: Final = ("payments:read", "refunds:read", "ledger:read")
TILL_SCOPES: Final = frozenset(
    {
        *READS,
        "payments:write",
        "refunds:write",
        "risk.cases:write",
        "merchant:read",
        "stores:read",
        "webhooks:read",
        "webhooks:write",
        "webhooks:resend",
        "request_log:read",
        "testbed:write",
    }
)
HUB_SCOPES: Final = frozenset({*READS, "webhooks:read", "webhooks:write", "webhooks:resend", "testbed:write"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MerchantPlan:
    """A merchant to be."""

    name: str
    industry: str
    stores: tuple[str, ...]
    fees: FeeTerms


MERCHANTS: Final = (
    MerchantPlan(
        name="Hutong Coffee",
        industry="restaurant",
        stores=("Drum Tower", "Wudaokou"),
        fees=FeeTerms(rate_bp=60),
    ),
    MerchantPlan(
        name="Nanluo Books",
        industry="retail",
        stores=("Nanluoguxiang",),
        fees=FeeTerms(rate_bp=38, fixed_minor=10),
    ),
    MerchantPlan(
        name="Jade Lake Clinic",
        industry="health",
        stores=("Outpatients", "Pharmacy"),
        fees=FeeTerms(rate_bp=25, fee_minor_min=5, fee_minor_max=500),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeding:
    """The services that write parties, and where the acquirer is. `api_version`: what the apps speak."""

    parties: Parties
    apps: Apps
    grants: Grants
    setup: PaymentSetup
    acquirer_url: str
    api_version: str
    entropy: Callable[[int], bytes] = secrets.token_bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an app signs in with."""

    client_id: str
    client_secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededMerchant:
    """A merchant with stores and an app of its own. `acquirer_no`, `acquirer_key`: its contract with the acquirer."""

    id: str
    name: str
    industry: str
    store_ids: tuple[str, ...]
    till: Credentials
    acquirer_no: str
    acquirer_key: bytes


@dataclass(frozen=True, slots=True)
class Seeded:
    """Everybody. `hub`: the ISV's app, let in by every merchant to read and be told of what happens."""

    isv_id: str
    hub: Credentials
    merchants: tuple[SeededMerchant, ...]


async def seed_merchant(seeding: Seeding, plan: MerchantPlan) -> SeededMerchant:
    """One more merchant, with an app of its own. The acquirer must be told of it by the caller."""
    return await _merchant(seeding, plan, hub=None)


async def seed(seeding: Seeding) -> Seeded:
    """Write everybody anew. The acquirer must be told of `acquirer_no` and `acquirer_key` by the caller."""
    isv = await seeding.parties.create_isv(IsvCreate(name="Lantern Software", verification="verified"))
    hub = await seeding.apps.create_app(
        AppCreate(name="Lantern Hub", mode="test", isv_id=isv.id, api_version=seeding.api_version)
    )
    merchants = [await _merchant(seeding, plan, hub=hub) for plan in MERCHANTS]
    return Seeded(isv.id, _credentials(hub), tuple(merchants))


async def _merchant(seeding: Seeding, plan: MerchantPlan, *, hub: AppCreated | None) -> SeededMerchant:
    merchant = await seeding.parties.create_merchant(
        MerchantCreate(name=plan.name, mode="test", industry=plan.industry, verification="verified")
    )
    stores = [
        await seeding.parties.create_store(StoreCreate(merchant_id=merchant.id, name=name)) for name in plan.stores
    ]
    till = await seeding.apps.create_app(
        AppCreate(name=f"{plan.name} till", mode="test", merchant_id=merchant.id, api_version=seeding.api_version)
    )
    for app_id, scopes in ((till.id, TILL_SCOPES), *(((hub.id, HUB_SCOPES),) if hub is not None else ())):
        await seeding.grants.create(
            GrantCreate(app_id=app_id, merchant_id=merchant.id, mode="test", scopes=scopes, given_by="per_seed")
        )
    acquirer_no, acquirer_key = acquirer_no_of(merchant.id), seeding.entropy(32)
    await seeding.setup.set_fee_plan(merchant.id, currency="CNY", terms=plan.fees)
    await seeding.setup.add_channel_account(
        merchant.id,
        provider_id="simulated_acquirer",
        name="Simulated acquirer",
        settings={"gateway_url": seeding.acquirer_url, "merchant_no": acquirer_no},
        secrets={"signing_key": acquirer_key},
    )
    await seeding.setup.add_channel_account(
        merchant.id, provider_id="cash", name="Cash drawer", settings={}, secrets={}
    )
    return SeededMerchant(
        id=merchant.id,
        name=plan.name,
        industry=plan.industry,
        store_ids=tuple(store.id for store in stores),
        till=_credentials(till),
        acquirer_no=acquirer_no,
        acquirer_key=acquirer_key,
    )


def acquirer_no_of(merchant_id: str) -> str:
    """The number that the simulated acquirer knows a seeded merchant by."""
    return f"M{merchant_id[-12:]}"


def _credentials(app: AppCreated) -> Credentials:
    return Credentials(app.client.id, app.secret.secret)
