"""The webhook routes over HTTP, by apps that hold tokens."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from platform_core.delivery.queues import DueHandler
from platform_core.delivery.webhooks.history import resend_kind
from platform_core.delivery.webhooks.router import make_router
from platform_core.delivery.webhooks.service import ENDPOINTS_MAX, WebhookDeps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.operations import RUN, Operations
from platform_core.identity.principal import Principal
from platform_core.identity.rate_limits import RateLimits
from platform_core.identity.requires import scopes_by_route
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.http.application import Application
from platform_core.kernel.http.problem import Problems
from platform_core.kernel.pagination import Cursors
from tests.delivery.conftest import CATALOGUE, Broker, Subscription, World
from tests.delivery.receiver import Receiver

pytestmark = [pytest.mark.api, pytest.mark.database]
SCOPES = frozenset({"webhooks:read", "webhooks:write", "webhooks:resend", "payments:read"})


class Tokens:
    """Stands for the check of access tokens: a token is the name of a principal."""

    def __init__(self) -> None:
        self.principals: dict[str, Principal] = {}
        self.limits = RateLimits(SystemClock())

    async def authenticate(self, token: str) -> Principal:
        return self.principals[token]


class Caller:
    """An app with a token, at the routes."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self.client = client
        self.headers = {"authorization": f"Bearer {token}"}
        self.count = 0

    async def call(self, method: str, path: str, *, status: int, json: Any = None, **headers: str) -> Any:
        """The answer's document; the status must be the one expected."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if method == "POST" and "idempotency-key" not in named:
            self.count += 1
            named["idempotency-key"] = f"key-{id(self)}-{self.count}"
        answer = await self.client.request(method, path, json=json, headers=self.headers | named)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None


@pytest.fixture
async def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
async def operations(world: World) -> Operations:
    return Operations(
        IdentityDeps(
            clock=world.clock, ids=world.ids, database=world.database, committer=world.committer, vault=world.vault
        )
    )


@pytest.fixture
async def router(world: World, operations: Operations) -> APIRouter:
    deps = WebhookDeps(
        clock=world.clock,
        ids=world.ids,
        database=world.database,
        committer=world.committer,
        vault=world.vault,
        catalogue=CATALOGUE,
        cursors=Cursors(b"c" * 32),
        api_versions=("2026-11-22",),
        allow_loopback_http=True,
        operations=operations,
    )
    operations.register(resend_kind(deps))
    return make_router(deps)


@pytest.fixture
async def app(world: World, tokens: Tokens, router: APIRouter) -> FastAPI:
    app = Application(ids=world.ids, problems=Problems(type_base="https://docs.example/errors/"))
    app.state.access = tokens
    app.include_router(router)
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://platform") as client:
        yield client


def principal(app_id: str, merchant_id: str | None) -> Principal:
    return Principal(
        kind="app",
        client_id=f"client-of-{app_id}",
        app_id=app_id,
        merchant_id=merchant_id,
        standing="active",
        mode="test",
        scopes=SCOPES,
        stores=None,
        grant_id=None,
        grant_version=1,
        token_id="tok_1",
        key_id="kid",
        expires_at=0,
        api_version="2026-11-22",
    )


@pytest.fixture
async def caller(world: World, client: httpx.AsyncClient, tokens: Tokens, subscribed: Subscription) -> Caller:
    tokens.principals["mine"] = principal(subscribed.app, subscribed.merchant)
    return Caller(client, "mine")


async def test_an_endpoint_from_its_creation_to_its_end(world: World, caller: Caller, subscribed: Subscription) -> None:
    made = await caller.call(
        "POST", "/v1/webhook-endpoints", status=201,
        json={"url": "https://example.com/hooks", "event_types": ["payment.*", "refund.succeeded"]},
    )  # fmt: skip
    path = f"/v1/webhook-endpoints/{made['id']}"
    secret = made.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    shown = await caller.call("GET", path, status=200)
    assert shown == {key: value for key, value in made.items() if key != "previous_secret_until"}
    assert (shown["state"], shown["version"], shown["mode"], shown["api_version"]) == (
        "enabled",
        1,
        "test",
        "2026-11-22",
    )
    listed = await caller.call("GET", "/v1/webhook-endpoints", status=200)
    assert [endpoint["id"] for endpoint in listed["data"]] == [subscribed.endpoint, made["id"]]

    await caller.call("PATCH", path, status=428, json={"state": "disabled"})
    await caller.call("PATCH", path, status=412, json={"state": "disabled"}, if_match='"2"')
    await caller.call("PATCH", path, status=412, json={"state": "disabled"}, if_match="*")
    changed = await caller.call("PATCH", path, status=200, json={"state": "disabled"}, if_match='"1"')
    assert (changed["state"], changed["disabled_reason"], changed["version"]) == ("disabled", "requested", 2)
    rotated = await caller.call("POST", f"{path}/rotate-secret", status=200)
    assert rotated["secret"] != secret
    assert rotated["previous_secret_until"] == "2026-11-23T12:00:00Z"
    await caller.call("DELETE", path, status=204, if_match='"3"')
    await caller.call("GET", path, status=404)
    [row] = await world.owner.fetch(
        "SELECT state, secret_sealed, secret_before_sealed FROM webhook_endpoint WHERE id = $1", made["id"]
    )
    assert tuple(row) == ("removed", b"", None)
    events = await world.owner.fetch(
        "SELECT type, sequence FROM outbox WHERE object_id = $1 ORDER BY sequence", made["id"]
    )
    assert [tuple(event) for event in events] == [
        ("webhook_endpoint.created", 1),
        ("webhook_endpoint.updated", 2),
        ("webhook_endpoint.secret_rotated", 3),
        ("webhook_endpoint.removed", 4),
    ]
    who = f"client-of-{subscribed.app}"
    acts = ("created", "updated", "secret_rotated", "removed")
    assert await world.audited() == [(f"webhook_endpoint.{act}", who, made["id"], None, None) for act in acts]
    written = str(await world.owner.fetch("SELECT facts FROM audit_row"))
    assert not any(text in written for text in (secret, rotated["secret"], "example.com"))


async def test_a_secret_stands_nowhere_in_clear_and_a_repeated_request_sees_it_again(
    world: World, caller: Caller
) -> None:
    wanted = {"url": "https://example.com/hooks", "event_types": ["*"]}
    made = await caller.call("POST", "/v1/webhook-endpoints", status=201, json=wanted, idempotency_key="one")
    again = await caller.call("POST", "/v1/webhook-endpoints", status=201, json=wanted, idempotency_key="one")
    assert again == made
    other = wanted | {"event_types": ["payment.*"]}
    refused = await caller.call("POST", "/v1/webhook-endpoints", status=422, json=other, idempotency_key="one")
    assert refused["code"] == "kernel.idempotency_key_reused"
    raw = base64.b64decode(made["secret"].removeprefix("whsec_"))
    for table in ("webhook_endpoint", "idempotency", "outbox"):
        rows = await world.owner.fetch(f"SELECT * FROM {table}")
        assert rows
        for row in rows:
            for value in row.values():
                assert raw not in value if isinstance(value, bytes) else made["secret"] not in str(value)
    await caller.call("POST", f"/v1/webhook-endpoints/{made['id']}/rotate-secret", status=200)
    late = await caller.call("POST", "/v1/webhook-endpoints", status=201, json=wanted, idempotency_key="one")
    assert late["secret"] is None


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"url": "http://example.com/"}, "webhooks.url_refused", "/url"),
        ({"url": "https://169.254.169.254/latest"}, "webhooks.url_refused", "/url"),
        ({"url": "https://xn--/"}, "webhooks.url_refused", "/url"),
        ({"event_types": ["payment.captured", "payment.exploded"]}, "webhooks.event_type_unknown", "/event_types/1"),
        ({"event_types": ["unknown.*"]}, "webhooks.event_type_unknown", "/event_types/0"),
        ({"event_types": []}, "kernel.field_too_short", "/event_types"),
        ({"api_version": "2020-01-01"}, "webhooks.api_version_unknown", "/api_version"),
        ({"secret": "mine"}, "kernel.field_unknown", "/secret"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_written(
    world: World, caller: Caller, change: dict[str, Any], code: str, param: str
) -> None:
    wanted = {"url": "https://example.com/hooks", "event_types": ["*"]} | change
    refused = await caller.call("POST", "/v1/webhook-endpoints", status=422, json=wanted)
    assert [(fault["code"], fault["param"]) for fault in refused["errors"]] == [(code, param)]
    assert await world.owner.fetchval("SELECT count(*) FROM webhook_endpoint") == 1
    assert await world.owner.fetchval("SELECT count(*) FROM idempotency") == 0


async def test_endpoints_are_bounded_and_need_a_key(caller: Caller) -> None:
    wanted = {"url": "https://example.com/hooks", "event_types": ["*"]}
    for _ in range(ENDPOINTS_MAX - 1):
        await caller.call("POST", "/v1/webhook-endpoints", status=201, json=wanted)
    refused = await caller.call("POST", "/v1/webhook-endpoints", status=409, json=wanted)
    assert refused["code"] == "webhooks.endpoints_too_many"
    first = await caller.call("GET", "/v1/webhook-endpoints?limit=15", status=200)
    rest = await caller.call("GET", f"/v1/webhook-endpoints?limit=15&cursor={first['next_cursor']}", status=200)
    assert (len(first["data"]), len(rest["data"]), rest["next_cursor"]) == (15, 5, None)
    answer = await caller.client.post("/v1/webhook-endpoints", json=wanted, headers=caller.headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "kernel.idempotency_key_missing")


async def test_another_app_and_another_merchant_see_nothing(
    world: World, client: httpx.AsyncClient, tokens: Tokens, caller: Caller, subscribed: Subscription, broker: Broker
) -> None:
    event = await world.emit(subscribed.merchant)
    async with world.worker(broker.publish) as delivery:
        await delivery.relay.relay_once()
    work_id = await world.owner.fetchval("SELECT id FROM webhook_delivery")
    assert len((await caller.call("GET", "/v1/webhook-deliveries", status=200))["data"]) == 1

    other = await world.merchant()
    tokens.principals["other-app"] = principal(await world.app(other), other)
    tokens.principals["other-merchant"] = principal(subscribed.app, other)
    tokens.principals["live"] = replace(principal(subscribed.app, subscribed.merchant), mode="live")
    for name in ("other-app", "other-merchant", "live"):
        stranger = Caller(client, name)
        assert (await stranger.call("GET", "/v1/webhook-deliveries", status=200))["data"] == []
        await stranger.call("GET", f"/v1/webhook-deliveries/{work_id}", status=404)
        await stranger.call("POST", f"/v1/webhook-deliveries/{work_id}/resend", status=404)
        if name != "live":
            assert (await stranger.call("GET", "/v1/events", status=200))["data"] == []
            await stranger.call("GET", f"/v1/events/{event}", status=404)
        if name != "other-merchant":
            await stranger.call("GET", f"/v1/webhook-endpoints/{subscribed.endpoint}", status=404)
            await stranger.call(
                "PATCH", f"/v1/webhook-endpoints/{subscribed.endpoint}", status=404, json={}, if_match='"1"'
            )


async def test_the_database_itself_shows_an_app_its_own_rows_alone(world: World, subscribed: Subscription) -> None:
    connection = await world.database.connect("app")
    assert await connection.fetchval("SELECT count(*) FROM webhook_endpoint") == 0
    await connection.execute("SELECT set_config('arsenal.app', 'app_other', false)")
    assert await connection.fetchval("SELECT count(*) FROM webhook_endpoint") == 0
    await connection.execute("SELECT set_config('arsenal.app', $1, false)", subscribed.app)
    assert await connection.fetchval("SELECT count(*) FROM webhook_endpoint") == 1
    await connection.close()


async def test_a_dead_delivery_is_found_and_sent_again_under_its_ids(
    world: World, receiver: Receiver, caller: Caller, subscribed: Subscription, broker: Broker
) -> None:
    receiver.answers, receiver.body = [400], b"no \xff such route"
    event = await world.emit(subscribed.merchant)
    async with world.worker(broker.publish) as delivery:
        await delivery.relay.relay_once()
        await delivery.dispatcher.turn()
        await broker.carry(delivery)
        await world.owner.execute("UPDATE webhook_delivery SET state = 'dead', tries = 10, finished_at = due_at")
        [dead] = (await caller.call("GET", "/v1/webhook-deliveries?state=dead", status=200))["data"]
        assert (await caller.call("GET", "/v1/webhook-deliveries?state=delivered", status=200))["data"] == []
        assert (dead["event_id"], dead["last_status"], dead["due_at"]) == (event, 400, None)
        detail = await caller.call("GET", f"/v1/webhook-deliveries/{dead['id']}", status=200)
        assert [(attempt["status"], attempt["excerpt"]) for attempt in detail["latest_attempts"]] == [
            (400, "no \ufffd such route")
        ]
        sent = await caller.call("POST", f"/v1/webhook-deliveries/{dead['id']}/resend", status=202)
        assert ("webhook.resent", f"client-of-{subscribed.app}", dead["id"], None, None) in await world.audited()
        assert (sent["id"], sent["state"], sent["due_at"]) == (dead["id"], "pending", "2026-11-22T12:00:00Z")
        assert await delivery.dispatcher.turn() == 1
        await broker.carry(delivery)
    first, second = receiver.got
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert (await caller.call("GET", f"/v1/webhook-deliveries/{dead['id']}", status=200))["attempts"] == 2


async def test_a_range_is_sent_again_also_to_an_endpoint_that_came_later(
    world: World,
    receiver: Receiver,
    caller: Caller,
    subscribed: Subscription,
    broker: Broker,
    operations: Operations,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform_core.delivery.webhooks.history.RESEND_EVENTS_MAX", 1)
    events = []
    async with world.worker(broker.publish, due_handlers=[DueHandler(RUN, operations.run)]) as delivery:
        for number in range(3):
            events.append(await world.emit(subscribed.merchant, object_id=f"pay_{number}"))
            await delivery.relay.relay_once()
            await delivery.dispatcher.turn()
            await broker.carry(delivery)
            world.clock.advance(timedelta(hours=1))
        late, _ = await world.endpoint(subscribed.app, receiver.url("/late"), types='["payment.captured"]')
        since = {"since": "2026-11-22T13:00:00Z"}
        for endpoint in (late, subscribed.endpoint):
            begun = await caller.call("POST", f"/v1/webhook-endpoints/{endpoint}/resend", status=202, json=since)
            assert (begun["kind"], begun["state"], begun["progress"]["done"]) == ("webhooks.resend", "pending", 0)
            told = ("webhook.resent", f"client-of-{subscribed.app}", endpoint, None, None)
            assert (await world.audited())[-1] == told
        for _ in range(6):
            await delivery.relay.relay_once()
            await delivery.dispatcher.turn()
            await broker.carry(delivery)
    finished = await world.owner.fetch("SELECT object_id, body FROM outbox WHERE type = 'operation.finished'")
    assert [json.loads(row["body"])["result"] for row in finished] == [{"resent": 2}] * 2
    sent = [(request.target, request.headers["webhook-id"]) for request in receiver.got]
    assert sorted(sent[3:]) == sorted((path, event) for path in ("/hooks", "/late") for event in events[1:])
    bodies = {(request.headers["webhook-id"], request.body) for request in receiver.got}
    assert len(bodies) == 3


async def test_a_disabled_endpoint_is_sent_nothing_again(
    world: World, caller: Caller, subscribed: Subscription, broker: Broker
) -> None:
    await world.emit(subscribed.merchant)
    async with world.worker(broker.publish) as delivery:
        await delivery.relay.relay_once()
    work_id = await world.owner.fetchval("SELECT id FROM webhook_delivery")
    path = f"/v1/webhook-endpoints/{subscribed.endpoint}"
    await caller.call("PATCH", path, status=200, json={"state": "disabled"}, if_match='"1"')
    refused = await caller.call("POST", f"/v1/webhook-deliveries/{work_id}/resend", status=409)
    assert refused["code"] == "webhooks.endpoint_disabled"
    await caller.call("POST", f"{path}/resend", status=409, json={"since": "2026-11-22T00:00:00Z"})


async def test_events_show_under_the_scope_that_reads_their_object(
    world: World, caller: Caller, subscribed: Subscription
) -> None:
    first = await world.emit(subscribed.merchant, object_id="pay_1", body='{"id":"pay_1"}')
    world.clock.advance(timedelta(seconds=1))
    second = await world.emit(subscribed.merchant, object_id="pay_2", sequence=4)
    hidden = await world.emit(subscribed.merchant, type_="refund.succeeded")
    page = await caller.call("GET", "/v1/events?limit=1", status=200)
    assert [event["id"] for event in page["data"]] == [second]
    page = await caller.call("GET", f"/v1/events?limit=1&cursor={page['next_cursor']}", status=200)
    assert [event["id"] for event in page["data"]] == [first]
    assert page["next_cursor"] is None
    of_one = await caller.call("GET", "/v1/events?object_id=pay_2&type=payment.captured", status=200)
    assert [event["sequence"] for event in of_one["data"]] == [4]
    assert (await caller.call("GET", f"/v1/events/{first}", status=200))["data"] == {"id": "pay_1"}
    await caller.call("GET", f"/v1/events/{hidden}", status=404)


async def test_of_grants_and_limits_an_app_sees_its_own_alone(
    world: World, client: httpx.AsyncClient, tokens: Tokens, subscribed: Subscription
) -> None:
    merchant = subscribed.merchant
    apps = [await world.app(merchant) for _ in range(2)]
    grants = [await world.grant(app, merchant, "webhooks:read grant_management_query") for app in apps]
    seen = []
    for number, grant in enumerate(grants):
        await world.window(f"lim_{number}", grant, merchant)
        changed = await world.emit(merchant, type_="grant.changed", object_id=grant)
        seen.append([await world.emit(merchant, type_="limit.exhausted", object_id=f"lim_{number}"), changed])
    for number, app in enumerate(apps):
        scopes = frozenset({"webhooks:read", "grant_management_query"})
        tokens.principals[app] = replace(principal(app, merchant), scopes=scopes, grant_id=grants[number])
        caller = Caller(client, app)
        page = await caller.call("GET", "/v1/events", status=200)
        assert [event["id"] for event in page["data"]] == seen[number]
        for event in seen[number]:
            await caller.call("GET", f"/v1/events/{event}", status=200)
        for event in seen[1 - number]:
            await caller.call("GET", f"/v1/events/{event}", status=404)


def test_every_route_names_its_scope(app: FastAPI) -> None:
    found = scopes_by_route(app)
    assert len(found) == 12
    assert all(len(scopes) == 1 and scopes[0].startswith("webhooks:") for scopes in found.values())


async def test_a_missing_scope_is_refused(client: httpx.AsyncClient, tokens: Tokens, subscribed: Subscription) -> None:
    reader = replace(principal(subscribed.app, subscribed.merchant), scopes=frozenset({"webhooks:read"}))
    tokens.principals["reader"] = reader
    refused = await Caller(client, "reader").call("POST", "/v1/webhook-endpoints", status=403, json={})
    assert refused["code"] == "identity.scope_missing"
