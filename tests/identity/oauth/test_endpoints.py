"""Introspection, revocation, userinfo, metadata, and what browsers may call."""

from __future__ import annotations

from typing import Any

import pytest

from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models import Profile
from platform_core.identity.oauth.device import GRANT_TYPE as DEVICE_GRANT
from platform_core.kernel.clock import ManualClock
from tests.identity.conftest import ORIGIN, Process, Shop
from tests.identity.oauth.conftest import CALLBACK, SCOPE, Journey, count, open_journey

pytestmark = [pytest.mark.database, pytest.mark.api]
INACTIVE = {"active": False}


async def introspected(journey: Journey, token: str, **more: str) -> dict[str, Any]:
    answer = await journey.post("/oauth/introspect", token=token, **more)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    found: dict[str, Any] = answer.json()
    return found


async def test_f15_f17_introspection_tells_the_owner_of_a_token(journey: Journey, clock: ManualClock) -> None:
    tokens = await journey.tokens()
    now = int(clock.now().timestamp())
    found = await introspected(journey, tokens["access_token"])
    expected = {"active": True, "scope": tokens["scope"], "client_id": journey.client_id, "token_type": "Bearer"}
    assert expected.items() <= found.items()
    assert (found["exp"], found["iat"], found["sub"]) == (now + 600, now, journey.merchant.id)
    kept = await introspected(journey, tokens["refresh_token"])
    assert (kept["active"], kept["scope"], kept["exp"]) == (True, tokens["scope"], now + 90 * 86400)
    form = {"token": tokens["access_token"], "client_id": journey.client_id, "client_secret": journey.app.secret.secret}
    by_post = await journey.process.http.post("/oauth/introspect", data=form)
    assert by_post.json()["active"] is True


async def test_f16_hints_are_ignored(journey: Journey) -> None:
    tokens = await journey.tokens()
    for hint in ("access_token", "refresh_token", "no_such", '"\\支'):
        assert (await introspected(journey, tokens["access_token"], token_type_hint=hint))["active"]
        answer = await journey.post("/oauth/revoke", token="x", token_type_hint=hint)
        assert answer.status_code == 200


async def test_a24_of_foreign_and_dead_tokens_nothing_is_said(journey: Journey, process: Process) -> None:
    other, tokens = await open_journey(process), await journey.tokens()
    for token in (tokens["access_token"], tokens["refresh_token"], "x", "a.b.c", '"\\支', "x" * 2048):
        assert await introspected(other, token) == INACTIVE
    assert (await journey.post("/oauth/revoke", token=tokens["refresh_token"])).status_code == 200
    for token in (tokens["access_token"], tokens["refresh_token"]):
        assert await introspected(journey, token) == INACTIVE


async def test_a_resource_server_of_the_operator_sees_every_token(journey: Journey, process: Process) -> None:
    other, tokens = await open_journey(process), await journey.tokens()
    await Apps(process.deps).let_introspect_any(other.client_id, is_allowed=True)
    assert (await introspected(other, tokens["access_token"]))["merchant"] == journey.merchant.id
    await Apps(process.deps).let_introspect_any(other.client_id, is_allowed=False)
    assert await introspected(other, tokens["access_token"]) == INACTIVE


