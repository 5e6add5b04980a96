"""A plugin on its publisher's own server: submitted, signed, asked in paid orders over HTTP, and asking back."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import itertools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from platform_core.contracts import hooks
from platform_core.contracts.hooks import KINDS
from platform_core.identity.schemas import IsvCreate
from platform_core.identity.staff import Party
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.plugin_host.installations import Actor
from platform_core.plugin_host.schemas import InstallationCreate
from tests.plugin_host.stage import until
from tests.support.patience import HEARD_S
from tests.support.people import AtConsole, at_console
from tests.support.processes import free_port
from tests.support.world import Till, World, open_world

pytestmark = [pytest.mark.api, pytest.mark.database]
HOST = "risk.acme.example"
_numbers = itertools.count(1)


def manifest(isv_id: str, plugin_id: str, *, version: str = "1.0.0") -> str:
    """A risk check on the publisher's server."""
    return f"""manifest = 1
hooks = [{{ name = "check_payment", fields = ["amount", "form"] }}]
scopes = [{{ name = "payments:read", purpose = {{ zh = "判断付款风险", en = "To judge the risk of a payment" }} }}]
egress = [{{ host = "{HOST}", purpose = {{ zh = "自有服务器", en = "Our own server" }} }}]
remote = {{ endpoint = "https://{HOST}/hooks" }}
[plugin]
id = "{plugin_id}"
version = "{version}"
name = {{ zh = "远程风控", en = "Far Risk" }}
summary = {{ zh = "在自有服务器判断", en = "Judges on its own server" }}
publisher = "{isv_id}"
license = "Apache-2.0"
support = "help@acme.example"
contract = ">=1.0,<2"
runtime = "remote"
"""


@dataclass
class Isv:
    """The publisher's server, as a test handles it."""

    port: int

    async def control(self, **told: Any) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=HEARD_S) as client:
            assert (await client.post("/control", json=told)).status_code == 200

    async def journal(self) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=HEARD_S) as client:
            found: list[dict[str, Any]] = (await client.get("/journal")).json()
            return found

    async def replay(self, entry: dict[str, Any], **changed: str) -> int:
        """Send a request of the platform again."""
        kept = ("webhook-id", "webhook-timestamp", "webhook-signature")
        headers = {name: entry["headers"][name] for name in entry["headers"] if name.lower() in kept} | changed
        async with httpx.AsyncClient(timeout=HEARD_S) as client:
            url = f"http://127.0.0.1:{self.port}/hooks"
            return (await client.post(url, content=entry["raw"], headers=headers)).status_code


@pytest.fixture(scope="module")
def isv_port() -> Iterator[int]:
    """The server's process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.isv_server"],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@asynccontextmanager
async def listening(app: FastAPI, port: int) -> AsyncIterator[None]:
    """An application on a real port."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield
    finally:
        server.should_exit = True
        await task


@dataclass
class Stage:
    """A platform that listens, a publisher with its server, and a merchant who uses its plugin."""

    world: World
    isv: Isv
    publisher: AtConsole
    reviewer: AtConsole
    isv_id: str
    plugin_id: str
    owner: asyncpg.Connection[Any]
    till: Till = None  # type: ignore[assignment]  # once installed

    async def ask(self, who: AtConsole, path: str, body: Any = None, *, key: str | None = None) -> httpx.Response:
        headers = {**who.headers(), "Idempotency-Key": key or f"key-{next(_numbers)}"}
        method = "GET" if body is None else "POST"
        return await self.world.client.request(method, f"/v1{path}", json=body, headers=headers)

    async def submit(self, **of: Any) -> httpx.Response:
        return await self.ask(
            self.publisher, "/plugin-releases", {"manifest": manifest(self.isv_id, self.plugin_id, **of)}
        )

    async def rotate(self, **wanted: Any) -> str:
        answer = await self.ask(self.publisher, f"/plugin-signing-secrets/{self.plugin_id}", wanted)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["secret"])

    async def published(self) -> None:
        """Through the review to the catalogue, with a secret that the server knows."""
        made = await self.submit()
        assert made.status_code == 201, made.text
        note = {"decision": "approve", "note": "Their terms are signed."}
        decided = await self.ask(self.reviewer, f"/admin/plugin-reviews/{made.json()['id']}/decisions", note)
        assert decided.json()["state"] == "approved", decided.text
        await self.isv.control(secrets=[await self.rotate()], mode="honest", asks=[])
        done = await self.ask(self.publisher, f"/plugin-releases/{made.json()['id']}/publish", {})
        assert done.status_code == 200, done.text
        await self.world.platform.feed.poll()

    async def enabled(self) -> Till:
        """At a merchant of its own."""
        till = await self.world.new_till()
        actor = Actor(id="per_owner", merchant_id=till.merchant_id)
        installations = self.world.platform.plugin_life.installations
        made = await installations.install(actor, InstallationCreate(plugin_id=self.plugin_id))
        await installations.enable(actor, made.id)
        await self.world.platform.feed.poll()
        return till

    async def audit_of_calls(self, merchant_id: str) -> list[Any]:
        """Facts of the rows that account for asks."""
        await self.world.platform.plugin_host.gate.audits.flush()
        rows = await self.owner.fetch(
            "SELECT facts FROM audit_row WHERE kind = 'plugin.call_asked' AND merchant_id = $1", merchant_id
        )
        return [json.loads(row[0]) for row in rows]

    async def counts(self) -> dict[str, int]:
        tables = ("plugin", "plugin_release", "plugin_signing_secret", "outbox", "idempotency")
        return {name: await self.owner.fetchval(f"SELECT count(*) FROM {name}") for name in tables}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all processes of this file's installation: what one sealed, the others open."""
    return tmp_path_factory.mktemp("remote_plugins")


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database of this file's own."""
    postgres.create_database("remote_plugins", template="template_arsenal")
    yield postgres.url("remote_plugins")
    postgres.sql("DROP DATABASE remote_plugins WITH (FORCE)")


