"""The production shape: PostgreSQL 15 by URL, a login for each role, two servers, two workers, a broker that dies."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest

from platform_core.kernel.database.pools import DatabaseUrls
from tests.delivery.receiver import receiving
from tests.support.brokers import BROKERS, Broker
from tests.support.load import Credentials, Load
from tests.support.load_audit import check_acknowledged, check_book, check_delivered, half_there, open_work
from tests.support.postgres15 import ROLES, OutsidePostgres, running_postgres15
from tests.support.processes import Daemon, free_port, teller
from tests.support.processes_arsenal import (
    Inbox,
    acquirer,
    environment,
    open_shops,
    platform_of,
    read_book,
    run_command,
    server,
    subscribe,
    worker,
)

pytestmark = [pytest.mark.production, pytest.mark.timeout(300)]

CLIENTS = 12
PHASE_S = 4.0
BROKER_AWAY_S = 3.0
REST_S = 90.0
LATER = timedelta(minutes=30)
ORDERS_LATER = 20


@dataclass(frozen=True, slots=True)
class Production:
    """What runs."""

    postgres: OutsidePostgres
    broker: Broker
    origins: list[str]
    workers: list[Daemon]
    given: Mapping[str, str]
    acquirer_url: str
    shops: list[Credentials]
    inbox: Inbox


def production_environment(folder: Path, postgres: OutsidePostgres, broker: Broker, *, origin: str) -> dict[str, str]:
    """The settings that docs/how-to/production.md names, the same for every process; only `migrate` gets the owner."""
    return environment(
        folder / "home",
        public_origin=origin,
        database_url=postgres.urls["owner"],
        **{f"database_{role}_url": postgres.urls[role] for role in ROLES},
        broker_url=broker.url,
        secrets_key=secrets.token_hex(32),
        cursor_key=secrets.token_hex(32),
    )


@asynccontextmanager
async def running_production(folder: Path, broker_name: str) -> AsyncIterator[Production]:
    """Everything up, two merchants who hear of everything."""
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(running_postgres15())
        broker = await stack.enter_async_context(BROKERS[broker_name]())
        ports = [free_port(), free_port()]
        origins = [f"http://127.0.0.1:{port}" for port in ports]
        given = production_environment(folder, postgres, broker, origin=origins[0])
        await asyncio.to_thread(run_command, "migrate", given=given)
        book, acquirer_url = acquirer(folder)
        servers = [server(f"server{n}", folder, port=port, given=given) for n, port in enumerate(ports)]
        workers = [worker(f"worker{n}", folder, given=given) for n in range(2)]
        for daemon in (book, *servers, *workers):
            stack.push_async_callback(daemon.stop)
            await daemon.start()
        urls = DatabaseUrls(**postgres.urls)
        async with platform_of(given, urls) as platform:
            shops = await open_shops(platform, count=2, acquirer_url=acquirer_url)
        receiver = await stack.enter_async_context(receiving())
        keys = {}
        for n, shop in enumerate(shops):
            keys[f"/hooks/{n}"] = await subscribe(origins[n], shop, receiver.url(f"/hooks/{n}"))
        yield Production(postgres, broker, origins, workers, given, acquirer_url, shops, Inbox(receiver, keys))


@pytest.mark.parametrize("broker_name", sorted(BROKERS))
async def test_a_broker_that_dies_and_forgets_loses_nothing(
    broker_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell = teller(capsys)
    async with running_production(tmp_path, broker_name) as production:
        began = time.monotonic()
        later = await _orders_for_later(production)
        load = Load(production.origins, production.shops, seed=random.randrange(1_000_000))
        clients = asyncio.create_task(load.run(CLIENTS))
        for _ in range(2):
            await asyncio.sleep(PHASE_S)
            await production.broker.kill()
            await asyncio.sleep(BROKER_AWAY_S)
            await production.broker.start_empty()
        await asyncio.sleep(PHASE_S)
        load.stop()
        await clients
        connection = await asyncpg.connect(production.postgres.superuser_url, database="arsenal")
        try:
            await _check_later(production, connection, later)
            figures = await _check(production, connection, load)
        finally:
            await connection.close()
        tell(f"production test: {broker_name}, {time.monotonic() - began:.0f} s, {figures}")


async def _orders_for_later(production: Production) -> list[str]:
    """Orders that nobody will pay: each expires in half an hour, by a row with that time."""
    shop, expires_at = production.shops[0], datetime.now(UTC) + LATER
    async with httpx.AsyncClient(base_url=production.origins[1], trust_env=False, timeout=20) as http:
        token = await http.post(
            "/oauth/token", data={"grant_type": "client_credentials"}, auth=(shop.client_id, shop.secret)
        )
        ids = []
        for n in range(ORDERS_LATER):
            order = {
                "out_trade_no": f"later_{n}", "subject": "Tea", "form": "customer_scan", "currency": "CNY",
                "order_minor": 1_000 + n, "expires_at": expires_at.isoformat(),
            }  # fmt: skip
            headers = {"authorization": f"Bearer {token.json()['access_token']}", "idempotency-key": f"later_{n}"}
            answer = await http.post("/v1/payments", json=order, headers=headers)
            assert answer.status_code == 201, answer.text
            assert answer.json()["state"] == "processing"
            ids.append(answer.json()["id"])
    return ids


async def _check_later(production: Production, connection: asyncpg.Connection, ids: list[str]) -> None:
    """None has fired; when the row's time comes, each fires once.

    The test moves the time by SQL: the processes live by the system's clock.
    """
    closed = "SELECT count(*) FROM pay_payment WHERE id = ANY ($1::text[]) AND state = 'closed'"
    assert await connection.fetchval(closed, ids) == 0
    moved = await connection.execute(
        "UPDATE due SET due_at = now() WHERE kind = 'payments.expire' AND subject_id = ANY ($1::text[]) "
        "AND due_at > now() + interval '5 min'",
        ids,
    )
    assert moved == f"UPDATE {len(ids)}"
    async with asyncio.timeout(REST_S):
        while await connection.fetchval(closed, ids) < len(ids):  # noqa: ASYNC110 - rows of a database set no event
            await asyncio.sleep(0.5)
    acts = await connection.fetch(
        "SELECT payment_id, count(*) AS n FROM pay_transaction WHERE payment_id = ANY ($1::text[]) AND kind = 'close' "
        "GROUP BY payment_id",
        ids,
    )
    assert {row["payment_id"]: row["n"] for row in acts} == dict.fromkeys(ids, 1)
    told = await connection.fetch(
        "SELECT object_id FROM outbox WHERE object_id = ANY ($1::text[]) AND type = 'payment.closed'", ids
    )
    assert Counter(row[0] for row in told) == dict.fromkeys(ids, 1)


async def _check(production: Production, connection: asyncpg.Connection, load: Load) -> str:
    async with asyncio.timeout(REST_S):
        while await open_work(connection):
            await connection.execute(
                "UPDATE due SET due_at = now() WHERE kind = 'payments.ask' AND due_at > now() AND leased_until IS NULL"
            )
            await asyncio.sleep(1)
    acknowledged = await check_acknowledged(connection, load.acts)
    assert await half_there(connection) == {}
    moved = await check_book(connection, await read_book(production.acquirer_url))
    events, again = await check_delivered(connection, production.inbox.arrived())
    attempts = await connection.fetchval("SELECT max(attempts) FROM webhook_delivery")
    assert (again, attempts) == (0, 1), "no worker died, so nothing is due twice"
    assert all(act.is_acknowledged or act.status in (409,) for act in load.acts), "every act was answered"
    assert min(acknowledged[kind] for kind in ("pay", "refund")) >= 20, "the load was too thin to prove much"
    return f"acknowledged {dict(acknowledged)}, {moved} keys moved money, {events} events, none twice"
