"""Signing in: password, second factor, party, step-up. Each step makes a new session and ends the one before it.

Whether an account exists shows in no text and in no work: an unknown one costs the same reads, the same hash and the
same commits.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from platform_core.identity import repository_people as repository
from platform_core.identity.attempts import Attempts, Reservation, address_block
from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.errors_people import (
    ENROLMENT_STALE,
    SECOND_FACTOR_REFUSED,
    SIGN_IN_REFUSED,
    SIGN_IN_REQUIRED,
)
from platform_core.identity.models_people import PERSONS, RECOVERY_CODES, Console
from platform_core.identity.passwords import Passwords
from platform_core.identity.refusals import Refusals
from platform_core.identity.repository_people import SessionState
from platform_core.identity.sessions import (
    ACR_MFA,
    ACR_PASSWORD,
    PARTY_OF,
    STEP_UP_S,
    Cookie,
    Device,
    Sessions,
)
from platform_core.identity.totp import (
    is_recovery,
    is_totp,
    make_recovery_codes,
    make_seed,
    tidy,
    used_step,
)
from platform_core.kernel.commit import Audit, Change, Event, Insert, Plan, PlanRefused

EMAIL: Final = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,180}")
_KNOWN: Final = re.compile(r"([A-Za-z0-9_-]{22})[.]([A-Za-z0-9_-]{43})", re.ASCII)
KNOWN_BROWSER_LIFE: Final = timedelta(days=180)


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try to sign in with a password."""

    email: str
    password: str = field(repr=False)
    console: Console
    device: Device
    known_browser: str | None = field(default=None, repr=False)  # the browser's own mark of an earlier success
    cookie: str | None = field(default=None, repr=False)  # the console's, that the browser sent along


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was opened: the browser's new cookie, and the mark by which it is known from now on."""

    cookie: Cookie
    known_browser: str | None = None


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A new authenticator: the new session, and the recovery codes, shown this once."""

    opened: Opened
    recovery_codes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A party for which a person may act."""

    membership_id: str
    version: int
    party_id: str
    party_name: str
    roles: tuple[str, ...]
    is_test: bool


