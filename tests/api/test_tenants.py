"""Every route of the OpenAPI document, now and later, with tokens of another merchant, of too little scope, of none."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from platform_core.contracts.scopes import catalogue
from platform_core.identity.access import _Entry
from platform_core.identity.principal import Principal
from platform_core.identity.requires import scopes_by_route
from platform_core.identity.revocation import news
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Plan
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.ids import is_id
from tests.api.objects import ALL_SCOPES, MAKERS, MARK, Tenant, is_of_merchants, object_path, open_tenant
from tests.capabilities.payments.shop import Shop, open_shop
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
METHODS = ("get", "put", "post", "patch", "delete")
VARYING = re.compile(r"\breq_[0-9a-z]{26}\b")
LISTS_MIN = 10
OF_FILES = {"/v1/bills/{date}", "/v1/exports/{export_id}/parts/{number}"}
"""What is answered as a file, in which the object's id does not stand."""
SINGLE = {"/v1/hook-policy"}
"""What a merchant has one of, at an address without an id."""
OF_EVERYBODY = {"signing_key", "plugin_release", "plugin"}
"""Tables without a tenant that requests may read: none of a merchant's data is in them."""


@pytest.fixture(scope="module")
async def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """A platform of this suite's own: its relay sees every event there is."""
    postgres.create_database("api_tenants", template="template_arsenal")
    clock = ManualClock(datetime.now(UTC))
    async with open_shop(postgres.url("api_tenants"), clock=clock, home=tmp_path_factory.mktemp("tenants")) as shop:
        yield shop


@pytest.fixture(scope="module")
async def document(shop: Shop) -> dict[str, Any]:
    found: dict[str, Any] = (await shop.client.get("/openapi.json")).json()
    return found


@pytest.fixture(scope="module")
async def ours(shop: Shop, document: dict[str, Any]) -> Tenant:
    return await open_tenant(shop, document)


@pytest.fixture(scope="module")
async def theirs(shop: Shop, document: dict[str, Any]) -> Tenant:
    return await open_tenant(shop, document)


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation under /v1 that needs a token."""
    found = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS and path.startswith("/v1/") and operation.get("security")
    ]
    assert len(found) >= 30, "the document names the routes"
    return found


def body_of(operation: dict[str, Any]) -> Any:
    """The document's own example of a body, if the operation reads one."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return None if content is None else content["example"]


async def send(till: Till, method: str, path: str, operation: dict[str, Any], **headers: str) -> httpx.Response:
    """The operation with its example body, and whatever its headers must be; by session where no app may."""
    given = {**till.headers(), "If-Match": '"1"', **headers}
    if till.session and not any(catalogue()[scope].is_for_apps for scope in operation["security"][0]["oauth2"]):
        del given["Authorization"]
        given |= till.session
    return await till.client.request(method, path, json=body_of(operation), headers=given)


def bare(answer: httpx.Response, id_: str) -> tuple[int, str, dict[str, str]]:
    """An answer without what differs between any two requests, and without the id that was asked for."""
    unlike = ("request-id", "ratelimit", "content-length")
    headers = {name: value for name, value in answer.headers.items() if name not in unlike}
    return answer.status_code, VARYING.sub("*", answer.text).replace(id_, "*"), headers


def absent(shop: Shop, id_: str) -> str:
    """An id of the same kind that names nothing."""
    return shop.platform.ids.mint(id_.partition("_")[0])


async def test_a29_another_merchants_object_is_404_like_one_that_is_not_there(
    shop: Shop, document: dict[str, Any], ours: Tenant, theirs: Tenant
) -> None:
    assert await reach_for_all(shop, document, ours, theirs) == set(MAKERS)


async def test_a29_services_alone_find_nothing_of_another(
    shop: Shop, document: dict[str, Any], ours: Tenant, theirs: Tenant
) -> None:
    """The other half of the double bottom: row-level security is off, so a read that forgets the tenant shows here."""
    tables = await shop.fetch("SELECT relname AS name FROM pg_class WHERE relrowsecurity AND relkind IN ('r', 'p')")
    assert len(tables) >= 30
    try:
        for table in tables:
            await shop.fetch(f"ALTER TABLE {table['name']} DISABLE ROW LEVEL SECURITY")
        assert await reach_for_all(shop, document, ours, theirs) == set(MAKERS)
        assert await list_all(document, ours, theirs) >= LISTS_MIN
    finally:
        for table in tables:
            await shop.fetch(f"ALTER TABLE {table['name']} ENABLE ROW LEVEL SECURITY")


