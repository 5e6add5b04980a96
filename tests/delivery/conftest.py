"""A merchant that lets an app in, its endpoint, and the parts of a worker on the test's clock."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import pytest

from platform_core.delivery.assembly import Delivery, DeliveryNeeds, open_delivery
from platform_core.delivery.catalogue import EventCatalogue, EventKind
from platform_core.delivery.dispatcher import BrokerDown
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer, Event, Plan
from platform_core.kernel.database.pools import Database
from platform_core.kernel.http.webhook_signing import secret_text
from platform_core.kernel.ids import Ids
from tests.delivery.receiver import Receiver, receiving

CATALOGUE = EventCatalogue(
    [
        EventKind("payment.created", "payments:read", "/v1/payments/{id}"),
        EventKind("payment.captured", "payments:read", "/v1/payments/{id}"),
        EventKind("refund.succeeded", "refunds:read", "/v1/refunds/{id}"),
        EventKind("grant.changed", "grant_management_query", "/v1/grants/{id}"),
        EventKind("grant.revoked", "grant_management_query", "/v1/grants/{id}"),
        EventKind("limit.exhausted", "grant_management_query", "/v1/events?object_id={id}"),
    ]
)


@dataclass(slots=True)
class World:
    """What the tests of this folder act on."""

    database: Database
    owner: asyncpg.Connection[Any]
    committer: Committer
    vault: Vault
    clock: ManualClock
    ids: Ids

    @property
    def needs(self) -> DeliveryNeeds:
        """A worker's parts, loopback allowed, the schedule without jitter."""
        return DeliveryNeeds(
            database=self.database,
            committer=self.committer,
            vault=self.vault,
            clock=self.clock,
            ids=self.ids,
            catalogue=CATALOGUE,
            allow_loopback_http=True,
            chance=lambda: 0.5,
        )

    async def merchant(self, *, mode: str = "test") -> str:
        """A new merchant."""
        id_ = self.ids.mint("mer")
        await self.owner.execute(
            "INSERT INTO merchant VALUES ($1, 'Noodles', $2, 'catering', 'Asia/Shanghai', 'verified', 'active', 1, $3)",
            id_, mode, self.clock.now(),
        )  # fmt: skip
        return id_

    async def app(self, merchant_id: str) -> str:
        """A new app, owned by the merchant."""
        id_ = self.ids.mint("app")
        await self.owner.execute(
            "INSERT INTO app (id, merchant_id, name, state, version, created_at) "
            "VALUES ($1, $2, 'Till', 'active', 1, $3)",
            id_, merchant_id, self.clock.now(),
        )  # fmt: skip
        return id_

    async def grant(self, app_id: str, merchant_id: str, scopes: str = "payments:read refunds:read") -> str:
        """Let the app in."""
        id_ = self.ids.mint("grt")
        await self.owner.execute(
            "INSERT INTO access_grant (id, app_id, merchant_id, kind, state, scopes, version, given_by, created_at) "
            "VALUES ($1, $2, $3, 'merchant', 'active', $4, 1, 'test', $5)",
            id_, app_id, merchant_id, scopes, self.clock.now(),
        )  # fmt: skip
        return id_

    async def window(self, id_: str, grant_id: str, merchant_id: str) -> None:
        """An opened window of one of the grant's limits."""
        await self.owner.execute(
            "INSERT INTO limit_window (id, merchant_id, grant_id, detail_id, unit, bucket, opened_at, version) "
            "VALUES ($1, $2, $3, 'det_1', 'limit:CNY', $1, $4, 1)",
            id_, merchant_id, grant_id, self.clock.now(),
        )  # fmt: skip

    async def endpoint(self, app_id: str, url: str, *, types: str = '["*"]', mode: str = "test") -> tuple[str, str]:
        """A new endpoint and its secret as its owner keeps it."""
        id_, secret = self.ids.mint("whe"), b"\x07" * 32
        await self.owner.execute(
            "INSERT INTO webhook_endpoint (id, app_id, mode, url, description, event_types, api_version, state, "
            "secret_sealed, version, created_at, updated_at) "
            "VALUES ($1, $2, $3, $4, '', $5, '2026-11-22', 'enabled', $6, 1, $7, $7)",
            id_, app_id, mode, url, types, self.vault.seal(id_, secret), self.clock.now(),
        )  # fmt: skip
        await self.owner.execute(
            "INSERT INTO webhook_endpoint_health (id, app_id, concurrency) VALUES ($1, $2, 8)", id_, app_id
        )
        return id_, secret_text(secret)

    async def emit(
        self,
        merchant_id: str | None,
        *,
        type_: str = "payment.captured",
        object_id: str = "pay_1",
        sequence: int = 1,
        body: str = '{"id":"pay_1"}',
    ) -> str:
        """Commit an event, as a service's plan does."""
        id_ = self.ids.mint("evt")
        event = Event(id_, type_, object_id, sequence, self.clock.now(), body)
        await self.committer.commit(Plan(merchant_id, [event]))
        return id_

    async def audited(self) -> list[tuple[str, str, str, str | None, str | None]]:
        """Kind, actor, subject, reason and merchant of what stands in the audit log, in order."""
        rows = await self.owner.fetch(
            "SELECT kind, actor, subject, reason, merchant_id FROM audit_row ORDER BY position"
        )
        return [tuple(row) for row in rows]

    @asynccontextmanager
    async def worker(self, publish: Callable[..., None], **changes: Any) -> AsyncIterator[Delivery]:
        """The parts of a worker, nothing running by itself."""
        async with open_delivery(replace(self.needs, **changes), publish) as delivery:
            yield delivery


@pytest.fixture
async def world(
    database: Database, database_url: str, committer: Committer, clock: ManualClock, ids: Ids
) -> AsyncIterator[World]:
    """An empty platform."""
    owner = await asyncpg.connect(database_url)
    yield World(database, owner, committer, Vault(b"k" * 32), clock, ids)
    await owner.close()


@pytest.fixture
def unused_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that answers 200 until told otherwise."""
    async with receiving() as receiver:
        yield receiver


class Broker:
    """What a dispatcher was to publish; it can be away, and it can lose everything it has."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self.is_away = False

    def publish(self, queue: str, ids: Sequence[str]) -> None:
        """As the dispatcher calls it, from another thread."""
        if self.is_away:
            raise BrokerDown("away")
        self.messages += [(queue, work_id) for work_id in ids]

    async def carry(self, delivery: Delivery) -> int:
        """Let a worker do everything that was published; returns how much that was."""
        messages, self.messages = self.messages, []
        for queue, work_id in messages:
            await delivery.dispatcher.run_work(queue, work_id)
        return len(messages)


@pytest.fixture
def broker() -> Broker:
    """A broker in memory."""
    return Broker()


@dataclass(frozen=True, slots=True)
class Subscription:
    """A merchant that let an app in, and the app's endpoint."""

    merchant: str
    app: str
    endpoint: str
    secret: str


@pytest.fixture
async def subscribed(world: World, receiver: Receiver) -> Subscription:
    """An endpoint at the receiver for all types."""
    merchant = await world.merchant()
    app = await world.app(merchant)
    await world.grant(app, merchant)
    endpoint, secret = await world.endpoint(app, receiver.url())
    return Subscription(merchant, app, endpoint, secret)
