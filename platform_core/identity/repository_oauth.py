"""Queries of the authorization server: what stands behind a code, a refresh token, a pushed request.

By the authorization server's role; `now` is aware.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.identity.models import Mode
from platform_core.identity.rar import Granted, granted_of


@dataclass(frozen=True, slots=True)
class GrantState:
    """What a merchant lets an app do, as of one moment."""

    grant_id: str
    app_id: str
    merchant_id: str
    merchant_mode: Mode
    is_active: bool
    version: int
    scopes: frozenset[str]
    stores: frozenset[str] | None
    details: Granted


@dataclass(frozen=True, slots=True)
class CodeState:
    """A code with its grant now; `family_version` is None while the code was not exchanged."""

    code: Row[Any]
    grant: GrantState
    family_version: int | None
    is_family_active: bool


@dataclass(frozen=True, slots=True)
class RefreshState:
    """A refresh token with its family and grant now."""

    token: Row[Any]
    family: Row[Any]
    grant: GrantState
    is_successor_unused: bool
    successor_expires_at: datetime | None


_GRANT: Final = """
g.id AS g_id, g.app_id AS g_app, g.merchant_id AS g_merchant, m.mode AS g_mode,
  g.state = 'active' AND (g.expires_at IS NULL OR g.expires_at > :now) AS g_active,
  g.version AS g_version, g.scopes AS g_scopes, g.stores AS g_stores, g.details AS g_details
"""
_CODE: Final = text(f"""
SELECT c.*, f.version AS f_version, f.state AS f_state, {_GRANT}
FROM oauth_code c
JOIN access_grant g ON g.id = c.grant_id
JOIN merchant m ON m.id = g.merchant_id
LEFT JOIN oauth_token_family f ON f.id = c.family_id
WHERE c.id = :id
""")
_REFRESH: Final = text("""
SELECT r.*, s.used_at IS NULL AND s.id IS NOT NULL AS s_unused, s.expires_at AS s_expires_at
FROM oauth_refresh_token r
LEFT JOIN oauth_refresh_token s ON s.id = r.successor_id
WHERE r.id = :id
""")
_FAMILY: Final = text(f"""
SELECT f.*, {_GRANT}
FROM oauth_token_family f
JOIN access_grant g ON g.id = f.grant_id
JOIN merchant m ON m.id = g.merchant_id
WHERE f.id = :id
""")
_PUSHED: Final = text("""
SELECT p.*, EXISTS (SELECT FROM oauth_used_once u WHERE u.id = p.id) AS is_used
FROM oauth_pushed_request p WHERE p.id = :id
""")
_GRANT_BY_ID: Final = text(f"""
SELECT {_GRANT} FROM access_grant g JOIN merchant m ON m.id = g.merchant_id WHERE g.id = :id
""")
_PUBLIC_REDIRECTS: Final = text("""
SELECT DISTINCT u FROM app_client c, unnest(string_to_array(c.redirect_uris, ' ')) AS u
WHERE c.profile = 'public' AND c.state = 'active'
""")


async def read_code(connection: AsyncConnection, code_id: str, *, now: datetime) -> CodeState | None:
    """A code and what stands behind it."""
    row = (await connection.execute(_CODE, {"id": code_id, "now": now})).one_or_none()
    if row is None:
        return None
    return CodeState(row, _grant(row), row.f_version, row.f_state == "active")


async def read_refresh(connection: AsyncConnection, token_id: str, *, now: datetime) -> RefreshState | None:
    """A refresh token and what stands behind it. The token is read first, so what is read after it is not older."""
    token = (await connection.execute(_REFRESH, {"id": token_id})).one_or_none()
    if token is None:
        return None
    family = (await connection.execute(_FAMILY, {"id": token.family_id, "now": now})).one()
    return RefreshState(token, family, _grant(family), token.s_unused, token.s_expires_at)


async def read_grant_state(connection: AsyncConnection, grant_id: str, *, now: datetime) -> GrantState | None:
    """A grant, active or not."""
    row = (await connection.execute(_GRANT_BY_ID, {"id": grant_id, "now": now})).one_or_none()
    return _grant(row) if row is not None else None


async def read_pushed(connection: AsyncConnection, pushed_id: str) -> Row[Any] | None:
    """A pushed authorization request, with `is_used`."""
    return (await connection.execute(_PUSHED, {"id": pushed_id})).one_or_none()


async def read_public_redirects(connection: AsyncConnection) -> Sequence[str]:
    """Every redirect address of an active public client, once each."""
    return (await connection.execute(_PUBLIC_REDIRECTS)).scalars().all()


def _grant(row: Row[Any]) -> GrantState:
    return GrantState(
        grant_id=row.g_id,
        app_id=row.g_app,
        merchant_id=row.g_merchant,
        merchant_mode=row.g_mode,
        is_active=row.g_active,
        version=row.g_version,
        scopes=frozenset(row.g_scopes.split()),
        stores=frozenset(row.g_stores.split()) if row.g_stores is not None else None,
        details=granted_of(row.g_details),
    )
