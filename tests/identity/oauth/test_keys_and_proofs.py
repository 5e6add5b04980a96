"""private_key_jwt and DPoP at the OAuth endpoints, and clients of the profile `money`."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

import httpx
import pytest

from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.oauth.clients import ASSERTION_TYPE
from platform_core.identity.schemas import ClientConfigure
from platform_core.kernel.clock import ManualClock
from tests.identity.conftest import ORIGIN, Process
from tests.identity.oauth.conftest import ALL_GRANTS, CALLBACK, Journey, answer_of, count, open_journey
from tests.support.proofs import HeldKey

pytestmark = [pytest.mark.database, pytest.mark.api]
TOKEN_URL = f"{ORIGIN}/oauth/token"


class Holder:
    """A client that signs: with assertions, with proofs, or with both."""

    def __init__(self, journey: Journey, *, asserts: bool) -> None:
        self.journey, self.asserts = journey, asserts
        self.key, self.proof_key = HeldKey.generate("ES256"), HeldKey.generate("Ed25519")
        self.nonce: str | None = None

    @property
    def now(self) -> Any:
        return self.journey.process.deps.clock.now()

    def assertion(self, audience: object = ORIGIN, **more: Any) -> dict[str, str]:
        made = self.key.assertion(self.journey.client_id, audience, now=self.now, **more)
        return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": made}

    async def send(self, path: str, form: dict[str, str], *, proof: str | None = None) -> httpx.Response:
        auth = httpx.Auth() if self.asserts else self.journey.auth
        headers = {"DPoP": proof} if proof is not None else {}
        return await self.journey.process.http.post(path, data=form, auth=auth, headers=headers)

    def proof(self, path: str, **more: Any) -> str:
        return self.proof_key.proof("POST", ORIGIN + path, now=self.now, nonce=self.nonce, **more)

    async def post(self, path: str, form: dict[str, str], *, bound: bool = True) -> httpx.Response:
        """As a careful client does: once more with the nonce that it was told."""
        for _ in range(2):
            proven = {**form, **(self.assertion() if self.asserts else {})}
            if self.journey.profile == "public":
                proven["client_id"] = self.journey.client_id
            answer = await self.send(path, proven, proof=self.proof(path) if bound else None)
            if answer.json().get("error") != "use_dpop_nonce":
                return answer
            self.nonce = answer.headers["dpop-nonce"]
        return answer

    def exchange(self, code: str) -> dict[str, str]:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        return {**form, "code_verifier": self.journey.verifier}

    async def code(self, *, bound: bool = True) -> str:
        """A code by PAR."""
        pushed = await self.post("/oauth/par", self.journey.parameters(), bound=bound)
        assert pushed.status_code == 201, pushed.text
        found = {"client_id": self.journey.client_id, "request_uri": pushed.json()["request_uri"]}
        return answer_of(await self.journey.decide(self.journey.opened(await self.journey.authorize(found))))["code"]


async def keyed(process: Process, *, profile: str = "confidential") -> Holder:
    journey = await open_journey(process)
    holder = Holder(journey, asserts=True)
    await process.proofs.keys.add(journey.client_id, holder.key.public, by="per_developer")
    if profile == "money":
        wanted = ClientConfigure(profile="money", redirect_uris=(CALLBACK,), grant_types=ALL_GRANTS)
        await Apps(process.deps).configure_client(journey.client_id, wanted)
        journey.profile = "money"
    return holder


async def test_a_client_proves_itself_with_its_key_everywhere(process: Process) -> None:
    holder = await keyed(process)
    code = await holder.code(bound=False)
    answer = await holder.post("/oauth/token", holder.exchange(code), bound=False)
    assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer")
    token = answer.json()["access_token"]
    assert (await holder.post("/oauth/introspect", {"token": token}, bound=False)).json()["active"] is True
    assert (await holder.post("/oauth/revoke", {"token": token}, bound=False)).status_code == 200
    assert (await holder.post("/oauth/introspect", {"token": token}, bound=False)).json() == {"active": False}


@pytest.mark.parametrize("audience", [ORIGIN, TOKEN_URL, f"{ORIGIN}/oauth/introspect", [ORIGIN]])
async def test_f12_an_assertion_names_the_issuer_the_token_address_or_the_one_called(
    process: Process, audience: object
) -> None:
    holder = await keyed(process)
    answer = await holder.send("/oauth/introspect", {"token": "x", **holder.assertion(audience)})
    assert answer.json() == {"active": False}


async def test_a15_an_assertion_counts_once_and_for_its_own_client_alone(process: Process, clock: ManualClock) -> None:
    holder, other = await keyed(process), await keyed(process)
    form = {"grant_type": "client_credentials"}
    shown = holder.assertion()
    answers = await asyncio.gather(*(holder.send("/oauth/token", {**form, **shown}) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 9
    assert {a.json()["error"] for a in answers if a.status_code != 200} == {"invalid_client"}
    now = int(clock.now().timestamp())
    by_another_key = holder.key.assertion(other.journey.client_id, ORIGIN, now=clock.now())
    for bad in (
        holder.assertion("https://other.example"),
        holder.assertion(f"{ORIGIN}/oauth/revoke"),
        holder.assertion(claims={"exp": now}),
        holder.assertion(claims={"exp": now + 10 * 365 * 86400}),  # F22
        holder.assertion(claims={"exp": 10**30}),
        holder.assertion(claims={"jti": 5}),
        holder.assertion(claims={"iss": other.journey.client_id}),
        {**holder.assertion(), "client_id": other.journey.client_id},
        {**holder.assertion(), "client_assertion_type": "urn:x"},
        {"client_assertion": holder.assertion()["client_assertion"]},
        {**other.assertion(), "client_assertion": by_another_key},
        {"client_assertion_type": ASSERTION_TYPE, "client_assertion": "[" * 4000},  # F20
        {"client_assertion_type": ASSERTION_TYPE, "client_assertion": "a.b.c"},
    ):
        answer = await holder.send("/oauth/token", {**form, **bad})
        assert (answer.status_code, "access_token" in answer.json()) == (400, False)
        assert answer.json()["error"] in {"invalid_client", "invalid_request"}


async def test_a15_a_replay_ends_nothing_that_the_code_began(process: Process, deps: IdentityDeps) -> None:
    """Whoever took a request down and sends it once more ends no tokens; the client's own second use does."""
    holder = await keyed(process)
    form = holder.exchange(await holder.code(bound=False))
    sent = {**form, **holder.assertion()}
    assert (await holder.send("/oauth/token", sent)).status_code == 200
    replayed = await holder.send("/oauth/token", sent)
    assert (replayed.status_code, replayed.json()["error"]) == (400, "invalid_client")
    assert replayed.json()["error_description"] == "The assertion was used before."
    assert await count(deps, "oauth_token_family", "state = 'active'") == 1
    again = await holder.send("/oauth/token", {**form, **holder.assertion()})
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert await count(deps, "oauth_token_family", "state = 'active'") == 0


