"""POST /oauth/token: who gets which token, and how everybody else is refused."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import uvicorn
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.jwk import KeySet

from platform_core.contracts.scopes import catalogue
from platform_core.identity import vault
from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.grants import Grants
from platform_core.identity.oauth.clients import ASSERTION_TYPE
from platform_core.identity.oauth.compact import Compact
from platform_core.identity.parties import Parties
from platform_core.identity.schemas import AppCreate, IsvCreate
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer
from tests.identity.conftest import ORIGIN, Process, Shop, open_process
from tests.support.proofs import HeldKey

pytestmark = [pytest.mark.database, pytest.mark.api]
FORM = {"grant_type": "client_credentials"}
ONE_TEXT = {
    "error": "invalid_client",
    "error_description": "The client is unknown or its secret is wrong.",
    "error_uri": f"{ORIGIN}/problems/oauth.invalid_client",
}


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


async def test_a_merchants_app_acts_for_it_within_the_grant(process: Process, shop: Shop, clock: ManualClock) -> None:
    answer = await process.http.post("/oauth/token", data=FORM, auth=(shop.app.client.id, shop.app.secret.secret))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert {name: body[name] for name in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer",
        "expires_in": 600,
        "scope": "merchant:read payments:write stores:read",
    }
    token = jwt.decode(body["access_token"], KeySet([process.keys.signing.keys[0]]), algorithms=["ES256"])
    assert token.header == {"alg": "ES256", "typ": "at+jwt", "kid": process.keys.signing.keys[0].kid}
    now = int(clock.now().timestamp())
    jti = token.claims.pop("jti")
    assert jti.startswith("tok_")
    assert token.claims == {
        "iss": ORIGIN,
        "aud": f"{ORIGIN}/v1",
        "sub": shop.merchant.id,
        "client_id": shop.app.client.id,
        "iat": now,
        "exp": now + 600,
        "scope": "merchant:read payments:write stores:read",
        "mode": "test",
        "merchant": shop.merchant.id,
        "grant_id": shop.grant.id,
        "gv": 1,
    }


async def test_an_isvs_app_by_itself_gets_only_scopes_for_apps_alone(process: Process, deps: IdentityDeps) -> None:
    isv = await Parties(deps).create_isv(IsvCreate(name="Till makers"))
    app = await Apps(deps).create_app(AppCreate(name="Till", mode="test", api_version="2026-11-22", isv_id=isv.id))
    token = await process.token(app)
    who = await process.access.authenticate(token)
    assert who.merchant_id is None
    assert who.scopes == {name for name, scope in catalogue().items() if scope.is_for_app_alone and scope.is_for_apps}
    assert "webhooks:write" in who.scopes
    refused = await process.http.post(
        "/oauth/token", data={**FORM, "scope": "payments:write"}, auth=(app.client.id, app.secret.secret)
    )
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")


async def test_the_secret_may_also_stand_in_the_body(process: Process, shop: Shop) -> None:
    form = {**FORM, "client_id": shop.app.client.id, "client_secret": shop.app.secret.secret, "scope": "stores:read"}
    answer = await process.http.post("/oauth/token", data=form)
    assert (answer.status_code, answer.json()["scope"]) == (200, "stores:read")


async def test_f35_unknown_client_and_wrong_secret_read_the_same(
    process: Process, shop: Shop, other_shop: Shop
) -> None:
    unknown = shop.app.client.id[:-6] + "000000"
    tries = [
        (unknown, shop.app.secret.secret),
        (shop.app.client.id, other_shop.app.secret.secret),
        (shop.app.client.id, "ask_test_short"),
    ]
    for client_id, secret in tries:
        by_header = await process.http.post("/oauth/token", data=FORM, auth=(client_id, secret))
        assert (by_header.status_code, by_header.json()) == (401, ONE_TEXT)
        assert by_header.headers["www-authenticate"] == 'Basic realm="arsenal"'
        in_body = await process.http.post(
            "/oauth/token", data={**FORM, "client_id": client_id, "client_secret": secret}
        )
        assert (in_body.status_code, in_body.json()) == (400, ONE_TEXT)
        assert "www-authenticate" not in in_body.headers


async def test_f35_an_unknown_client_costs_equal_work(
    process: Process, shop: Shop, other_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: look-ups, comparisons of secrets, verifications of assertions, plans."""
    unknown = shop.app.client.id[:-6] + "000000"
    wrong, key, done = other_shop.app.secret.secret, HeldKey.generate(), Counter[str]()
    await process.proofs.keys.add(shop.app.client.id, HeldKey.generate().public, by="per_owner")
    count_calls(monkeypatch, done, vault.Vault, "matches")
    count_calls(monkeypatch, done, Compact, "verify")
    count_calls(monkeypatch, done, Committer, "commit")
    singles = process.deps.database.singles("auth")
    count_calls(monkeypatch, done, type(singles), "rows")
    costs = []
    for client_id in (shop.app.client.id, unknown, shop.app.client.id, unknown):
        answer = await process.http.post("/oauth/token", data=FORM, auth=(client_id, wrong))
        assert answer.json() == ONE_TEXT
        by_secret = done.copy()
        done.clear()
        assertion = key.assertion(client_id, ORIGIN, now=process.deps.clock.now())
        form = {**FORM, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
        assert (await process.http.post("/oauth/token", data=form)).json() == ONE_TEXT
        costs.append((by_secret, done.copy()))
        done.clear()
    assert costs[2:] == costs[:2], "nothing that is kept between requests tells them apart either"
    assert costs[0] == costs[1]
    by_secret, by_assertion = costs[0]
    assert by_secret == Counter(rows=1, matches=2)
    assert by_assertion["verify"] == 1


def count_calls(monkeypatch: pytest.MonkeyPatch, done: Counter[str], owner: type, name: str) -> None:
    """Count the calls of a method, which does what it did."""
    real = getattr(owner, name)

    def counted(*arguments: Any, **named: Any) -> Any:
        done[name] += 1
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(), 401),  # F04: not UTF-8
        ("Basic not/base64!", 401),
        ("Basic " + base64.b64encode(b"no colon").decode(), 401),
        ("Basic " + "A" * 100_000, 431),
        ("Bearer x", 401),
    ],
)
async def test_f04_a_broken_authorization_header_is_refused(process: Process, header: str, status: int) -> None:
    answer = await process.http.post("/oauth/token", data=FORM, headers={"Authorization": header})
    assert answer.status_code == status


