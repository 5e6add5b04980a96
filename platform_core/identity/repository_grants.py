"""Queries about grants, their versions and meters. Each takes an open read transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, literal, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.identity.models import ACCESS_GRANTS, APP_SCOPES, GRANT_VERSIONS, LIMIT_WINDOWS
from platform_core.identity.rar import Granted, granted_of
from platform_core.kernel.pagination import Position

Record = Row[Any]  # columns are named by the statement; schemas check them
_grants, _versions, _app_scopes = ACCESS_GRANTS.table, GRANT_VERSIONS.table, APP_SCOPES.table
_windows = LIMIT_WINDOWS.table


async def read_grant_by_id(connection: AsyncConnection, grant_id: str) -> Record | None:
    """One grant, of any merchant that the role may see."""
    return (await connection.execute(select(_grants).where(_grants.c.id == grant_id))).one_or_none()


async def list_grants(
    connection: AsyncConnection,
    *,
    merchant_id: str,
    state: str | None,
    after: Position | None,
    limit: int,
) -> Sequence[Record]:
    """Grants of the merchant by (created_at, id), those after `after`."""
    query = select(_grants).where(_grants.c.merchant_id == merchant_id)
    if state is not None:
        query = query.where(_grants.c.state == state)
    if after is not None:
        query = query.where(
            tuple_(_grants.c.created_at, _grants.c.id) > tuple_(literal(after.created_at), literal(after.id))
        )
    return (await connection.execute(query.order_by(_grants.c.created_at, _grants.c.id).limit(limit))).all()


async def read_grant_versions(connection: AsyncConnection, grant_id: str, *, limit: int) -> Sequence[Record]:
    """What became of a grant, the newest first."""
    query = select(_versions).where(_versions.c.grant_id == grant_id).order_by(_versions.c.version.desc()).limit(limit)
    return (await connection.execute(query)).all()


async def read_app_scopes(connection: AsyncConnection, app_id: str) -> Sequence[Record]:
    """What the app says of the scopes that it asks for."""
    return (await connection.execute(select(_app_scopes).where(_app_scopes.c.app_id == app_id))).all()


@dataclass(frozen=True, slots=True)
class MeterState:
    """A grant's turnstile, and the grant behind it, as of one moment."""

    version: int
    grant_version: int
    grant_floor: int
    state: str
    details: Granted


_METER: Final = text("""
SELECT m.version, g.version, g.floor_version, g.state, g.details FROM grant_meter m JOIN access_grant g ON g.id = m.id
WHERE m.id = :grant_id AND m.merchant_id = :merchant_id
""")


async def read_meter(connection: AsyncConnection, grant_id: str, *, merchant_id: str) -> MeterState | None:
    """The meter of a grant with limits."""
    row = (await connection.execute(_METER, {"grant_id": grant_id, "merchant_id": merchant_id})).one_or_none()
    return None if row is None else MeterState(row[0], row[1], row[2], row[3], granted_of(row[4]))


async def read_window(connection: AsyncConnection, window_id: str) -> Record | None:
    """The row of an opened window of a limit."""
    return (await connection.execute(select(_windows).where(_windows.c.id == window_id))).one_or_none()