class SignIn:
    """The steps. One per process."""

    def __init__(self, deps: IdentityDeps, sessions: Sessions, passwords: Passwords, refusals: Refusals) -> None:
        self._deps = deps
        self._refusals = refusals
        self._sessions = sessions
        self._passwords = passwords
        self._attempts = Attempts(deps)
        self._reads = single_reads(deps.database)

    async def password(self, wanted: Try) -> Opened:
        """The first step. Its session opens nothing yet where a second factor or a choice of party is due.

        401 `identity.sign_in_refused`, in one text for every reason; 429 `identity.sign_in_slowed`; 503
        `identity.sign_in_busy`. Emits `person.locked` when waits begin.
        """
        key = email_key(wanted.email)
        async with self._reads.connect() as connection:
            person = await repository.read_person_by_email(connection, key)
        nobody = self._attempts.counter("account", key)
        with self._refusals.of_sign_in("sign_in.password", nobody if person is None else person.id):
            return await self._try_password(person, wanted, key)

    async def _try_password(self, person: Any, wanted: Try, key: str) -> Opened:  # Any: a row or None
        epoch = 0 if person is None else person.session_epoch
        reservation = await self._attempts.reserve(self._counters(wanted, key, epoch))
        is_right = await self._passwords.verify(person.password_hash if person is not None else None, wanted.password)
        if person is None or not is_right:
            if reservation.has_begun_wait and person is not None:
                await self._tell_locked(person)
            raise SIGN_IN_REFUSED.error()
        return await self._open(person, wanted, reservation)

    async def second_factor(self, state: SessionState, code: str, device: Device) -> Opened:
        """A code of the authenticator, or a recovery code: the session that follows has it, from now on 600 s fresh.

        Also the step-up of a session that is complete. 401 `identity.second_factor_refused`, also for a code used
        before; 429 `identity.sign_in_slowed`.
        """
        with self._refusals.of_sign_in("sign_in.second_factor", state.person_id):
            return await self._try_code(state, code, device)

    async def _try_code(self, state: SessionState, code: str, device: Device) -> Opened:
        reservation = await self._attempts.reserve([self._attempts.counter("second_factor", state.person_id)])
        async with self._reads.connect() as connection:
            person = await repository.read_person(connection, state.person_id)
            codes = await repository.read_recovery_codes(connection, state.person_id)
        assert person is not None, "people are never deleted"
        parts = self._consumed(person, codes, tidy(code))
        if parts is None:
            raise SECOND_FACTOR_REFUSED.error()
        cookie, session_parts = await self._proven(state, device)
        try:
            facts = {
                "console": state.console,
                "session": cookie.session_id,
                "is_recovery_code": is_recovery(tidy(code)),
            }
            told = Audit("person.proven", state.person_id, state.person_id, None, facts)
            await self._deps.committer.commit(Plan(None).add(*parts, *session_parts, told))
        except PlanRefused as refused:
            raise SECOND_FACTOR_REFUSED.error() from refused  # the same code, or another step, came first
        await self._attempts.take_back(reservation)
        return Opened(cookie)

    def new_seed(self, state: SessionState) -> bytes:
        """A seed for an authenticator, sealed for this session: it travels in the page's form and is stored nowhere."""
        return self._deps.vault.seal(state.id, make_seed(self._deps.entropy))

    def open_seed(self, state: SessionState, sealed: bytes) -> bytes:
        """The seed that `new_seed` sealed for this session. Raises `vault.SealBroken`."""
        return self._deps.vault.open(state.id, sealed)

    async def enrol(self, state: SessionState, seed: bytes, code: str, *, device: Device) -> Enrolled:
        """Take an authenticator into use, proven by one of its codes, within 600 s of the password.

        409 `identity.enrolment_stale`, 401 `identity.second_factor_refused`, 429 `identity.sign_in_slowed`.
        """
        with self._refusals.of_sign_in("sign_in.enrolment", state.person_id):
            return await self._try_enrolment(state, seed, code, device)

    async def _try_enrolment(self, state: SessionState, seed: bytes, code: str, device: Device) -> Enrolled:
        now = self._deps.clock.now()
        if state.has_totp or now - state.auth_time > timedelta(seconds=STEP_UP_S):
            raise ENROLMENT_STALE.error()
        reservation = await self._attempts.reserve([self._attempts.counter("second_factor", state.person_id)])
        step = used_step(seed, tidy(code), now=now, last_step=0)
        if step is None:
            raise SECOND_FACTOR_REFUSED.error()
        sealed = {"totp_sealed": self._deps.vault.seal(state.person_id, seed), "totp_step": step}
        codes = make_recovery_codes(self._deps.entropy)
        cookie, session_parts = await self._proven(state, device)
        plan = Plan(None).add(
            Change(PERSONS, state.person_id, sealed, expected=state.person_version),
            *(self._recovery_row(state.person_id, recovery_code) for recovery_code in codes),
            *session_parts,
            Audit("person.enrolled", state.person_id, state.person_id, None),
        )
        try:
            await self._deps.committer.commit(plan)
        except PlanRefused as refused:
            raise ENROLMENT_STALE.error() from refused
        await self._attempts.take_back(reservation)
        return Enrolled(Opened(cookie), codes)

    async def places(self, state: SessionState) -> list[Place]:
        """The parties that the person may choose at this console."""
        return await self._places(state.person_id, state.console)

    async def choose(self, state: SessionState, membership_id: str, device: Device) -> Opened:
        """Act for one of the parties from now on, in a new session. A foreign one: 401 `identity.sign_in_required`."""
        chosen = next((place for place in await self.places(state) if place.membership_id == membership_id), None)
        if chosen is None:
            raise SIGN_IN_REQUIRED.error()
        cookie, parts = self._sessions.opening(
            person_id=state.person_id,
            session_epoch=state.session_epoch,
            console=state.console,
            acr=state.acr,
            auth_time=state.auth_time,
            device=device,
            membership=(chosen.membership_id, chosen.version),
            replaces=state,
        )
        facts = {"membership": chosen.membership_id, "party": chosen.party_id, "session": cookie.session_id}
        told = Audit("person.party_chosen", state.person_id, state.person_id, None, facts)
        await self._replace(Plan(None).add(*parts, told))
        return Opened(cookie)

    def _counters(self, wanted: Try, key: str, epoch: int) -> list[str]:
        """What a try counts on: the browser's own counter where this account knows it, else account and address."""
        browser = self._known_browser(wanted.known_browser, key, epoch)
        if browser is not None:
            return [self._attempts.counter("browser", f"{key}\x1f{browser}")]
        return [
            self._attempts.counter("account", key),
            self._attempts.counter("address", address_block(wanted.device.address)),
        ]

    async def _open(self, person: Any, wanted: Try, reservation: Reservation) -> Opened:  # Any: a row
        before = await self._sessions.state(wanted.cookie, console=wanted.console)
        places = await self._places(person.id, wanted.console)
        only = (places[0].membership_id, places[0].version) if len(places) == 1 else None
        now = self._deps.clock.now()
        cookie, parts = self._sessions.opening(
            person_id=person.id,
            session_epoch=person.session_epoch,
            console=wanted.console,
            acr=ACR_PASSWORD,
            auth_time=now,
            device=wanted.device,
            membership=only,
        )
        facts = {"console": wanted.console, "session": cookie.session_id}
        plan = Plan(None).add(*parts, Audit("person.signed_in", person.id, person.id, None, facts))
        if before is not None:
            await self._sessions.end(wanted.cookie, console=wanted.console)
        if self._passwords.is_outdated(person.password_hash):
            rehashed = await self._passwords.hash(wanted.password)
            plan.add(Change(PERSONS, person.id, {"password_hash": rehashed}, expected=person.version))
        await self._replace(plan)
        await self._attempts.take_back(reservation)
        key = email_key(wanted.email)
        is_known = self._known_browser(wanted.known_browser, key, person.session_epoch) is not None
        return Opened(cookie, wanted.known_browser if is_known else self._mark(key, person.session_epoch))

    async def _proven(self, state: SessionState, device: Device) -> tuple[Cookie, list[object]]:
        """The session that follows a second factor; where one party is left to choose, it is chosen."""
        membership = None
        if state.membership_id is not None and state.membership_version is not None:
            membership = (state.membership_id, state.membership_version)
        return self._sessions.opening(
            person_id=state.person_id,
            session_epoch=state.session_epoch,
            console=state.console,
            acr=ACR_MFA,
            auth_time=self._deps.clock.now(),
            device=device,
            membership=membership,
            replaces=state,
        )

    def _consumed(self, person: Any, codes: Sequence[Any], code: str) -> list[object] | None:  # Any: rows
        """The parts that use a code up, or None if it is not right."""
        now = self._deps.clock.now()
        if is_totp(code) and person.totp_sealed is not None:
            seed = self._deps.vault.open(person.id, person.totp_sealed)
            step = used_step(seed, code, now=now, last_step=person.totp_step)
            if step is not None:
                return [Change(PERSONS, person.id, {"totp_step": step}, expected=person.version)]
        if is_recovery(code):
            for row in codes:
                if self._deps.vault.matches(row.id, code, row.digest):
                    return [Change(RECOVERY_CODES, row.id, {"used_at": now}, expected=row.version)]
        return None

    def _recovery_row(self, person_id: str, code: str) -> Insert:
        row_id = self._deps.ids.mint("rcc")
        row = {
            "id": row_id,
            "person_id": person_id,
            "digest": self._deps.vault.digest(row_id, code),
            "version": 1,
            "created_at": self._deps.clock.now(),
            "used_at": None,
        }
        return Insert(RECOVERY_CODES, row)

    async def _places(self, person_id: str, console: Console) -> list[Place]:
        now = self._deps.clock.now()
        async with self._reads.connect() as connection:
            rows = await repository.list_places(connection, person_id=person_id, party_kind=PARTY_OF[console], now=now)
        return [
            Place(
                membership_id=row.id,
                version=row.version,
                party_id=row.party_id,
                party_name=row.party_name,
                roles=tuple(row.roles.split()),
                is_test=row.mode == "test",
            )
            for row in rows
        ]

    async def _replace(self, plan: Plan) -> None:
        try:
            await self._deps.committer.commit(plan)
        except PlanRefused as refused:  # the session was replaced, or the person changed, in the same moment
            raise SIGN_IN_REQUIRED.error() from refused

    async def _tell_locked(self, person: Any) -> None:  # Any: a row
        now = self._deps.clock.now()
        event = Event(
            id=self._deps.ids.mint("evt"),
            type="person.locked",
            object_id=person.id,
            sequence=person.version + 1,
            occurred_at=now,
            body=f'{{"id": "{person.id}"}}',
        )
        plan = Plan(None).add(Change(PERSONS, person.id, {}, expected=person.version), event)
        plan.add(Audit("person.locked", person.id, person.id, None))
        # Beside the answer: whoever tried must not see by the time it took that the account exists.
        task = asyncio.get_running_loop().create_task(self._commit_quietly(plan))
        _running.add(task)
        task.add_done_callback(_running.discard)

    async def _commit_quietly(self, plan: Plan) -> None:
        try:
            await self._deps.committer.commit(plan)
        except PlanRefused:
            return  # the person changed in the same moment; the next wait tells it

    def _mark(self, key: str, epoch: int) -> str:
        """A mark for a browser: random, and bound by a keyed hash to the account and the epoch of its sessions.

        A recovery and the ending of all sessions begin another epoch: who held a browser or a password before is a
        stranger then.
        """
        browser = urlsafe_b64encode(self._deps.entropy(16)).rstrip(b"=").decode()
        return f"{browser}.{self._mark_proof(browser, key, epoch)}"

    def _mark_proof(self, browser: str, key: str, epoch: int) -> str:
        digest = self._deps.vault.digest("known_browser", f"{browser}\x1f{epoch}\x1f{key}")
        return urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _known_browser(self, mark: str | None, key: str, epoch: int) -> str | None:
        match = _KNOWN.fullmatch(mark) if mark is not None else None
        if match is None or not hmac.compare_digest(match[2], self._mark_proof(match[1], key, epoch)):
            return None
        return match[1]


_running: Final[set[asyncio.Task[None]]] = set()  # the loop itself keeps no task alive


def email_key(email: str) -> str:
    """An e-mail address as it is compared: NFKC, case folded, no space around it; at most 254 characters."""
    return unicodedata.normalize("NFKC", email.strip()[:254]).casefold().encode("utf-8", "ignore").decode()
