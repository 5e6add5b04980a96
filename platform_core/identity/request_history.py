"""The request log's reading half: an app sees its own requests, for the merchant that its token acts for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row, Select, literal, select, tuple_

from platform_core.identity.models_conventions import REQUEST_LOG
from platform_core.identity.principal import Principal
from platform_core.kernel.database.pools import Database
from platform_core.kernel.pagination import Cursors, Page, Position

_log = REQUEST_LOG.table


class LoggedRequestRead(BaseModel):
    """One request of this app. What was secret or personal stands as `[secret]` and `[personal]`."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(description="The answer's Request-Id.")
    merchant_id: str | None
    method: str
    operation: str | None = Field(description="operationId of the route; null where there was none.")
    path: str
    status: int
    code: str | None = Field(description="Of the problem, if it was refused.")
    api_version: str
    idempotency_key: str | None
    client_request_id: str | None = Field(description="The X-Request-Id that was sent.")
    elapsed_us: int
    request_body: Any = Field(description="At most 8 KiB; null beyond, and where none was read.")
    answer_body: Any = Field(description="At most 8 KiB; null beyond.")
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which requests; None does not count. `since` and `until` are aware, until not included."""

    status: int | None = None
    operation: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class RequestHistory:
    """Reads the log."""

    def __init__(self, database: Database, cursors: Cursors) -> None:
        self._database = database
        self._cursors = cursors

    async def page(
        self, who: Principal, wanted: LogFilter, *, cursor: str | None, limit: int
    ) -> Page[LoggedRequestRead]:
        """Requests of the client, the newest first; of one merchant where the token acts for one.

        400 kernel.cursor_invalid.
        """
        bound_to = {"list": "request-log", "client": who.client_id, "merchant": who.merchant_id, "filter": str(wanted)}
        before = self._cursors.read(cursor, bound_to=bound_to) if cursor is not None else None
        query = _query(who, wanted)
        if before is not None:
            here = tuple_(literal(before.created_at), literal(before.id))
            query = query.where(tuple_(_log.c.created_at, _log.c.id) < here)
        query = query.order_by(_log.c.created_at.desc(), _log.c.id.desc()).limit(limit + 1)
        async with self._database.read_as_app(who.app_id) as connection:
            rows = (await connection.execute(query)).all()
        return self._cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.created_at, row.id),
            show=_shown,
        )


def _query(who: Principal, wanted: LogFilter) -> Select[Any]:
    query = select(_log).where(_log.c.client_id == who.client_id)
    if who.merchant_id is not None:
        query = query.where(_log.c.merchant_id == who.merchant_id)
    conditions = {
        "status": lambda value: _log.c.status == value,
        "operation": lambda value: _log.c.operation == value,
        "since": lambda value: _log.c.created_at >= value,
        "until": lambda value: _log.c.created_at < value,
    }
    for name, value in asdict(wanted).items():
        if value is not None:
            query = query.where(conditions[name](value))
    return query


def _shown(row: Row[Any]) -> LoggedRequestRead:
    bodies = {
        name: None if (body := getattr(row, name)) is None else msgspec.json.decode(body)
        for name in ("request_body", "answer_body")
    }
    return LoggedRequestRead.model_validate(dict(row._mapping) | bodies)
