"""A merchant's owner at the browser: follows the client's address to the consent page, and decides."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from joserfc.jwk import ECKey, RSAKey

from platform_core.bootstrap.platform import Platform
from platform_core.contracts.scopes import catalogue
from platform_core.identity.consent import Approved, Declined
from platform_core.identity.oauth.requests import BROWSER_COOKIE
from platform_core.identity.schemas import (
    AppCreate,
    AppCreated,
    ClientConfigure,
    IsvCreate,
    MerchantCreate,
    StoreCreate,
)
from platform_core.identity.sessions import ACR_MFA, SignedIn
from tests.clients.conftest import Server

CALLBACK = "https://till.example/callback"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
GRANT_TYPES = frozenset({"authorization_code", "refresh_token", "client_credentials", DEVICE})


def owner_of(merchant_id: str) -> SignedIn:
    """Who signed in a moment ago, with a second factor."""
    return SignedIn(
        session_id=f"ses_{secrets.token_hex(8)}",  # tries to enter a device's code are counted by session
        person_id="per_owner",
        console="merchant",
        party_kind="merchant",
        party_id=merchant_id,
        roles=frozenset({"owner"}),
        scopes=frozenset(catalogue()),
        stores=None,
        acr=ACR_MFA,
        auth_time=int(time.time()),
        locale="en",
        mode="test",
    )


@dataclass(frozen=True, slots=True)
class Visit:
    """An ISV's app and a merchant who has not let it in yet."""

    server: Server
    app: AppCreated
    merchant_id: str
    store_id: str
    private_jwk: dict[str, Any] | None
    is_public: bool = False

    async def consent(self, asked: dict[str, Any]) -> dict[str, str]:
        """Where the browser is sent after the owner agreed to everything."""
        return {"redirect": await approve(self.server.platform, self.merchant_id, asked["url"])}

    async def enter(self, asked: dict[str, Any]) -> dict[str, str]:
        """The owner enters the code that the device shows, and lets it in for one store."""
        who, devices = owner_of(self.merchant_id), self.server.platform.devices
        await devices.approve(await devices.find(asked["user_code"], who=who), who=who, store_id=self.store_id)
        return {}

    async def refuse(self, asked: dict[str, Any]) -> str:
        """Where the browser is sent after the owner said no."""
        oauth = self.server.platform.oauth
        request = oauth.consent_tokens.open(*await open_page(asked["url"]))
        return await oauth.decide(request, owner_of(self.merchant_id), Declined())


async def approve(platform: Platform, merchant_id: str, url: str) -> str:
    """Where the browser is sent after the merchant's owner followed the client's address and agreed to everything."""
    request = platform.oauth.consent_tokens.open(*await open_page(url))
    approved = Approved(request.scopes, None, request.details, None)
    return await platform.oauth.decide(request, owner_of(merchant_id), approved)


async def open_page(url: str) -> tuple[str, str]:
    """What the consent page is handed for the client's address: its token, and the browser that it is bound to."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        answer = await http.get(url)
    assert answer.status_code == 303, answer.text
    location = urlsplit(answer.headers["location"])
    assert location.path == "/consent", answer.headers["location"]
    cookie = answer.headers["set-cookie"].partition(";")[0]  # httpx keeps no Secure cookie that came over http
    assert cookie.startswith(f"{BROWSER_COOKIE}=")
    return parse_qs(location.query)["token"][0], cookie.partition("=")[2]


async def new_visit(server: Server, auth: str, *, needs_rsa: bool = False) -> Visit:
    """A new app whose client proves itself by `auth`, and a new merchant.

    `needs_rsa`: Authlib's client reads any JWK as an RSA key and signs with RS256.
    """
    platform = server.platform
    isv = await platform.parties.create_isv(IsvCreate(name="Till makers"))
    merchant = await platform.parties.create_merchant(
        MerchantCreate(name="Tea house", mode="test", industry="retail.convenience")
    )
    store = await platform.parties.create_store(StoreCreate(merchant_id=merchant.id, name="Gate"))
    app = await platform.apps.create_app(AppCreate(name="Till", mode="test", api_version="2026-11-22", isv_id=isv.id))
    is_public = auth == "none"
    wanted = ClientConfigure(
        profile="public" if is_public else "confidential",
        redirect_uris=(CALLBACK,),
        grant_types=GRANT_TYPES - {"client_credentials"} if is_public else GRANT_TYPES,
    )
    await platform.apps.configure_client(app.client.id, wanted)
    private_jwk = await new_key(server, app.client.id, needs_rsa=needs_rsa) if auth == "private_key_jwt" else None
    return Visit(server, app, merchant.id, store.id, private_jwk, is_public)


async def new_key(server: Server, client_id: str, *, needs_rsa: bool = False) -> dict[str, Any]:
    """A key that the client signs assertions with; its public half is uploaded."""
    key: RSAKey | ECKey
    if needs_rsa:
        key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    else:
        key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
    await server.platform.proof_tools.keys.add(client_id, key.as_dict(private=False), by="per_owner")
    return dict(key.as_dict(private=True))
