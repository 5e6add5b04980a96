"""Places in parties: who may give what, to whom, and what it does to sessions."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from platform_core.contracts.scopes import catalogue
from platform_core.identity import repository_people
from platform_core.identity.roles import PLATFORM_TERM, needs_second_factor, roles, scopes_of
from platform_core.identity.schemas import StoreCreate
from platform_core.identity.schemas_people import StaffInvite, StaffUpdate
from platform_core.identity.sessions import next_step
from platform_core.identity.staff import AT_THE_TERMINAL, OPERATOR, Giver, Party
from platform_core.kernel.errors import PlatformError
from tests.identity.conftest import Process, Shop
from tests.identity.people.conftest import DEVICE, PASSWORD, Somebody, counts, fetch, join
from tests.identity.people.test_sign_in import refusal

pytestmark = pytest.mark.database


def giver(somebody: Somebody, *names: str, stores: frozenset[str] | None = None) -> Giver:
    return Giver(id=somebody.person_id, scopes=scopes_of(somebody.party.kind, names), stores=stores)


def test_roles_name_declared_scopes_and_money_needs_a_second_factor() -> None:
    for kind, named in roles().items():
        for role in named.values():
            stepped = {name for name in role.scopes if catalogue()[name].needs_step_up}
            assert not stepped or role.needs_second_factor, (kind, role.name, stepped)
    assert all(role.needs_second_factor for role in roles()["platform"].values())
    assert needs_second_factor("merchant", ["cashier", "owner"])
    assert not needs_second_factor("merchant", ["cashier", "gone"])


def test_the_auditor_only_reads_and_the_cashier_gives_nothing_back() -> None:
    assert all(scope.endswith(":read") for scope in scopes_of("merchant", ["auditor"]))
    assert not scopes_of("merchant", ["cashier"]) & {"refunds:write", "payouts:write", "grants:approve", "staff:write"}
    assert scopes_of("merchant", ["administrator"]) < scopes_of("merchant", ["owner"])
    assert "introspect:any" not in scopes_of("merchant", ["owner"])


async def test_an_invitation_is_taken_up_once(process: Process, owner: Somebody) -> None:
    invited = await process.people.staff.invite(
        owner.party, StaffInvite(email="new@shop.example", roles=["cashier"]), by=giver(owner, "owner")
    )
    assert invited.link not in repr(invited)
    token = invited.link.rpartition("/")[2]
    accept = process.people.staff.accept
    uses = [accept(token, name="Li Wei", password=PASSWORD, locale="zh") for _ in range(5)]
    outcomes = await asyncio.gather(*uses, return_exceptions=True)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert {error.code for error in outcomes if isinstance(error, PlatformError)} == {"identity.link_invalid"}
    [[places]] = await fetch(process, "SELECT count(*) FROM membership WHERE roles = 'cashier'")
    assert places == 1


async def test_a_place_that_cannot_be_taken_leaves_nobody_behind(
    process: Process, owner: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The invitation is withdrawn between the look at it and the plan."""
    staff = process.people.staff
    invited = await staff.invite(
        owner.party, StaffInvite(email="new@shop.example", roles=["cashier"]), by=AT_THE_TERMINAL
    )
    token = invited.link.rpartition("/")[2]
    seen = await staff._find_invitation(token)
    await staff.withdraw(owner.party, invited.invitation.id, by=AT_THE_TERMINAL)
    before = await counts(process)

    async def find(_: str) -> object:
        return seen

    monkeypatch.setattr(staff, "_find_invitation", find)
    refused = await refusal(staff.accept(token, name="Li Wei", password=PASSWORD, locale="zh"))
    assert refused.code == "identity.link_invalid"
    assert await counts(process) == before


async def test_two_parties_that_invite_an_address_get_one_person(
    process: Process, owner: Somebody, other_shop: Shop
) -> None:
    staff, wanted = process.people.staff, StaffInvite(email="new@shop.example", roles=["cashier"])
    parties = [owner.party, Party(kind="merchant", id=other_shop.merchant.id)]
    links = [(await staff.invite(party, wanted, by=AT_THE_TERMINAL)).link for party in parties]
    uses = [staff.accept(link.rpartition("/")[2], name="Li", password=PASSWORD, locale="zh") for link in links]
    await asyncio.gather(*uses)
    people = await fetch(process, "SELECT id FROM person WHERE email_key = 'new@shop.example'")
    places = await fetch(process, "SELECT person_id FROM membership WHERE person_id = $1", people[0]["id"])
    assert (len(people), len(places)) == (1, 2)