async def test_public_clients_do_not_introspect(public: Journey) -> None:
    tokens = await public.tokens()
    form = {"token": tokens["access_token"], "client_id": public.client_id}
    answer = await public.process.http.post("/oauth/introspect", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


@pytest.mark.parametrize("path", ["/oauth/introspect", "/oauth/revoke"])
async def test_a_request_without_token_or_client_is_refused(journey: Journey, path: str) -> None:
    assert (await journey.post(path)).json()["error"] == "invalid_request"
    answer = await journey.process.http.post(path, data={"token": "x"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


@pytest.mark.parametrize("profile", ["confidential", "public"])
async def test_revoking_a_refresh_token_ends_its_family_alone(process: Process, profile: Profile) -> None:
    journey = await open_journey(process, profile=profile)
    tokens = await journey.tokens()
    other = await journey.tokens()
    form = {"token": tokens["refresh_token"], **({"client_id": journey.client_id} if profile == "public" else {})}
    for _ in range(2):
        answer = await process.http.post("/oauth/revoke", data=form, auth=journey.auth)
        assert (answer.status_code, answer.json()) == (200, {})
    await process.feed.poll()
    assert not await journey.works(tokens["access_token"])
    assert (await journey.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert await journey.works(other["access_token"])
    assert await count(process.deps, "oauth_token_family", "revoked_why = 'revoked'") == 1


async def test_revoking_an_access_token_ends_it_alone(journey: Journey, other_process: Process) -> None:
    tokens = await journey.tokens()
    assert await journey.works(tokens["access_token"], process=other_process)
    assert (await journey.post("/oauth/revoke", token=tokens["access_token"])).status_code == 200
    await other_process.feed.poll()
    assert not await journey.works(tokens["access_token"], process=other_process)
    fresh = (await journey.refresh(tokens["refresh_token"])).json()
    assert await journey.works(fresh["access_token"])


async def test_nobody_revokes_anothers_token(journey: Journey, process: Process) -> None:
    other, tokens = await open_journey(process), await journey.tokens()
    for token in (tokens["access_token"], tokens["refresh_token"]):
        assert (await other.post("/oauth/revoke", token=token)).json() == {}
    await process.feed.poll()
    assert await journey.works(tokens["access_token"])
    assert await count(process.deps, "oauth_token_family", "state = 'revoked'") == 0


async def test_userinfo_names_the_merchant_for_openid_alone(journey: Journey) -> None:
    token = (await journey.tokens(scope=f"{SCOPE} openid"))["access_token"]
    for method in ("GET", "POST"):
        headers = {"Authorization": f"Bearer {token}"}
        answer = await journey.process.http.request(method, "/oauth/userinfo", headers=headers)
        assert (answer.status_code, answer.json()["sub"]) == (200, journey.merchant.id)
    without = (await journey.tokens())["access_token"]
    refused = await journey.process.get("/oauth/userinfo", without)
    assert (refused.status_code, refused.json()["code"]) == (403, "identity.scope_missing")


async def test_a13_an_id_token_or_refresh_token_is_no_access_token(journey: Journey) -> None:
    tokens = await journey.tokens(scope=f"{SCOPE} openid")
    for token in (tokens["id_token"], tokens["refresh_token"]):
        assert not await journey.works(token)
        assert (await journey.process.get("/oauth/userinfo", token)).status_code == 401


async def test_metadata_lists_what_works_and_nothing_else(journey: Journey, shop: Shop) -> None:
    http = journey.process.http
    listed = (await http.get("/.well-known/oauth-authorization-server")).json()
    assert (await http.get("/.well-known/openid-configuration")).json() == listed
    assert listed["issuer"] == ORIGIN
    routes = {f"{ORIGIN}{path}": set(item) for path, item in journey.process.app.openapi()["paths"].items()}
    endpoints = {value for name, value in listed.items() if name.endswith("_endpoint") or name == "jwks_uri"}
    assert endpoints <= routes.keys()
    others = {url for url in routes if "/oauth/" in url and "/.well-known/" not in url} - endpoints
    assert others == set()
    assert listed["code_challenge_methods_supported"] == ["S256"]
    kinds = listed["grant_types_supported"]
    assert kinds[:3] == ["authorization_code", "refresh_token", "client_credentials"]
    device, exchange = kinds[3:]
    assert (device, exchange) == (DEVICE_GRANT, "urn:ietf:params:oauth:grant-type:token-exchange")
    for kind in kinds:
        answer = await journey.token({"grant_type": kind})
        # What it needs is missing, or the client was not set up for it: but there it is.
        assert answer.status_code == 200 or answer.json()["error"] in {"invalid_request", "unauthorized_client"}
    for kind in ("password", "implicit", "urn:ietf:params:oauth:grant-type:saml2-bearer"):
        assert (await journey.token({"grant_type": kind})).json()["error"] == "unsupported_grant_type"
    for prefix in ("token", "introspection", "revocation"):
        methods = listed[f"{prefix}_endpoint_auth_methods_supported"]
        expected = {"client_secret_basic", "client_secret_post", "private_key_jwt"} | (
            {"none"} if prefix != "introspection" else set()
        )
        assert set(methods) == expected
    for scope in listed["scopes_supported"]:
        assert journey.opened(await journey.authorize(scope=scope)).scopes == {scope}
    for name in ("request_parameter_supported", "claims_parameter_supported"):
        assert listed[name] is False
    jwks = (await http.get(listed["jwks_uri"])).json()
    assert [sorted(key) for key in jwks["keys"]] == [["alg", "crv", "kid", "kty", "use", "x", "y"]] * 2
    assert {key["alg"] for key in jwks["keys"]} == set(listed["id_token_signing_alg_values_supported"])


async def test_browsers_may_call_from_a_public_clients_origin_alone(public: Journey, journey: Journey) -> None:
    http = public.process.http
    asked = await http.request("OPTIONS", "/oauth/token", headers={"Origin": "https://till.example"})
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, "https://till.example")
    assert "access-control-allow-credentials" not in asked.headers
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": public.client_id}
    for origin, is_allowed in (
        ("https://till.example", True),
        ("https://evil.example", False),
        ("https://till.exampl", False),
        ("https://till.example.evil.example", False),
        ("null", False),
        ("x" * 300, False),
    ):
        answer = await http.post("/oauth/token", data=form, headers={"Origin": origin})
        assert answer.json()["error"] == "invalid_grant"
        assert ("access-control-allow-origin" in answer.headers) == is_allowed
        assert answer.headers["vary"] == "Origin"
        refused = await http.get("/oauth/userinfo", headers={"Origin": origin})
        assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (401, is_allowed)


async def test_a_confidential_clients_origin_is_not_opened(journey: Journey, deps: IdentityDeps) -> None:
    assert CALLBACK.startswith("https://till.example/")
    asked = await journey.process.http.request("OPTIONS", "/oauth/token", headers={"Origin": "https://till.example"})
    assert "access-control-allow-origin" not in asked.headers