async def test_f04_a_client_that_form_encodes_basic_is_understood(process: Process, shop: Shop) -> None:
    encoded = "".join(f"%{ord(character):02X}" for character in shop.app.client.id)
    answer = await process.http.post("/oauth/token", data=FORM, headers=basic(encoded, shop.app.secret.secret))
    assert answer.status_code == 200


async def test_f23_two_credentials_are_refused(process: Process, shop: Shop) -> None:
    form = {**FORM, "client_id": shop.app.client.id, "client_secret": shop.app.secret.secret}
    answer = await process.http.post("/oauth/token", data=form, auth=(shop.app.client.id, shop.app.secret.secret))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        (b"grant_type=client_credentials&grant_type=client_credentials", 400, "invalid_request"),  # F24
        (b"grant_type=client_credentials&scope=a&scope=b", 400, "invalid_request"),
        (b"grant_type=client_credentials&scope=%FF", 400, "invalid_request"),
        (b"grant_type=client_credentials&scope=\xe6\x94\xaf", 400, "invalid_request"),
        (b"grant_type=client_credentials&scope=%00", 400, "invalid_request"),
        (b"grant_type=client_credentials&scope=" + b"a" * 2049, 400, "invalid_request"),
        (b"&".join(b"p%d=1" % n for n in range(65)), 400, "invalid_request"),
        (b"grant_type=client_credentials&x=" + b"a" * 65_536, 413, "invalid_request"),
        (b"", 400, "invalid_request"),
        (b"grant_type=", 400, "invalid_request"),
        (b"grant_type=password", 400, "unsupported_grant_type"),
        (b"grant_type=%22%5C%E6%94%AF", 400, "unsupported_grant_type"),  # F03: would be a 500 in Authlib's words
        (b"grant_type=client_credentials&resource=https://other.example/", 400, "invalid_target"),
        (b"grant_type=client_credentials&scope=payments:write+no:such", 400, "invalid_scope"),
        (b"grant_type=client_credentials&scope=refunds:write", 400, "invalid_scope"),  # A17: not granted
        (b"grant_type=client_credentials&client_assertion=x", 400, "invalid_request"),  # F23: beside the header
    ],
)
async def test_a_bad_form_is_refused_with_the_rfcs_error(
    process: Process, shop: Shop, content: bytes, status: int, error: str
) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded", **basic(shop.app.client.id, shop.app.secret.secret)}
    answer = await process.http.post("/oauth/token", content=content, headers=headers)
    expected = 401 if error == "invalid_client" else status
    assert (answer.status_code, answer.json()["error"]) == (expected, error)
    assert answer.json()["error_description"].isascii()
    assert "access_token" not in answer.json()


