"""Queries of the device grant, by the authorization server's role; `now` is aware."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.identity.models_device import DEVICE_CODES, DEVICE_DECISIONS
from platform_core.identity.repository_oauth import GrantState, read_grant_state

_codes, _decisions = DEVICE_CODES.table, DEVICE_DECISIONS.table


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device code, the decision on it, if there is one, and the grant that the decision gave, as it is now."""

    code: Row[Any]
    decision: Row[Any] | None
    grant: GrantState | None


_BY_USER_CODE: Final = text("""
SELECT d.id FROM oauth_device_code d
WHERE d.user_code_digest = :digest AND d.expires_at > :now
  AND NOT EXISTS (SELECT FROM oauth_device_decision x WHERE x.id = d.id)
""")


async def find_by_user_code(connection: AsyncConnection, digest: bytes, *, now: datetime) -> str | None:
    """The id of the living, undecided request with this user code."""
    found = await connection.execute(_BY_USER_CODE, {"digest": digest, "now": now})
    id_: str | None = found.scalar_one_or_none()
    return id_


async def read_device(connection: AsyncConnection, device_id: str, *, now: datetime) -> DeviceState | None:
    """A device code and what stands behind it. The decision is read after the code, so it is not older."""
    code = (await connection.execute(select(_codes).where(_codes.c.id == device_id))).one_or_none()
    if code is None:
        return None
    decision = (await connection.execute(select(_decisions).where(_decisions.c.id == device_id))).one_or_none()
    if decision is None or decision.grant_id is None:
        return DeviceState(code, decision, None)
    return DeviceState(code, decision, await read_grant_state(connection, decision.grant_id, now=now))
