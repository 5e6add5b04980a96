"""Sessions of browsers: one cookie a console, opaque, kept as keyed hash; rows decide on every request.

A session's id is new at sign-in, at a second factor, at a choice of party, and after a change of rights. OWASP Session
Management Cheat Sheet (session fixation, cookie prefixes), read 2026-11-22.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, Literal, Protocol

from platform_core.identity import repository_people as repository
from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.errors_people import STEP_UP_REQUIRED
from platform_core.identity.models import Mode, Standing
from platform_core.identity.models_people import CONSOLE_SESSIONS, PERSONS, Console, PartyKind
from platform_core.identity.repository_people import SessionState
from platform_core.identity.roles import needs_second_factor, scopes_of
from platform_core.kernel.commit import Audit, Change, Insert, Plan, PlanRefused
from platform_core.kernel.i18n import Language

ACR_PASSWORD: Final = "urn:arsenal:acr:pwd"  # noqa: S105 - a name of RFC 9470's kind
ACR_MFA: Final = "urn:arsenal:acr:mfa"
STEP_UP_S: Final = 600
PARTY_OF: Final[Mapping[Console, PartyKind]] = MappingProxyType(
    {"admin": "platform", "merchant": "merchant", "isv": "isv"}
)
CONSOLES: Final[tuple[Console, ...]] = ("admin", "merchant", "isv")
IDLE: Final[Mapping[Console, timedelta]] = MappingProxyType(
    {"admin": timedelta(minutes=30), "merchant": timedelta(hours=8), "isv": timedelta(hours=8)}
)
ABSOLUTE: Final[Mapping[Console, timedelta]] = MappingProxyType(
    {"admin": timedelta(hours=12), "merchant": timedelta(days=7), "isv": timedelta(days=7)}
)
SEEN_EVERY: Final = timedelta(minutes=1)
_COOKIE: Final = re.compile(r"(ses_[0-9a-z]{26})[.]([A-Za-z0-9_-]{43})", re.ASCII)
Step = Literal["second_factor", "enrol", "party"]
"""What a session still lacks before it opens anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A person at a console, acting for one party."""

    session_id: str
    person_id: str
    console: Console
    party_kind: PartyKind
    party_id: str
    roles: frozenset[str]
    scopes: frozenset[str]
    stores: frozenset[str] | None  # None: every store of the merchant
    acr: str
    auth_time: int  # seconds since the epoch, UTC
    locale: Language
    name: str = ""
    party_name: str = ""
    mode: Mode = "live"  # of the merchant; other parties see both
    standing: Standing = "active"
    expires_at: int = 0  # seconds since the epoch, UTC

    @property
    def merchant_id(self) -> str | None:
        """The merchant that the person acts for, if the party is one."""
        return self.party_id if self.party_kind == "merchant" else None


class _Proven(Protocol):
    @property
    def acr(self) -> str | None: ...
    @property
    def auth_time(self) -> int | None: ...


def require_step_up(who: _Proven, now: datetime) -> None:
    """Raise 401 `identity.step_up_required` (RFC 9470) unless a second factor was given in the last 600 s."""
    if who.acr == ACR_MFA and who.auth_time is not None and now.timestamp() - who.auth_time <= STEP_UP_S:
        return
    challenge = (
        f'Bearer realm="arsenal", error="insufficient_user_authentication", acr_values="{ACR_MFA}", max_age={STEP_UP_S}'
    )
    raise STEP_UP_REQUIRED.error({"max_age_s": STEP_UP_S}, headers={"WWW-Authenticate": challenge})


def cookie_name(console: Console) -> str:
    """The cookie of a console; the prefix makes browsers insist on https, our host and the whole path."""
    return f"__Host-arsenal_{console}"


@dataclass(frozen=True, slots=True)
class Cookie:
    """What a browser keeps: the session's id and 256 random bits."""

    session_id: str
    secret: str

    def __str__(self) -> str:
        return f"{self.session_id}.{self.secret}"

    __repr__ = object.__repr__  # the secret stands in no log


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where a session is used: for its list alone."""

    address: str
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRead:
    """One of a person's sessions, as its owner sees it."""

    id: str
    console: Console
    address: str
    agent: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