async def reach_for_all(shop: Shop, document: dict[str, Any], ours: Tenant, theirs: Tenant) -> set[str]:
    """We try each of their objects by every method there is: nothing is found, nothing changes. Which kinds of them."""
    before = await shop.counts()
    money = await theirs.till.balances(shop.platform)
    tried = set()
    for method, path, operation in operations(document):
        if "{" not in path or not is_of_merchants(path):
            continue
        id_ = await theirs.make(path)
        assert is_id(id_.partition("_")[0], id_), (path, id_)
        nothing = absent(shop, id_)
        answer = await send(ours.till, method, await theirs.fill(path), operation)
        missing = await send(ours.till, method, (await theirs.fill(path)).replace(id_, nothing), operation)
        assert answer.status_code == 404, (method, path, answer.text)
        assert bare(answer, id_) == bare(missing, nothing), (method, path)
        assert MARK not in answer.text
        tried.add(object_path(path))
    assert await shop.counts() == before
    assert await theirs.till.balances(shop.platform) == money
    return tried


async def test_a29_a_merchant_reaches_its_own_object_on_every_route(document: dict[str, Any], theirs: Tenant) -> None:
    """The suite's ids are right: with them the owner's GET succeeds, so the 404 above is not of a wrong address."""
    for method, path, operation in operations(document):
        if method == "get" and "{" in path and is_of_merchants(path):
            answer = await send(theirs.till, method, await theirs.fill(path), operation)
            assert answer.status_code == 200, (path, answer.text)
            assert await theirs.make(path) in answer.text or path in OF_FILES


async def test_a29_lists_never_hold_a_byte_of_another_merchant(
    document: dict[str, Any], ours: Tenant, theirs: Tenant
) -> None:
    assert await list_all(document, ours, theirs) >= LISTS_MIN


async def list_all(document: dict[str, Any], ours: Tenant, theirs: Tenant) -> int:
    """We read every list, and ask by filter for what is theirs. How many lists there are."""
    await ours.shop.platform.request_log.flush()
    lists = 0
    foreign = (*theirs.ids.values(), theirs.till.merchant_id[4:])
    for method, path, operation in operations(document):
        if method != "get" or "{" in path or not is_of_merchants(path):
            continue
        lists += 1
        own = await send(ours.till, method, path, operation)
        assert own.status_code == 200, (path, own.text)
        assert path in SINGLE or own.json()["data"], f"{path}: our own list is empty, so it would prove nothing"
        if operation["operationId"] == "request_log.list":  # it holds the addresses that we tried ourselves
            assert {row["merchant_id"] for row in own.json()["data"]} == {ours.till.merchant_id}
        else:
            assert not [id_ for id_ in foreign if id_ in own.text], path
        for parameter in operation["parameters"]:
            name = parameter.get("name", "")
            if parameter.get("in") == "query" and name.endswith(("_id", "reference")):
                for id_ in theirs.ids.values():
                    filtered = await send(ours.till, method, f"{path}?{name}={id_}", operation)
                    assert (filtered.status_code, filtered.json().get("data")) == (200, []), (path, name)
    return lists


async def test_a29_another_merchants_id_inside_a_body_is_refused(shop: Shop, ours: Tenant, theirs: Tenant) -> None:
    before = await shop.counts()
    refused = await ours.till.pay(store_id=theirs.till.store_id)
    assert (refused.status_code, refused.json()["code"]) == (422, "payments.store_unknown")
    number = f"{MARK}_{theirs.till.merchant_id[4:]}"
    unseen = await ours.till.get(f"/payments/out_trade_no:{number}")
    assert (unseen.status_code, unseen.json()["code"]) == (404, "payments.not_found")
    assert await shop.counts() == before


