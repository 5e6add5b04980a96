"""What `arsenal outbox` shows and does: how much waits, for how long, what is dead, and sending it again.

Reads with the role of workers, across tenants: this is the operator's view. What it writes are plans.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text

from platform_core.delivery.plugins.service import again as plugin_again
from platform_core.delivery.webhooks.models import EVENT_HANDLINGS, WEBHOOK_DELIVERIES
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Audit, Change, Committer, Plan, PlanRefused
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.database.pools import Database
from platform_core.plugin_host.models import DELIVERIES as PLUGIN_DELIVERIES

DEAD_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue: rows waiting, rows due already, age of the oldest due row in seconds (0 if none is), dead rows."""

    waiting: int
    due: int
    oldest_due_s: float
    dead: int


@dataclass(frozen=True, slots=True)
class OutboxState:
    """The relay's backlog and the queues behind it. A worker is alive as long as the ages stay small."""

    unrelayed: int
    oldest_unrelayed_s: float
    webhooks: QueueState
    handlings: QueueState
    plugins: QueueState


@dataclass(frozen=True, slots=True)
class DeadWork:
    """Work that was given up. `kind` is webhook, event or plugin; `receiver` an endpoint, a consumer, a plugin."""

    kind: str
    id: str
    event_id: str
    receiver: str
    merchant_id: str | None
    since: datetime
    last_error: str | None


_UNRELAYED: Final = text("SELECT count(*), min(occurred_at) FROM outbox WHERE relayed_at IS NULL")
_QUEUE: Final = """
SELECT (SELECT count(*) FROM {table} WHERE state = 'pending'),
  (SELECT count(*) FROM {table} WHERE state = 'pending' AND due_at <= :now),
  (SELECT min(due_at) FROM {table} WHERE state = 'pending' AND due_at <= :now),
  (SELECT count(*) FROM {table} WHERE state = 'dead')
"""
_WEBHOOKS: Final = text(_QUEUE.format(table="webhook_delivery"))
_HANDLINGS: Final = text(_QUEUE.format(table="event_handling"))
_PLUGINS: Final = text(_QUEUE.format(table="plugin_delivery"))
_DEAD: Final = text(
    """
SELECT * FROM (
  SELECT 'webhook', id, event_id, endpoint_id, merchant_id, finished_at AS since,
    coalesce(last_error, CAST(last_status AS text))
  FROM webhook_delivery WHERE state = 'dead'
  UNION ALL
  SELECT 'event', id, event_id, consumer, merchant_id, due_at, last_error FROM event_handling WHERE state = 'dead'
  UNION ALL
  SELECT 'plugin', id, event_id, plugin_id, merchant_id, finished_at, last_fault FROM plugin_delivery
  WHERE state = 'dead'
) AS dead ORDER BY since DESC LIMIT :limit
"""
)
_WEBHOOK: Final = text("SELECT version FROM webhook_delivery WHERE id = :id AND state <> 'pending'")
_HANDLING: Final = text("SELECT version, merchant_id FROM event_handling WHERE id = :id AND state = 'dead'")
_PLUGIN: Final = text("SELECT version, merchant_id FROM plugin_delivery WHERE id = :id AND state <> 'pending'")


async def read_state(database: Database, clock: Clock) -> OutboxState:
    """How much waits, and how old the oldest of it is."""
    now = clock.now()
    async with database.read_all() as connection:
        unrelayed, oldest = (await connection.execute(_UNRELAYED)).one()
        webhooks = (await connection.execute(_WEBHOOKS, {"now": now})).one()
        handlings = (await connection.execute(_HANDLINGS, {"now": now})).one()
        plugins = (await connection.execute(_PLUGINS, {"now": now})).one()
    return OutboxState(
        unrelayed,
        _age_s(oldest, now),
        webhooks=_queue_state(webhooks, now),
        handlings=_queue_state(handlings, now),
        plugins=_queue_state(plugins, now),
    )


async def list_dead(database: Database, *, limit: int = 100) -> list[DeadWork]:
    """Dead webhooks, events and tellings of plugins, the latest first, at most 1,000."""
    async with database.read_all() as connection:
        rows = (await connection.execute(_DEAD, {"limit": min(limit, DEAD_MAX)})).all()
    return [DeadWork(*row) for row in rows]


async def resend(database: Database, committer: Committer, *, work_id: str, clock: Clock) -> bool:
    """Put finished or dead work on its way again, by a new run of the schedule and under its own ids.

    Takes a delivery (`whd_...`, `pld_...`) or the id of dead event work. False if there is nothing to send again, or
    somebody was faster.
    """
    async with database.read_all() as connection:
        webhook = (await connection.execute(_WEBHOOK, {"id": work_id})).one_or_none()
        handling = (await connection.execute(_HANDLING, {"id": work_id})).one_or_none()
        plugin = (await connection.execute(_PLUGIN, {"id": work_id})).one_or_none()
    now = clock.now()
    values: dict[str, Any] = {"state": "pending", "tries": 0, "due_at": now, "wake_at": now, "leased_until": None}
    if webhook is not None:
        again = Change(WEBHOOK_DELIVERIES, work_id, values | {"finished_at": None}, expected=webhook[0])
        plan = Plan(None, [again, Audit("webhook.resent", PLATFORM, work_id, None)])
    elif handling is not None:
        again = Change(EVENT_HANDLINGS, work_id, values, expected=handling[0])
        plan = Plan(handling[1], [again, Audit("event.handled_again", PLATFORM, work_id, handling[1])])
    elif plugin is not None:
        again = Change(PLUGIN_DELIVERIES, work_id, plugin_again(now), expected=plugin[0])
        plan = Plan(plugin[1], [again, Audit("plugin_delivery.resent", PLATFORM, work_id, plugin[1])])
    else:
        return False
    try:
        await committer.commit(plan)
    except PlanRefused:  # its version moved on: somebody sent it again already
        return False
    return True


def _age_s(moment: datetime | None, now: datetime) -> float:
    return 0.0 if moment is None else max((now - moment).total_seconds(), 0.0)


def _queue_state(row: Any, now: datetime) -> QueueState:  # a Row of four unnamed columns
    return QueueState(row[0], row[1], _age_s(row[2], now), row[3])
