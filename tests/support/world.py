"""A platform with a merchant who takes payments, its application over ASGI, an acquirer behind it over real HTTP."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI

from platform_core.bootstrap.app import attach, create_app
from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.capabilities.payments.fees import FeeTerms
from platform_core.contracts.rar import Detail
from platform_core.identity.schemas import AppCreate, GrantCreate, MerchantCreate, StoreCreate
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit.due import DueWork, lease_due
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.settings import Settings

ORIGIN = "http://127.0.0.1:8080"
SCOPES = (
    "payments:write",
    "payments:read",
    "refunds:write",
    "refunds:read",
    "splits:write",
    "ledger:read",
    "merchant:read",
    "stores:read",
    "disputes:read",
    "disputes:write",
)
ACQUIRER_KEY = b"0123456789abcdef0123456789abcdef"
_numbers = itertools.count(1)
# OpenAPI by origin: every world has the same routes, but for sandboxes; writing it takes 0.2 s.
_documents: dict[tuple[str, bool], dict[str, Any]] = {}


@dataclass
class Till:
    """A merchant's app with a token: what a cash register is to the API."""

    client: httpx.AsyncClient
    token: str
    merchant_id: str
    store_id: str
    channel_account_id: str = ""
    grant_id: str = ""
    keys: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    session: dict[str, str] = field(default_factory=dict)  # headers of the owner's console, if one is signed in

    def headers(self, key: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Idempotency-Key": key or f"key-{next(self.keys)}"}

    async def post(self, path: str, body: dict[str, Any], *, key: str | None = None) -> httpx.Response:
        return await self.client.post(f"/v1{path}", json=body, headers=self.headers(key))

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(f"/v1{path}", headers={"Authorization": f"Bearer {self.token}"})

    async def pay(self, *, key: str | None = None, **fields: Any) -> httpx.Response:
        body = {
            "out_trade_no": f"order_{next(_numbers)}",
            "subject": "Two coffees",
            "form": "local",
            "currency": "CNY",
            "order_minor": 8_200,
            **fields,
        }
        return await self.post("/payments", body, key=key)

    async def balances(self, platform: Platform) -> dict[str, int]:
        """Posted balances by role, summed over buckets, zeros left out."""
        sums: dict[str, int] = {}
        for record in await platform.ledger.balances(self.merchant_id):
            sums[record.role] = sums.get(record.role, 0) + record.posted
        return {role: amount for role, amount in sums.items() if amount}


@dataclass
class World:
    """The platform and its application."""

    platform: Platform
    app: FastAPI
    client: httpx.AsyncClient
    acquirer_url: str

    async def new_till(
        self, *, scopes: tuple[str, ...] = SCOPES, rate_bp: int = 60, details: tuple[Detail, ...] = ()
    ) -> Till:
        """A new merchant with store, app, grant, fee plan, cash and the simulated acquirer."""
        platform = self.platform
        merchant = await platform.parties.create_merchant(
            MerchantCreate(name="Hutong Coffee", mode="test", industry="restaurant", verification="verified")
        )
        store = await platform.parties.create_store(StoreCreate(merchant_id=merchant.id, name="Drum Tower"))
        app = await platform.apps.create_app(
            AppCreate(name="Till", mode="test", merchant_id=merchant.id, api_version="2026-11-22")
        )
        grant = await platform.grants.create(
            GrantCreate(
                app_id=app.id,
                merchant_id=merchant.id,
                mode="test",
                scopes=scopes,
                stores=None,
                details=details,
                given_by="per_owner",
            )
        )
        await platform.payment_setup.set_fee_plan(merchant.id, currency="CNY", terms=FeeTerms(rate_bp=rate_bp))
        account = await platform.payment_setup.add_channel_account(
            merchant.id,
            provider_id="simulated_acquirer",
            name="Acquirer",
            settings={"gateway_url": self.acquirer_url, "merchant_no": "M1"},
            secrets={"signing_key": ACQUIRER_KEY},
        )
        await platform.payment_setup.add_channel_account(
            merchant.id, provider_id="cash", name="Cash drawer", settings={}, secrets={}
        )
        answer = await self.client.post(
            "/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(app.client.id, app.secret.secret),
        )
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        return Till(self.client, token, merchant.id, store.id, account, grant_id=grant.id)

    async def due(self, kind: str) -> list[DueWork]:
        """Lease what is due of a kind, as a worker would."""
        connection = await self.platform.database.connect("job")
        try:
            return await lease_due(connection, kind=kind, now=self.platform.clock.now(), limit=500)
        finally:
            await connection.close()

    async def work(self) -> int:
        """Do all payments work that is due now; returns how many rows."""
        done = 0
        for kind, handle in self.platform.payments.due_handlers().items():
            for row in await self.due(kind):
                plan = await handle(row)
                if plan is not None:
                    await self.platform.committer.commit(plan)
                done += 1
        return done


@asynccontextmanager
async def open_world(
    database_url: str, *, clock: Clock, home: Any, acquirer_url: str, origin: str = ORIGIN, **more: Any
) -> AsyncIterator[World]:
    """A world on a database. `home`: a temporary folder; `more`: settings."""
    settings = Settings(home=home, public_origin=origin, **more)
    async with open_platform(settings, DatabaseUrls(owner=database_url), clock=clock) as platform:
        app = create_app(None, public_origin=origin, ids=platform.ids)  # type: ignore[arg-type]  # attached by hand below
        kind = (origin, settings.is_sandbox)
        app.state.openapi_document = _documents.get(kind)
        attach(app, platform)
        _documents[kind] = app.state.openapi_document
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=origin) as client:
            yield World(platform, app, client, acquirer_url)