async def test_a30_a_token_without_the_scope_is_403_that_names_it(
    shop: Shop, document: dict[str, Any], theirs: Tenant
) -> None:
    scopes = scopes_by_route(shop.app)
    needed = {scope for _, path, _ in operations(document) for scope in scopes_of(scopes, path)}
    tills = {scope: await shop.new_till(scopes=tuple(name for name in ALL_SCOPES if name != scope)) for scope in needed}
    before = await shop.counts()
    for method, path, operation in operations(document):
        [scope] = scopes[f"{method.upper()} {path}"]
        assert operation["security"] == [{"oauth2": [scope]}], (method, path)
        filled = await theirs.fill(path)
        refused = await send(tills[scope], method, filled, operation)
        assert (refused.status_code, refused.json()["code"]) == (403, "identity.scope_missing"), (method, path)
        assert scope in refused.json()["detail"]
        assert refused.headers["www-authenticate"].endswith(f'error="insufficient_scope", scope="{scope}"')
        nobody = await shop.client.request(method, filled)
        assert (nobody.status_code, nobody.json()["code"]) == (401, "identity.token_missing"), (method, path)
    assert await shop.counts() == before


def scopes_of(scopes: dict[str, tuple[str, ...]], path: str) -> set[str]:
    return {scope for route, found in scopes.items() if route.partition(" ")[2] == path for scope in found}


async def test_every_route_of_v1_needs_one_scope_but_notices_and_what_plugins_ask(shop: Shop) -> None:
    bare_routes = {route for route, found in scopes_by_route(shop.app).items() if " /v1/" in route and len(found) != 1}
    assert bare_routes == {"POST /v1/notices/{provider_id}/{channel_account_id}", "POST /v1/plugin-asks"}


async def test_a31_a_key_of_another_app_or_merchant_never_gives_its_answer(
    shop: Shop, document: dict[str, Any], ours: Tenant, theirs: Tenant
) -> None:
    """Every POST, three ways: another merchant's app, and one app acting for two merchants."""
    of_one, of_other = await one_app_of_two(shop, ours, theirs)
    tried = 0
    for method, path, operation in operations(document):
        if method != "post":
            continue
        for first, second, owner in ((theirs.till, ours.till, theirs), (of_one, of_other, theirs)):
            tried += 1
            key = f"same-{tried}"
            filled = await owner.fill(path)
            given = await send(first, method, filled, operation, **{"Idempotency-Key": key})
            answer = await send(second, method, filled, operation, **{"Idempotency-Key": key})
            if 401 in (given.status_code, answer.status_code) and first is of_one:
                # A route before this one changed the merchant, and the feed told the two entries to be read anew.
                of_one, of_other = await one_app_of_two(shop, ours, theirs)
                key = f"{key}-again"  # one of the two may have been let in under the first
                given = await send(of_one, method, filled, operation, **{"Idempotency-Key": key})
                answer = await send(of_other, method, filled, operation, **{"Idempotency-Key": key})
            assert 401 not in (given.status_code, answer.status_code), (method, path)
            assert "idempotency-replayed" not in answer.headers, (method, path, answer.text)
            if given.status_code < 300 and "{" in path and first is theirs.till:
                assert answer.status_code == 404, (method, path, answer.text)
            if given.status_code < 300 and answer.status_code < 300:
                assert answer.json() != given.json(), (method, path)
    assert tried >= 20


async def one_app_of_two(shop: Shop, ours: Tenant, theirs: Tenant) -> tuple[Till, Till]:
    """Two tills of one app of their own, the first for them, the second for us."""
    access = shop.platform.access
    await shop.platform.feed.poll()  # what happened to both so far is no news to the entries below
    base = await access.authenticate(theirs.till.token)
    tills = []
    for merchant_id, store_id in (
        (theirs.till.merchant_id, theirs.till.store_id),
        (ours.till.merchant_id, ours.till.store_id),
    ):
        token = f"one-app-for-{merchant_id}"
        who: Principal = replace(base, merchant_id=merchant_id, grant_id=f"grant-of-{merchant_id}")
        digest = hashlib.sha256(token.encode()).digest()
        access._entries[digest] = _Entry(who, float(base.expires_at), access._feed.epoch)
        tills.append(Till(shop.client, token, merchant_id, store_id))
    return tills[0], tills[1]


