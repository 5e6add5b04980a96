"""DPoP at the API: a bound token passes with a proof that counts once, and with nothing less."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.oauth.dpop_nonce import SPAN_S
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.database.pools import Database
from tests.identity.conftest import ORIGIN, Process, Shop
from tests.identity.test_access import _own, _sign
from tests.support.proofs import HeldKey

PATH = "/v1/stores"
URL = f"{ORIGIN}{PATH}"
pytestmark = [pytest.mark.database, pytest.mark.api]


@dataclass(frozen=True)
class Bound:
    """A token, the key that it is bound to, and the process that it is shown to."""

    process: Process
    key: HeldKey
    token: str
    clock: ManualClock

    def proof(self, *, key: HeldKey | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A sound proof, or one that differs in what is named."""
        now = self.clock.now()
        nonce = self.process.proofs.nonces.current(now)
        return (key or self.key).proof("GET", URL, now=now, nonce=nonce, token=self.token, header=header, claims=claims)

    async def get(self, *proofs: str, scheme: str = "DPoP", process: Process | None = None) -> httpx.Response:
        """The request with these proofs."""
        headers = [("Authorization", f"{scheme} {self.token}"), *(("DPoP", proof) for proof in proofs)]
        return await (process or self.process).http.get(PATH, headers=headers)


@pytest.fixture
async def bound(process: Process, shop: Shop, clock: ManualClock) -> Bound:
    """A bound token, made like any other but for `cnf`."""
    key = HeldKey.generate()
    genuine = await process.token(shop.app)
    claims = json.loads(urlsafe_b64decode(genuine.split(".")[1] + "=="))
    return Bound(process, key, _sign(_own(process), {}, {**claims, "cnf": {"jkt": key.jkt}}), clock)


async def claims(deps: IdentityDeps) -> int:
    """How many proofs were used up."""
    async with deps.database.read_all() as connection:
        found = await connection.execute(text("SELECT count(*) FROM seen_jti WHERE id <> 'birth'"))
        return int(found.scalar_one())


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.json()["code"], answer.headers["www-authenticate"]


def challenge(error: str) -> str:
    return f'DPoP realm="arsenal", error="{error}", algs="ES256 Ed25519"'


async def test_a_bound_token_passes_with_a_proof(bound: Bound, deps: IdentityDeps) -> None:
    answer = await bound.get(bound.proof())
    assert (answer.status_code, answer.json()["data"]) == (200, [])
    assert "dpop-nonce" not in answer.headers
    assert await claims(deps) == 1
    assert (await bound.get(bound.proof(), scheme="dpop")).status_code == 200
    assert await claims(deps) == 2


async def test_a11_a_bound_token_is_no_bearer_token(bound: Bound, deps: IdentityDeps) -> None:
    for proofs in ((), (bound.proof(),)):
        answer = await bound.get(*proofs, scheme="Bearer")
        assert refusal(answer) == (401, "identity.token_invalid", challenge("invalid_token"))
    assert await claims(deps) == 0


async def test_a11_an_unbound_token_does_not_pass_with_a_proof(bound: Bound, shop: Shop, deps: IdentityDeps) -> None:
    unbound = Bound(bound.process, bound.key, await bound.process.token(shop.app), bound.clock)
    answer = await unbound.get(unbound.proof())
    expected = 'Bearer realm="arsenal", error="invalid_token"'
    assert refusal(answer) == (401, "identity.token_invalid", expected)
    assert await claims(deps) == 0


async def test_without_a_nonce_one_is_named_and_good(bound: Bound, deps: IdentityDeps) -> None:
    answer = await bound.get(bound.proof(nonce=None))
    assert refusal(answer) == (401, "identity.proof_nonce_needed", challenge("use_dpop_nonce"))
    assert await claims(deps) == 0
    nonce = answer.headers["dpop-nonce"]
    assert (await bound.get(bound.proof(nonce=nonce))).status_code == 200


