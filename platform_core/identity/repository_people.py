"""All queries about people. Each takes an open read; its role decides what can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, func, literal, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.identity.models import Mode, Standing
from platform_core.identity.models_people import (
    CONSOLE_SESSIONS,
    INVITATIONS,
    MEMBERSHIPS,
    ONE_TIME_LINKS,
    PAYOUT_DESTINATIONS,
    PERSON_MESSAGES,
    PERSONS,
    RECOVERY_CODES,
    SIGN_IN_COUNTERS,
    Console,
    PartyKind,
)
from platform_core.kernel.i18n import Language
from platform_core.kernel.pagination import Position

Record = Row[Any]  # columns are named by the statement; schemas check them

_persons, _memberships, _invitations = PERSONS.table, MEMBERSHIPS.table, INVITATIONS.table
_sessions, _codes, _counters = CONSOLE_SESSIONS.table, RECOVERY_CODES.table, SIGN_IN_COUNTERS.table
_links, _messages, _destinations = ONE_TIME_LINKS.table, PERSON_MESSAGES.table, PAYOUT_DESTINATIONS.table


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """A session with the person and the place behind it, as of one moment."""

    id: str
    person_id: str
    console: Console
    digest: bytes
    session_epoch: int
    membership_id: str | None
    membership_version: int | None
    acr: str
    auth_time: datetime
    version: int
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    person_epoch: int
    person_name: str
    person_version: int
    email: str
    locale: Language
    has_totp: bool
    membership_state: str | None
    membership_version_now: int | None
    membership_expires_at: datetime | None
    party_id: str | None
    party_name: str | None
    roles: tuple[str, ...]
    stores: frozenset[str] | None
    mode: Mode | None
    standing: Standing | None

    def without_party(self) -> SessionState:
        """The same session as if no party had been chosen."""
        return replace(self, membership_id=None, membership_version=None, party_id=None, roles=(), stores=None)


_SESSION: Final = text("""
SELECT s.id, s.person_id, s.console, s.digest, s.session_epoch, s.membership_id, s.membership_version, s.acr,
       s.auth_time, s.version, s.created_at, s.seen_at, s.expires_at, s.ended_at,
       p.session_epoch AS person_epoch, p.name AS person_name, p.version AS person_version, p.email, p.locale,
       p.totp_sealed IS NOT NULL AS has_totp,
       m.state AS membership_state, m.version AS membership_version_now, m.expires_at AS membership_expires_at,
       m.party_id, coalesce(t.name, i.name) AS party_name, coalesce(m.roles, '') AS roles, m.stores,
       t.mode, t.standing
FROM console_session s
JOIN person p ON p.id = s.person_id
LEFT JOIN membership m ON m.id = s.membership_id
LEFT JOIN merchant t ON t.id = m.merchant_id
LEFT JOIN isv i ON m.party_kind = 'isv' AND i.id = m.party_id
WHERE s.id = :session_id
""")


async def read_session(connection: AsyncConnection, session_id: str) -> SessionState | None:
    """One statement for every request of a browser."""
    row = (await connection.execute(_SESSION, {"session_id": session_id})).one_or_none()
    if row is None:
        return None
    stores = frozenset(row.stores.split()) if row.stores is not None else None
    return SessionState(**{**row._mapping, "roles": tuple(row.roles.split()), "stores": stores})


async def list_sessions(connection: AsyncConnection, *, person_id: str, now: datetime) -> Sequence[Record]:
    """A person's sessions that were neither ended nor made void, the newest first; at most 100."""
    query = (
        select(_sessions)
        .join(_persons, _persons.c.id == _sessions.c.person_id)
        .where(
            _sessions.c.person_id == person_id,
            _sessions.c.ended_at.is_(None),
            _sessions.c.expires_at > now,
            _sessions.c.session_epoch == _persons.c.session_epoch,
        )
    )
    return (await connection.execute(query.order_by(_sessions.c.created_at.desc()).limit(100))).all()


async def read_person(connection: AsyncConnection, person_id: str) -> Record | None:
    """One person, password hash and all."""
    return (await connection.execute(select(_persons).where(_persons.c.id == person_id))).one_or_none()


async def read_person_by_email(connection: AsyncConnection, email_key: str) -> Record | None:
    """The person who signs in with this address."""
    return (await connection.execute(select(_persons).where(_persons.c.email_key == email_key))).one_or_none()


async def read_recovery_codes(connection: AsyncConnection, person_id: str) -> Sequence[Record]:
    """The codes that are left."""
    query = select(_codes).where(_codes.c.person_id == person_id, _codes.c.used_at.is_(None))
    return (await connection.execute(query.order_by(_codes.c.id))).all()


async def read_counters(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Record]:
    """Counters of failed tries by id, those that exist."""
    query = select(_counters).where(_counters.c.id.in_(ids))
    return {row.id: row for row in (await connection.execute(query)).all()}


async def read_link(connection: AsyncConnection, link_id: str) -> Record | None:
    """A one-time link."""
    return (await connection.execute(select(_links).where(_links.c.id == link_id))).one_or_none()


async def list_waiting_messages(connection: AsyncConnection, *, limit: int) -> Sequence[Record]:
    """Messages that no channel has carried yet, the oldest first."""
    query = select(_messages).where(_messages.c.sent_at.is_(None), _messages.c.is_addressed)
    return (await connection.execute(query.order_by(_messages.c.created_at, _messages.c.id).limit(limit))).all()


_PLACES: Final = text("""
SELECT m.id, m.version, m.party_kind, m.party_id, m.roles, m.stores, m.expires_at,
       coalesce(t.name, i.name, '') AS party_name, t.mode
FROM membership m
LEFT JOIN merchant t ON t.id = m.merchant_id
LEFT JOIN isv i ON m.party_kind = 'isv' AND i.id = m.party_id
WHERE m.person_id = :person_id AND m.party_kind = :party_kind AND m.state = 'active'
  AND (m.expires_at IS NULL OR m.expires_at > :now)
ORDER BY party_name, m.id
LIMIT 200
""")