async def test_an_invitation_ends_after_a_week_and_can_be_made_anew(process: Process, owner: Somebody) -> None:
    staff, wanted = process.people.staff, StaffInvite(email="new@shop.example", roles=["cashier"])
    first = await staff.invite(owner.party, wanted, by=AT_THE_TERMINAL)
    again = await refusal(staff.invite(owner.party, wanted, by=AT_THE_TERMINAL))
    assert (again.code, again.values["id"]) == ("identity.staff_exists", first.invitation.id)
    owner.clock.advance(timedelta(days=7))
    assert (await refusal(staff.open_invitation(first.link.rpartition("/")[2]))).code == "identity.link_invalid"
    second = await staff.invite(owner.party, wanted, by=AT_THE_TERMINAL)
    assert [each.id for each in await staff.invitations(owner.party)] == [second.invitation.id]
    ended = await fetch(process, "SELECT subject, reason FROM audit_row WHERE kind = 'staff.uninvited'")
    assert [tuple(row) for row in ended] == [(first.invitation.id, "expired")]
    await staff.withdraw(owner.party, second.invitation.id, by=AT_THE_TERMINAL)
    assert (await refusal(staff.open_invitation(second.link.rpartition("/")[2]))).code == "identity.link_invalid"


async def test_who_has_an_account_keeps_password_and_name(process: Process, owner: Somebody, cashier: Somebody) -> None:
    invited = await process.people.staff.invite(
        OPERATOR, StaffInvite(email=cashier.email.upper(), roles=["auditor"]), by=AT_THE_TERMINAL
    )
    token = invited.link.rpartition("/")[2]
    assert (await process.people.staff.open_invitation(token)).is_known
    await process.people.staff.accept(token, name="Mallory", password="mallory's own password", locale="en")
    await cashier.try_password()
    assert [row[0] for row in await fetch(process, "SELECT name FROM person")] == ["Wang Fang", "Wang Fang"]


@pytest.mark.parametrize("roles_wanted", [["owner"], ["auditor", "owner"], ["grand_vizier"], ["security_admin"]])
async def test_nobody_gives_more_than_he_holds(process: Process, owner: Somebody, roles_wanted: list[str]) -> None:
    before = await counts(process)
    wanted = StaffInvite(email="new@shop.example", roles=roles_wanted)
    refused = await refusal(process.people.staff.invite(owner.party, wanted, by=giver(owner, "administrator")))
    assert (refused.status, refused.code) == (422, "identity.staff_refused")
    assert await counts(process) == before


async def test_stores_are_the_merchants_own_and_within_the_givers(
    process: Process, owner: Somebody, shop: Shop, other_shop: Shop
) -> None:
    parties, staff = process.people.services.parties, process.people.staff
    own = [await parties.create_store(StoreCreate(merchant_id=shop.merchant.id, name=name)) for name in ("A", "B")]
    foreign = await parties.create_store(StoreCreate(merchant_id=other_shop.merchant.id, name="C"))
    bound = giver(owner, "owner", stores=frozenset({own[0].id}))

    def wanted(*stores: str) -> StaffInvite:
        return StaffInvite(email="new@shop.example", roles=["cashier"], stores=list(stores) or None)

    for invite, by in ((wanted(foreign.id), giver(owner, "owner")), (wanted(own[1].id), bound), (wanted(), bound)):
        assert (await refusal(staff.invite(owner.party, invite, by=by))).code == "identity.staff_refused"
    invited = await staff.invite(owner.party, wanted(own[0].id), by=bound)
    assert invited.invitation.stores == [own[0].id]


async def test_new_rights_make_a_new_session(process: Process, owner: Somebody, cashier: Somebody) -> None:
    cookie = await cashier.sign_in()
    staff, sessions = process.people.staff, process.people.sessions
    wanted = StaffUpdate(roles=["auditor"])
    await staff.update(owner.party, cashier.staff_id, wanted, by=giver(owner, "owner"), expected=1)
    assert await sessions.find(str(cookie), console="merchant") is None
    state = await cashier.state(cookie)
    assert next_step(state) == "party"
    chosen = (await process.people.desk.sign_in.choose(state, cashier.staff_id, DEVICE)).cookie
    assert chosen.session_id != cookie.session_id
    assert next_step(await cashier.state(chosen)) == "enrol"


async def test_every_act_on_staff_leaves_its_audit_row(process: Process, owner: Somebody, cashier: Somebody) -> None:
    [[before]] = await fetch(process, "SELECT coalesce(max(position), 0) FROM audit_row")
    staff, by = process.people.staff, giver(owner, "owner")
    invited = await staff.invite(owner.party, StaffInvite(email="new@shop.example", roles=["auditor"]), by=by)
    await refusal(staff.invite(owner.party, StaffInvite(email="new@shop.example", roles=["auditor"]), by=by))
    await staff.withdraw(owner.party, invited.invitation.id, by=by)
    await staff.update(owner.party, cashier.staff_id, StaffUpdate(roles=["auditor"]), by=by, expected=1)
    await staff.remove(owner.party, cashier.staff_id, by=by, expected=2)
    sql = "SELECT kind, actor, subject, merchant_id FROM audit_row WHERE position > $1 ORDER BY position"
    acts = {
        "staff.invited": invited.invitation.id,
        "staff.uninvited": invited.invitation.id,
        "staff.changed": cashier.staff_id,
        "staff.removed": cashier.staff_id,
    }
    told = [(kind, owner.person_id, subject, owner.party.id) for kind, subject in acts.items()]
    assert [tuple(row) for row in await fetch(process, sql, before)] == told


