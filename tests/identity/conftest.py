"""Identity over a real PostgreSQL: services, authorization server and routes of one process, by the test's clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from platform_core.bootstrap.people import People, make_people
from platform_core.identity import proof_tools
from platform_core.identity.access import Access
from platform_core.identity.apps import Apps
from platform_core.identity.consent import Consent
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.directory import MerchantDirectory
from platform_core.identity.grants import Grants
from platform_core.identity.oauth.adapter import AuthlibOAuthServer
from platform_core.identity.oauth.details import detail_type_names, read_details
from platform_core.identity.oauth.grants.device_code import DeviceCode
from platform_core.identity.oauth.grants.token_exchange import TokenExchange
from platform_core.identity.oauth.router import oauth_router
from platform_core.identity.parties import Parties
from platform_core.identity.proof_tools import ProofTools
from platform_core.identity.refusals import Refusals
from platform_core.identity.revocation import RevocationFeed
from platform_core.identity.schemas import AppCreate, AppCreated, GrantCreate, GrantRead, MerchantCreate, MerchantRead
from platform_core.identity.session_tokens import SessionTokens
from platform_core.identity.signing_keys import SigningKeys
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer
from platform_core.kernel.database.pools import Database
from platform_core.kernel.http.application import Application
from platform_core.kernel.http.problem import Problems
from platform_core.kernel.ids import Ids
from platform_core.kernel.pagination import Cursors
from tests.support.patience import first_poll

ORIGIN = "https://arsenal.test"
SECRETS_KEY = b"a secrets key of thirty-two bytes or more"


@dataclass(slots=True)
class Process:
    """What one server process holds."""

    deps: IdentityDeps
    keys: SigningKeys
    feed: RevocationFeed
    proofs: ProofTools
    access: Access
    directory: MerchantDirectory
    oauth: AuthlibOAuthServer
    app: Application
    http: httpx.AsyncClient
    people: People
    refusals: Refusals

    async def token(self, app: AppCreated, scope: str | None = None) -> str:
        """An access token for the app, over HTTP."""
        form = {"grant_type": "client_credentials", **({"scope": scope} if scope is not None else {})}
        answer = await self.http.post("/oauth/token", data=form, auth=(app.client.id, app.secret.secret))
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token

    async def get(self, path: str, token: str) -> httpx.Response:
        """A GET with the token."""
        return await self.http.get(path, headers={"Authorization": f"Bearer {token}"})


@dataclass(slots=True)
class Shop:
    """A merchant with an app of its own."""

    merchant: MerchantRead
    app: AppCreated
    grant: GrantRead


async def open_process(deps: IdentityDeps, **options: Any) -> Process:
    """Wire a process as bootstrap does; the feed is polled by hand. `options` are the authorization server's."""
    feed = RevocationFeed(lambda: deps.database.connect("auth"), clock=deps.clock)
    keys = SigningKeys(deps)
    await keys.start(feed)
    await first_poll(feed)
    proofs = proof_tools.assemble(deps, keys, feed, public_origin=ORIGIN, allow_loopback_http=True)
    access = Access(
        database=deps.database,
        keys=keys,
        feed=feed,
        clock=deps.clock,
        public_origin=ORIGIN,
        proofs=proofs.requests,
    )
    sessions = SessionTokens(deps, keys, issuer=ORIGIN)
    refusals = Refusals(deps.committer, clock=deps.clock)
    wired: dict[str, Any] = {
        "public_origin": ORIGIN,
        "consent": Consent(deps, Grants(deps)),
        "read_details": read_details,
        "detail_types": detail_type_names(),
        "assertions": proofs.assertions,
        "proofs": proofs.proofs,
        "more_grants": (DeviceCode, lambda deps: TokenExchange(deps, access, sessions, public_origin=ORIGIN)),
        "feed": feed,
        "refusals": refusals,
        **options,
    }
    oauth = AuthlibOAuthServer(deps, keys, access, **wired)
    app = Application(ids=deps.ids, problems=Problems(type_base=f"{ORIGIN}/errors"))
    app.include_router(oauth_router(oauth))
    people = make_people(
        deps,
        Parties(deps),
        Apps(deps),
        proofs.keys,
        refusals=refusals,
        cursors=Cursors(b"k" * 32),
        public_origin=ORIGIN,
    )
    people.mount(app)
    app.state.access = access
    directory = MerchantDirectory(database=deps.database, feed=feed, clock=deps.clock)
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN)
    return Process(deps, keys, feed, proofs, access, directory, oauth, app, http, people, refusals)


@pytest.fixture
def deps(clock: ManualClock, ids: Ids, database: Database, committer: Committer) -> IdentityDeps:
    """What the services are handed."""
    return IdentityDeps(clock=clock, ids=ids, database=database, committer=committer, vault=Vault(SECRETS_KEY))


@pytest.fixture
async def process(deps: IdentityDeps) -> AsyncIterator[Process]:
    """One process."""
    process = await open_process(deps)
    yield process
    await process.feed.stop()
    await process.http.aclose()
    await process.people.close()


@pytest.fixture
async def other_process(deps: IdentityDeps, process: Process) -> AsyncIterator[Process]:
    """A second process on the same database: keys, caches and feed of its own."""
    other = await open_process(deps)
    yield other
    await other.feed.stop()
    await other.http.aclose()
    await other.people.close()


async def open_shop(deps: IdentityDeps, name: str, scopes: frozenset[str] | None = None) -> Shop:
    """A merchant in test mode whose own app has a grant."""
    merchant = await Parties(deps).create_merchant(
        MerchantCreate(name=name, mode="test", industry="retail.convenience")
    )
    app = await Apps(deps).create_app(
        AppCreate(name=f"{name} till", mode="test", api_version="2026-11-22", merchant_id=merchant.id)
    )
    wanted = GrantCreate(
        app_id=app.id,
        merchant_id=merchant.id,
        mode="test",
        scopes=scopes or frozenset({"merchant:read", "stores:read", "payments:write"}),
        given_by="per_owner",
    )
    return Shop(merchant, app, await Grants(deps).create(wanted))


@pytest.fixture
async def shop(deps: IdentityDeps) -> Shop:
    """One merchant with an app."""
    return await open_shop(deps, "Corner shop")


@pytest.fixture
async def other_shop(deps: IdentityDeps) -> Shop:
    """Another one."""
    return await open_shop(deps, "Tea house")
