"""Deliveries to plugins as a queue of work: in sequence for each object and plugin, few of one plugin at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import asyncpg
import structlog

from platform_core.delivery.job_pool import JobPool
from platform_core.delivery.queues import LEASE
from platform_core.delivery.schedule import PLUGIN_DELAYS_S, next_due
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Change, Committer, Plan, PlanRefused, VersionConflict
from platform_core.kernel.telemetry import continue_trace, correlated
from platform_core.plugin_host.models import DELIVERIES
from platform_core.plugin_host.telling import Teller, Telling, Told

log = structlog.get_logger(__name__)

FAULT_LENGTH_MAX: Final = 200
UNDER_WAY_MAX: Final = 4
"""Calls of one plugin at a time, over all workers: one that hangs does not hold the threads of the others."""
CAPACITY_RETRY: Final = timedelta(seconds=1)

_TAKE: Final = """
UPDATE plugin_delivery SET wake_at = $2 WHERE id IN (
  SELECT id FROM plugin_delivery WHERE state = 'pending' AND wake_at <= $1
  ORDER BY wake_at LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING id
"""
# Claims of one plugin take turns by this lock, so that the count of calls under way is exact.
_LOCK: Final = """
SELECT pg_advisory_xact_lock(7233022, hashtext(plugin_id)) FROM plugin_delivery WHERE id = $1
"""
# What came before it about the same object must have ended, also what no relay has laid out yet.
_CLAIM: Final = """
UPDATE plugin_delivery AS t SET leased_until = $3, wake_at = $3, version = t.version + 1
FROM outbox AS o
WHERE t.id = $1 AND t.state = 'pending' AND t.due_at <= $2 AND (t.leased_until IS NULL OR t.leased_until <= $2)
  AND o.id = t.event_id
  AND NOT EXISTS (SELECT FROM plugin_delivery AS e WHERE e.installation_id = t.installation_id
                  AND e.object_id = t.object_id AND e.sequence < t.sequence AND e.state = 'pending')
  AND NOT EXISTS (SELECT FROM outbox AS b WHERE b.object_id = t.object_id AND b.sequence < t.sequence
                  AND b.relayed_at IS NULL)
  AND $4 > (SELECT count(*) FROM plugin_delivery AS u WHERE u.plugin_id = t.plugin_id AND u.state = 'pending'
            AND u.leased_until > $2)
RETURNING t.id, t.tries, t.version, t.merchant_id, t.installation_id, t.plugin_id, t.hook, t.event_id, t.event_type,
  t.object_id, t.sequence, t.traceparent, o.occurred_at, o.body
"""
# Not before what it waits for is due; whoever ends that wakes it.
_PUT_BACK: Final = """
UPDATE plugin_delivery AS t SET wake_at = greatest($3::timestamptz, (
  SELECT max(e.due_at) FROM plugin_delivery AS e WHERE e.installation_id = t.installation_id
    AND e.object_id = t.object_id AND e.sequence < t.sequence AND e.state = 'pending'))
WHERE t.id = $1 AND t.state = 'pending' AND t.due_at <= $2 AND (t.leased_until IS NULL OR t.leased_until <= $2)
"""
_WAKE_NEXT: Final = """
UPDATE plugin_delivery SET wake_at = greatest($3, due_at) WHERE id = (
  SELECT id FROM plugin_delivery WHERE installation_id = $1 AND object_id = $2 AND state = 'pending'
  ORDER BY sequence LIMIT 1)
"""


class PluginQueue:
    """Deliveries to `on_` hooks."""

    name = "plugins"

    def __init__(
        self, pool: JobPool, committer: Committer, teller: Teller, *, clock: Clock, chance: Callable[[], float]
    ) -> None:
        """`chance` gives [0, 1) and spreads the schedule."""
        self._pool = pool
        self._committer = committer
        self._teller = teller
        self._clock = clock
        self._chance = chance

    async def take_due(self, limit: int) -> list[str]:
        """Due deliveries; whether it is their turn, `run` sees."""
        now = self._clock.now()
        return [row["id"] for row in await self._pool.fetch(_TAKE, now, now + LEASE, limit)]

    async def run(self, work_id: str) -> None:
        """Claim, tell, write the outcome with what the plugin wrote. Whose turn it is not yet does nothing."""
        row = await self._claim(work_id)
        if row is None:
            return
        with correlated(continue_trace(row["traceparent"])):
            told = await self._tell(row)
            await self._settle(row, told)

    async def _claim(self, work_id: str) -> asyncpg.Record | None:
        now = self._clock.now()
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.fetchval(_LOCK, work_id)
            row = await connection.fetchrow(_CLAIM, work_id, now, now + LEASE, UNDER_WAY_MAX)
            if row is None:
                await connection.execute(_PUT_BACK, work_id, now, now + CAPACITY_RETRY)
            return row

    async def _tell(self, row: asyncpg.Record) -> Told:
        telling = Telling(
            merchant_id=row["merchant_id"],
            installation_id=row["installation_id"],
            plugin_id=row["plugin_id"],
            hook=row["hook"],
            event_id=row["event_id"],
            event_type=row["event_type"],
            object_id=row["object_id"],
            sequence=row["sequence"],
            occurred_at=row["occurred_at"],
            body=row["body"],
        )
        try:
            return await self._teller.tell(telling)
        except Exception as error:
            log.exception("plugins.telling_failed", delivery=row["id"], plugin=row["plugin_id"])
            return Told(outcome="retry", fault=type(error).__name__)

    async def _settle(self, row: asyncpg.Record, told: Told) -> None:
        """The outcome and the plugin's own writes in one plan; where those are refused, the event comes again."""
        refused = await self._write(row, told)
        if refused is not None and not _is_lost(refused):
            await self._write(row, Told(outcome="retry", version=told.version, fault="writes_refused"))
        if told.outcome != "retry" or row["tries"] + 1 >= len(PLUGIN_DELAYS_S):  # it has ended, well or not
            await self._pool.execute(_WAKE_NEXT, row["installation_id"], row["object_id"], self._clock.now())

    async def _write(self, row: asyncpg.Record, told: Told) -> PlanRefused | None:
        change = Change(DELIVERIES, row["id"], self._values(row, told), expected=row["version"])
        try:
            await self._committer.commit(Plan(row["merchant_id"], [change, *told.parts]))
        except PlanRefused as refused:
            if _is_lost(refused):  # the lease ran out and somebody else has the row; plugins know events by their id
                log.warning("plugins.lease_lost", delivery=row["id"], refusal=str(refused))
            return refused
        log.info("plugins.told", delivery=row["id"], plugin=row["plugin_id"], outcome=told.outcome, fault=told.fault)
        return None

    def _values(self, row: asyncpg.Record, told: Told) -> dict[str, Any]:  # Any: columns of the table
        now, tries = self._clock.now(), row["tries"] + 1
        values: dict[str, Any] = {
            "tries": tries,
            "leased_until": None,
            "told_version": told.version,
            "last_fault": None if told.fault is None else told.fault[:FAULT_LENGTH_MAX],
        }
        if told.outcome == "done":
            return values | {"state": "done", "finished_at": now}
        if told.outcome == "off":
            return values | {"state": "dropped", "finished_at": now}
        not_before = None if told.after_s is None else now + timedelta(seconds=told.after_s)
        due_at = next_due(tries=tries, now=now, chance=self._chance, not_before=not_before, delays_s=PLUGIN_DELAYS_S)
        if due_at is None:
            return values | {"state": "dead", "finished_at": now}
        return values | {"due_at": due_at, "wake_at": due_at}


def _is_lost(refused: PlanRefused) -> bool:
    refusal = refused.refusal
    return isinstance(refusal, VersionConflict) and refusal.table == DELIVERIES.name