async def test_who_was_removed_acts_no_more(process: Process, owner: Somebody, cashier: Somebody) -> None:
    cookie = await cashier.sign_in()
    await process.people.staff.remove(owner.party, cashier.staff_id, by=giver(owner, "owner"), expected=1)
    assert await process.people.sessions.find(str(cookie), console="merchant") is None
    state = await cashier.state(cookie)
    assert await process.people.desk.sign_in.places(state) == []
    assert (await refusal(process.people.desk.sign_in.choose(state, cashier.staff_id, DEVICE))).status == 401
    kinds = await fetch(process, "SELECT type, sequence FROM outbox WHERE object_id = $1 ORDER BY sequence",
                        cashier.staff_id)  # fmt: skip
    assert [tuple(row) for row in kinds] == [("staff.joined", 1), ("staff.removed", 2)]


async def test_nobody_changes_himself_or_who_stands_higher(process: Process, owner: Somebody) -> None:
    staff = process.people.staff
    helper = await join(
        process, owner.clock, owner.party, "administrator", email="adm@shop.example", console="merchant"
    )
    for by, target in ((giver(owner, "owner"), owner), (giver(helper, "administrator"), owner)):
        refused = await refusal(staff.remove(owner.party, target.staff_id, by=by, expected=1))
        assert refused.code == "identity.staff_refused"
    assert (await staff.get(owner.party, owner.staff_id)).version == 1


async def test_two_owners_cannot_remove_each_other_at_once(process: Process, owner: Somebody) -> None:
    staff = process.people.staff
    second = await join(process, owner.clock, owner.party, "owner", email="two@shop.example", console="merchant")
    only = await refusal(
        staff.update(owner.party, owner.staff_id, StaffUpdate(roles=["cashier"]), by=giver(second, "owner"), expected=9)
    )
    assert only.code == "kernel.precondition_failed"
    outcomes = await asyncio.gather(
        staff.remove(owner.party, second.staff_id, by=giver(owner, "owner"), expected=1),
        staff.remove(owner.party, owner.staff_id, by=giver(second, "owner"), expected=1),
        return_exceptions=True,
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    [[left]] = await fetch(process, "SELECT count(*) FROM membership WHERE state = 'active' AND roles = 'owner'")
    assert left == 1
    last = owner if isinstance(outcomes[1], PlatformError) else second
    refused = await refusal(staff.remove(owner.party, last.staff_id, by=AT_THE_TERMINAL, expected=1))
    assert refused.code == "identity.last_owner"


async def test_places_of_the_operator_end_after_ninety_days(process: Process, admin: Somebody) -> None:
    for bad in (["policy", "case_officer"], ["finance", "ops"]):
        wanted = StaffInvite(email="x@op.example", roles=bad)
        refused = await refusal(process.people.staff.invite(OPERATOR, wanted, by=AT_THE_TERMINAL))
        assert refused.code == "identity.staff_refused"
    admin.clock.advance(PLATFORM_TERM - timedelta(minutes=2))
    cookie = str(await admin.sign_in())
    assert await process.people.sessions.find(cookie, console="admin") is not None
    admin.clock.advance(timedelta(minutes=2))
    assert await process.people.sessions.find(cookie, console="admin") is None


async def test_row_level_security_shows_a_merchant_its_own_staff_alone(
    process: Process, owner: Somebody, other_shop: Shop
) -> None:
    other = Party(kind="merchant", id=other_shop.merchant.id)
    stranger = await join(process, owner.clock, other, "owner", email="far@tea.example", console="merchant")
    database: Any = process.deps.database
    async with database.read(owner.party.id) as connection:
        rows = await repository_people.list_staff(
            connection, party_kind="merchant", party_id=other.id, after=None, limit=10
        )
        assert rows == []
        seen = (await connection.exec_driver_sql("SELECT id, email, name FROM person")).all()
        assert [row.id for row in seen] == [owner.person_id]
        places = (await connection.exec_driver_sql("SELECT person_id FROM membership")).all()
        assert stranger.person_id not in {row.person_id for row in places}
    for column in ("password_hash", "totp_sealed"):
        async with database.read(owner.party.id) as connection:
            with pytest.raises(Exception, match="permission denied"):
                await connection.exec_driver_sql(f"SELECT {column} FROM person")
    for table in ("console_session", "recovery_code", "one_time_link", "person_message", "sign_in_counter"):
        async with database.read(owner.party.id) as connection:
            with pytest.raises(Exception, match="permission denied"):
                await connection.exec_driver_sql(f"SELECT * FROM {table}")