async def test_f25_secrets_in_the_address_are_refused(process: Process, shop: Shop) -> None:
    query = {"client_id": shop.app.client.id, "client_secret": shop.app.secret.secret}
    answer = await process.http.post("/oauth/token", params=query, data=FORM)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_body_that_is_no_form_is_refused(process: Process, shop: Shop) -> None:
    answer = await process.http.post("/oauth/token", json=FORM, auth=(shop.app.client.id, shop.app.secret.secret))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_an_app_without_grant_gets_nothing(process: Process, shop: Shop, deps: IdentityDeps) -> None:
    await Grants(deps).revoke(shop.grant.id, merchant_id=shop.merchant.id, by="per_owner", why="test")
    answer = await process.http.post("/oauth/token", data=FORM, auth=(shop.app.client.id, shop.app.secret.secret))
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


async def test_a_rotated_secret_overlaps_and_then_ends(
    process: Process, shop: Shop, deps: IdentityDeps, clock: ManualClock
) -> None:
    apps, client_id = Apps(deps), shop.app.client.id

    async def status(secret: str) -> int:
        return (await process.http.post("/oauth/token", data=FORM, auth=(client_id, secret))).status_code

    first = shop.app.secret.secret
    second = (await apps.rotate_secret(client_id)).secret
    assert [await status(first), await status(second)] == [200, 200]
    third = (await apps.rotate_secret(client_id)).secret  # two live at most: the first ends at once
    assert [await status(first), await status(second), await status(third)] == [401, 200, 200]
    clock.advance(timedelta(days=7))
    assert [await status(second), await status(third)] == [401, 200]
    fourth = (await apps.rotate_secret(client_id, overlap=timedelta(0))).secret
    assert [await status(third), await status(fourth)] == [401, 200]


async def test_use_of_a_secret_is_recorded_hourly(
    process: Process, shop: Shop, deps: IdentityDeps, clock: ManualClock
) -> None:
    async def last_used() -> object:
        connection = await deps.database.connect("auth")
        try:
            return await connection.fetchval("SELECT last_used_at FROM app_secret WHERE id = $1", shop.app.secret.id)
        finally:
            await connection.close()

    assert await last_used() is None
    started = clock.now()
    await process.token(shop.app)
    assert await last_used() == started
    clock.advance(timedelta(minutes=59))
    await process.token(shop.app)
    assert await last_used() == started
    clock.advance(timedelta(minutes=1))
    await process.token(shop.app)
    assert await last_used() == started + timedelta(hours=1)


async def test_tokens_are_never_logged(
    process: Process, shop: Shop, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        token = await process.token(shop.app)
    written = caplog.text + "".join(capsys.readouterr())
    assert token not in written
    assert shop.app.secret.secret not in written


async def test_an_origin_in_the_clear_is_refused_at_start(process: Process) -> None:
    with pytest.raises(ValueError, match="https"):
        await open_process(process.deps, public_origin="http://shop.example")


async def test_the_unmodified_authlib_client_gets_a_token(process: Process, shop: Shop) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(process.app, lifespan="off", log_level="warning", ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def fetch(method: str) -> tuple[dict[str, object], int]:
        with OAuth2Session(
            shop.app.client.id, shop.app.secret.secret, token_endpoint_auth_method=method, scope="stores:read"
        ) as session:
            token = session.fetch_token(f"{url}/oauth/token", grant_type="client_credentials")
            return token, session.get(f"{url}/v1/stores").status_code

    try:
        for method in ("client_secret_basic", "client_secret_post"):
            token, status = await asyncio.to_thread(fetch, method)
            assert (token["token_type"], token["scope"], status) == ("Bearer", "stores:read", 200)
    finally:
        server.should_exit = True
        await serving
        listener.close()
