"""All queries of identity. Each takes an open read transaction; its role decides what can be seen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.identity.models import (
    ACCESS_GRANTS,
    APP_CLIENTS,
    APP_SECRETS,
    APPS,
    ISVS,
    MERCHANTS,
    SIGNING_KEYS,
    STORES,
    GrantKind,
    Mode,
    Profile,
    Standing,
)
from platform_core.identity.rar import Granted, granted_of
from platform_core.kernel.database.singles import Singles
from platform_core.kernel.pagination import Position

Record = Row[Any]  # columns are named by the statement; schemas check them

_merchants, _stores, _isvs, _apps = MERCHANTS.table, STORES.table, ISVS.table, APPS.table
_clients, _secrets = APP_CLIENTS.table, APP_SECRETS.table
_grants, _keys = ACCESS_GRANTS.table, SIGNING_KEYS.table


async def read_merchant(connection: AsyncConnection, merchant_id: str) -> Record | None:
    """One merchant's row."""
    return (await connection.execute(select(_merchants).where(_merchants.c.id == merchant_id))).one_or_none()


async def find_live_merchant(connection: AsyncConnection) -> str | None:
    """The id of any merchant in live mode, read over all tenants."""
    found = await connection.execute(select(_merchants.c.id).where(_merchants.c.mode == "live").limit(1))
    return found.scalar_one_or_none()


async def read_store(connection: AsyncConnection, store_id: str, *, merchant_id: str) -> Record | None:
    """One store of the merchant."""
    query = select(_stores).where(_stores.c.id == store_id, _stores.c.merchant_id == merchant_id)
    return (await connection.execute(query)).one_or_none()


async def read_stores(connection: AsyncConnection, store_ids: Collection[str], *, merchant_id: str) -> Sequence[Record]:
    """Those of the ids that are stores of the merchant, in no order."""
    query = select(_stores).where(_stores.c.merchant_id == merchant_id, _stores.c.id.in_(sorted(store_ids)))
    return (await connection.execute(query)).all()


async def list_stores(
    connection: AsyncConnection,
    *,
    merchant_id: str,
    only: frozenset[str] | None,
    after: Position | None,
    limit: int,
) -> Sequence[Record]:
    """Stores of the merchant by (created_at, id), those after `after`; `only` restricts them to a grant's list."""
    query = select(_stores).where(_stores.c.merchant_id == merchant_id)
    if only is not None:
        query = query.where(_stores.c.id.in_(sorted(only)))
    if after is not None:
        query = query.where(
            tuple_(_stores.c.created_at, _stores.c.id) > tuple_(literal(after.created_at), literal(after.id))
        )
    return (await connection.execute(query.order_by(_stores.c.created_at, _stores.c.id).limit(limit))).all()


async def read_store_ids(connection: AsyncConnection, merchant_id: str) -> frozenset[str]:
    """The ids of all stores of the merchant that are open."""
    query = select(_stores.c.id).where(_stores.c.merchant_id == merchant_id, _stores.c.state == "open")
    return frozenset((await connection.execute(query)).scalars())


async def read_isv(connection: AsyncConnection, isv_id: str) -> Record | None:
    """One ISV's row."""
    return (await connection.execute(select(_isvs).where(_isvs.c.id == isv_id))).one_or_none()


async def read_app(connection: AsyncConnection, app_id: str) -> Record | None:
    """One app's row."""
    return (await connection.execute(select(_apps).where(_apps.c.id == app_id))).one_or_none()


async def read_client(connection: AsyncConnection, client_id: str) -> Record | None:
    """One client's row."""
    return (await connection.execute(select(_clients).where(_clients.c.id == client_id))).one_or_none()


async def read_client_of(connection: AsyncConnection, app_id: str, *, mode: str) -> Record | None:
    """An app's client in one mode; it has one at most."""
    query = select(_clients).where(_clients.c.app_id == app_id, _clients.c.mode == mode)
    return (await connection.execute(query)).one_or_none()


async def read_secrets(connection: AsyncConnection, client_id: str) -> Sequence[Record]:
    """All secrets of a client, the oldest first, also expired ones."""
    query = select(_secrets).where(_secrets.c.client_id == client_id).order_by(_secrets.c.created_at, _secrets.c.id)
    return (await connection.execute(query)).all()


async def read_grant(connection: AsyncConnection, grant_id: str, *, merchant_id: str) -> Record | None:
    """One grant of the merchant."""
    query = select(_grants).where(_grants.c.id == grant_id, _grants.c.merchant_id == merchant_id)
    return (await connection.execute(query)).one_or_none()


async def read_active_grant(connection: AsyncConnection, app_id: str, *, merchant_id: str) -> Record | None:
    """The merchant's active grant for an app."""
    query = select(_grants).where(
        _grants.c.app_id == app_id, _grants.c.merchant_id == merchant_id, _grants.c.state == "active"
    )
    return (await connection.execute(query)).one_or_none()


