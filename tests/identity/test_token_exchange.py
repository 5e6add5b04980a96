"""Token exchange: within the client's grant and the subject, once for a session token, two actors deep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.grants import Grants
from platform_core.identity.oauth.grants.token_exchange import ACCESS_TOKEN, GRANT_TYPE, SESSION_TOKEN
from platform_core.identity.parties import Parties
from platform_core.identity.schemas import AppCreate, AppCreated, ClientConfigure, GrantCreate, IsvCreate, StoreCreate
from platform_core.identity.session_tokens import SessionTokens
from platform_core.identity.sessions import ACR_MFA, SignedIn
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.database.pools import Database
from tests.identity.conftest import ORIGIN, Process, Shop
from tests.support.proofs import HeldKey

TOKEN = f"{ORIGIN}/oauth/token"
pytestmark = [pytest.mark.database, pytest.mark.api]


@dataclass
class Embedded:
    """An app of an ISV that a merchant embeds, and the merchant's owner at the console."""

    process: Process
    app: AppCreated
    who: SignedIn
    sessions: SessionTokens
    owner: asyncpg.Connection  # of the database

    def session_token(self, **changes: Any) -> str:
        return self.sessions.mint(self.who, client_id=changes.get("client_id", self.app.client.id))

    async def exchange(
        self,
        token: str,
        *,
        kind: str = SESSION_TOKEN,
        app: AppCreated | None = None,
        process: Process | None = None,
        proof: str | None = None,
        **form: str,
    ) -> httpx.Response:
        fields = {"grant_type": GRANT_TYPE, "subject_token": token, "subject_token_type": kind, **form}
        client = (app or self.app).client.id, (app or self.app).secret.secret
        headers = {"DPoP": proof} if proof is not None else {}
        return await (process or self.process).http.post("/oauth/token", data=fields, auth=client, headers=headers)


async def isv_app(deps: IdentityDeps, merchant_id: str, scopes: set[str], **limits: Any) -> AppCreated:
    isv = await Parties(deps).create_isv(IsvCreate(name="Makers"))
    app = await Apps(deps).create_app(AppCreate(name="Board", mode="test", api_version="2026-11-22", isv_id=isv.id))
    wanted = ClientConfigure(profile="confidential", grant_types=frozenset({GRANT_TYPE}))
    await Apps(deps).configure_client(app.client.id, wanted)
    await Grants(deps).create(
        GrantCreate(
            app_id=app.id,
            merchant_id=merchant_id,
            mode="test",
            scopes=frozenset(scopes),
            given_by="per_owner",
            **limits,
        )
    )
    return app


@pytest.fixture
async def embedded(
    process: Process, shop: Shop, deps: IdentityDeps, clock: ManualClock, database: Database
) -> AsyncIterator[Embedded]:
    """The app may see more than the person, and the person more than the app."""
    app = await isv_app(deps, shop.merchant.id, {"merchant:read", "stores:read", "payments:read", "testbed:write"})
    now = clock.now()
    who = SignedIn(
        session_id=deps.ids.mint("ses"),
        person_id=deps.ids.mint("per"),
        console="merchant",
        party_kind="merchant",
        party_id=shop.merchant.id,
        roles=frozenset({"owner"}),
        scopes=frozenset(),
        stores=None,
        acr=ACR_MFA,
        auth_time=int(now.timestamp()),
        locale="en",
    )
    owner = await asyncpg.connect(database.urls.owner)
    await owner.execute(
        "INSERT INTO person VALUES ($1, 'a@b.example', 'a@b.example', 'Ada', 'en', NULL, 1, 'x', 0, 1, $2)",
        who.person_id,
        now,
    )
    await owner.execute(
        "INSERT INTO membership VALUES ('mbr_1', $1, 'merchant', $2, $2, 'owner', NULL, 'active', 'x', 1, $3, NULL)",
        who.person_id,
        shop.merchant.id,
        now,
    )
    await owner.execute(
        "INSERT INTO console_session VALUES ($1, $2, 'merchant', $3, 1, 'mbr_1', 1, $4, $5, 'a', 'b', 1, $5, $5, $6)",
        who.session_id,
        who.person_id,
        bytes(32),
        ACR_MFA,
        now,
        now + timedelta(days=1),
    )
    yield Embedded(process, app, who, SessionTokens(deps, process.keys, issuer=ORIGIN), owner)
    await owner.close()


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


