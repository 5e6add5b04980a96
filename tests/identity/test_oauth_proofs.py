"""Clients that prove themselves with keys, at the endpoints of the authorization server."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.oauth.assertion import ASSERTION_TYPE
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.database.pools import Database
from tests.identity.conftest import ORIGIN, Process, Shop
from tests.support.proofs import HeldKey

TOKEN = f"{ORIGIN}/oauth/token"
HELD = HeldKey.generate()
pytestmark = [pytest.mark.database, pytest.mark.api]


@pytest.fixture
async def client_id(process: Process, shop: Shop) -> str:
    """A client that has a key."""
    await process.proofs.keys.add(shop.app.client.id, HELD.public, by="per_dev")
    return shop.app.client.id


async def ask(process: Process, assertion: str, *proofs: str, **form: str) -> httpx.Response:
    """A token by an assertion."""
    fields = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        **form,
    }
    return await process.http.post("/oauth/token", data=fields, headers=[("DPoP", proof) for proof in proofs])


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


async def claims(deps: IdentityDeps) -> int:
    async with deps.database.read_all() as connection:
        found = await connection.execute(text("SELECT count(*) FROM seen_jti WHERE id <> 'birth'"))
        return int(found.scalar_one())


def proof_for(process: Process, clock: ManualClock, key: HeldKey, **claims: Any) -> str:
    now = clock.now()
    return key.proof("POST", TOKEN, now=now, nonce=process.proofs.nonces.current(now), claims=claims)


@pytest.mark.parametrize("audience", [ORIGIN, TOKEN])
async def test_an_assertion_gets_a_token(process: Process, client_id: str, clock: ManualClock, audience: str) -> None:
    answer = await ask(process, HELD.assertion(client_id, audience, now=clock.now()))
    assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer")


async def test_a15_an_assertion_is_refused_without_a_word_why(
    process: Process, client_id: str, clock: ManualClock, other_shop: Shop, deps: IdentityDeps
) -> None:
    now = clock.now()
    for forged in (
        HeldKey.generate().assertion(client_id, ORIGIN, now=now),
        HELD.assertion(other_shop.app.client.id, ORIGIN, now=now),
        HELD.assertion("app_test_01jdx0000000000000000000ab", ORIGIN, now=now),
        HELD.assertion(client_id, "https://other.example", now=now),
        HELD.assertion(client_id, ORIGIN, now=now, claims={"exp": int(now.timestamp()) + 3661}),
        "[" * 3000,
    ):
        answer = await ask(process, forged)
        assert error_of(answer) == (400, "invalid_client")
        assert answer.json()["error_description"] == "The client is unknown or its secret is wrong."
    assert await claims(deps) == 0


async def test_a15_of_forty_uses_of_one_assertion_in_two_processes_one_gets_a_token(
    process: Process, other_process: Process, client_id: str, clock: ManualClock
) -> None:
    for _ in range(5):
        assertion = HELD.assertion(client_id, ORIGIN, now=clock.now())
        answers = await asyncio.gather(*(ask((process, other_process)[n % 2], assertion) for n in range(40)))
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 39
        assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_client"}


async def test_a_proof_binds_the_token_to_its_key(process: Process, client_id: str, clock: ManualClock) -> None:
    key = HeldKey.generate("Ed25519")
    assertion = HELD.assertion(client_id, ORIGIN, now=clock.now())
    asked = await ask(process, assertion, key.proof("POST", TOKEN, now=clock.now()))
    assert error_of(asked) == (400, "use_dpop_nonce")
    nonce = asked.headers["dpop-nonce"]
    answer = await ask(process, assertion, key.proof("POST", TOKEN, now=clock.now(), nonce=nonce))  # not used up yet
    assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP")
    token = answer.json()["access_token"]
    said = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    assert said["cnf"] == {"jkt": key.jkt}
    url = f"{ORIGIN}/v1/stores"
    headers = {
        "Authorization": f"DPoP {token}",
        "DPoP": key.proof("GET", url, now=clock.now(), nonce=nonce, token=token),
    }
    assert (await process.http.get(url, headers=headers)).status_code == 200
    assert (await process.get("/v1/stores", token)).status_code == 401


async def test_a10_an_unsound_proof_gets_no_token_and_leaves_the_assertion_usable(
    process: Process, client_id: str, clock: ManualClock, deps: IdentityDeps
) -> None:
    key, assertion = HeldKey.generate(), HELD.assertion(client_id, ORIGIN, now=clock.now())
    sound = proof_for(process, clock, key)
    for proofs in (
        (proof_for(process, clock, key, htm="GET"),),
        (proof_for(process, clock, key, htu=f"{ORIGIN}/oauth/par"),),
        (proof_for(process, clock, key, iat=int(clock.now().timestamp()) - 301),),
        (sound, sound),
        ("garbage",),
    ):
        assert error_of(await ask(process, assertion, *proofs)) == (400, "invalid_dpop_proof")
    assert await claims(deps) == 0
    assert (await ask(process, assertion, sound)).status_code == 200
    assert await claims(deps) == 2


async def test_a10_of_forty_uses_of_one_proof_one_gets_a_token(
    process: Process, other_process: Process, client_id: str, clock: ManualClock
) -> None:
    proof = proof_for(process, clock, HeldKey.generate())
    answers = await asyncio.gather(
        *(
            ask((process, other_process)[n % 2], HELD.assertion(client_id, ORIGIN, now=clock.now()), proof)
            for n in range(40)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 39
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_dpop_proof"}


async def test_after_a_crash_of_the_database_a_new_nonce_is_asked_for(
    process: Process, client_id: str, shop: Shop, clock: ManualClock, database: Database
) -> None:
    owner = await asyncpg.connect(database.urls.owner)
    await owner.execute("TRUNCATE seen_jti")
    await owner.close()
    key, form = HeldKey.generate(), {"grant_type": "client_credentials"}
    who = (shop.app.client.id, shop.app.secret.secret)
    before = proof_for(process, clock, key)
    refused = await process.http.post("/oauth/token", data=form, auth=who, headers={"DPoP": before})
    assert error_of(refused) == (400, "use_dpop_nonce")
    again = key.proof("POST", TOKEN, now=clock.now(), nonce=refused.headers["dpop-nonce"])
    assert (await process.http.post("/oauth/token", data=form, auth=who, headers={"DPoP": again})).status_code == 200


async def test_f37_the_metadata_names_what_works(process: Process) -> None:
    said = process.oauth.metadata()
    assert said["dpop_signing_alg_values_supported"] == ["ES256", "Ed25519"]
    assert said["token_endpoint_auth_signing_alg_values_supported"] == ["ES256", "PS256", "RS256"]
    assert "private_key_jwt" in said["token_endpoint_auth_methods_supported"]


async def issued(deps: IdentityDeps) -> int:
    async with deps.database.read_all() as connection:
        found = await connection.execute(text("SELECT count(*) FROM audit_row WHERE kind = 'token.issued'"))
        return int(found.scalar_one())


async def batches(deps: IdentityDeps) -> int:
    async with deps.database.read_all() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM commit_batch WHERE plans > 0"))).scalar_one())


async def test_assertion_proof_and_token_are_one_commit(
    process: Process, client_id: str, clock: ManualClock, deps: IdentityDeps
) -> None:
    before = await batches(deps)
    answer = await ask(
        process, HELD.assertion(client_id, ORIGIN, now=clock.now()), proof_for(process, clock, HeldKey.generate())
    )
    assert (answer.status_code, await claims(deps), await issued(deps)) == (200, 2, 1)
    assert await batches(deps) == before + 1


async def test_a15_a_token_that_is_refused_uses_the_assertion_up_all_the_same(
    process: Process, client_id: str, clock: ManualClock, deps: IdentityDeps
) -> None:
    for count, (form, error) in enumerate(
        [
            ({"scope": "refunds:write"}, "invalid_scope"),
            ({"grant_type": "authorization_code", "code": "cod_x.y"}, "unauthorized_client"),
            ({"grant_type": "password"}, "unsupported_grant_type"),
        ],
        start=1,
    ):
        assertion = HELD.assertion(client_id, ORIGIN, now=clock.now())
        assert (await ask(process, assertion, **form)).json()["error"] == error
        assert await claims(deps) == count
        for again in (form, {}):
            refused = await ask(process, assertion, **again)
            assert error_of(refused) == (400, "invalid_client")
            assert refused.json()["error_description"] == "The assertion was used before."
    assert await issued(deps) == 0
