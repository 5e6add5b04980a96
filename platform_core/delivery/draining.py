"""Everything that is due by a moment, done on the spot: what a sandbox asks for when its clock stands.

The rows and their locks are those of every worker, so work that another worker has begun is waited for and none is done
twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from platform_core.delivery.assembly import Delivery

AT_ONCE: Final = 8
ROWS_MAX: Final = 200
IN_ORDER: Final = ("due", "events")
"""Queues whose rows are done one after another; receivers of the others are told side by side."""

# Of work that was taken and put back `wake_at` counts, of endpoints that asked for a pause its end; a lease that runs
# is somebody's work under way. `due` stands for itself: a lease is all that its rows have besides.
_AHEAD: Final = """
WITH work AS (
  SELECT due_at AS at, leased_until FROM due WHERE kind = ANY ($2::text[])
  UNION ALL
  SELECT greatest(d.due_at, d.wake_at, h.paused_until), d.leased_until FROM webhook_delivery AS d
  JOIN webhook_endpoint AS e ON e.id = d.endpoint_id AND e.state = 'enabled'
  JOIN webhook_endpoint_health AS h ON h.id = d.endpoint_id
  WHERE d.state = 'pending'
  UNION ALL
  SELECT greatest(due_at, wake_at), leased_until FROM event_handling
  WHERE state = 'pending' AND consumer = ANY ($3::text[])
  UNION ALL
  SELECT greatest(due_at, wake_at), leased_until FROM plugin_delivery WHERE state = 'pending' AND $4
)
SELECT
  count(*) FILTER (WHERE leased_until > $1) AS under_way,
  count(*) FILTER (WHERE at <= $1 AND (leased_until IS NULL OR leased_until <= $1)) AS waiting,
  min(at) FILTER (WHERE at > $1 AND (leased_until IS NULL OR leased_until <= $1)) AS next_at,
  min(leased_until) FILTER (WHERE leased_until > $1) AS lease_ends_at,
  (SELECT count(*) FROM outbox WHERE relayed_at IS NULL) AS unrelayed
FROM work
"""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What there is to do at a moment, and when there will be more. `unrelayed`: events nobody has laid out yet."""

    under_way: int
    waiting: int
    next_at: datetime | None
    lease_ends_at: datetime | None
    unrelayed: int

    @property
    def is_quiet(self) -> bool:
        """Nothing is due, and nothing under way."""
        return not (self.under_way or self.waiting or self.unrelayed)


@dataclass(frozen=True, slots=True)
class Draining:
    """The work of one worker's delivery."""

    delivery: Delivery

    async def look(self, now: datetime, *, without: Collection[str] = ()) -> Ahead:
        """What is due at `now`, leaving out the kinds of due rows `without`."""
        delivery = self.delivery
        kinds = [kind for kind in delivery.due_kinds if kind not in without]
        has_plugins = "plugins" in delivery.dispatcher.queues
        row = await delivery.pool.fetchrow(_AHEAD, now, kinds, list(delivery.consumers), has_plugins)
        assert row is not None, "an aggregate always answers"
        return Ahead(**dict(row))

    async def turn(self) -> int:
        """Relay what was committed, then do what is due now; returns how many rows and events were touched."""
        done = 0
        while relayed := await self.delivery.relay.relay_once():
            done += relayed
        for name, queue in self.delivery.dispatcher.queues.items():
            ids = await queue.take_due(ROWS_MAX)
            done += len(ids)
            if name in IN_ORDER:
                for work_id in ids:
                    await self.delivery.dispatcher.run_work(name, work_id)
            else:
                await self._side_by_side(name, ids)
        return done

    async def _side_by_side(self, queue: str, ids: Collection[str]) -> None:
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(work_id: str) -> None:
            async with slots:
                await self.delivery.dispatcher.run_work(queue, work_id)

        await asyncio.gather(*(one(work_id) for work_id in ids))