@pytest.fixture
async def opened(database: str, isv_port: int, home: Path) -> AsyncIterator[Stage]:
    """A publisher with nothing yet."""
    port = free_port()
    settings = {"egress_simulators": {HOST: f"http://127.0.0.1:{isv_port}"}, "origin": f"http://127.0.0.1:{port}"}
    owner = await asyncpg.connect(database)
    async with (
        open_world(database, clock=SystemClock(), home=home, acquirer_url="http://a.invalid", **settings) as world,
        listening(world.app, port),
    ):
        people, platform = world.platform.people, world.platform
        number = f"{next(_numbers)}-{time.time_ns()}"
        isv = await platform.parties.create_isv(IsvCreate(name="Acme"))
        publisher = await at_console(
            people, Party(kind="isv", id=isv.id), "developer", email=f"d{number}@example.test", console="isv",
            clock=SystemClock(),
        )  # fmt: skip
        reviewer = await at_console(
            people, Party(kind="platform", id="platform"), "reviewer", email=f"r{number}@example.test",
            console="admin", clock=SystemClock(),
        )  # fmt: skip
        plugin_id = f"example.acme.far{next(_numbers)}{time.time_ns()}"
        yield Stage(world, Isv(isv_port), publisher, reviewer, isv.id, plugin_id, owner)
    await owner.close()


