"""The relay: takes what commits left in the outbox and lays it out as work, one row for each receiver.

It is part of the commit machinery, as leases are: its statements insert pending work and mark events as relayed, with a
role that may do nothing else, in one transaction. A relay that dies before its commit has done nothing; run twice it
does nothing new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import asyncpg
import structlog

from platform_core.delivery.catalogue import EventCatalogue, EventConsumer, EventSeen, patterns_of
from platform_core.delivery.job_pool import JobPool
from platform_core.delivery.plugins.fan_out import lay_out as lay_out_plugins
from platform_core.delivery.webhooks.messages import encode_message, message_id
from platform_core.kernel.clock import Clock
from platform_core.kernel.ids import Ids

log = structlog.get_logger(__name__)

BATCH_EVENTS_MAX: Final = 500

_TAKE = """
SELECT id, type, merchant_id, object_id, sequence, occurred_at, body, traceparent FROM outbox
WHERE relayed_at IS NULL ORDER BY position LIMIT $1 FOR UPDATE SKIP LOCKED
"""
# An app hears of a merchant's event while that merchant lets it in, under the scope that reads the object, in the
# merchant's mode. Of grants and their limits it hears of its own alone, and the grant's end is the last that it hears.
SUBSCRIBERS_SQL: Final = """
SELECT v.place, e.id AS endpoint_id, e.app_id, e.api_version, e.mode
FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $8::text[])
  AS v(place, merchant_id, scope, pattern, family, everything, object_id)
JOIN merchant AS m ON m.id = v.merchant_id
JOIN access_grant AS g ON g.merchant_id = v.merchant_id AND v.scope = ANY (string_to_array(g.scopes, ' '))
  AND (v.family <> 'grant.*' OR g.id = v.object_id)
  AND (v.family <> 'limit.*' OR g.id = (SELECT l.grant_id FROM limit_window AS l WHERE l.id = v.object_id))
  AND (g.state = 'active' AND (g.expires_at IS NULL OR g.expires_at > $7)
       OR v.pattern IN ('grant.revoked', 'grant.expired'))
JOIN webhook_endpoint AS e ON e.app_id = g.app_id AND e.state = 'enabled' AND e.mode = m.mode
  AND e.event_types ?| ARRAY[v.pattern, v.family, v.everything]
"""
_ADD_MESSAGES = """
INSERT INTO webhook_message (id, event_id, body) SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[])
ON CONFLICT (id) DO NOTHING
"""
_ADD_DELIVERIES = """
INSERT INTO webhook_delivery (id, event_id, endpoint_id, message_id, app_id, merchant_id, event_type, object_id,
  sequence, traceparent, state, due_at, wake_at, created_at)
SELECT v.*, 'pending', $11, $11, $11
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
  $9::bigint[], $10::text[])
  AS v