async def test_a15_a_replay_burns_no_code(process: Process, deps: IdentityDeps) -> None:
    """A wrong verifier burns a code (F29), but not in a request whose assertion was shown before."""
    holder = await keyed(process)
    form, shown = holder.exchange(await holder.code(bound=False)), holder.assertion()
    assert (await holder.send("/oauth/token", {"grant_type": "client_credentials", **shown})).status_code in {200, 400}
    wrong = {**form, "code_verifier": "x" * 43}
    replayed = await holder.send("/oauth/token", {**wrong, **shown})
    assert (replayed.status_code, replayed.json()["error"]) == (400, "invalid_client")
    assert (await holder.send("/oauth/token", {**form, **holder.assertion()})).status_code == 200


async def test_a12_a_forged_assertion_is_refused(process: Process) -> None:
    holder = await keyed(process)
    public = json.dumps(holder.key.public).encode()
    claims = {"iss": holder.journey.client_id, "sub": holder.journey.client_id, "aud": ORIGIN, "jti": "j"}
    claims["exp"] = claims["iat"] = int(holder.now.timestamp()) + 30  # type: ignore[assignment]  # numbers among texts
    forged = [_unsigned(claims), _hmac_signed(claims, public)]
    for header in ({"jwk": holder.key.public}, {"jku": "https://evil.example"}, {"crit": ["b64"], "b64": False}):
        forged.append(holder.assertion(header=header)["client_assertion"])
    for kid in ("../../etc/passwd", "x" * 400, ["a"]):
        forged.append(holder.assertion(header={"kid": kid})["client_assertion"])
    for assertion in forged:
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE}
        answer = await holder.send("/oauth/token", {**form, "client_assertion": assertion})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


