"""A party's staff: invitations, roles, removal. People are invited by address and choose their own password.

Nobody gives what he does not hold, and a party keeps somebody in charge.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from platform_core.identity import repository
from platform_core.identity import repository_people as people
from platform_core.identity.apps import nothing_else
from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.errors import CHANGED_MEANWHILE
from platform_core.identity.errors_people import (
    LAST_OWNER,
    LINK_INVALID,
    STAFF_EXISTS,
    STAFF_NOT_FOUND,
    STAFF_REFUSED,
)
from platform_core.identity.messages import Message, Messages
from platform_core.identity.models_people import INVITATIONS, MEMBERSHIPS, PERSONS, PLATFORM_ID, PartyKind
from platform_core.identity.passwords import Passwords, check_choice
from platform_core.identity.roles import PLATFORM_TERM, roles, scopes_of
from platform_core.identity.schemas_people import InvitationRead, StaffInvite, StaffRead, StaffUpdate
from platform_core.identity.sign_in import email_key
from platform_core.kernel.commit import Audit, Change, Duplicate, Event, Insert, Plan, PlanRefused, VersionConflict
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.http.preconditions import changed_meanwhile, check_version
from platform_core.kernel.i18n import Language, Text
from platform_core.kernel.pagination import Position

AlsoInvited = Callable[[InvitationRead], Iterable[object]]
INVITATION_LIFE: Final = timedelta(days=7)
_TOKEN: Final = re.compile(r"(inv_[0-9a-z]{26})[.]([A-Za-z0-9_-]{43})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Whose staff it is."""

    kind: PartyKind
    id: str
    name: str = ""

    @property
    def merchant_id(self) -> str | None:
        """The tenant of the party's rows."""
        return self.id if self.kind == "merchant" else None


