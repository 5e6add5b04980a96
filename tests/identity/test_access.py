"""Bearer tokens at the API: forged ones are refused, and tenants never see each other."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry
from sqlalchemy import text

from platform_core.contracts.scopes import catalogue
from platform_core.identity import repository
from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.grants import Grants
from platform_core.identity.parties import Parties
from platform_core.identity.requires import requires, scopes_by_route
from platform_core.identity.schemas import AppCreate, GrantCreate, IsvCreate, StoreCreate
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.errors import PlatformError
from tests.identity.conftest import ORIGIN, Process, Shop

ANY_HEADER = JWSRegistry(algorithms=["ES256"], strict_check_header=False)  # forgers keep no rules
pytestmark = [pytest.mark.database, pytest.mark.api]


async def test_an_app_reads_its_merchant_and_stores(process: Process, shop: Shop, deps: IdentityDeps) -> None:
    store = await Parties(deps).create_store(StoreCreate(merchant_id=shop.merchant.id, name="Front"))
    token = await process.token(shop.app)
    merchant = await process.get(f"/v1/merchants/{shop.merchant.id}", token)
    assert (merchant.status_code, merchant.json()) == (200, shop.merchant.model_dump(mode="json"))
    one = await process.get(f"/v1/stores/{store.id}", token)
    assert (one.status_code, one.json()) == (200, store.model_dump(mode="json"))
    assert one.headers["arsenal-version"] == "2026-11-22"


async def test_stores_come_in_pages(process: Process, shop: Shop, deps: IdentityDeps, clock: ManualClock) -> None:
    made = []
    for number in range(5):
        clock.advance(timedelta(milliseconds=number % 2))
        made.append(await Parties(deps).create_store(StoreCreate(merchant_id=shop.merchant.id, name=f"No {number}")))
    token = await process.token(shop.app)
    seen, sizes, cursor = [], [], ""
    for _ in range(4):
        page = (await process.get(f"/v1/stores?limit=2{cursor}", token)).json()
        sizes.append(len(page["data"]))
        seen += [store["id"] for store in page["data"]]
        cursor = f"&cursor={page['next_cursor']}"
        if page["next_cursor"] is None:
            break
    assert (seen, sizes) == ([store.id for store in made], [2, 2, 1])


async def test_a_grant_of_some_stores_hides_the_others(process: Process, shop: Shop, deps: IdentityDeps) -> None:
    parties = Parties(deps)
    shown = await parties.create_store(StoreCreate(merchant_id=shop.merchant.id, name="Shown"))
    hidden = await parties.create_store(StoreCreate(merchant_id=shop.merchant.id, name="Hidden"))
    wanted = AppCreate(name="Kiosk", mode="test", api_version="2026-11-22", merchant_id=shop.merchant.id)
    app = await Apps(deps).create_app(wanted)
    await Grants(deps).create(
        GrantCreate(
            app_id=app.id,
            merchant_id=shop.merchant.id,
            mode="test",
            scopes=frozenset({"stores:read"}),
            stores=frozenset({shown.id}),
            given_by="per_owner",
        )
    )
    token = await process.token(app)
    assert [store["id"] for store in (await process.get("/v1/stores", token)).json()["data"]] == [shown.id]
    assert (await process.get(f"/v1/stores/{hidden.id}", token)).status_code == 404


async def test_a29_another_merchants_objects_look_absent(
    process: Process, shop: Shop, other_shop: Shop, deps: IdentityDeps
) -> None:
    theirs = await Parties(deps).create_store(StoreCreate(merchant_id=other_shop.merchant.id, name="Theirs"))
    token = await process.token(shop.app)
    pairs = [
        (f"/v1/merchants/{other_shop.merchant.id}", f"/v1/merchants/{deps.ids.mint('mer')}"),
        (f"/v1/stores/{theirs.id}", f"/v1/stores/{deps.ids.mint('sto')}"),
    ]
    for foreign, absent in pairs:
        found, missing = await process.get(foreign, token), await process.get(absent, token)
        assert (found.status_code, missing.status_code) == (404, 404)
        assert found.json()["code"] == missing.json()["code"]
        assert _without_ids(found.text) == _without_ids(missing.text)
    assert (await process.get("/v1/stores", token)).json() == {"data": [], "next_cursor": None}


def _without_ids(body: str) -> str:
    return re.sub(r"(mer|sto|req)_[0-9a-z]{26}", r"\1_", body)


@pytest.mark.parametrize(
    "table",
    ["merchant", "store", "isv", "app", "app_client", "access_grant", "revocation", "app_secret", "signing_key"],
)
async def test_a29_row_security_alone_shows_a_tenant_its_own_rows_only(
    process: Process, shop: Shop, other_shop: Shop, deps: IdentityDeps, table: str
) -> None:
    parties = Parties(deps)
    await parties.create_isv(IsvCreate(name="Till makers"))
    for merchant in (shop.merchant, other_shop.merchant):
        await parties.create_store(StoreCreate(merchant_id=merchant.id, name="Front"))
    column = "id" if table == "merchant" else "merchant_id"
    if table in {"app_secret", "signing_key"}:
        async with deps.database.read(shop.merchant.id) as connection:
            with pytest.raises(Exception, match="permission denied"):
                await connection.execute(text(f"SELECT 1 FROM {table}"))
        return
    async with deps.database.read_all() as connection:
        assert (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() > 0
    async with deps.database.read(None) as connection:
        assert (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0
    async with deps.database.read(shop.merchant.id) as connection:
        if table in {"isv", "revocation"}:
            assert (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0
        else:
            owners = (await connection.execute(text(f"SELECT DISTINCT {column} FROM {table}"))).scalars().all()
            assert owners == [shop.merchant.id]


async def test_without_a_token_the_way_to_one_is_named(process: Process) -> None:
    answer = await process.http.get("/v1/stores")
    assert (answer.status_code, answer.json()["code"]) == (401, "identity.token_missing")
    assert answer.headers["www-authenticate"] == 'Bearer realm="arsenal"'
    for header in ("Basic x", "Bearer", "Bearer "):
        refused = await process.http.get("/v1/stores", headers={"Authorization": header})
        assert (refused.status_code, refused.json()["code"]) == (401, "identity.token_invalid")


async def test_a30_a_missing_scope_is_named_in_body_and_header(process: Process, shop: Shop) -> None:
    token = await process.token(shop.app, "merchant:read")
    answer = await process.get("/v1/stores", token)
    assert (answer.status_code, answer.json()["code"]) == (403, "identity.scope_missing")
    assert answer.json()["detail"] == "This operation needs the scope stores:read."
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="arsenal", error="insufficient_scope", scope="stores:read"'
    )


Forge = Callable[[Process, dict[str, Any]], str]


def _sign(key: ECKey, header: dict[str, Any], claims: dict[str, Any]) -> str:
    known = {"alg": "ES256", "typ": "at+jwt", "kid": key.kid}
    return jwt.encode({**known, **header}, claims, key, algorithms=["ES256"], registry=ANY_HEADER)


def _own(process: Process) -> ECKey:
    key = process.keys.signing.keys[0]
    assert isinstance(key, ECKey)
    return key


def _encoded(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _unsigned(process: Process, claims: dict[str, Any]) -> str:
    return f"{_encoded({'alg': 'none', 'typ': 'at+jwt', 'kid': _own(process).kid})}.{_encoded(claims)}."


def _hmac_with_public_key(process: Process, claims: dict[str, Any]) -> str:
    key = _own(process)
    signed = f"{_encoded({'alg': 'HS256', 'typ': 'at+jwt', 'kid': key.kid})}.{_encoded(claims)}"
    mac = hmac.new(key.as_pem(private=False), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def _foreign_key(process: Process, claims: dict[str, Any]) -> str:
    return _sign(ECKey.generate_key("P-256", auto_kid=True), {}, claims)


def _foreign_key_under_our_kid(process: Process, claims: dict[str, Any]) -> str:
    foreign = ECKey.generate_key("P-256", {"kid": str(_own(process).kid)})
    return _sign(foreign, {}, claims)


def _with_header(**extra: Any) -> Forge:
    return lambda process, claims: _sign(_own(process), extra, claims)


def _with_claims(**changed: Any) -> Forge:
    def forge(process: Process, claims: dict[str, Any]) -> str:
        merged = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        return _sign(_own(process), {}, merged)

    return forge


def _tampered(process: Process, claims: dict[str, Any]) -> str:
    head, _, tail = _sign(_own(process), {}, claims).split(".")
    return f"{head}.{_encoded({**claims, 'scope': 'refunds:write'})}.{tail}"


FORGERIES: dict[str, Forge] = {
    "a12 alg none": _unsigned,
    "a12 HS256 with our public key": _hmac_with_public_key,
    "foreign key": _foreign_key,
    "foreign key under our kid": _foreign_key_under_our_kid,
    "a12 embedded jwk": _with_header(jwk={"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
    "a12 jku": _with_header(jku="https://evil.example/jwks"),
    "a12 kid is a path": _with_header(kid="../../../dev/null"),
    "a12 kid is long": _with_header(kid="k" * 400),
    "a13 typ of an id token": _with_header(typ="JWT"),
    "a14 other aud": _with_claims(aud="https://other.example/v1"),
    "a14 aud is the client": _with_claims(aud="app_test_x"),
    "other iss": _with_claims(iss="https://other.example"),
    "expired": _with_claims(exp=1_700_000_000),
    "issued tomorrow": _with_claims(iat=1_900_000_000),
    "no exp": _with_claims(exp=None),
    "no jti": _with_claims(jti=None),
    "exp is text": _with_claims(exp="tomorrow"),
    "another's merchant": _with_claims(merchant="mer_01jdx0000000000000000000ab"),
    "no merchant": _with_claims(merchant=None),
    "grant left out": _with_claims(grant_id=None),
    "unknown grant": _with_claims(grant_id="gra_01jdx0000000000000000000ab"),
    "older grant version": _with_claims(gv=0),
    "a14 live": _with_claims(mode="live"),
    "unknown client": _with_claims(client_id="app_test_01jdx0000000000000000000ab"),
    "tampered claims": _tampered,
    "two parts": lambda process, claims: "a.b",
    "not base64": lambda process, claims: "!.!.!",
    "json bomb in the header": lambda process, claims: urlsafe_b64encode(b"[" * 300).decode() + ".e30.e30",
    "too long": lambda process, claims: "a" * 8193,
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_forged_token_is_refused(process: Process, shop: Shop, forge: Forge) -> None:
    genuine = await process.token(shop.app)
    padded = genuine.split(".")[1] + "=="
    claims = json.loads(urlsafe_b64decode(padded))
    assert (await process.get("/v1/stores", _sign(_own(process), {}, claims))).status_code == 200
    answer = await process.get("/v1/stores", forge(process, claims))
    assert (answer.status_code, answer.json()["code"]) == (401, "identity.token_invalid")
    assert answer.headers["www-authenticate"] == 'Bearer realm="arsenal", error="invalid_token"'


async def test_a_token_ends_after_600_seconds_also_from_the_cache(
    process: Process, shop: Shop, clock: ManualClock
) -> None:
    token = await process.token(shop.app)
    assert (await process.get("/v1/stores", token)).status_code == 200
    clock.advance(timedelta(seconds=599))
    await process.feed.poll()
    assert (await process.get("/v1/stores", token)).status_code == 200
    clock.advance(timedelta(seconds=1))
    await process.feed.poll()
    assert (await process.get("/v1/stores", token)).status_code == 401


async def test_a_known_token_is_not_verified_again(
    process: Process, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await process.token(shop.app)
    first = await process.access.authenticate(token)

    def unreachable(*args: object, **kwargs: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(repository, "read_token_state", unreachable)
    assert await process.access.authenticate(token) is first


async def test_when_neither_feed_nor_database_answer_nothing_passes(
    process: Process, shop: Shop, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await process.token(shop.app)
    await process.access.authenticate(token)
    clock.advance(timedelta(seconds=1.5))  # the feed was not polled meanwhile

    def away(*args: object, **kwargs: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(repository, "read_token_state", away)
    answer = await process.get("/v1/stores", token)
    assert (answer.status_code, answer.json()["code"]) == (503, "identity.access_unavailable")
    assert answer.headers["retry-after"] == "1"
    monkeypatch.undo()
    assert (await process.get("/v1/stores", token)).status_code == 200


async def test_many_first_uses_at_once_agree(process: Process, shop: Shop) -> None:
    token = await process.token(shop.app)
    found = await asyncio.gather(*(process.access.authenticate(token) for _ in range(20)))
    assert {who.token_id for who in found} == {found[0].token_id}


async def test_every_route_under_v1_declares_a_scope(process: Process) -> None:
    declared = scopes_by_route(process.app)
    oauth = {name: scopes for name, scopes in declared.items() if "/v1/" not in name}
    assert {name for name, scopes in oauth.items() if scopes} == {"GET /oauth/userinfo", "POST /oauth/userinfo"}
    assert [path for path, scopes in declared.items() if " /v1/" in path and len(scopes) != 1] == []
    assert declared["GET /v1/merchants/{merchant_id}"] == ("merchant:read",)
    assert declared["PATCH /v1/stores/{store_id}"] == ("stores:write",)
    assert declared["POST /v1/apps/{app_id}/secrets"] == ("apps.keys:write",)


async def test_the_openapi_document_shows_each_scope(process: Process) -> None:
    document = process.app.openapi()
    assert document["paths"]["/v1/stores"]["get"]["security"] == [{"oauth2": ["stores:read"]}]
    flow = document["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    assert flow["tokenUrl"] == "/oauth/token"
    assert flow["scopes"] == {scope.name: scope.text.en for scope in catalogue().values() if scope.is_for_apps}


async def test_a_scope_that_nobody_declares_stops_the_start_up() -> None:
    with pytest.raises(KeyError):
        requires("stores:reed")


async def test_a_merchants_route_refuses_an_app_by_itself(process: Process, deps: IdentityDeps) -> None:
    isv = await Parties(deps).create_isv(IsvCreate(name="Till makers"))
    app = await Apps(deps).create_app(AppCreate(name="Till", mode="test", api_version="2026-11-22", isv_id=isv.id))
    answer = await process.get("/v1/stores", await process.token(app))
    assert (answer.status_code, answer.json()["code"]) == (403, "identity.scope_missing")


async def test_the_issuer_of_the_tests_is_the_public_origin(process: Process, shop: Shop) -> None:
    with pytest.raises(PlatformError):
        await process.access.authenticate("x")
    assert process.oauth.metadata()["issuer"] == ORIGIN