async def read_signing_keys(connection: AsyncConnection) -> Sequence[Record]:
    """Every key that is not revoked, the newest first."""
    query = select(_keys).where(_keys.c.state != "revoked").order_by(_keys.c.generation.desc())
    return (await connection.execute(query)).all()


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A client's secret as it lies in the database."""

    id: str
    digest: bytes
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClientState:
    """Everything that issuing a token to a client needs, as of one moment."""

    client_id: str
    app_id: str
    owner_merchant_id: str | None
    mode: Mode
    is_active: bool
    secrets: tuple[StoredSecret, ...]  # live ones
    grant_id: str | None = None  # the owner's grant of a merchant's own app
    grant_version: int = 0
    grant_scopes: frozenset[str] = frozenset()
    grant_stores: frozenset[str] | None = None
    merchant_mode: Mode | None = None
    profile: Profile = "confidential"
    redirect_uris: tuple[str, ...] = ()
    grant_types: frozenset[str] = frozenset()
    requires_par: bool = False
    may_introspect_any: bool = False


_CLIENT_STATE: Final = """
SELECT c.id, c.app_id, c.merchant_id, c.mode, c.state = 'active' AND a.state = 'active',
       s.id, s.digest, s.last_used_at, g.id, g.version, g.scopes, g.stores, m.mode,
       c.profile, c.redirect_uris, c.grant_types, c.requires_par, c.may_introspect_any
FROM app_client c
JOIN app a ON a.id = c.app_id
LEFT JOIN app_secret s ON s.client_id = c.id AND (s.expires_at IS NULL OR s.expires_at > :now)
LEFT JOIN access_grant g ON g.app_id = a.id AND g.merchant_id = a.merchant_id AND g.state = 'active'
  AND (g.expires_at IS NULL OR g.expires_at > :now)
LEFT JOIN merchant m ON m.id = g.merchant_id
WHERE c.id = :client_id
"""


async def read_client_state(reads: Singles, client_id: str, *, now: datetime) -> ClientState | None:
    """One statement for the token endpoint. `now` is aware."""
    rows = await reads.rows(_CLIENT_STATE, {"client_id": client_id, "now": now})
    if not rows:
        return None
    first = rows[0]
    return ClientState(
        client_id=first[0],
        app_id=first[1],
        owner_merchant_id=first[2],
        mode=first[3],
        is_active=first[4],
        secrets=tuple(StoredSecret(row[5], row[6], row[7]) for row in rows if row[5] is not None),
        grant_id=first[8],
        grant_version=first[9] or 0,
        grant_scopes=frozenset((first[10] or "").split()),
        grant_stores=frozenset(first[11].split()) if first[11] is not None else None,
        merchant_mode=first[12],
        profile=first[13],
        redirect_uris=tuple(first[14].split()),
        grant_types=frozenset(first[15].split()),
        requires_par=first[16],
        may_introspect_any=first[17],
    )


@dataclass(frozen=True, slots=True)
class TokenState:
    """What stands behind an access token now."""

    app_id: str
    mode: Mode
    api_version: str
    is_client_active: bool
    is_token_revoked: bool
    is_family_ended: bool
    merchant_id: str | None
    merchant_mode: Mode | None
    standing: Standing | None
    is_grant_active: bool
    grant_version: int
    grant_floor: int
    scopes: frozenset[str]
    stores: frozenset[str] | None
    tier: str | None
    grant_kind: GrantKind | None
    details: Granted
    must_sign: bool


_STANDS_BEHIND: Final = """
SELECT a.id, c.mode, c.api_version, c.state = 'active' AND a.state = 'active',
       EXISTS (SELECT FROM revocation r WHERE r.kind = 'token' AND r.subject_id = :token_id),
       CAST(:family_id AS text) IS NOT NULL
         AND NOT EXISTS (SELECT FROM oauth_token_family f WHERE f.id = :family_id AND f.state = 'active'),
       m.id, m.mode, m.standing,
       coalesce(g.state = 'active' AND (g.expires_at IS NULL OR g.expires_at > :now), false),
       g.version, g.scopes, g.stores, i.tier, g.kind, g.details::text,
       EXISTS (SELECT FROM client_signing s WHERE s.id = c.id), g.floor_version
FROM app_client c
JOIN app a ON a.id = c.app_id
LEFT JOIN isv i ON i.id = a.isv_id
LEFT JOIN access_grant g ON g.id = :grant_id AND g.app_id = a.id
LEFT JOIN merchant m ON m.id = g.merchant_id
WHERE c.id = :client_id
"""


async def read_token_state(
    reads: Singles,
    *,
    client_id: str,
    grant_id: str | None,
    family_id: str | None,
    token_id: str,
    now: datetime,
) -> TokenState | None:
    """One statement for a token that was not seen before; None for an unknown client. `now` is aware."""
    values = {
        "client_id": client_id,
        "grant_id": grant_id,
        "family_id": family_id,
        "token_id": token_id,
        "now": now,
    }
    row = await reads.row(_STANDS_BEHIND, values)
    if row is None:
        return None
    return TokenState(
        app_id=row[0],
        mode=row[1],
        api_version=row[2],
        is_client_active=row[3],
        is_token_revoked=row[4],
        is_family_ended=row[5],
        merchant_id=row[6],
        merchant_mode=row[7],
        standing=row[8],
        is_grant_active=row[9],
        grant_version=row[10] or 0,
        grant_floor=row[17] or 0,
        scopes=frozenset((row[11] or "").split()),
        stores=frozenset(row[12].split()) if row[12] is not None else None,
        tier=row[13],
        grant_kind=row[14],
        details=granted_of(msgspec.json.decode(row[15])) if row[15] is not None else (),
        must_sign=row[16],
    )