def _part(members: dict[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=").decode()


def _unsigned(claims: dict[str, Any]) -> str:
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(claims)}."


def _hmac_signed(claims: dict[str, Any], key: bytes) -> str:
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{urlsafe_b64encode(hmac.digest(key, signed.encode(), hashlib.sha256)).rstrip(b'=').decode()}"


@pytest.mark.parametrize("profile", ["confidential", "public"])
async def test_a_proof_binds_tokens_to_its_key(process: Process, profile: str) -> None:
    holder = Holder(await open_journey(process, profile=profile), asserts=False)  # type: ignore[arg-type]  # one of them
    answer = await holder.post("/oauth/token", holder.exchange(await holder.journey.code()))
    body = answer.json()
    assert (answer.status_code, body["token_type"]) == (200, "DPoP")
    _, claims = await process.access.inspect(body["access_token"])
    assert claims["cnf"] == {"jkt": holder.proof_key.jkt}
    assert not await holder.journey.works(body["access_token"])  # A11: as Bearer
    form = {"grant_type": "refresh_token", "refresh_token": body["refresh_token"]}
    fresh = await holder.post("/oauth/token", form)
    assert (fresh.status_code, fresh.json()["token_type"]) == (200, "DPoP")


async def test_a08_a_public_clients_refresh_token_is_bound_to_its_key(process: Process) -> None:
    holder = Holder(await open_journey(process, profile="public"), asserts=False)
    body = (await holder.post("/oauth/token", holder.exchange(await holder.journey.code()))).json()
    form = {"grant_type": "refresh_token", "refresh_token": body["refresh_token"]}
    kept, holder.proof_key = holder.proof_key, HeldKey.generate("ES256")
    assert (await holder.post("/oauth/token", form)).json()["error"] == "invalid_grant"
    assert (await holder.post("/oauth/token", form, bound=False)).json()["error"] == "invalid_grant"
    holder.proof_key = kept
    assert (await holder.post("/oauth/token", form)).status_code == 200


async def test_a_code_is_bound_to_the_key_that_the_request_named(process: Process) -> None:
    holder = Holder(await open_journey(process), asserts=False)
    code = await holder.journey.code(dpop_jkt=holder.proof_key.jkt)
    assert (await holder.post("/oauth/token", holder.exchange(code), bound=False)).json()["error"] == "invalid_grant"
    kept, holder.proof_key = holder.proof_key, HeldKey.generate("ES256")
    assert (await holder.post("/oauth/token", holder.exchange(code))).json()["error"] == "invalid_grant"
    holder.proof_key = kept
    assert (await holder.post("/oauth/token", holder.exchange(code))).status_code == 200


async def test_a_proof_with_a_pushed_request_binds_its_code(process: Process) -> None:
    holder = Holder(await open_journey(process), asserts=False)
    code = await holder.code()
    assert (await holder.post("/oauth/token", holder.exchange(code), bound=False)).json()["error"] == "invalid_grant"
    other = await holder.post("/oauth/par", holder.journey.parameters(dpop_jkt="A" * 43))
    assert (other.status_code, other.json()["error"]) == (400, "invalid_dpop_proof")


async def test_a10_a_proof_counts_once_with_its_nonce_and_alone(process: Process) -> None:
    holder = Holder(await open_journey(process), asserts=False)
    form = {"grant_type": "client_credentials"}
    first = await holder.send("/oauth/token", form, proof=holder.proof("/oauth/token"))
    assert (first.status_code, first.json()["error"]) == (400, "use_dpop_nonce")
    holder.nonce = first.headers["dpop-nonce"]
    shown = holder.proof("/oauth/token")
    answers = await asyncio.gather(*(holder.send("/oauth/token", form, proof=shown) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 9
    for bad in (
        holder.proof_key.proof("GET", TOKEN_URL, now=holder.now, nonce=holder.nonce),
        holder.proof("/oauth/par"),
        holder.proof("/oauth/token", claims={"iat": int(holder.now.timestamp()) - 301}),
        holder.proof("/oauth/token", header={"typ": "JWT"}),
        "x",
        "a.b.c",
    ):
        answer = await holder.send("/oauth/token", form, proof=bad)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")
    two = [("DPoP", holder.proof("/oauth/token")), ("DPoP", holder.proof("/oauth/token"))]
    doubled = await process.http.post("/oauth/token", data=form, auth=holder.journey.auth, headers=two)
    assert doubled.json()["error"] == "invalid_dpop_proof"


async def test_money_clients_push_sign_and_bind_or_get_nothing(process: Process, deps: IdentityDeps) -> None:
    holder = await keyed(process, profile="money")
    journey = holder.journey
    assert answer_of((await journey.authorize()).headers["location"])["error"] == "invalid_request"
    by_secret = httpx.BasicAuth(journey.client_id, journey.app.secret.secret)
    secret = await process.http.post("/oauth/par", data=journey.parameters(), auth=by_secret)
    assert (secret.status_code, secret.json()["error"]) == (401, "invalid_client")
    assert await count(deps, "oauth_pushed_request") == 0
    code = await holder.code()
    unbound = await holder.post("/oauth/token", holder.exchange(code), bound=False)
    assert (unbound.status_code, unbound.json()["error"]) == (400, "invalid_dpop_proof")
    body = (await holder.post("/oauth/token", holder.exchange(code))).json()
    assert body["token_type"] == "DPoP"
    fresh = await holder.post("/oauth/token", {"grant_type": "refresh_token", "refresh_token": body["refresh_token"]})
    assert (fresh.status_code, "refresh_token" in fresh.json()) == (200, False)