async def test_a_nonce_of_the_span_before_is_good_and_the_next_is_named(bound: Bound, clock: ManualClock) -> None:
    nonce = bound.process.proofs.nonces.current(clock.now())
    clock.advance(timedelta(seconds=SPAN_S))
    await bound.process.feed.poll()
    answer = await bound.get(bound.proof(nonce=nonce))
    assert (answer.status_code, answer.headers["dpop-nonce"]) == (
        200,
        bound.process.proofs.nonces.current(clock.now()),
    )
    clock.advance(timedelta(seconds=SPAN_S))
    await bound.process.feed.poll()
    assert (await bound.get(bound.proof(nonce=nonce))).json()["code"] == "identity.proof_nonce_needed"


Forge = Callable[[Bound], tuple[str, ...]]
FORGED: dict[str, Forge] = {
    "no proof": lambda bound: (),
    "two headers": lambda bound: (bound.proof(), bound.proof()),
    "other method": lambda bound: (bound.proof(htm="POST"),),
    "other address": lambda bound: (bound.proof(htu=f"{ORIGIN}/v1/merchants"),),
    "other host": lambda bound: (bound.proof(htu=f"https://evil.example{PATH}"),),
    "other token": lambda bound: (bound.proof(ath="fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"),),
    "no ath": lambda bound: (bound.proof(ath=None),),
    "other key": lambda bound: (bound.proof(key=HeldKey.generate()),),
    "stale": lambda bound: (bound.proof(iat=int(bound.clock.now().timestamp()) - 301),),
    "key by address": lambda bound: (bound.proof(header={"jku": "https://evil.example"}),),
    "garbage": lambda bound: ("garbage",),
    "over 4 KiB": lambda bound: ("p" * 5000,),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
async def test_a10_an_unsound_proof_is_refused_and_uses_nothing_up(
    bound: Bound, deps: IdentityDeps, forge: Forge
) -> None:
    answer = await bound.get(*forge(bound))
    assert refusal(answer) == (401, "identity.proof_invalid", challenge("invalid_dpop_proof"))
    assert await claims(deps) == 0


async def test_a10_a_proof_counts_once_in_all_processes(
    bound: Bound, other_process: Process, deps: IdentityDeps
) -> None:
    for turn in range(3):
        proof = bound.proof()
        answers = await asyncio.gather(
            *(bound.get(proof, process=(bound.process, other_process)[n % 2]) for n in range(40))
        )
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [200] + [401] * 39
        assert {answer.json()["code"] for answer in answers if answer.status_code == 401} == {"identity.proof_invalid"}
        assert await claims(deps) == turn + 1


async def test_what_is_refused_for_its_scope_uses_no_proof_up(bound: Bound, shop: Shop, deps: IdentityDeps) -> None:
    narrow = json.loads(urlsafe_b64decode(bound.token.split(".")[1] + "=="))
    token = _sign(_own(bound.process), {}, {**narrow, "scope": "merchant:read", "jti": deps.ids.mint("tok")})
    lesser = Bound(bound.process, bound.key, token, bound.clock)
    assert (await lesser.get(lesser.proof())).json()["code"] == "identity.scope_missing"
    assert await claims(deps) == 0


async def test_after_a_crash_of_the_database_every_process_asks_for_a_new_nonce_once(
    bound: Bound, other_process: Process, database: Database
) -> None:
    used = bound.proof()
    assert (await bound.get(used)).status_code == 200
    owner = await asyncpg.connect(database.urls.owner)
    await owner.execute("TRUNCATE seen_jti")
    await owner.close()
    answer = await bound.get(used)
    assert refusal(answer) == (401, "identity.proof_nonce_needed", challenge("use_dpop_nonce"))
    nonce = answer.headers["dpop-nonce"]
    assert (await bound.get(bound.proof(nonce=nonce))).status_code == 200
    assert (await bound.get(bound.proof(nonce=nonce), process=other_process)).status_code == 200
    assert (await bound.get(used, process=other_process)).json()["code"] == "identity.proof_nonce_needed"


async def test_a_process_without_proofs_takes_no_bound_token(bound: Bound) -> None:
    bound.process.access.proofs = None
    answer = await bound.get(bound.proof())
    assert (answer.status_code, answer.json()["code"]) == (401, "identity.token_invalid")