class Sessions:
    """Opens, finds, replaces, lists and ends sessions."""

    def __init__(self, deps: IdentityDeps) -> None:
        self._deps = deps
        self._reads = single_reads(deps.database)

    async def find(self, cookie_value: str | None, *, console: Console) -> SignedIn | None:
        """Who holds this cookie at this console, if the session lacks nothing. Notes the use, at most once a minute."""
        state = await self.state(cookie_value, console=console)
        if state is None or next_step(state) is not None:
            return None
        return signed_in_of(state)

    async def state(self, cookie_value: str | None, *, console: Console) -> SessionState | None:
        """The living session behind a cookie, complete or not; None for every kind of wrong, old or ended one."""
        cookie = read_cookie(cookie_value)
        if cookie is None:
            return None
        async with self._reads.connect() as connection:
            state = await repository.read_session(connection, cookie.session_id)
        now = self._deps.clock.now()
        if state is None or not self._deps.vault.matches(cookie.session_id, cookie.secret, state.digest):
            return None
        is_living = (
            state.console == console
            and state.ended_at is None
            and state.session_epoch == state.person_epoch
            and now < state.expires_at
            and now < state.seen_at + IDLE[console]
        )
        if not is_living:
            return None
        if now - state.seen_at >= SEEN_EVERY:
            await self._deps.committer.commit(Plan(None).add(Change(CONSOLE_SESSIONS, state.id, {"seen_at": now})))
        return without_lost_rights(state, now)

    def opening(
        self,
        *,
        person_id: str,
        session_epoch: int,
        console: Console,
        acr: str,
        auth_time: datetime,
        device: Device,
        membership: tuple[str, int] | None = None,
        replaces: SessionState | None = None,
    ) -> tuple[Cookie, list[object]]:
        """A new session and the parts of the plan that makes it; the one it replaces ends in the same plan, once.

        `membership`: id and version of the chosen place. The end of the replaced session stays the end of the new one.
        """
        now = self._deps.clock.now()
        cookie = Cookie(self._deps.ids.mint("ses"), _random_text(self._deps.entropy))
        row = {
            "id": cookie.session_id,
            "person_id": person_id,
            "console": console,
            "digest": self._deps.vault.digest(cookie.session_id, cookie.secret),
            "session_epoch": session_epoch,
            "membership_id": membership[0] if membership is not None else None,
            "membership_version": membership[1] if membership is not None else None,
            "acr": acr,
            "auth_time": auth_time,
            "address": device.address,
            "agent": device.agent[:200],
            "version": 1,
            "created_at": now,
            "seen_at": now,
            "expires_at": replaces.expires_at if replaces is not None else now + ABSOLUTE[console],
            "ended_at": None,
            "ended_why": None,
        }
        parts: list[object] = [Insert(CONSOLE_SESSIONS, row)]
        if replaces is not None:
            parts.append(ending(replaces.id, version=replaces.version, now=now, why="replaced"))
        return cookie, parts

    async def end(self, cookie_value: str | None, *, console: Console) -> None:
        """Sign out. No harm if there is nothing to end."""
        state = await self.state(cookie_value, console=console)
        if state is not None:
            await self._end(state, why="signed_out")

    async def end_one(self, session_id: str, *, person_id: str) -> bool:
        """End one of the person's sessions; False if there is no such living one."""
        async with self._reads.connect() as connection:
            state = await repository.read_session(connection, session_id)
        if state is None or state.person_id != person_id or state.ended_at is not None:
            return False
        await self._end(state, why="ended_by_person")
        return True

    async def end_all(self, person_id: str) -> bool:
        """End every session of a person, those that are being opened at this moment included. False: no such person."""
        async with self._reads.connect() as connection:
            person = await repository.read_person(connection, person_id)
        if person is None:
            return False
        raised = {"session_epoch": person.session_epoch + 1}
        change = Change(PERSONS, person_id, raised, expected=person.version)
        told = Audit("person.sessions_ended", person_id, person_id, None)
        await self._deps.committer.commit(Plan(None).add(change, told))
        return True

    async def list(self, person_id: str) -> Sequence[SessionRead]:
        """The person's living sessions, the newest first."""
        now = self._deps.clock.now()
        async with self._reads.connect() as connection:
            rows = await repository.list_sessions(connection, person_id=person_id, now=now)
        return [
            SessionRead(**{name: getattr(row, name) for name in SessionRead.__dataclass_fields__})
            for row in rows
            if now < row.seen_at + IDLE[row.console]
        ]

    async def _end(self, state: SessionState, *, why: str) -> None:
        part = ending(state.id, version=state.version, now=self._deps.clock.now(), why=why)
        told = Audit("person.session_ended", state.person_id, state.id, None, {"console": state.console}, reason=why)
        try:
            await self._deps.committer.commit(Plan(None).add(part, told))
        except PlanRefused:
            return  # somebody else ended or replaced it in the same moment


def ending(session_id: str, *, version: int, now: datetime, why: str) -> Change:
    """The part that ends a session; of two at once one wins."""
    return Change(CONSOLE_SESSIONS, session_id, {"ended_at": now, "ended_why": why}, expected=version)


def read_cookie(value: str | None) -> Cookie | None:
    """The cookie's two halves; None for what cannot be one."""
    match = _COOKIE.fullmatch(value) if value is not None else None
    return Cookie(match[1], match[2]) if match is not None else None


def next_step(state: SessionState) -> Step | None:
    """What the session lacks, in the order in which it is asked for."""
    if state.has_totp and state.acr != ACR_MFA:
        return "second_factor"
    if state.membership_id is None:
        return "party"
    if state.acr != ACR_MFA and needs_second_factor(_party_kind(state), state.roles):
        return "enrol"
    return None


def signed_in_of(state: SessionState) -> SignedIn:
    """The person behind a session that lacks nothing."""
    assert next_step(state) is None, "an unfinished session opens nothing"
    assert state.party_id is not None, "the party was chosen"
    party_kind = _party_kind(state)
    return SignedIn(
        session_id=state.id,
        person_id=state.person_id,
        console=state.console,
        party_kind=party_kind,
        party_id=state.party_id,
        roles=frozenset(state.roles),
        scopes=scopes_of(party_kind, state.roles),
        stores=state.stores,
        acr=state.acr,
        auth_time=int(state.auth_time.timestamp()),
        locale=state.locale,
        name=state.person_name,
        party_name=state.party_name or "",
        mode=state.mode or "live",
        standing=state.standing or "active",
        expires_at=int(state.expires_at.timestamp()),
    )


def without_lost_rights(state: SessionState, now: datetime) -> SessionState:
    """The session without its party when the place was removed, ran out, or has other rights than when chosen."""
    is_kept = (
        state.membership_id is not None
        and state.membership_state == "active"
        and state.membership_version == state.membership_version_now
        and (state.membership_expires_at is None or now < state.membership_expires_at)
    )
    return state if is_kept else state.without_party()


def _party_kind(state: SessionState) -> PartyKind:
    return PARTY_OF[state.console]


def _random_text(entropy: Callable[[int], bytes]) -> str:
    return urlsafe_b64encode(entropy(32)).rstrip(b"=").decode()
