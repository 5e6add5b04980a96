"""Signed requests over HTTP: what a signature covers, that its nonce counts once, and the answer's own signature."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import Request
from fastapi.responses import JSONResponse
from sqlalchemy import text

from platform_core.identity import message_signatures as signatures
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.oauth.public_keys import CLIENT_KINDS, import_public_jwk
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.errors import PlatformError
from tests.identity.conftest import ORIGIN, Process, Shop
from tests.support.proofs import Algorithm, HeldKey

_nonces = (f"nonce-{number}" for number in itertools.count())
GET = ("@method", "@target-uri", "authorization")
POST = (*GET, "content-digest", "idempotency-key")
KEYS: dict[Algorithm, HeldKey] = {"ES256": HeldKey.generate(), "Ed25519": HeldKey.generate("Ed25519")}
HELD = KEYS["ES256"]
pytestmark = [pytest.mark.database, pytest.mark.api]


def sign(key: HeldKey, base: bytes) -> bytes:
    private: Any = key.key.private_key
    return signatures.sign_p256(private, base) if key.alg == "ES256" else bytes(private.sign(base))


@dataclass
class Signer:
    """A client with a key and a token."""

    process: Process
    shop: Shop
    clock: ManualClock
    token: str
    key: HeldKey = HELD

    async def send(
        self,
        method: str = "GET",
        path: str = "/v1/stores?limit=5",
        *,
        body: bytes = b"",
        cover: tuple[str, ...] = GET,
        process: Process | None = None,
        sent: dict[str, Any] | None = None,
        **said: Any,
    ) -> httpx.Response:
        """A signed request; `said` replaces parameters, `sent` replaces after signing what goes out."""
        headers = {"authorization": f"Bearer {self.token}"}
        if body:
            headers |= {"content-digest": signatures.content_digest(body), "idempotency-key": "k1"}
        now = int(self.clock.now().timestamp())
        parameters = {"created": now, "nonce": next(_nonces), "keyid": self.key.jkt, "tag": "arsenal", **said}
        stated = "".join(
            f";{name}={value if isinstance(value, int) else chr(34) + value + chr(34)}"
            for name, value in parameters.items()
            if value is not None
        )
        listed = "(" + " ".join(f'"{name}"' for name in cover) + ")" + stated
        values = {**headers, "@method": method, "@target-uri": f"{ORIGIN}{path}"}
        lines = [f'"{name}": {values.get(name, "")}' for name in cover] + [f'"@signature-params": {listed}']
        signature = signatures.encode(sign(self.key, "\n".join(lines).encode()))
        headers |= {"signature-input": f"sig={listed}", "signature": f"sig=:{signature}:"}
        out = {"method": method, "url": path, "content": body, **(sent or {})}
        headers |= out.pop("headers", {})
        kept = {name: value for name, value in headers.items() if value is not None}
        return await (process or self.process).http.request(headers=kept, **out)


@pytest.fixture
async def signer(process: Process, other_process: Process, shop: Shop, clock: ManualClock) -> Signer:
    """A signing client; both processes also have a route that reads a body."""
    for one in (process, other_process):

        @one.app.post("/v1/echo")
        async def echo(request: Request, who: Principal = requires("stores:read")) -> JSONResponse:  # noqa: B008
            return JSONResponse({"body": (await request.body()).decode()})

    await process.proofs.keys.add(shop.app.client.id, {**HELD.public, "kid": "till"}, by="per_dev")
    await process.proofs.keys.add(shop.app.client.id, KEYS["Ed25519"].public, by="per_dev")
    return Signer(process, shop, clock, await process.token(shop.app))


async def used(deps: IdentityDeps) -> int:
    async with deps.database.read_all() as connection:
        found = await connection.execute(text("SELECT count(*) FROM seen_jti WHERE id <> 'birth'"))
        return int(found.scalar_one())


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
async def test_a_signed_request_passes_and_its_answer_is_signed(signer: Signer, alg: Algorithm) -> None:
    signer.key = KEYS[alg]
    body = b'{"a": 1}'
    answer = await signer.send("POST", "/v1/echo", body=body, cover=POST, nonce="once")
    assert (answer.status_code, answer.json()) == (200, {"body": '{"a": 1}'})
    said, signature = signatures.read_signature(
        answer.headers.get_list("signature-input"), answer.headers.get_list("signature")
    )
    values = {
        "@status": "200",
        "content-digest": answer.headers["content-digest"],
        "request-id": answer.headers["request-id"],
        "@method": "POST",
        "@target-uri": f"{ORIGIN}/v1/echo",
    }
    jwk = next(key for key in signer.process.oauth.jwks()["keys"] if key["kid"] == said.keyid)
    key = import_public_jwk(jwk, kinds=CLIENT_KINDS)
    assert signatures.verifies(key, said.base(lambda name, parameters: values[name]), signature)
    values["@status"] = "201"
    assert not signatures.verifies(key, said.base(lambda name, parameters: values[name]), signature)
    assert signatures.digest_fits(answer.headers["content-digest"], answer.content)
    assert (said.nonce, said.tag) == ("once", "arsenal")
    assert said.created == int(signer.clock.now().timestamp())


async def test_a_key_is_named_by_kid_or_thumbprint(signer: Signer) -> None:
    for keyid in ("till", HELD.jkt):
        assert (await signer.send(keyid=keyid)).status_code == 200
    assert code_of(await signer.send(keyid="other")) == (401, "identity.signature_invalid")


async def test_unsigned_requests_pass_until_signing_is_compulsory(
    signer: Signer, other_process: Process, deps: IdentityDeps
) -> None:
    client_id, keys = signer.shop.app.client.id, signer.process.proofs.keys
    plain = await signer.process.get("/v1/stores", signer.token)
    assert (plain.status_code, "signature" in plain.headers) == (200, False)
    await keys.require_signatures(client_id, is_required=True, by="per_dev")
    for process in (signer.process, other_process):
        await process.feed.poll()
        assert code_of(await process.get("/v1/stores", signer.token)) == (401, "identity.signature_needed")
        assert (await signer.send(process=process)).status_code == 200
    await keys.require_signatures(client_id, is_required=False, by="per_dev")
    await signer.process.feed.poll()
    assert (await signer.process.get("/v1/stores", signer.token)).status_code == 200


async def test_signing_is_not_compulsory_without_a_key(process: Process, shop: Shop) -> None:
    keys, client_id = process.proofs.keys, shop.app.client.id
    await keys.add(client_id, HeldKey.generate("PS256").public, by="per_dev")
    with pytest.raises(PlatformError) as refused:
        await keys.require_signatures(client_id, is_required=True, by="per_dev")
    assert refused.value.code == "identity.key_needed"
    assert (await process.get("/v1/stores", await process.token(shop.app))).status_code == 200


FORGED: dict[str, dict[str, Any]] = {
    "other address": {"sent": {"url": "/v1/echo?a=1"}},
    "other body": {"sent": {"content": b'{"a": 2}'}},
    "other digest and body": {
        "sent": {"content": b"x", "headers": {"content-digest": signatures.content_digest(b"x")}}
    },
    "other idempotency key": {"sent": {"headers": {"idempotency-key": "k2"}}},
    "no digest": {"sent": {"headers": {"content-digest": None}}},
    "digest not covered": {"cover": (*GET, "idempotency-key")},
    "idempotency key not covered": {"cover": (*GET, "content-digest")},
    "token not covered": {"cover": ("@method", "@target-uri", "content-digest", "idempotency-key")},
    "method not covered": {"cover": POST[1:]},
    "address not covered": {"cover": (POST[0], *POST[2:])},
    "nothing covered": {"cover": ()},
    "covers what is not there": {"cover": (*POST, "x-other")},
    "covers what we do not derive": {"cover": (*POST, "@query-param")},
    "too old": {"created": 1_700_000_000},
    "from tomorrow": {"created": 1_900_000_000},
    "no created": {"created": None},
    "expired": {"expires": 1_700_000_000},
    "no nonce": {"nonce": None},
    "long nonce": {"nonce": "n" * 257},
    "no keyid": {"keyid": None},
    "no tag": {"tag": None},
    "other tag": {"tag": "web-bot-auth"},
    "other algorithm": {"alg": "ed25519"},
    "alg none": {"alg": "none"},
    "signature alone": {"sent": {"headers": {"signature-input": None}}},
    "input alone": {"sent": {"headers": {"signature": None}}},
    "garbage": {"sent": {"headers": {"signature": "sig=:AAAA:"}}},
    "other label": {"sent": {"headers": {"signature": "b=:AAAA:"}}},
}


@pytest.mark.parametrize("how", FORGED.values(), ids=FORGED.keys())
async def test_an_unsound_signature_is_refused_and_uses_nothing_up(
    signer: Signer, deps: IdentityDeps, how: dict[str, Any]
) -> None:
    answer = await signer.send("POST", "/v1/echo", body=b'{"a": 1}', **{"cover": POST, **how})
    assert code_of(answer) == (401, "identity.signature_invalid")
    assert "signature" not in answer.headers
    assert await used(deps) == 0


async def test_what_was_signed_as_get_is_not_sent_as_post(signer: Signer) -> None:
    answer = await signer.send("GET", "/v1/echo", body=b"{}", cover=POST, sent={"method": "POST"})
    assert code_of(answer) == (401, "identity.signature_invalid")


async def test_a_key_of_another_client_signs_nothing(signer: Signer, other_shop: Shop, deps: IdentityDeps) -> None:
    foreign = HeldKey.generate()
    await signer.process.proofs.keys.add(other_shop.app.client.id, foreign.public, by="per_dev")
    signer.key = foreign
    assert code_of(await signer.send()) == (401, "identity.signature_invalid")
    signer.key = HeldKey.generate()
    assert code_of(await signer.send(keyid="till")) == (401, "identity.signature_invalid")
    assert await used(deps) == 0


async def test_of_forty_uses_of_one_signature_in_two_processes_one_passes(
    signer: Signer, other_process: Process, deps: IdentityDeps
) -> None:
    processes = (signer.process, other_process)
    answers = await asyncio.gather(*(signer.send(nonce="the-one", process=processes[n % 2]) for n in range(40)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 39
    refused = {answer.json()["code"] for answer in answers if answer.status_code == 401}
    assert refused == {"identity.signature_invalid"}
    assert await used(deps) == 1


async def test_a_signature_lives_five_minutes(signer: Signer, clock: ManualClock) -> None:
    now = int(clock.now().timestamp())
    assert (await signer.send(created=now - 300)).status_code == 200
    assert (await signer.send(created=now + 10)).status_code == 200
    for created in (now - 301, now + 11):
        assert code_of(await signer.send(created=created)) == (401, "identity.signature_invalid")
    clock.advance(timedelta(seconds=1))


async def test_a_removed_key_signs_nothing_any_more(signer: Signer) -> None:
    keys, client_id = signer.process.proofs.keys, signer.shop.app.client.id
    [first, *_] = (await keys.list(client_id)).keys
    await keys.remove(client_id, first.id, by="per_dev")
    assert code_of(await signer.send()) == (401, "identity.signature_invalid")