async def list_places(
    connection: AsyncConnection, *, person_id: str, party_kind: PartyKind, now: datetime
) -> Sequence[Record]:
    """The parties of a kind for which a person may act now."""
    values = {"person_id": person_id, "party_kind": party_kind, "now": now}
    return (await connection.execute(_PLACES, values)).all()


_STAFF: Final[tuple[ColumnElement[Any], ...]] = (
    _memberships.c.id,
    _memberships.c.person_id,
    _memberships.c.roles,
    _memberships.c.stores,
    _memberships.c.state,
    _memberships.c.version,
    _memberships.c.given_by,
    _memberships.c.created_at,
    _memberships.c.expires_at,
    _persons.c.email,
    _persons.c.name,
)


async def list_staff(
    connection: AsyncConnection, *, party_kind: PartyKind, party_id: str, after: Position | None, limit: int
) -> Sequence[Record]:
    """Active staff of a party by (created_at, id), those after `after`."""
    query = (
        select(*_STAFF)
        .join(_persons, _persons.c.id == _memberships.c.person_id)
        .where(
            _memberships.c.party_kind == party_kind,
            _memberships.c.party_id == party_id,
            _memberships.c.state == "active",
        )
    )
    if after is not None:
        place = tuple_(_memberships.c.created_at, _memberships.c.id)
        query = query.where(place > tuple_(literal(after.created_at), literal(after.id)))
    return (await connection.execute(query.order_by(_memberships.c.created_at, _memberships.c.id).limit(limit))).all()


async def read_staff(
    connection: AsyncConnection, membership_id: str, *, party_kind: PartyKind, party_id: str
) -> Record | None:
    """One of a party's staff, also a removed one."""
    query = (
        select(*_STAFF)
        .join(_persons, _persons.c.id == _memberships.c.person_id)
        .where(
            _memberships.c.id == membership_id,
            _memberships.c.party_kind == party_kind,
            _memberships.c.party_id == party_id,
        )
    )
    return (await connection.execute(query)).one_or_none()


async def list_holders(
    connection: AsyncConnection, *, party_kind: PartyKind, party_id: str, role: str
) -> Sequence[Record]:
    """Id and version of every active place of a party that holds a role."""
    columns: tuple[ColumnElement[Any], ...] = (_memberships.c.id, _memberships.c.version)
    query = (
        select(*columns)
        .where(
            _memberships.c.party_kind == party_kind,
            _memberships.c.party_id == party_id,
            _memberships.c.state == "active",
            literal(role) == func.any(func.string_to_array(_memberships.c.roles, " ")),
        )
        .order_by(_memberships.c.id)
    )
    return (await connection.execute(query)).all()


async def read_active_place(
    connection: AsyncConnection, *, person_id: str, party_kind: PartyKind, party_id: str
) -> Record | None:
    """A person's active place in a party."""
    query = select(_memberships).where(
        _memberships.c.person_id == person_id,
        _memberships.c.party_kind == party_kind,
        _memberships.c.party_id == party_id,
        _memberships.c.state == "active",
    )
    return (await connection.execute(query)).one_or_none()


async def read_invitation(connection: AsyncConnection, invitation_id: str) -> Record | None:
    """One invitation, digest and all."""
    return (await connection.execute(select(_invitations).where(_invitations.c.id == invitation_id))).one_or_none()


async def list_invitations(
    connection: AsyncConnection, *, party_kind: PartyKind, party_id: str, now: datetime
) -> Sequence[Record]:
    """A party's invitations that can still be accepted, the oldest first; at most 200."""
    query = (
        select(_invitations)
        .where(
            _invitations.c.party_kind == party_kind,
            _invitations.c.party_id == party_id,
            _invitations.c.state == "pending",
            _invitations.c.expires_at > now,
        )
        .order_by(_invitations.c.created_at, _invitations.c.id)
        .limit(200)
    )
    return (await connection.execute(query)).all()


async def read_pending_invitation(
    connection: AsyncConnection, *, email_key: str, party_kind: PartyKind, party_id: str
) -> Record | None:
    """The invitation of an address to a party that stands, expired or not."""
    query = select(_invitations).where(
        _invitations.c.email_key == email_key,
        _invitations.c.party_kind == party_kind,
        _invitations.c.party_id == party_id,
        _invitations.c.state == "pending",
    )
    return (await connection.execute(query)).one_or_none()


async def list_destinations(connection: AsyncConnection, *, merchant_id: str) -> Sequence[Record]:
    """A merchant's payout destinations, the newest first; at most 200."""
    query = select(_destinations).where(_destinations.c.merchant_id == merchant_id)
    ordered = query.order_by(_destinations.c.created_at.desc(), _destinations.c.id.desc())
    return (await connection.execute(ordered.limit(200))).all()


async def read_destination(connection: AsyncConnection, destination_id: str, *, merchant_id: str) -> Record | None:
    """One payout destination of the merchant."""
    query = select(_destinations).where(
        _destinations.c.id == destination_id, _destinations.c.merchant_id == merchant_id
    )
    return (await connection.execute(query)).one_or_none()


async def read_active_destination(connection: AsyncConnection, *, merchant_id: str, currency: str) -> Record | None:
    """Where a merchant is paid out to in a currency."""
    query = select(_destinations).where(
        _destinations.c.merchant_id == merchant_id,
        _destinations.c.currency == currency,
        _destinations.c.state == "active",
    )
    return (await connection.execute(query)).one_or_none()
