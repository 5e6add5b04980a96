"""An ISV's app, a merchant and a browser: what the tests of consent and grants play with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from platform_core.identity.consent import ScopeWish
from platform_core.identity.schemas import AppCreate, AppCreated, ClientConfigure, IsvCreate, StoreCreate
from platform_core.kernel.i18n import Text
from tests.consoles.browser import CHALLENGE, REDIRECT, VERIFIER, Browser, answer_of, fields_of
from tests.support.world import ORIGIN, Till, World

REFUND = {
    "type": "payment_refund",
    "limits": [
        {"per": "request", "amount_minor": 50_000, "currency": "CNY"},
        {"per": "day", "amount_minor": 200_000, "currency": "CNY"},
        {"per": "month", "quantity": 300},
    ],
}
SCOPE = "openid merchant:read payments:read payments:write refunds:write members.contact:read"


@dataclass
class Scene:
    """An ISV's app, a merchant with two stores, and a channel to take payments."""

    world: World
    app: AppCreated
    till: Till
    stores: tuple[str, str]

    @property
    def merchant_id(self) -> str:
        return self.till.merchant_id

    @property
    def auth(self) -> tuple[str, str]:
        return (self.app.client.id, self.app.secret.secret)

    async def ask(self, browser: Browser, **changes: Any) -> str:
        """Begin at the app: the path of the consent page."""
        wanted = {
            "response_type": "code",
            "client_id": self.app.client.id,
            "redirect_uri": REDIRECT,
            "scope": SCOPE,
            "state": "s1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "authorization_details": json.dumps([REFUND]),
            **changes,
        }
        pushed = await self.world.client.post("/oauth/par", data=wanted, auth=self.auth)
        assert pushed.status_code == 201, pushed.text
        there = {"client_id": self.app.client.id, "request_uri": pushed.json()["request_uri"]}
        answer = await browser.get(f"/oauth/authorize?{urlencode(there)}")
        assert answer.status_code == 303, answer.text
        location = answer.headers["location"]
        assert urlsplit(location).path == "/consent", location
        return location.removeprefix(ORIGIN)

    async def allow(self, browser: Browser, path: str, **changes: Any) -> httpx.Response:
        """Open the page and allow, with some fields changed."""
        shown = await browser.get(path)
        assert shown.status_code == 200, shown.text
        return await browser.post(path, {**fields_of(shown.text), "decision": "allow", **changes})

    async def tokens(self, location: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": answer_of(location)["code"],
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
        }
        answer = await self.world.client.post("/oauth/token", data=form, auth=self.auth)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def grants(self) -> list[Any]:
        return [g for g in await self.world.platform.grants.page(self.merchant_id) if g.app_id == self.app.id]


async def open_scene(world: World) -> Scene:
    platform = world.platform
    till = await world.new_till()
    other = await platform.parties.create_store(StoreCreate(merchant_id=till.merchant_id, name="Bell Tower"))
    isv = await platform.parties.create_isv(IsvCreate(name="Till Makers", verification="verified"))
    app = await platform.apps.create_app(
        AppCreate(name="Refund Desk", mode="test", api_version="2026-11-22", isv_id=isv.id)
    )
    await platform.apps.configure_client(
        app.client.id,
        ClientConfigure(
            profile="confidential",
            redirect_uris=(REDIRECT,),
            grant_types=frozenset({"authorization_code", "refresh_token"}),
        ),
    )
    await platform.consent.declare_scopes(
        app.id,
        [
            ScopeWish("refunds:write", purpose=Text(en="Refund <b>at the desk</b>", zh="前台退款")),
            ScopeWish("members.contact:read", is_optional=True, purpose=Text(en="Call back", zh="回访顾客")),
        ],
    )
    return Scene(world, app, till, (till.store_id, other.id))
