"""Work that stands in rows: what the dispatcher needs of it, and the two kinds that are not webhooks.

A row is the truth; a broker's message only says "look at this id". Taking a row moves its wake-up into the future, so
that it is not woken twice a second, and is woken again when the message or the worker got lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, Protocol

import structlog

from platform_core.delivery.catalogue import EventConsumer, EventSeen
from platform_core.delivery.job_pool import JobPool
from platform_core.delivery.schedule import next_due
from platform_core.delivery.webhooks.models import EVENT_HANDLINGS
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Change, Committer, Due, Plan, PlanRefused, Remove
from platform_core.kernel.commit.due import DueWork, lease_due
from platform_core.kernel.telemetry import continue_trace, correlated

log = structlog.get_logger(__name__)

LEASE: Final = timedelta(seconds=60)
WORK_S_MAX: Final = 50.0  # less than the lease: who works on a row still holds it
ERROR_LENGTH_MAX: Final = 500


class WorkQueue(Protocol):
    """Rows of work of one kind."""

    name: str

    async def take_due(self, limit: int) -> list[str]:
        """The ids of at most `limit` rows to wake now; each is not offered again for a minute."""
        ...

    async def run(self, work_id: str) -> None:
        """Do one piece of work if it is still to be done and nobody else is at it.

        Never raises for the work's own failure.
        """
        ...


_TAKE_HANDLINGS = """
UPDATE event_handling SET wake_at = $2 WHERE id IN (
  SELECT id FROM event_handling WHERE state = 'pending' AND consumer = ANY ($3::text[]) AND wake_at <= $1
  ORDER BY wake_at LIMIT $4 FOR UPDATE SKIP LOCKED)
RETURNING id
"""
_CLAIM_HANDLING = """
UPDATE event_handling AS t SET leased_until = $3, wake_at = $3, version = t.version + 1
FROM outbox AS o
WHERE t.id = $1 AND t.state = 'pending' AND t.due_at <= $2 AND (t.leased_until IS NULL OR t.leased_until <= $2)
  AND o.id = t.event_id
RETURNING t.consumer, t.tries, t.version,
  o.id, o.type, o.merchant_id, o.object_id, o.sequence, o.occurred_at, o.body, o.traceparent
