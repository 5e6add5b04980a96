"""Frictions of Authlib and joserfc that no endpoint's own test shows, by their numbers in the specification."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

import platform_core
from platform_core.identity.app_secrets import make_secret
from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models import ACCESS_GRANTS
from platform_core.identity.revocation import DATABASE_AWAY
from platform_core.identity.sweep import sweep
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Change, Plan, PlanRefused, Unchanged, VersionConflict
from tests.identity.conftest import ORIGIN, Process, Shop, open_process
from tests.identity.oauth.conftest import Journey, answer_of, count

SOURCE = Path(platform_core.__file__).parent
SIGNING = frozenset({"jwt.encode", "jwt.decode", "jws.serialize_compact", "jws.deserialize_compact"})


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def test_f02_every_signature_names_its_algorithms() -> None:
    found = 0
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in SIGNING:
                found += 1
                assert {"algorithms", "registry"} & {word.arg for word in node.keywords}, f"{path}:{node.lineno}"
    assert found >= 2


def test_f38_the_old_jose_and_the_integrations_are_not_imported() -> None:
    for path, tree in trees():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(name.startswith(("authlib.jose", "authlib.integrations")) for name in names), path


@pytest.mark.database
async def test_f10_the_host_header_changes_nothing(journey: Journey) -> None:
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
    http = journey.process.http
    listed = (await http.get("/.well-known/oauth-authorization-server", headers=evil)).json()
    assert "evil" not in str(listed)
    opened = await http.get("/oauth/authorize", params=journey.parameters(), headers=evil)
    assert opened.headers["location"].startswith(f"{ORIGIN}/consent?token=")
    refused = await http.get("/oauth/authorize", params=journey.parameters(scope="no:such"), headers=evil)
    assert answer_of(refused.headers["location"])["iss"] == ORIGIN
    form = {"grant_type": "client_credentials"}
    answer = await http.post("/oauth/token", data=form, auth=journey.auth, headers=evil)
    _, claims = await journey.process.access.inspect(answer.json()["access_token"])
    assert (claims["iss"], claims["aud"]) == (ORIGIN, f"{ORIGIN}/v1")  # F18


@pytest.mark.database
async def test_f09_opening_a_request_many_times_has_no_effect(journey: Journey) -> None:
    requests = [await journey.request() for _ in range(3)]
    assert {request.state for request in requests} == {"st-1"}
    for request in requests:
        assert "code" in answer_of(await journey.decide(request))


@pytest.mark.database
async def test_f18_the_resource_is_the_audience(journey: Journey) -> None:
    tokens = await journey.tokens(resource=f"{ORIGIN}/v1")
    _, claims = await journey.process.access.inspect(tokens["access_token"])
    assert claims["aud"] == f"{ORIGIN}/v1"


@pytest.mark.database
async def test_f37_algorithms_are_listed_beside_private_key_jwt(journey: Journey) -> None:
    listed = journey.process.oauth.metadata()
    for endpoint in ("token", "introspection", "revocation"):
        assert "private_key_jwt" in listed[f"{endpoint}_endpoint_auth_methods_supported"]
        algorithms = listed[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]
        assert algorithms == ["ES256", "PS256", "RS256"]  # F33
    assert listed["authorization_response_iss_parameter_supported"] is True


@pytest.mark.database
async def test_a14_a_token_of_another_issuer_or_of_an_ended_client_is_refused(
    journey: Journey, deps: IdentityDeps
) -> None:
    elsewhere = await open_process(deps, public_origin="https://other.test")
    away = Journey(elsewhere, journey.app, journey.merchant)
    token = (await away.token({"grant_type": "client_credentials", "scope": "webhooks:read"})).json()["access_token"]
    assert not await journey.works(token)
    await elsewhere.feed.stop()
    await elsewhere.http.aclose()
    own = (await journey.tokens())["access_token"]
    assert await journey.works(own)
    await Apps(deps).disable_client(journey.client_id)
    await journey.process.feed.poll()
    assert not await journey.works(own)


@pytest.mark.database
async def test_a20_unknown_clients_and_wrong_secrets_cost_the_same_work(
    journey: Journey, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []
    vault = type(process.deps.vault)
    right = vault.matches

    def counted(self: object, row_id: str, secret: str, digest: bytes) -> bool:
        compared.append(row_id)
        return right(process.deps.vault, row_id, secret, digest)

    monkeypatch.setattr(vault, "matches", counted)
    wrong = make_secret("test", lambda size: b"w" * size)  # well formed, so that it is compared at all
    said, work = [], []
    for client_id in (journey.client_id, "app_test_00000000000000000000000000"):
        compared.clear()
        auth = httpx.BasicAuth(client_id, wrong)
        answer = await process.http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=auth)
        said.append((answer.status_code, answer.json()))
        work.append(len(compared))
    assert said[0] == said[1]
    assert work == [2, 2]


@pytest.mark.database
async def test_a_plan_that_asserts_a_version_is_refused_when_it_moved(shop: Shop, deps: IdentityDeps) -> None:
    grant = shop.grant
    await deps.committer.commit(Plan(shop.merchant.id).add(Unchanged(ACCESS_GRANTS, grant.id, 1)))
    moved = Plan(shop.merchant.id).add(Change(ACCESS_GRANTS, grant.id, {}, expected=1))
    await deps.committer.commit(moved)
    with pytest.raises(PlanRefused) as refused:
        await deps.committer.commit(Plan(shop.merchant.id).add(Unchanged(ACCESS_GRANTS, grant.id, 1)))
    assert refused.value.refusal == VersionConflict("access_grant", grant.id, 1, 2)
    assert await count(deps, "access_grant", "version = 2") == 1  # asserting raised nothing


@pytest.mark.database
async def test_of_a_narrowing_and_an_exchange_at_once_no_token_outlives_the_narrowing(journey: Journey) -> None:
    for _ in range(5):
        await journey.decide(await journey.request(grant_management_action="replace"))
        code = await journey.code()
        narrower = await journey.request(scope="stores:read", grant_management_action="replace")
        answer, _ = await asyncio.gather(journey.exchange(code), journey.decide(narrower))
        await journey.process.feed.poll()
        token = answer.json()["access_token"]
        if await journey.works(token):
            who, _ = await journey.process.access.inspect(token)
            assert who.scopes == {"stores:read"}


@pytest.mark.database
async def test_what_is_over_is_swept_and_what_is_not_stays(
    journey: Journey, deps: IdentityDeps, clock: ManualClock
) -> None:
    await journey.tokens()
    await journey.post("/oauth/par", **journey.parameters())
    connection = await deps.database.connect("job")
    try:
        nothing = await sweep(connection, now=clock.now())
        assert set(nothing.values()) == {0}
        clock.advance(timedelta(days=2))
        assert (await sweep(connection, now=clock.now()))["oauth_pushed_request"] == 1
        clock.advance(timedelta(days=365))
        swept = await sweep(connection, now=clock.now())
        assert (swept["oauth_code"], swept["oauth_token_family"]) == (1, 1)
    finally:
        await connection.close()
    assert await count(deps, "oauth_refresh_token") == 0


@pytest.mark.database
async def test_while_the_database_is_away_the_answer_is_503(
    journey: Journey, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert OSError in DATABASE_AWAY

    def away(*_: object, **__: object) -> object:
        raise OSError("connection refused")

    monkeypatch.setattr("platform_core.identity.oauth.clients.repository.read_client_state", away)
    for path in ("/oauth/token", "/oauth/par", "/oauth/introspect", "/oauth/revoke"):
        answer = await process.http.post(
            path, data={"grant_type": "client_credentials", "token": "x"}, auth=journey.auth
        )
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    opened = await process.http.get("/oauth/authorize", params=journey.parameters())
    assert (opened.status_code, "location" in opened.headers) == (503, False)