async def used(deps: IdentityDeps) -> int:
    async with deps.database.read_all() as connection:
        found = await connection.execute(text("SELECT count(*) FROM seen_jti WHERE id <> 'birth'"))
        return int(found.scalar_one())


async def test_an_embedded_app_gets_a_token_for_whoever_is_signed_in(embedded: Embedded) -> None:
    answer = await embedded.exchange(embedded.session_token())
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["issued_token_type"], said["token_type"], said["expires_in"]) == (ACCESS_TOKEN, "Bearer", 600)
    assert "refresh_token" not in said
    assert said["scope"] == "merchant:read payments:read stores:read"  # testbed:write is the app's alone
    who = await embedded.process.access.authenticate(said["access_token"])
    assert (who.merchant_id, who.client_id, who.actors) == (
        embedded.who.party_id,
        embedded.app.client.id,
        (embedded.app.client.id,),
    )
    assert (who.acr, who.auth_time) == (ACR_MFA, embedded.who.auth_time)


async def test_a17_an_exchange_widens_nothing(embedded: Embedded, deps: IdentityDeps) -> None:
    for scope in ("payments:write", "testbed:write", "stores:read refunds:write", "no:such"):
        assert error_of(await embedded.exchange(embedded.session_token(), scope=scope)) == (400, "invalid_scope")
    assert await used(deps) == 0
    assert (await embedded.exchange(embedded.session_token(), scope="stores:read")).json()["scope"] == "stores:read"


async def test_a_session_token_counts_once(
    embedded: Embedded, other_process: Process, clock: ManualClock, deps: IdentityDeps
) -> None:
    for turn in range(2):
        token = embedded.session_token()
        processes = (embedded.process, other_process)
        answers = await asyncio.gather(*(embedded.exchange(token, process=processes[n % 2]) for n in range(40)))
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 39
        assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_request"}
        assert await used(deps) == turn + 1


async def test_a_session_token_is_for_its_client_its_minute_and_its_session(
    embedded: Embedded, shop: Shop, clock: ManualClock, deps: IdentityDeps
) -> None:
    refused = (400, "invalid_request")
    assert error_of(await embedded.exchange(embedded.session_token(client_id=shop.app.client.id))) == refused
    late = embedded.session_token()
    clock.advance(timedelta(seconds=60))
    assert error_of(await embedded.exchange(late)) == refused
    ended = embedded.session_token()
    await embedded.owner.execute("UPDATE console_session SET ended_at = now(), ended_why = 'x'")
    assert error_of(await embedded.exchange(ended)) == refused
    await embedded.owner.execute("UPDATE console_session SET ended_at = NULL, ended_why = NULL")
    await embedded.owner.execute("UPDATE membership SET state = 'removed'")
    assert error_of(await embedded.exchange(embedded.session_token())) == refused
    await embedded.owner.execute("UPDATE membership SET state = 'active'")
    assert (await embedded.exchange(embedded.session_token())).status_code == 200
    assert await used(deps) == 1


async def test_a13_other_tokens_are_no_session_tokens_and_the_reverse(embedded: Embedded) -> None:
    token = embedded.session_token()
    assert (await embedded.process.get("/v1/stores", token)).status_code == 401
    access_token = (await embedded.exchange(token)).json()["access_token"]
    assert error_of(await embedded.exchange(access_token)) == (400, "invalid_request")
    for forged in ("x", "a.b.c", "[" * 3000, token[:-4] + "AAAA"):
        assert error_of(await embedded.exchange(forged)) == (400, "invalid_request")
    assert error_of(await embedded.exchange(token, kind=ACCESS_TOKEN)) == (400, "invalid_request")


