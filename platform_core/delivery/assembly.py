"""All that a worker process works on, put together on its event loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from platform_core.delivery.catalogue import EventCatalogue, EventConsumer
from platform_core.delivery.dispatcher import Dispatcher, Publish
from platform_core.delivery.job_pool import JobPool, open_job_pool
from platform_core.delivery.nudges import listen
from platform_core.delivery.plugins.queue import PluginQueue
from platform_core.delivery.queues import DueHandler, DueQueue, HandlingQueue, WorkQueue
from platform_core.delivery.relay import Relay
from platform_core.delivery.webhooks.dispatch import Meddle, WebhookQueue
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer
from platform_core.kernel.database.pools import Database
from platform_core.kernel.http.guarded_client import GuardedClient
from platform_core.kernel.ids import Ids
from platform_core.plugin_host.telling import Teller


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryNeeds:
    """What bootstrap hands in: the platform's parts, what follows events and due rows, and one setting."""

    database: Database
    committer: Committer
    vault: Vault
    clock: Clock
    ids: Ids
    catalogue: EventCatalogue
    consumers: Sequence[EventConsumer] = ()
    due_handlers: Sequence[DueHandler] = ()
    plugin_hooks: Mapping[str, str] = field(default_factory=dict)
    teller: Teller | None = None
    """Who calls `on_` hooks; None: deliveries to plugins wait for a process that has one."""
    allow_loopback_http: bool = False
    signing_clock: Clock | None = None
    """When a webhook says that it was signed; None: as `clock`. Receivers compare it with their own clock."""
    real_time_kinds: Collection[str] = ()
    """Kinds of due rows that live by `real_clock` where `clock` is turned."""
    real_clock: Clock | None = None
    is_held: Callable[[], bool] = lambda: False
    """While it says so the dispatcher wakes nobody: whatever runs beside does the work itself."""
    meddle: Meddle | None = None
    """What a sandbox does to attempts to deliver webhooks."""
    beside: Callable[[Delivery], Coroutine[Any, Any, None]] | None = None
    """Runs for as long as relay and dispatcher do."""
    chance: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True)
class Delivery:
    """The running parts of one worker process."""

    relay: Relay
    dispatcher: Dispatcher
    pool: JobPool
    due_kinds: frozenset[str]
    consumers: tuple[str, ...]
    beside: Callable[[Delivery], Coroutine[Any, Any, None]] | None = None


@asynccontextmanager
async def open_delivery(needs: DeliveryNeeds, publish: Publish) -> AsyncIterator[Delivery]:
    """Connections and parts, nothing running yet."""
    clock, ids, committer = needs.clock, needs.ids, needs.committer
    client = GuardedClient(allow_loopback_http=needs.allow_loopback_http)
    try:
        async with open_job_pool(needs.database) as pool:
            webhooks = WebhookQueue(
                pool,
                committer,
                client,
                vault=needs.vault,
                clock=clock,
                signing_clock=needs.signing_clock or clock,
                ids=ids,
                chance=needs.chance,
                meddle=needs.meddle,
            )
            events = HandlingQueue(pool, committer, consumers=needs.consumers, clock=clock, chance=needs.chance)
            real = dict.fromkeys(needs.real_time_kinds, needs.real_clock or clock)
            due = DueQueue(pool, committer, handlers=needs.due_handlers, clock=clock, clocks=real)
            queues: list[WorkQueue] = [webhooks, events, due]
            if needs.teller is not None:
                queues.append(PluginQueue(pool, committer, needs.teller, clock=clock, chance=needs.chance))
            dispatcher = Dispatcher(queues, publish, clock=clock, is_held=needs.is_held)
            relay = Relay(
                pool,
                catalogue=needs.catalogue,
                consumers=needs.consumers,
                clock=clock,
                ids=ids,
                plugin_hooks=needs.plugin_hooks,
                on_work=dispatcher.poke,
            )
            kinds = frozenset(handler.kind for handler in needs.due_handlers) - set(needs.real_time_kinds)
            names = tuple(consumer.name for consumer in needs.consumers)
            yield Delivery(relay, dispatcher, pool, kinds, names, needs.beside)
    finally:
        await client.aclose()


@asynccontextmanager
async def running(delivery: Delivery, database: Database) -> AsyncIterator[None]:
    """Relay, dispatcher and the ear for nudges run inside the block.

    If one of them breaks, the block is cancelled with its error.
    """
    wake = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(delivery.relay.run(wake), name="delivery.relay"),
            group.create_task(delivery.dispatcher.run(), name="delivery.dispatcher"),
            group.create_task(listen(database, wake), name="delivery.listen"),
        ]
        if delivery.beside is not None:
            tasks.append(group.create_task(delivery.beside(delivery), name="delivery.beside"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
