"""All queries of the webhook routes. Each takes an open read transaction; its role decides what can be seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.delivery.webhooks.models import (
    WEBHOOK_ATTEMPTS,
    WEBHOOK_DELIVERIES,
    WEBHOOK_ENDPOINTS,
    WEBHOOK_HEALTH,
)
from platform_core.kernel.database.pools import Database

Record = Row[Any]  # columns are named by the statement; schemas check them

_endpoints, _health = WEBHOOK_ENDPOINTS.table, WEBHOOK_HEALTH.table
_deliveries, _attempts = WEBHOOK_DELIVERIES.table, WEBHOOK_ATTEMPTS.table


@asynccontextmanager
async def read_as_app(database: Database, app_id: str) -> AsyncIterator[AsyncConnection]:
    """A read transaction that sees the rows of one app, and no tenant's."""
    async with database.read_as_app(app_id) as connection:
        yield connection


def _endpoint_query(app_id: str, mode: str) -> Any:  # a Select, whose type lists every column
    health = (_health.c.failing_since, _health.c.last_success_at)
    return (
        select(*_endpoints.c, *health)
        .join(_health, _health.c.id == _endpoints.c.id)
        .where(_endpoints.c.app_id == app_id, _endpoints.c.mode == mode, _endpoints.c.state != "removed")
    )


async def read_endpoint(connection: AsyncConnection, endpoint_id: str, *, app_id: str, mode: str) -> Record | None:
    """One endpoint of the app with its health; removed ones are not there."""
    query = _endpoint_query(app_id, mode).where(_endpoints.c.id == endpoint_id)
    return (await connection.execute(query)).one_or_none()


async def list_endpoints(
    connection: AsyncConnection, *, app_id: str, mode: str, after: tuple[datetime, str] | None, limit: int
) -> Sequence[Record]:
    """Endpoints of the app by (created_at, id)."""
    query = _endpoint_query(app_id, mode)
    if after is not None:
        query = query.where(tuple_(_endpoints.c.created_at, _endpoints.c.id) > tuple_(*after))
    return (await connection.execute(query.order_by(_endpoints.c.created_at, _endpoints.c.id).limit(limit))).all()


async def count_endpoints(connection: AsyncConnection, *, app_id: str, mode: str) -> int:
    """How many endpoints the app has in a mode."""
    query = select(text("count(*)")).select_from(_endpoint_query(app_id, mode).subquery())
    return int((await connection.execute(query)).scalar_one())


async def read_delivery(
    connection: AsyncConnection, delivery_id: str, *, app_id: str, mode: str, merchant_id: str | None
) -> Record | None:
    """One delivery of the app in a mode; with a merchant only if it is about that merchant."""
    query = _delivery_query(app_id, mode, merchant_id).where(_deliveries.c.id == delivery_id)
    return (await connection.execute(query)).one_or_none()


def _delivery_query(app_id: str, mode: str, merchant_id: str | None) -> Any:  # a Select, whose type lists every column
    query = (
        select(*_deliveries.c, _endpoints.c.state.label("endpoint_state"))
        .join(_endpoints, _endpoints.c.id == _deliveries.c.endpoint_id)
        .where(_deliveries.c.app_id == app_id, _endpoints.c.mode == mode)
    )
    return query if merchant_id is None else query.where(_deliveries.c.merchant_id == merchant_id)


async def list_deliveries(
    connection: AsyncConnection,
    *,
    app_id: str,
    mode: str,
    merchant_id: str | None,
    filters: dict[str, str],
    after: tuple[datetime, str] | None,
    limit: int,
) -> Sequence[Record]:
    """Deliveries of the app, the newest first. `filters`: columns and the value that each must have."""
    query = _delivery_query(app_id, mode, merchant_id)
    for column, value in filters.items():
        query = query.where(_deliveries.c[column] == value)
    if after is not None:
        query = query.where(tuple_(_deliveries.c.created_at, _deliveries.c.id) < tuple_(*after))
    query = query.order_by(_deliveries.c.created_at.desc(), _deliveries.c.id.desc()).limit(limit)
    return (await connection.execute(query)).all()


async def latest_attempts(connection: AsyncConnection, delivery_id: str, *, limit: int = 20) -> Sequence[Record]:
    """The attempts of a delivery, the newest first."""
    query = select(_attempts).where(_attempts.c.delivery_id == delivery_id)
    return (await connection.execute(query.order_by(_attempts.c.number.desc()).limit(limit))).all()