@pytest.fixture
async def stage(opened: Stage) -> Stage:
    """The plugin published and enabled."""
    await opened.published()
    opened.till = await opened.enabled()
    return opened


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds that wait 20 s, for tests of something else than lateness."""
    waiting = {kind: dataclasses.replace(rule, each_ms=20_000, all_ms=20_000) for kind, rule in KINDS.items()}
    monkeypatch.setattr(hooks, "KINDS", waiting)


@pytest.mark.usefixtures("patient")
async def test_a_paid_order_is_judged_over_http_by_the_publishers_server(stage: Stage) -> None:
    before = len(await stage.isv.journal())
    paid = await stage.till.pay()
    assert (paid.json()["state"], paid.json()["degraded"]) == ("captured", []), paid.text
    denied = await stage.till.pay(order_minor=200_000)
    assert (denied.status_code, denied.json()["code"]) == (403, "payments.denied_by_risk"), denied.text
    first, second = (await stage.isv.journal())[before:]
    assert (first["verified_by"], second["verified_by"]) == (1, 1)
    body = json.loads(first["raw"])
    assert body["call"]["args"] == {"amount": {"amount_minor": 8_200, "currency": "CNY"}, "form": "local",
                                    "withheld": []}  # fmt: skip
    assert body["configure"]["merchant_id"] == stage.till.merchant_id
    assert body["ask_url"] == f"{stage.world.platform.settings.public_origin}/v1/plugin-asks"
    stranger = await stage.world.new_till()
    assert (await stranger.pay()).json()["state"] == "captured"
    assert len(await stage.isv.journal()) == before + 2


@pytest.mark.usefixtures("patient")
async def test_a_request_that_comes_again_or_was_changed_is_refused_by_the_server(stage: Stage) -> None:
    before = len(await stage.isv.journal())
    await stage.till.pay()
    (entry,) = (await stage.isv.journal())[before:]
    assert await stage.isv.replay(entry) == 409
    assert await stage.isv.replay({**entry, "raw": entry["raw"].replace("8200", "1")}) == 401
    assert await stage.isv.replay(entry, **{"Webhook-Id": "msg_other"}) == 401


@pytest.mark.usefixtures("patient")
async def test_it_asks_back_within_its_scopes_and_no_further(stage: Stage) -> None:
    other = await stage.world.new_till()
    theirs = (await other.pay()).json()["id"]
    await stage.isv.control(
        asks=[
            {"operation": "payments.list", "arguments": {"limit": 5}},
            {"operation": "payments.get", "arguments": {"id": theirs}},
            {"operation": "refunds.get", "arguments": {"id": "ref_1"}},
            {"operation": "refunds.create", "arguments": {"payment_id": theirs, "key": "k"}},
            {"operation": "payments.list", "arguments": {"merchant_id": other.merchant_id}},
            {"operation": "state.put", "arguments": {"key": "k", "value": 1}},
            {"operation": "egress.fetch", "arguments": {"method": "POST", "url": f"https://{HOST}/"}},
            {"operation": "nothing.there"},
        ]
    )
    before = len(await stage.isv.journal())
    refunds = await stage.owner.fetchval("SELECT count(*) FROM pay_refund")
    paid = await stage.till.pay()
    assert (paid.json()["state"], paid.json()["degraded"]) == ("captured", []), paid.text
    (entry,) = (await stage.isv.journal())[before:]
    listed, *refused = entry["told"]
    assert listed["status"] == 200
    assert listed["body"] == {"value": {"data": [], "next_cursor": None}, "blobs": []}
    assert [(one["status"], one["body"]["code"]) for one in refused] == [
        (404, "payments.not_found"),
        (403, "identity.scope_missing"),
        (403, "plugin.write_in_decision"),
        (422, "plugin.merchant_named"),
        (403, "plugin.not_allowed_here"),
        (403, "plugin.egress_in_decision"),
        (404, "plugin.operation_unknown"),
    ]
    assert all(one["body"]["plugin"] == stage.plugin_id for one in refused)
    assert await stage.owner.fetchval("SELECT count(*) FROM pay_refund") == refunds
    rows = await stage.audit_of_calls(stage.till.merchant_id)
    assert {(row["tier"], row["level"], row["hook"]) for row in rows} == {("remote", "remote", "check_payment")}
    accounts = sorted((ask[0], ask[1], ask[4]) for row in rows for ask in row["asks"])
    codes = ["ok", *(one["body"]["code"] for one in refused)]
    assert [account[0] for account in accounts] == list(range(1, 9))
    assert [account[2] for account in accounts] == codes


@pytest.mark.usefixtures("patient")
async def test_a_token_is_void_with_the_result_and_good_for_nothing_else(stage: Stage) -> None:
    before = len(await stage.isv.journal())
    await stage.till.pay()
    (entry,) = (await stage.isv.journal())[before:]
    token = json.loads(entry["raw"])["call"]["handle"]
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert (claims["scope"], claims["merchant"], claims["jti"]) == (
        "payments:read",
        stage.till.merchant_id,
        entry["id"],
    )
    assert claims["exp"] * 1000 >= claims["call"]["until_ms"] > claims["exp"] * 1000 - 1000
    headers = {"Authorization": f"Bearer {token}"}
    ask = {"operation": "payments.list"}
    late = await stage.world.client.post("/v1/plugin-asks", json=ask, headers=headers)
    assert (late.status_code, late.json()["code"]) == (401, "plugin.handle_invalid")
    elsewhere = await stage.world.client.get("/v1/payments", headers=headers)
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (401, "identity.token_invalid")
    tills = {"Authorization": f"Bearer {stage.till.token}"}
    apps = await stage.world.client.post("/v1/plugin-asks", json=ask, headers=tills)
    assert (apps.status_code, apps.json()["code"]) == (401, "identity.token_invalid")
    bare = await stage.world.client.post("/v1/plugin-asks", json=ask)
    assert (bare.status_code, bare.json()["code"]) == (401, "identity.token_missing")
    forged = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    bent = await stage.world.client.post("/v1/plugin-asks", json=ask, headers={"Authorization": f"Bearer {forged}"})
    assert (bent.status_code, bent.json()["code"]) == (401, "identity.token_invalid")
    assert await stage.audit_of_calls(stage.till.merchant_id) == []


@pytest.mark.usefixtures("patient")
async def test_a_call_of_another_process_is_answered_by_rows_and_counts_its_asks(
    stage: Stage, database: str, isv_port: int, home: Path
) -> None:
    """A worker calls, a server is asked; the budget of the call holds there too."""
    origin = stage.world.platform.settings.public_origin
    more = {"egress_simulators": {HOST: f"http://127.0.0.1:{isv_port}"}, "origin": origin}
    await stage.isv.control(
        asks=[{"operation": "payments.list"}] * 51 + [{"operation": "refunds.get", "arguments": {"id": "r"}}]
    )
    before = len(await stage.isv.journal())
    async with open_world(database, clock=SystemClock(), home=home, acquirer_url="http://a.invalid", **more) as second:
        till = dataclasses.replace(stage.till, client=second.client)
        paid = await till.pay()
        assert (paid.json()["state"], paid.json()["degraded"]) == ("captured", []), paid.text
    (entry,) = (await stage.isv.journal())[before:]
    assert [one["status"] for one in entry["told"]] == [200] * 50 + [429] * 2
    assert entry["told"][50]["body"]["code"] == "plugin.budget_exceeded"


@pytest.mark.usefixtures("patient")
async def test_a_suspended_plugin_gets_no_answer_in_any_process(stage: Stage) -> None:
    """The rows behind a token of another process are read at each ask."""
    host = stage.world.platform.plugin_host
    before = len(await stage.isv.journal())
    await stage.till.pay()
    (entry,) = (await stage.isv.journal())[before:]
    payload = json.loads(base64.urlsafe_b64decode(json.loads(entry["raw"])["call"]["handle"].split(".")[1] + "=="))
    payload["call"] |= {"by": "another", "until_ms": int(time.time() * 1000) + 60_000}
    gate = await host.remote.calls.of(payload)
    assert (await gate.asked("payments.list", {})).code is None
    installations = stage.world.platform.plugin_life.installations
    actor = Actor(id="per_owner", merchant_id=stage.till.merchant_id)
    await installations.disable(actor, payload["call"]["installation"])
    await stage.world.platform.feed.poll()
    with pytest.raises(Exception, match=r"plugin\.handle_invalid"):
        await host.remote.calls.of(payload)
    assert not gate.is_open


@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        ("redirect", "exception"),
        ("error", "exception"),
        ("huge", "oversize"),
        ("garbage", "bad_result"),
    ],
)
@pytest.mark.usefixtures("patient")
async def test_no_whole_answer_counts_as_review_and_stands_on_the_record(stage: Stage, mode: str, fault: str) -> None:
    await stage.isv.control(mode=mode)
    before = len(await stage.isv.journal())
    paid = await stage.till.pay()
    assert paid.json()["state"] == "in_review", paid.text
    assert [(one["plugin_id"], one["fault"]) for one in paid.json()["degraded"]] == [(stage.plugin_id, fault)]
    assert len(await stage.isv.journal()) == before + 1


async def test_a_slow_answer_is_late_and_one_that_lies_about_its_call_is_quarantined(stage: Stage) -> None:
    await stage.isv.control(mode="slow")
    paid = await stage.till.pay()
    assert [one["fault"] for one in paid.json()["degraded"]] == ["timeout"], paid.text
    await stage.isv.control(mode="lying")
    async with asyncio.timeout(HEARD_S):
        faults: list[str] = []
        while faults != ["forged_id"]:  # the first ones may be late on a busy machine
            paid = await stage.till.pay()
            faults = [one["fault"] for one in paid.json()["degraded"]]
            assert faults in (["timeout"], ["forged_id"]), paid.text
    await stage.isv.control(mode="honest")
    before = len(await stage.isv.journal())
    again = await stage.till.pay()
    assert [one["fault"] for one in again.json()["degraded"]] == ["quarantined"], again.text
    assert len(await stage.isv.journal()) == before


@pytest.mark.usefixtures("patient")
async def test_a_server_that_is_down_costs_the_order_a_review_and_opens_the_breaker(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = stage.world.platform.plugin_host.remote.endpoints._urls
    monkeypatch.setitem(urls, (stage.plugin_id, "1.0.0"), f"http://127.0.0.1:{free_port()}/hooks")
    before = len(await stage.isv.journal())
    kinds = [(await stage.till.pay()).json()["degraded"][0]["fault"] for _ in range(6)]
    assert kinds == ["load"] * 5 + ["breaker_open"]
    assert len(await stage.isv.journal()) == before


@pytest.mark.usefixtures("patient")
async def test_both_secrets_sign_while_they_overlap_and_the_old_one_ends(stage: Stage) -> None:
    first = await stage.rotate(overlap_s=0)
    second = await stage.rotate(overlap_s=3_600)
    await stage.world.platform.feed.poll()
    await stage.isv.control(secrets=[first, second])
    before = len(await stage.isv.journal())
    assert (await stage.till.pay()).json()["state"] == "captured"
    third = await stage.rotate(overlap_s=0)
    await stage.world.platform.feed.poll()
    refused = await stage.till.pay()
    assert [one["fault"] for one in refused.json()["degraded"]] == ["exception"]
    await stage.isv.control(secrets=[third])
    assert (await stage.till.pay()).json()["state"] == "captured"
    assert [entry["verified_by"] for entry in (await stage.isv.journal())[before:]] == [2, 0, 1]


async def test_the_secret_is_shown_once_and_to_its_publisher_alone(opened: Stage) -> None:
    path = f"/plugin-signing-secrets/{opened.plugin_id}"
    unknown = await opened.ask(opened.publisher, path, {})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "plugins.not_found")
    assert (await opened.submit()).status_code == 201
    none = (await opened.ask(opened.publisher, path)).json()
    assert (none["version"], none["secret"], none["rotated_at"]) == (0, None, None)
    made = await opened.ask(opened.publisher, path, {}, key="once-secret")
    assert made.json()["secret"].startswith("whsec_")
    again = await opened.ask(opened.publisher, path, {}, key="once-secret")
    assert (again.headers["idempotency-replayed"], again.json()) == ("true", {**made.json(), "secret": None})
    assert (await opened.ask(opened.publisher, path)).json()["secret"] is None
    kinds = "SELECT kind FROM audit_row WHERE subject = $1"
    audited = [row[0] for row in await opened.owner.fetch(kinds, opened.plugin_id)]
    assert audited.count("plugin.signing_secret_rotated") == 1
    secret = made.json()["secret"].removeprefix("whsec_")
    for table in ("idempotency", "plugin_signing_secret", "audit_row", "outbox", "api_request"):
        if await opened.owner.fetchval("SELECT to_regclass($1)", table) is not None:
            text = f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%' || $1 || '%'"
            assert await opened.owner.fetchval(text, secret) == 0, table
    stranger = dataclasses.replace(opened)
    isv = await opened.world.platform.parties.create_isv(IsvCreate(name="Other"))
    stranger.publisher = await at_console(
        opened.world.platform.people, Party(kind="isv", id=isv.id), "developer",
        email=f"o{time.time_ns()}@example.test", console="isv", clock=SystemClock(),
    )  # fmt: skip
    before = await opened.counts()
    for body in (None, {}):
        answer = await stranger.ask(stranger.publisher, path, body)
        assert (answer.status_code, answer.json()["code"]) == (404, "plugins.not_found")
    assert await opened.counts() == before


async def test_what_is_no_remote_plugin_of_the_publisher_is_not_taken(opened: Stage) -> None:
    before = await opened.counts()
    text = manifest(opened.isv_id, opened.plugin_id)
    python = text.replace('runtime = "remote"', "").replace(f'remote = {{ endpoint = "https://{HOST}/hooks" }}\n', "")
    wrong = {
        "plugins.manifest_refused": text.replace("check_payment", "check_nothing"),
        "plugins.publisher_refused": text.replace(opened.isv_id, "isv_other"),
        "plugins.not_remote": python.replace("egress = [{ host", "# [{ host"),
    }
    for code, manifest_text in wrong.items():
        answer = await opened.ask(opened.publisher, "/plugin-releases", {"manifest": manifest_text})
        assert answer.json()["code"] == code, answer.text
    assert await opened.counts() == before


async def test_without_a_secret_nothing_is_published(opened: Stage) -> None:
    made = (await opened.submit()).json()
    assert (made["tier"], made["tree_hash"], made["state"]) == ("remote", "", "in_review")
    note = {"decision": "approve", "note": "Fine."}
    await opened.ask(opened.reviewer, f"/admin/plugin-reviews/{made['id']}/decisions", note)
    before = await opened.counts()
    refused = await opened.ask(opened.publisher, f"/plugin-releases/{made['id']}/publish", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "plugins.signing_secret_needed")
    assert await opened.counts() == before