OPERATOR: Final = Party(kind="platform", id=PLATFORM_ID, name="Arsenal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Giver:
    """Who gives roles, and how far that reaches. `scopes` None: the operator at the command line, who may all."""

    id: str
    scopes: frozenset[str] | None
    stores: frozenset[str] | None = None


AT_THE_TERMINAL: Final = Giver(id=PLATFORM, scopes=None)


@dataclass(frozen=True, slots=True)
class Invited:
    """A new invitation. `link` is for the message channel and the command line, never for an answer of the API."""

    invitation: InvitationRead
    link: str

    def __repr__(self) -> str:
        return f"Invited({self.invitation.id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInvitation:
    """What the page of an invitation shows. `is_known`: the address signs in already and needs no new password."""

    id: str
    email: str
    party_kind: PartyKind
    party_name: str
    roles: tuple[str, ...]
    is_known: bool


class Staff:
    """Everything about places in parties."""

    def __init__(self, deps: IdentityDeps, passwords: Passwords, messages: Messages, *, public_origin: str) -> None:
        self._deps = deps
        self._passwords = passwords
        self._messages = messages
        self._origin = public_origin
        self._reads = single_reads(deps.database)

    async def invite(
        self, party: Party, wanted: StaffInvite, *, by: Giver, also: AlsoInvited = nothing_else
    ) -> Invited:
        """Offer a place to an address, for seven days. An invitation that ran out is replaced.

        `also`: parts for the same plan. 422 `identity.staff_refused`, 409 `identity.staff_exists`.
        """
        await self._check(party, wanted.roles, wanted.stores, by)
        key, now = email_key(wanted.email), self._deps.clock.now()
        async with self._reads.connect() as connection:
            person = await people.read_person_by_email(connection, key)
            place = None
            if person is not None:
                place = await people.read_active_place(
                    connection, person_id=person.id, party_kind=party.kind, party_id=party.id
                )
            standing = await people.read_pending_invitation(
                connection, email_key=key, party_kind=party.kind, party_id=party.id
            )
        if place is not None:
            raise STAFF_EXISTS.error({"id": place.id})
        plan = Plan(party.merchant_id)
        if standing is not None:
            if standing.expires_at > now:
                raise STAFF_EXISTS.error({"id": standing.id})
            plan.add(
                Change(INVITATIONS, standing.id, {"state": "withdrawn"}, expected=standing.version),
                Audit("staff.uninvited", by.id, standing.id, party.merchant_id, {"party": party.id}, reason="expired"),
            )
            await self._commit(plan, standing.id)  # its own plan: the address must be free when the next one claims it
            plan = Plan(party.merchant_id)
        invited, insert = self._invitation(party, wanted, by=by, now=now)
        message = Message(
            kind="invitation", to=wanted.email, link=invited.link, language=wanted.locale, party_name=party.name
        )
        plan.add(insert, self._messages.part(message, merchant_id=party.merchant_id))
        facts = {"party": party.id, "roles": invited.invitation.roles}
        plan.add(
            Audit("staff.invited", by.id, invited.invitation.id, party.merchant_id, facts), *also(invited.invitation)
        )
        try:
            await self._deps.committer.commit(plan)
        except PlanRefused as refused:
            if isinstance(refused.refusal, Duplicate) and refused.refusal.table == INVITATIONS.name:
                raise STAFF_EXISTS.error({"id": refused.refusal.existing_id}) from refused
            raise
        return invited

    async def open_invitation(self, token: str) -> OpenInvitation:
        """What a link offers. 404 `identity.link_invalid`. Writes nothing."""
        row = await self._find_invitation(token)
        async with self._reads.connect() as connection:
            person = await people.read_person_by_email(connection, row.email_key)
            party_name = await self._party_name(connection, row.party_kind, row.party_id)
        return OpenInvitation(
            id=row.id,
            email=row.email,
            party_kind=row.party_kind,
            party_name=party_name,
            roles=tuple(row.roles.split()),
            is_known=person is not None and person.password_hash is not None,
        )

    async def accept(self, token: str, *, name: str, password: str, locale: Language) -> str:
        """Take up a place; an address that does not sign in yet chooses its password. Returns the place's id.

        Who holds the link proved the address; an account that exists keeps its password and second factor. 404
        `identity.link_invalid`, also for the later of two; 422 `identity.password_refused`.
        """
        row = await self._find_invitation(token)
        for _ in range(2):  # of two invitations that make one person at one moment, the later finds the person there
            async with self._reads.connect() as connection:
                person = await people.read_person_by_email(connection, row.email_key)
            parts: list[object] = []
            if person is None:
                person_id, parts = await self._new_person(row.email, name=name, password=password, locale=locale)
            else:
                person_id = person.id
            try:
                return await self._join(row, person_id, parts)
            except PlanRefused as refused:
                if not (isinstance(refused.refusal, Duplicate) and refused.refusal.table == PERSONS.name):
                    raise LINK_INVALID.error() from refused
        raise LINK_INVALID.error()

    async def _join(self, row: Any, person_id: str, parts: Iterable[object]) -> str:  # Any: a row
        """Use the invitation up for a place, in one plan with `parts`; returns the place's id."""
        now = self._deps.clock.now()
        place = {
            "id": self._deps.ids.mint("mbr"),
            "person_id": person_id,
            "party_kind": row.party_kind,
            "party_id": row.party_id,
            "merchant_id": row.merchant_id,
            "roles": row.roles,
            "stores": row.stores,
            "state": "active",
            "given_by": row.given_by,
            "version": 1,
            "created_at": now,
            "expires_at": now + PLATFORM_TERM if row.party_kind == "platform" else None,
        }
        plan = Plan(row.merchant_id).add(
            *parts,
            Change(INVITATIONS, row.id, {"state": "accepted"}, expected=row.version),
            Insert(MEMBERSHIPS, place),
            self._event("staff.joined", place, now),
            Audit("staff.joined", person_id, str(place["id"]), row.merchant_id, _rights(row.party_id, row.roles)),
        )
        await self._deps.committer.commit(plan)
        return str(place["id"])

    async def _new_person(self, email: str, *, name: str, password: str, locale: Language) -> tuple[str, list[object]]:
        """Id and parts of somebody who signs in. 422 `identity.password_refused`."""
        check_choice(password, email=email, name=name)
        row = {
            "id": self._deps.ids.mint("per"),
            "email": email,
            "email_key": email_key(email),
            "name": name,
            "locale": locale,
            "password_hash": await self._passwords.hash(password),
            "session_epoch": 1,
            "totp_sealed": None,
            "totp_step": 0,
            "version": 1,
            "created_at": self._deps.clock.now(),
        }
        person_id = str(row["id"])
        return person_id, [Insert(PERSONS, row), Audit("person.created", person_id, person_id, None)]

    async def members(self, party: Party, *, after: Position | None, limit: int) -> list[StaffRead]:
        """At most `limit` active staff, the oldest first, those behind `after`."""
        async with self._read(party) as connection:
            rows = await people.list_staff(
                connection, party_kind=party.kind, party_id=party.id, after=after, limit=limit
            )
        return [_staff(row) for row in rows]

    async def invitations(self, party: Party) -> list[InvitationRead]:
        """Invitations that stand, the oldest first; at most 200."""
        async with self._read(party) as connection:
            rows = await people.list_invitations(
                connection, party_kind=party.kind, party_id=party.id, now=self._deps.clock.now()
            )
        return [_invitation(row._mapping) for row in rows]

    async def get(self, party: Party, staff_id: str) -> StaffRead:
        """One of the active staff. 404 `identity.staff_not_found`."""
        return _staff(await self._row(party, staff_id))

    async def update(
        self,
        party: Party,
        staff_id: str,
        wanted: StaffUpdate,
        *,
        by: Giver,
        expected: int,
    ) -> StaffRead:
        """Give other roles or stores; the person's sessions choose the party anew, so they get the new rights.

        404 `identity.staff_not_found`, 412 `kernel.precondition_failed`, 409 `identity.last_owner`, 422
        `identity.staff_refused`: also for one's own place, and for somebody who holds more than the giver.
        """
        row = await self._row(party, staff_id)
        check_version(row.version, expected, object_id=staff_id)
        self._check_reach(party, row, by)
        await self._check(party, wanted.roles, wanted.stores, by)
        values = {"roles": _words(wanted.roles), "stores": _words(wanted.stores) if wanted.stores else None}
        now = self._deps.clock.now()
        after = {**row._mapping, **values, "version": row.version + 1}
        plan = Plan(party.merchant_id).add(
            Change(MEMBERSHIPS, staff_id, values, expected=expected),
            *await self._keeps_in_charge(party, row, remaining=wanted.roles),
            self._event("staff.changed", {**after, "party_kind": party.kind, "party_id": party.id}, now),
            Audit("staff.changed", by.id, staff_id, party.merchant_id, _rights(party.id, values["roles"])),
        )
        await self._commit(plan, staff_id)
        return _staff_of(after)

    async def remove(self, party: Party, staff_id: str, *, by: Giver, expected: int) -> None:
        """Take somebody off the staff; from now on no session acts for the party. Errors as `update` has them."""
        row = await self._row(party, staff_id)
        check_version(row.version, expected, object_id=staff_id)
        self._check_reach(party, row, by)
        now = self._deps.clock.now()
        body = {**row._mapping, "state": "removed", "party_kind": party.kind, "party_id": party.id}
        plan = Plan(party.merchant_id).add(
            Change(MEMBERSHIPS, staff_id, {"state": "removed"}, expected=expected),
            *await self._keeps_in_charge(party, row, remaining=()),
            self._event("staff.removed", {**body, "version": row.version + 1}, now),
            Audit("staff.removed", by.id, staff_id, party.merchant_id, _rights(party.id, row.roles)),
        )
        await self._commit(plan, staff_id)

    async def withdraw(self, party: Party, invitation_id: str, *, by: Giver) -> None:
        """Take an invitation back. 404 `identity.staff_not_found`."""
        async with self._read(party) as connection:
            row = await people.read_invitation(connection, invitation_id)
        if row is None or (row.party_kind, row.party_id) != (party.kind, party.id) or row.state != "pending":
            raise STAFF_NOT_FOUND.error({"staff_id": invitation_id})
        change = Change(INVITATIONS, invitation_id, {"state": "withdrawn"}, expected=row.version)
        told = Audit("staff.uninvited", by.id, invitation_id, party.merchant_id, {"party": party.id})
        await self._commit(Plan(party.merchant_id).add(change, told), invitation_id)

    async def _row(self, party: Party, staff_id: str) -> Any:  # Any: a row
        async with self._read(party) as connection:
            row = await people.read_staff(connection, staff_id, party_kind=party.kind, party_id=party.id)
        if row is None or row.state != "active":
            raise STAFF_NOT_FOUND.error({"staff_id": staff_id})
        return row

    def _read(self, party: Party) -> Any:  # Any: a connection's context manager of either role
        """As the merchant, under row-level security; the staff of other parties is no tenant's."""
        return self._deps.database.read(party.id) if party.kind == "merchant" else self._deps.database.read_auth()

    def _check_reach(self, party: Party, row: Any, by: Giver) -> None:  # Any: a row
        if row.person_id == by.id:
            raise _refused("nobody changes his own place", "不能更改自己的角色")
        held = scopes_of(party.kind, row.roles.split())
        if by.scopes is not None and not held <= by.scopes:
            raise _refused("the person holds more than you do", "对方的权限超出您的权限")

    async def _check(self, party: Party, names: Iterable[str], stores: Iterable[str] | None, by: Giver) -> None:
        known, wanted = roles()[party.kind], set(names)
        for name in sorted(wanted):
            if name not in known:
                raise _refused(f"there is no role {name} here", f"不存在角色 {name}")
            if known[name].never_with & wanted:
                raise _refused(f"{name} never goes with another of the roles", f"角色 {name} 不能与所选其他角色并存")
        if by.scopes is not None and not scopes_of(party.kind, wanted) <= by.scopes:
            raise _refused("the roles hold more than you do", "所选角色的权限超出您的权限")
        if stores is None:
            if by.stores is not None:
                raise _refused("you are bound to stores, and so must they be", "您的权限限于部分门店，须指定门店")
            return
        if party.kind != "merchant":
            raise _refused("only a merchant has stores", "只有商户拥有门店")
        async with self._reads.connect() as connection:
            own = await repository.read_store_ids(connection, party.id)
        if not set(stores) <= (own if by.stores is None else own & by.stores):
            raise _refused("a store is not yours or is closed", "存在不属于您或已关闭的门店")

    async def _keeps_in_charge(self, party: Party, row: Any, *, remaining: Iterable[str]) -> list[Change]:  # Any: a row
        """The parts that hold somebody else in charge still, when the row loses such a role.

        The other's version is expected, so two who remove each other at once do not both succeed.
        """
        guards: dict[str, Change] = {}
        for role in roles()[party.kind].values():
            if not role.is_in_charge or role.name not in row.roles.split() or role.name in set(remaining):
                continue
            async with self._read(party) as connection:
                holders = await people.list_holders(
                    connection, party_kind=party.kind, party_id=party.id, role=role.name
                )
            others = [holder for holder in holders if holder.id != row.id]
            if not others:
                raise LAST_OWNER.error({"role": role.text})
            stays = others[0]  # its version is asserted and left as it is
            guards[stays.id] = Change(MEMBERSHIPS, stays.id, {}, expected=stays.version, raise_to=stays.version)
        return list(guards.values())

    async def _party_name(self, connection: Any, kind: PartyKind, party_id: str) -> str:  # Any: a connection
        if kind == "platform":
            return OPERATOR.name
        read = repository.read_merchant if kind == "merchant" else repository.read_isv
        row = await read(connection, party_id)
        return str(row.name) if row is not None else ""

    def _invitation(self, party: Party, wanted: StaffInvite, *, by: Giver, now: datetime) -> tuple[Invited, Insert]:
        invitation_id = self._deps.ids.mint("inv")
        secret = urlsafe_b64encode(self._deps.entropy(32)).rstrip(b"=").decode()
        row = {
            "id": invitation_id,
            "party_kind": party.kind,
            "party_id": party.id,
            "merchant_id": party.merchant_id,
            "email": wanted.email,
            "email_key": email_key(wanted.email),
            "roles": _words(wanted.roles),
            "stores": _words(wanted.stores) if wanted.stores else None,
            "state": "pending",
            "digest": self._deps.vault.digest(invitation_id, secret),
            "given_by": by.id,
            "version": 1,
            "created_at": now,
            "expires_at": now + INVITATION_LIFE,
        }
        link = f"{self._origin}/sign-in/invitation/{invitation_id}.{secret}"
        return Invited(_invitation(row), link), Insert(INVITATIONS, row)

    async def _find_invitation(self, token: str) -> Any:  # Any: a row
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise LINK_INVALID.error()
        async with self._reads.connect() as connection:
            row = await people.read_invitation(connection, match[1])
        is_good = (
            row is not None
            and self._deps.vault.matches(row.id, match[2], row.digest)
            and row.state == "pending"
            and self._deps.clock.now() < row.expires_at
        )
        if not is_good:
            raise LINK_INVALID.error()
        return row

    def _event(self, kind: str, place: Any, now: datetime) -> Event:  # Any: a mapping of columns
        shown = {
            "id": place["id"],
            "person_id": place["person_id"],
            "party": place["party_id"],
            "roles": place["roles"].split(),
            "stores": place["stores"].split() if place["stores"] else None,
            "state": place["state"],
            "version": place["version"],
        }
        return Event(
            id=self._deps.ids.mint("evt"),
            type=kind,
            object_id=place["id"],
            sequence=place["version"],
            occurred_at=now,
            body=json.dumps(shown),
        )

    async def _commit(self, plan: Plan, id_: str) -> None:
        try:
            await self._deps.committer.commit(plan)
        except PlanRefused as refused:
            found = refused.refusal
            if isinstance(found, VersionConflict) and (found.table, found.id) == (MEMBERSHIPS.name, id_):
                raise changed_meanwhile(id_) from refused  # the version that the caller named
            raise CHANGED_MEANWHILE.error({"id": id_}) from refused


def _refused(en: str, zh: str) -> Exception:
    return STAFF_REFUSED.error({"reason": Text(en=en, zh=zh)})


def _rights(party_id: str, held: str | None) -> dict[str, object]:
    return {"party": party_id, "roles": (held or "").split()}


def _words(values: Iterable[str]) -> str:
    return " ".join(sorted(set(values)))


def _staff(row: Any) -> StaffRead:  # Any: a row
    return _staff_of(row._mapping)


def _staff_of(columns: Any) -> StaffRead:  # Any: a mapping of columns
    stores = columns["stores"].split() if columns["stores"] else None
    return StaffRead.model_validate({**columns, "roles": columns["roles"].split(), "stores": stores})


def _invitation(columns: Any) -> InvitationRead:  # Any: a mapping of columns
    stores = columns["stores"].split() if columns["stores"] else None
    return InvitationRead.model_validate({**columns, "roles": columns["roles"].split(), "stores": stores})