_EVENT_COLUMNS: Final = "id, type, merchant_id, object_id, sequence, occurred_at, body, traceparent"
# An app sees what became of its own grant and of that one's limits alone; who acts under no grant sees all of them.
_OWN = (
    "AND (CAST(:grant_id AS text) IS NULL OR (type NOT LIKE 'grant.%' OR object_id = :grant_id) AND (type NOT LIKE "
    "'limit.%' OR :grant_id = (SELECT l.grant_id FROM limit_window AS l WHERE l.id = outbox.object_id))) "
)
_LIST_EVENTS: Final = text(
    f"SELECT {_EVENT_COLUMNS} FROM outbox WHERE merchant_id = :merchant_id AND type = ANY (:types) "
    "AND (CAST(:object_id AS text) IS NULL OR object_id = :object_id) "
    f"AND (CAST(:before AS text) IS NULL OR id < :before) {_OWN}ORDER BY id DESC LIMIT :limit"
)
_READ_EVENT: Final = text(
    f"SELECT {_EVENT_COLUMNS} FROM outbox WHERE id = :id AND merchant_id = :merchant_id AND type = ANY (:types) {_OWN}"
)


async def list_events(
    connection: AsyncConnection,
    *,
    merchant_id: str,
    grant_id: str | None,
    types: list[str],
    object_id: str | None,
    before: str | None,
    limit: int,
) -> Sequence[Record]:
    """Events of a merchant that a grant may see, the newest first, by id, which is by time."""
    values = {
        "merchant_id": merchant_id,
        "grant_id": grant_id,
        "types": types,
        "object_id": object_id,
        "before": before,
        "limit": limit,
    }
    return (await connection.execute(_LIST_EVENTS, values)).all()


async def read_event(
    connection: AsyncConnection, event_id: str, *, merchant_id: str, grant_id: str | None, types: list[str]
) -> Record | None:
    """One event of a merchant, if it is of one of the types and the grant may see it."""
    values = {"id": event_id, "merchant_id": merchant_id, "grant_id": grant_id, "types": types}
    return (await connection.execute(_READ_EVENT, values)).one_or_none()


# The relay's rule (delivery.relay.SUBSCRIBERS_SQL) read from the endpoint's side.
_RANGE: Final = text(
    """
SELECT o.id, o.type, o.merchant_id, o.object_id, o.sequence, o.occurred_at, o.body, o.traceparent,
  d.id AS delivery_id, d.version AS delivery_version, w.id AS message_id
FROM webhook_endpoint AS e
JOIN access_grant AS g ON g.app_id = e.app_id AND g.state = 'active' AND (g.expires_at IS NULL OR g.expires_at > :now)
  AND (CAST(:merchant_id AS text) IS NULL OR g.merchant_id = :merchant_id)
JOIN merchant AS m ON m.id = g.merchant_id AND m.mode = e.mode
JOIN outbox AS o ON o.merchant_id = g.merchant_id AND o.relayed_at IS NOT NULL AND o.id >= :first_id
  AND (CAST(:until AS timestamptz) IS NULL OR o.occurred_at < :until)
JOIN unnest(CAST(:types AS text[]), CAST(:scopes AS text[])) AS k (type, scope) ON k.type = o.type
  AND k.scope = ANY (string_to_array(g.scopes, ' '))
  AND (o.type NOT LIKE 'grant.%' OR o.object_id = g.id)
  AND (o.type NOT LIKE 'limit.%' OR g.id = (SELECT l.grant_id FROM limit_window AS l WHERE l.id = o.object_id))
  AND e.event_types ?| ARRAY[o.type, split_part(o.type, '.', 1) || '.*', '*']
LEFT JOIN webhook_delivery AS d ON d.event_id = o.id AND d.endpoint_id = e.id
LEFT JOIN webhook_message AS w ON w.id = o.id || ':' || e.api_version
WHERE e.id = :endpoint_id AND (d.id IS NULL OR d.leased_until IS NULL OR d.leased_until <= :now)
ORDER BY o.id LIMIT :limit
"""
)


async def events_for_endpoint(connection: AsyncConnection, values: dict[str, Any]) -> Sequence[Record]:
    """Relayed events that an endpoint may hear, in order, with the delivery of each; those under way are left out.

    Reads across tenants, with the role of workers. `values`: endpoint_id, merchant_id, first_id, until, types, scopes,
    now, limit.
    """
    return (await connection.execute(_RANGE, values)).all()