async def test_a_token_passed_on_names_who_did_and_not_a_third_time(
    embedded: Embedded, shop: Shop, deps: IdentityDeps
) -> None:
    first = await embedded.process.token(shop.app)
    answer = await embedded.exchange(first, kind=ACCESS_TOKEN)
    assert answer.status_code == 200, answer.text
    passed = answer.json()["access_token"]
    who = await embedded.process.access.authenticate(passed)
    assert who.actors == (embedded.app.client.id, shop.app.client.id)
    assert who.scopes == {"merchant:read", "stores:read"}  # what both may
    third = await isv_app(deps, shop.merchant.id, {"merchant:read"})
    refused = await embedded.exchange(passed, kind=ACCESS_TOKEN, app=third)
    assert error_of(refused) == (400, "invalid_request")


async def test_the_subjects_stores_bind_the_new_token(embedded: Embedded, shop: Shop, deps: IdentityDeps) -> None:
    stores = [
        (await Parties(deps).create_store(StoreCreate(merchant_id=shop.merchant.id, name=name))).id for name in "ab"
    ]
    lesser = await isv_app(deps, shop.merchant.id, {"stores:read"}, stores=frozenset(stores[:1]))
    await embedded.owner.execute("UPDATE membership SET stores = $1", stores[1])
    token = (await embedded.exchange(embedded.session_token())).json()["access_token"]
    seen = await embedded.process.get("/v1/stores", token)
    assert [store["id"] for store in seen.json()["data"]] == [stores[1]]
    none = (await embedded.exchange(embedded.session_token(client_id=lesser.client.id), app=lesser)).json()
    assert (await embedded.process.get("/v1/stores", none["access_token"])).json()["data"] == []


async def test_a_bound_token_is_exchanged_by_its_key_alone(
    embedded: Embedded, clock: ManualClock, deps: IdentityDeps
) -> None:
    def proof(key: HeldKey) -> str:
        return key.proof("POST", TOKEN, now=clock.now(), nonce=embedded.process.proofs.nonces.current(clock.now()))

    key = HeldKey.generate()
    bound = (await embedded.exchange(embedded.session_token(), proof=proof(key))).json()
    assert bound["token_type"] == "DPoP"
    for wrong in (None, proof(HeldKey.generate())):
        refused = await embedded.exchange(bound["access_token"], kind=ACCESS_TOKEN, proof=wrong)
        assert error_of(refused) == (400, "invalid_request")
    again = await embedded.exchange(bound["access_token"], kind=ACCESS_TOKEN, proof=proof(key))
    assert (again.status_code, again.json()["token_type"]) == (200, "DPoP")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"actor_token": "x", "actor_token_type": ACCESS_TOKEN}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"subject_token_type": ""}, "invalid_request"),
        ({"audience": "https://other.example"}, "invalid_target"),
        ({"resource": "https://other.example"}, "invalid_target"),
    ],
)
async def test_what_is_not_offered_is_refused(
    embedded: Embedded, deps: IdentityDeps, form: dict[str, str], error: str
) -> None:
    assert error_of(await embedded.exchange(embedded.session_token(), **form)) == (400, error)  # type: ignore[arg-type]  # form parameters alone
    assert await used(deps) == 0


async def test_without_a_grant_of_its_own_a_client_gets_nothing(
    embedded: Embedded, shop: Shop, other_shop: Shop, deps: IdentityDeps
) -> None:
    stranger = await isv_app(deps, other_shop.merchant.id, {"stores:read"})
    token = embedded.session_token(client_id=stranger.client.id)
    assert error_of(await embedded.exchange(token, app=stranger)) == (400, "unauthorized_client")
    unset = ClientConfigure(profile="confidential", grant_types=frozenset({"refresh_token"}))
    await Apps(deps).configure_client(embedded.app.client.id, unset)
    assert error_of(await embedded.exchange(embedded.session_token())) == (400, "unauthorized_client")
    assert await used(deps) == 0


async def test_a_public_client_must_bind_what_it_gets(embedded: Embedded, deps: IdentityDeps) -> None:
    public = ClientConfigure(profile="public", grant_types=frozenset({GRANT_TYPE}))
    await Apps(deps).configure_client(embedded.app.client.id, public)
    fields = {"grant_type": GRANT_TYPE, "subject_token": embedded.session_token(), "subject_token_type": SESSION_TOKEN}
    answer = await embedded.process.http.post("/oauth/token", data={**fields, "client_id": embedded.app.client.id})
    assert error_of(answer) == (400, "invalid_dpop_proof")
    assert await used(deps) == 0