"""


class HandlingQueue:
    """Events for in-house consumers."""

    name = "events"

    def __init__(
        self,
        pool: JobPool,
        committer: Committer,
        *,
        consumers: Sequence[EventConsumer],
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._committer = committer
        self._consumers = {consumer.name: consumer for consumer in consumers}
        self._clock = clock
        self._chance = chance

    async def take_due(self, limit: int) -> list[str]:
        """Rows of the consumers that this process has."""
        now = self._clock.now()
        rows = await self._pool.fetch(_TAKE_HANDLINGS, now, now + LEASE, list(self._consumers), limit)
        return [row["id"] for row in rows]

    async def run(self, work_id: str) -> None:
        """Let the consumer decide, and write its plan together with the end of the work."""
        now = self._clock.now()
        row = await self._pool.fetchrow(_CLAIM_HANDLING, work_id, now, now + LEASE)
        if row is None:
            return
        consumer, tries, version = self._consumers[row["consumer"]], row["tries"], row["version"]
        event = EventSeen(*tuple(row)[3:])
        try:
            async with asyncio.timeout(WORK_S_MAX):
                with correlated(continue_trace(event.traceparent)):
                    plan = await consumer.handle(event) or Plan(event.merchant_id)
                if plan.merchant_id != event.merchant_id:
                    raise ValueError(
                        f"{consumer.name} decided for {plan.merchant_id} on an event of {event.merchant_id}"
                    )
                await self._committer.commit(plan.add(Remove(EVENT_HANDLINGS, work_id, expected=version)))
        except Exception as error:
            log.exception("events.handling_failed", consumer=consumer.name, event_id=event.id, tries=tries + 1)
            await self._put_off(work_id, event=event, tries=tries + 1, version=version, error=error)

    async def _put_off(self, work_id: str, *, event: EventSeen, tries: int, version: int, error: Exception) -> None:
        due_at = next_due(tries=tries, now=self._clock.now(), chance=self._chance)
        values = {
            "state": "pending" if due_at else "dead",
            "tries": tries,
            "due_at": due_at or self._clock.now(),
            "wake_at": due_at or self._clock.now(),
            "leased_until": None,
            "last_error": type(error).__name__[:ERROR_LENGTH_MAX],
        }
        try:
            await self._committer.commit(
                Plan(event.merchant_id, [Change(EVENT_HANDLINGS, work_id, values, expected=version)])
            )
        except PlanRefused as refused:  # the lease ran out and somebody else has the row: theirs counts
            log.warning("events.lease_lost", handling=work_id, refusal=str(refused))


@dataclass(frozen=True, slots=True)
class DueHandler:
    """Does the work of one `kind` of `kernel.commit` due rows.

    `handle` returns a plan that ends the row (`DueDone`) or moves it (`Due`), or has committed one itself and returns
    None. What it raises moves the row by a minute, doubling up to an hour: such work has no last try.
    """

    kind: str
    handle: Callable[[DueWork], Awaitable[Plan | None]]


_READ_DUE = """
SELECT kind, subject_id, merchant_id, due_at, tries FROM due
WHERE kind = $1 AND subject_id = $2 AND due_at <= $3 AND leased_until > $3
"""
DUE_DELAY_S_MAX: Final = 3600


class DueQueue:
    """Rows of `kernel.commit` with a due time, such as the janitor's. An id reads `kind/subject`."""

    name = "due"

    def __init__(
        self,
        pool: JobPool,
        committer: Committer,
        *,
        handlers: Sequence[DueHandler],
        clock: Clock,
        clocks: Mapping[str, Clock] = MappingProxyType({}),
    ) -> None:
        """`clocks`: by kind the clock that its rows live by, where that is another one."""
        assert not any("/" in handler.kind for handler in handlers), "the kind ends at the first slash of the id"
        self._pool = pool
        self._committer = committer
        self._handlers: Mapping[str, DueHandler] = {handler.kind: handler for handler in handlers}
        self._clock = clock
        self._clocks = clocks

    def _now(self, kind: str) -> datetime:
        return self._clocks.get(kind, self._clock).now()

    async def take_due(self, limit: int) -> list[str]:
        """Lease due rows of the kinds that this process handles, the longest due first across kinds."""
        taken: list[DueWork] = []
        async with self._pool.acquire() as connection:
            for kind in self._handlers:
                taken += await lease_due(connection, kind=kind, now=self._now(kind), limit=limit)
        taken.sort(key=lambda work: work.due_at)
        return [f"{work.kind}/{work.subject_id}" for work in taken]

    async def run(self, work_id: str) -> None:
        """Handle a row while the lease lasts that it was taken with.

        A message that comes later is dropped: the row is taken anew.
        """
        kind, _, subject_id = work_id.partition("/")
        handler = self._handlers.get(kind)
        row = await self._pool.fetchrow(_READ_DUE, kind, subject_id, self._now(kind))
        if handler is None or row is None:
            return
        work = DueWork(*row)
        try:
            async with asyncio.timeout(WORK_S_MAX):
                if (plan := await handler.handle(work)) is not None:
                    await self._committer.commit(plan)
        except Exception:
            log.exception("due.failed", kind=kind, subject=subject_id, tries=work.tries + 1)
            delay_s = min(60 * 2 ** min(work.tries, 6), DUE_DELAY_S_MAX)
            later = Due(kind, subject_id, self._now(kind) + timedelta(seconds=delay_s), tries=work.tries + 1)
            await self._committer.commit(Plan(work.merchant_id, [later]))
