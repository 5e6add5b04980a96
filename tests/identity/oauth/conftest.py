"""An app of an ISV, a merchant's owner who decides, and everything between them over HTTP."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest

from platform_core.identity.apps import Apps
from platform_core.identity.consent import Approved, Declined
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models import Profile
from platform_core.identity.oauth.requests import BROWSER_COOKIE, AuthorizationRequest
from platform_core.identity.parties import Parties
from platform_core.identity.roles import scopes_of
from platform_core.identity.schemas import (
    AppCreate,
    AppCreated,
    ClientConfigure,
    IsvCreate,
    MerchantCreate,
    MerchantRead,
)
from platform_core.identity.sessions import ACR_MFA, SignedIn
from tests.identity.conftest import ORIGIN, Process

CALLBACK = "https://till.example/callback?from=arsenal"
SCOPE = "merchant:read payments:read stores:read"
ALL_GRANTS = frozenset({"authorization_code", "refresh_token", "client_credentials"})
_numbers = itertools.count(1)


def challenge_of(verifier: str) -> str:
    """S256 (RFC 7636 section 4.2)."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def answer_of(location: str) -> dict[str, str]:
    """The parameters of an authorization answer; none is doubled."""
    pairs = parse_qsl(urlsplit(location).query, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@dataclass
class Journey:
    """One app, one merchant and one browser."""

    process: Process
    app: AppCreated
    merchant: MerchantRead
    profile: Profile = "confidential"
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    browser: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def client_id(self) -> str:
        return self.app.client.id

    @property
    def auth(self) -> httpx.Auth:
        return httpx.Auth() if self.profile == "public" else httpx.BasicAuth(self.client_id, self.app.secret.secret)

    def who(self, **changes: Any) -> SignedIn:
        now = int(self.process.deps.clock.now().timestamp())
        owner = SignedIn(
            session_id="ses_owner",
            person_id="per_owner",
            console="merchant",
            party_kind="merchant",
            party_id=self.merchant.id,
            roles=frozenset({"owner"}),
            scopes=scopes_of("merchant", ["owner"]),
            stores=None,
            acr=ACR_MFA,
            auth_time=now,
            locale="en",
        )
        return replace(owner, **changes)

    def parameters(self, **changes: str | None) -> dict[str, str]:
        plain: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": CALLBACK,
            "scope": SCOPE,
            "state": "st-1",
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in plain.items() if value is not None}

    async def authorize(self, parameters: dict[str, str] | None = None, /, **changes: str | None) -> httpx.Response:
        found = parameters if parameters is not None else self.parameters(**changes)
        cookie = {"Cookie": f"{BROWSER_COOKIE}={self.browser}"}
        return await self.process.http.get("/oauth/authorize", params=found, headers=cookie)

    def opened(self, answer: httpx.Response, browser: str | None = None) -> AuthorizationRequest:
        location = urlsplit(answer.headers["location"])
        assert (answer.status_code, location.path) == (303, "/consent"), answer.headers["location"]
        token = parse_qs(location.query)["token"][0]
        return self.process.oauth.consent_tokens.open(token, browser or self.browser)

    async def request(self, **changes: str | None) -> AuthorizationRequest:
        return self.opened(await self.authorize(**changes))

    async def decide(self, request: AuthorizationRequest, *, approve: bool = True, **who: Any) -> str:
        approved = Approved(request.scopes, None, request.details, None)
        return await self.process.oauth.decide(request, self.who(**who), approved if approve else Declined())

    async def code(self, **changes: str | None) -> str:
        answer = answer_of(await self.decide(await self.request(**changes)))
        assert answer["iss"] == ORIGIN
        return answer["code"]

    async def token(self, form: dict[str, str | None], process: Process | None = None) -> httpx.Response:
        kept = {name: value for name, value in form.items() if value is not None}
        if self.profile == "public":
            kept.setdefault("client_id", self.client_id)
        return await (process or self.process).http.post("/oauth/token", data=kept, auth=self.auth)

    async def exchange(self, code: str, process: Process | None = None, /, **changes: str | None) -> httpx.Response:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": self.verifier,
            **changes,
        }
        return await self.token(form, process)

    async def refresh(self, token: str, process: Process | None = None, /, **changes: str | None) -> httpx.Response:
        return await self.token({"grant_type": "refresh_token", "refresh_token": token, **changes}, process)

    async def tokens(self, **changes: str | None) -> dict[str, Any]:
        answer = await self.exchange(await self.code(**changes))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def post(self, path: str, **form: str) -> httpx.Response:
        return await self.process.http.post(path, data=form, auth=self.auth)

    async def works(self, access_token: str, *, process: Process | None = None) -> bool:
        status = (await (process or self.process).get("/v1/stores", access_token)).status_code
        assert status in {200, 401}
        return status == 200


async def open_journey(
    process: Process, *, profile: Profile = "confidential", redirects: tuple[str, ...] = (CALLBACK,)
) -> Journey:
    """A new ISV's app, set up, and a new merchant who has not seen it yet."""
    deps, number = process.deps, next(_numbers)
    isv = await Parties(deps).create_isv(IsvCreate(name=f"Till makers {number}"))
    merchant = await Parties(deps).create_merchant(
        MerchantCreate(name=f"Tea house {number}", mode="test", industry="retail.convenience")
    )
    app = await Apps(deps).create_app(AppCreate(name="Till", mode="test", api_version="2026-11-22", isv_id=isv.id))
    grants = ALL_GRANTS - {"client_credentials"} if profile == "public" else ALL_GRANTS
    wanted = ClientConfigure(profile=profile, redirect_uris=redirects, grant_types=grants)
    await Apps(deps).configure_client(app.client.id, wanted)
    return Journey(process, app, merchant, profile)


async def count(deps: IdentityDeps, table: str, where: str = "true") -> int:
    """How many rows; for the proof that nothing was written."""
    connection = await deps.database.connect("auth")
    try:
        found: int = await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {where}")
        return found
    finally:
        await connection.close()


@pytest.fixture
async def journey(process: Process) -> Journey:
    """With a confidential client."""
    return await open_journey(process)


@pytest.fixture
async def public(process: Process) -> Journey:
    """With a public client."""
    return await open_journey(process, profile="public")