ON CONFLICT (event_id, endpoint_id) DO NOTHING
"""
_ADD_HANDLINGS = """
INSERT INTO event_handling (id, event_id, consumer, merchant_id, state, due_at, wake_at, created_at)
SELECT v.*, 'pending', $5, $5, $5 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS v
ON CONFLICT (event_id, consumer) DO NOTHING
"""
_MARK = "UPDATE outbox SET relayed_at = $2 WHERE id = ANY ($1::text[])"


class Relay:
    """Lays out work for webhook endpoints, in-house consumers and plugins. As many as wanted may run at a time."""

    def __init__(
        self,
        pool: JobPool,
        *,
        catalogue: EventCatalogue,
        consumers: Sequence[EventConsumer],
        clock: Clock,
        ids: Ids,
        plugin_hooks: Mapping[str, str] = MappingProxyType({}),
        on_work: Callable[[], None] = lambda: None,
    ) -> None:
        """`plugin_hooks`: by event type the hook through which plugins hear of it.

        `on_work` is called after a commit that laid out work: the dispatcher need not wait for its next look.
        """
        names = [consumer.name for consumer in consumers]
        assert len(names) == len(set(names)), f"two consumers share a name: {sorted(names)}"
        self._pool = pool
        self._catalogue = catalogue
        self._consumers = tuple(consumers)
        self._clock = clock
        self._ids = ids
        self._plugin_hooks = plugin_hooks
        self._on_work = on_work
        self.turned_at = clock.monotonic()

    async def relay_once(self) -> int:
        """Relay one batch, in the order of the outbox, and return how many events it held."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(_TAKE, BATCH_EVENTS_MAX)
            if not rows:
                return 0
            events = [EventSeen(*row) for row in rows]
            work = await self._lay_out_webhooks(connection, events)
            work += await self._lay_out_handlings(connection, events)
            work += await lay_out_plugins(
                connection, events, hooks=self._plugin_hooks, ids=self._ids, now=self._clock.now()
            )
            await connection.execute(_MARK, [event.id for event in events], self._clock.now())
        if work:
            self._on_work()
        return len(events)

    async def run(self, wake: asyncio.Event, *, idle_s: float = 1.0, busy_s: float = 0.2) -> None:
        """Relay until cancelled: when `wake` is set, else every `idle_s`, and every `busy_s` while there is traffic."""
        while True:
            wake.clear()
            relayed = 0
            try:
                relayed = await self.relay_once()
                self.turned_at = self._clock.monotonic()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                log.warning("relay.database_unavailable", error=type(error).__name__)
            if relayed < BATCH_EVENTS_MAX:
                await wait_for_either(wake, busy_s if relayed else idle_s)

    async def _lay_out_webhooks(self, connection: Any, events: Sequence[EventSeen]) -> int:
        # `connection` is a pooled proxy of asyncpg, which its stubs do not name.
        told = [
            (place, event, scope)
            for place, event in enumerate(events)
            if event.merchant_id is not None and (scope := self._catalogue.scope_of(event.type)) is not None
        ]
        if not told:
            return 0
        patterns = [patterns_of(event.type) for _, event, _ in told]
        found = await connection.fetch(
            SUBSCRIBERS_SQL,
            [place for place, _, _ in told],
            [event.merchant_id for _, event, _ in told],
            [scope for _, _, scope in told],
            *([pattern[n] for pattern in patterns] for n in range(3)),
            self._clock.now(),
            [event.object_id for _, event, _ in told],
        )
        if not found:
            return 0
        await self._add_messages(connection, events, found)
        await self._add_deliveries(connection, events, found)
        return len(found)

    async def _add_messages(self, connection: Any, events: Sequence[EventSeen], found: Sequence[Any]) -> None:
        messages: dict[str, tuple[str, bytes]] = {}
        for row in found:
            event = events[row["place"]]
            key = message_id(event.id, row["api_version"])
            if key not in messages:
                body = encode_message(
                    event, catalogue=self._catalogue, api_version=row["api_version"], mode=row["mode"]
                )
                messages[key] = (event.id, body)
        event_ids, bodies = zip(*messages.values(), strict=True)
        await connection.execute(_ADD_MESSAGES, list(messages), list(event_ids), list(bodies))

    async def _add_deliveries(self, connection: Any, events: Sequence[EventSeen], found: Sequence[Any]) -> None:
        rows = [(events[row["place"]], row) for row in found]
        await connection.execute(
            _ADD_DELIVERIES,
            [self._ids.mint("whd") for _ in rows],
            [event.id for event, _ in rows],
            [row["endpoint_id"] for _, row in rows],
            [message_id(event.id, row["api_version"]) for event, row in rows],
            [row["app_id"] for _, row in rows],
            [event.merchant_id for event, _ in rows],
            [event.type for event, _ in rows],
            [event.object_id for event, _ in rows],
            [event.sequence for event, _ in rows],
            [event.traceparent for event, _ in rows],
            self._clock.now(),
        )

    async def _lay_out_handlings(self, connection: Any, events: Sequence[EventSeen]) -> int:
        pairs = [(event, consumer) for event in events for consumer in self._consumers if event.type in consumer.types]
        if pairs:
            await connection.execute(
                _ADD_HANDLINGS,
                [f"{event.id}:{consumer.name}" for event, consumer in pairs],
                [event.id for event, _ in pairs],
                [consumer.name for _, consumer in pairs],
                [event.merchant_id for event, _ in pairs],
                self._clock.now(),
            )
        return len(pairs)


async def wait_for_either(wake: asyncio.Event, timeout_s: float) -> None:
    """Until `wake` is set or the time is over, whichever comes first."""
    try:
        async with asyncio.timeout(timeout_s):
            await wake.wait()
    except TimeoutError:
        return