async def test_a29_row_level_security_alone_shows_nothing_of_another(shop: Shop, ours: Tenant, theirs: Tenant) -> None:
    """Services bypassed: plain SQL in the role of requests, with our tenant set, and with none."""
    await shop.platform.request_log.flush()
    tables = await shop.fetch(
        "SELECT c.relname AS name, c.relrowsecurity AS is_guarded, array_agg(a.attname::text) AS columns "
        "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace GROUP BY 1, 2"
    )
    filled = 0
    for name, is_guarded, columns in ((row["name"], row["is_guarded"], row["columns"]) for row in tables):
        if name.startswith("alembic"):
            continue
        assert is_guarded or name in OF_EVERYBODY, f"{name} has no row-level security"
        condition = foreign_rows(name, columns, theirs)
        [[held]] = await shop.fetch(f"SELECT count(*) FROM {name} WHERE {condition}")
        filled += bool(held)
        for tenant, app in ((ours.till.merchant_id, ours.app_id), ("", ""), (ours.till.merchant_id, "")):
            seen = await visible(shop, name, condition, tenant=tenant, app=app)
            assert seen == 0, f"{name}: {seen} of {held} foreign rows are seen by {tenant or 'nobody'}"
        if not {"merchant_id", "app_id"} & set(columns) and name != "merchant" and name not in OF_EVERYBODY:
            everything = await visible(shop, name, "true", tenant=ours.till.merchant_id, app=ours.app_id)
            assert everything == 0, f"{name} belongs to no tenant and shows {everything} rows"
    assert filled >= 15, "the other merchant has rows in most tables, or nothing is proved"


def foreign_rows(name: str, columns: list[str], theirs: Tenant) -> str:
    """Which rows are theirs; of a table without a tenant, all."""
    if name == "merchant":
        return f"id = '{theirs.till.merchant_id}'"
    parts = []
    if "merchant_id" in columns:
        parts.append(f"merchant_id = '{theirs.till.merchant_id}'")
    if "app_id" in columns:
        parts.append(f"app_id = '{theirs.app_id}'")
    return " OR ".join(parts) or ("false" if name in OF_EVERYBODY else "true")


async def visible(shop: Shop, table: str, condition: str, *, tenant: str, app: str) -> int:
    """How many such rows the role of requests sees."""
    async with shop.platform.database.engine("app").connect() as connection:
        await connection.exec_driver_sql("SELECT set_config('arsenal.merchant', $1, true)", (tenant,))
        await connection.exec_driver_sql("SELECT set_config('arsenal.app', $1, true)", (app,))
        [granted] = (await connection.exec_driver_sql("SELECT has_table_privilege($1::text, 'SELECT')", (table,))).one()
        if not granted:
            return 0
        count = await connection.exec_driver_sql(f"SELECT count(*) FROM {table} WHERE {condition}")
        return int(count.scalar_one())


async def test_suspended_merchant_takes_nothing_but_may_refund(shop: Shop) -> None:
    seller = await shop.new_till()
    payment = (await seller.pay()).json()
    table = await merchant_table(shop)
    await shop.fetch(f"UPDATE {table} SET standing = 'suspended' WHERE id = $1 RETURNING 1", seller.merchant_id)
    platform, merchant_id = shop.platform, seller.merchant_id
    told = news(
        platform.ids, kind="merchant", subject_id=merchant_id, merchant_id=merchant_id, now=platform.clock.now()
    )
    await platform.committer.commit(Plan(merchant_id, [told]))
    await platform.feed.poll()
    refused = await seller.pay()
    assert (refused.status_code, refused.json()["code"]) == (403, "payments.merchant_suspended")
    body = {"out_request_no": "r", "is_full": True}
    assert (await seller.post(f"/payments/{payment['id']}/refunds", body)).status_code == 201


async def merchant_table(shop: Shop) -> str:
    rows = await shop.fetch("SELECT table_name FROM information_schema.columns WHERE column_name = 'standing'")
    return str(rows[0][0])
