"""Signing in: steps, sessions, guesses, recovery."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import event

from platform_core.identity.attempts import TRIES_MAX, address_block, wait_after
from platform_core.identity.errors_people import SECOND_FACTOR_REFUSED, SIGN_IN_REFUSED, SIGN_IN_SLOWED
from platform_core.identity.messages import Message
from platform_core.identity.sessions import ACR_MFA, ACR_PASSWORD, Device, next_step, require_step_up
from platform_core.identity.sign_in import Try
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.errors import PlatformError
from tests.identity.conftest import Process
from tests.identity.people.conftest import DEVICE, PASSWORD, Somebody, counts, fetch

pytestmark = pytest.mark.database
ELSEWHERE = Device(address="198.51.100.1", agent="another")


class Outbox:
    """A channel that keeps what it carries."""

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}

    async def send(self, message: Message, *, message_id: str) -> None:
        self.messages[message_id] = message


async def refusal(work: Any) -> PlatformError:
    with pytest.raises(PlatformError) as refused:
        await work
    return refused.value


async def wrong(somebody: Somebody, **changed: Any) -> str:
    return (await refusal(somebody.try_password(password="not the password", **changed))).code


async def test_a_cashier_signs_in_with_a_password_alone(cashier: Somebody, process: Process) -> None:
    cookie = await cashier.sign_in()
    who = await process.people.sessions.find(str(cookie), console="merchant")
    assert who is not None
    assert (who.person_id, who.party_kind, who.party_id) == (cashier.person_id, "merchant", cashier.party.id)
    assert (who.roles, who.acr, who.mode, who.stores) == (frozenset({"cashier"}), ACR_PASSWORD, "test", None)
    assert "payments:write" in who.scopes
    assert "refunds:write" not in who.scopes
    with pytest.raises(PlatformError, match="step_up"):
        require_step_up(who, process.deps.clock.now())


async def test_an_owner_gets_nothing_before_the_second_factor(owner: Somebody, process: Process) -> None:
    cookie = await owner.try_password()
    assert await process.people.sessions.find(str(cookie), console="merchant") is None
    assert next_step(await owner.state(cookie)) == "second_factor"
    done = await process.people.desk.sign_in.second_factor(await owner.state(cookie), owner.code(), DEVICE)
    who = await process.people.sessions.find(str(done.cookie), console="merchant")
    assert who is not None
    assert (who.acr, who.auth_time) == (ACR_MFA, int(owner.clock.now().timestamp()))
    require_step_up(who, owner.clock.now() + timedelta(seconds=600))
    stale = await refusal(later(who, owner.clock, 601))
    assert (stale.status, stale.code) == (401, "identity.step_up_required")
    assert stale.headers["WWW-Authenticate"] == (
        'Bearer realm="arsenal", error="insufficient_user_authentication", '
        'acr_values="urn:arsenal:acr:mfa", max_age=600'
    )


async def later(who: Any, clock: ManualClock, seconds: int) -> None:
    require_step_up(who, clock.now() + timedelta(seconds=seconds))


async def test_a_role_that_moves_money_enrols_before_anything_else(process: Process, owner: Somebody) -> None:
    await fetch(process, "UPDATE person SET totp_sealed = NULL RETURNING 1")
    cookie = await owner.try_password()
    assert await process.people.sessions.find(str(cookie), console="merchant") is None
    assert next_step(await owner.state(cookie)) == "enrol"


async def test_a21_session_fixation_a_new_id_at_every_step(owner: Somebody, process: Process) -> None:
    first = await owner.try_password()
    second = (await process.people.desk.sign_in.second_factor(await owner.state(first), owner.code(), DEVICE)).cookie
    third = (await process.people.desk.sign_in.second_factor(await owner.state(second), owner.code(), DEVICE)).cookie
    fourth = (await process.people.desk.sign_in.choose(await owner.state(third), owner.staff_id, DEVICE)).cookie
    planted = await owner.try_password(cookie=str(fourth))
    assert len({cookie.session_id for cookie in (first, second, third, fourth, planted)}) == 5
    for dead in (first, second, third, fourth):
        assert await process.people.sessions.state(str(dead), console="merchant") is None
    [[facts]] = await fetch(process, "SELECT facts FROM audit_row WHERE kind = 'person.party_chosen'")
    assert json.loads(facts) == {"membership": owner.staff_id, "party": owner.party.id, "session": fourth.session_id}


async def test_a21_a_session_opens_no_other_console(owner: Somebody, process: Process) -> None:
    cookie = str(await owner.sign_in())
    assert await process.people.sessions.find(cookie, console="merchant") is not None
    assert await process.people.sessions.find(cookie, console="admin") is None
    assert await process.people.sessions.find(cookie, console="isv") is None
    elsewhere = await owner.try_password(console="admin")
    state = await process.people.sessions.state(str(elsewhere), console="admin")
    assert state is not None
    proven = await process.people.desk.sign_in.second_factor(state, owner.code(), DEVICE)
    assert await process.people.sessions.find(str(proven.cookie), console="admin") is None
    assert (await refusal(process.people.desk.sign_in.choose(state, owner.staff_id, DEVICE))).status == 401


@pytest.mark.parametrize("value", ["", "ses_x", None, "ses_01aaaaaaaaaaaaaaaaaaaaaaaa." + "A" * 43, "é", "x" * 9000])
async def test_what_is_no_cookie_of_ours_opens_nothing(process: Process, value: str | None) -> None:
    assert await process.people.sessions.find(value, console="merchant") is None


async def test_another_secret_with_a_living_id_opens_nothing(owner: Somebody, process: Process) -> None:
    cookie = await owner.sign_in()
    forged = f"{cookie.session_id}.{'A' * 43}"
    assert await process.people.sessions.find(forged, console="merchant") is None


async def test_sessions_end_idle_and_at_last(cashier: Somebody, process: Process) -> None:
    sessions, clock = process.people.sessions, cashier.clock
    idle = str(await cashier.sign_in())
    clock.advance(timedelta(hours=8))
    assert await sessions.find(idle, console="merchant") is None
    used = str(await cashier.sign_in())
    for _ in range(7 * 24 // 7 - 1):
        clock.advance(timedelta(hours=7))
        assert await sessions.find(used, console="merchant") is not None
    clock.advance(timedelta(hours=7))
    assert await sessions.find(used, console="merchant") is None


async def test_staff_of_the_platform_are_out_after_half_an_hour(admin: Somebody, process: Process) -> None:
    cookie = str(await admin.sign_in())
    admin.clock.advance(timedelta(minutes=29))
    assert await process.people.sessions.find(cookie, console="admin") is not None
    admin.clock.advance(timedelta(minutes=30))
    assert await process.people.sessions.find(cookie, console="admin") is None


async def test_step_up_does_not_lengthen_a_session(owner: Somebody, process: Process) -> None:
    first = await owner.state(await owner.sign_in())
    owner.clock.advance(timedelta(hours=1))
    stepped = await process.people.desk.sign_in.second_factor(first, owner.code(), DEVICE)
    assert (await owner.state(stepped.cookie)).expires_at == first.expires_at


async def test_sessions_are_listed_and_ended(owner: Somebody, cashier: Somebody, process: Process) -> None:
    sessions = process.people.sessions
    own, foreign = await owner.sign_in(), await cashier.sign_in()
    enrolled = [listed.id for listed in await sessions.list(owner.person_id)]
    assert own.session_id in enrolled
    assert foreign.session_id not in enrolled
    assert not await sessions.end_one(foreign.session_id, person_id=owner.person_id)
    assert await sessions.end_one(own.session_id, person_id=owner.person_id)
    assert await sessions.find(str(own), console="merchant") is None
    other = await cashier.sign_in()
    await sessions.end_all(cashier.person_id)
    assert await sessions.find(str(other), console="merchant") is None
    assert await sessions.list(cashier.person_id) == []


async def test_a20_five_failures_then_waits_that_grow_and_end(cashier: Somebody, process: Process) -> None:
    assert [await wrong(cashier) for _ in range(TRIES_MAX)] == ["identity.sign_in_refused"] * TRIES_MAX
    before = await counts(process)
    slowed = await refusal(cashier.try_password())
    assert (slowed.code, slowed.status, slowed.retry_after_s) == ("identity.sign_in_slowed", 429, 31)
    assert await counts(process) == before
    cashier.clock.advance(timedelta(seconds=31))
    assert await wrong(cashier) == "identity.sign_in_refused"
    assert (await refusal(cashier.try_password())).retry_after_s == 61
    cashier.clock.advance(timedelta(minutes=15))
    await cashier.try_password()


def test_a20_no_wait_is_longer_than_a_quarter_hour() -> None:
    waits = [int(wait_after(failures).total_seconds()) for failures in range(1, 13)]
    assert waits == [0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900, 900]
    assert wait_after(10**6) == timedelta(minutes=15)


async def test_a20_guesses_at_one_moment_are_all_counted(cashier: Somebody, process: Process) -> None:
    tried = 0
    verify = process.people.passwords.verify

    async def counted(stored: str | None, password: str) -> bool:
        nonlocal tried
        tried += 1
        return await verify(stored, password)

    process.people.passwords.verify = counted  # type: ignore[method-assign]
    devices = [Device(address=f"198.51.100.{number}", agent="bot") for number in range(40)]
    outcomes = Counter(await asyncio.gather(*(wrong(cashier, device=device) for device in devices)))
    assert outcomes.keys() <= {"identity.sign_in_refused", "identity.sign_in_slowed"}
    assert tried == outcomes["identity.sign_in_refused"] <= TRIES_MAX


async def test_a20_one_address_over_many_accounts_is_slowed(cashier: Somebody, process: Process) -> None:
    for number in range(TRIES_MAX):
        await wrong(cashier, email=f"nobody{number}@shop.example")
    assert (await refusal(cashier.try_password())).code == "identity.sign_in_slowed"
    await cashier.try_password(device=ELSEWHERE)


async def test_success_takes_back_its_own_try_alone(cashier: Somebody) -> None:
    for _ in range(12):
        await cashier.try_password()
    for _ in range(TRIES_MAX - 1):
        await wrong(cashier)
    await cashier.try_password()
    assert await wrong(cashier) == "identity.sign_in_refused"
    assert await wrong(cashier) == "identity.sign_in_slowed"


async def test_a_browser_that_signed_in_before_is_not_slowed_by_strangers(
    cashier: Somebody, owner: Somebody, process: Process
) -> None:
    wanted = Try(email=cashier.email, password=PASSWORD, console="merchant", device=DEVICE)
    mark = (await process.people.desk.sign_in.password(wanted)).known_browser
    for _ in range(TRIES_MAX):
        await wrong(cashier)
    assert await wrong(cashier) == "identity.sign_in_slowed"
    await cashier.try_password(known_browser=mark)
    assert (await refusal(owner.try_password(known_browser=mark))).code == "identity.sign_in_slowed"  # the address
    for _ in range(TRIES_MAX):
        await wrong(cashier, known_browser=mark)
    assert await wrong(cashier, known_browser=mark) == "identity.sign_in_slowed"


async def test_a_browsers_mark_ends_with_the_password_and_with_all_sessions(
    cashier: Somebody, process: Process
) -> None:
    """Whoever had the browser, or the password, before a recovery is slowed like any stranger after it."""
    desk = process.people.desk

    async def mark(password: str, known: str | None = None) -> str:
        wanted = Try(email=cashier.email, password=password, console="merchant", device=DEVICE, known_browser=known)
        made = (await desk.sign_in.password(wanted)).known_browser
        assert made is not None
        return made

    old = await mark(PASSWORD)
    assert await mark(PASSWORD, old) == old
    await desk.recovery.use(await recovery_link(process, cashier.email), "another quiet river")
    new = await mark("another quiet river", old)
    assert new != old
    for _ in range(TRIES_MAX):
        await wrong(cashier)
    assert await wrong(cashier, known_browser=old) == "identity.sign_in_slowed"
    assert await mark("another quiet river", new) == new
    await process.people.sessions.end_all(cashier.person_id)
    assert await wrong(cashier, known_browser=new) == "identity.sign_in_slowed"


class Work:
    """What signing in costs: statements read, plans written, passwords hashed."""

    def __init__(self, process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: Counter[str] = Counter()
        commit, run = process.deps.committer.commit, process.people.passwords._run

        async def committed(plan: Any) -> Any:
            self.done["commit"] += 1
            self.done["parts"] += len(plan.parts)
            return await commit(plan)

        async def hashed(work: Any) -> Any:
            self.done["hash"] += 1
            return await run(work)

        monkeypatch.setattr(process.deps.committer, "commit", committed)
        monkeypatch.setattr(process.people.passwords, "_run", hashed)
        engine = process.deps.database.engine("auth").sync_engine
        event.listen(engine, "before_cursor_execute", self._read)

    def _read(self, *_: object) -> None:
        self.done["read"] += 1

    def take(self) -> Counter[str]:
        done, self.done = self.done, Counter()
        return done


async def test_a20_an_unknown_account_costs_equal_work_and_gets_equal_words(
    cashier: Somebody, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    await process.people.passwords.verify(None, "")  # the hash of nobody is made once a process
    work = Work(process, monkeypatch)
    known = await refusal(cashier.try_password(password="not the password"))
    spent = work.take()
    unknown = await refusal(cashier.try_password(email="nobody@shop.example", password="not the password"))
    # The known account's counter of the address exists by now; the unknown one meets the same kinds of rows.
    assert (known.declared, known.values) == (unknown.declared, unknown.values) == (SIGN_IN_REFUSED, {})
    assert work.take() == spent == Counter(read=2, commit=1, parts=2, hash=1)
    await process.people.desk.recovery.ask(cashier.email, address="203.0.113.1", language="en")
    spent = work.take()
    await process.people.desk.recovery.ask("nobody@shop.example", address="203.0.113.1", language="en")
    assert work.take() == spent == Counter(read=2, commit=2, parts=5)


async def test_the_start_of_a_wait_is_told_once(cashier: Somebody, process: Process) -> None:
    for _ in range(TRIES_MAX + 2):
        await wrong(cashier)
    await asyncio.sleep(0.05)
    rows = await fetch(process, "SELECT object_id, sequence, body FROM outbox WHERE type = 'person.locked'")
    assert [(row[0], row[1]) for row in rows] == [(cashier.person_id, 2)]


async def test_a22_a_code_opens_one_session_of_four(owner: Somebody, process: Process) -> None:
    states = [await owner.state(await owner.try_password()) for _ in range(4)]
    code, sign_in = owner.code(), process.people.desk.sign_in
    before = (await counts(process))["console_session"]
    outcomes = await asyncio.gather(
        *(sign_in.second_factor(state, code, DEVICE) for state in states), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, PlatformError)]
    assert len(refused) == 3
    assert {error.declared for error in refused} <= {SECOND_FACTOR_REFUSED, SIGN_IN_SLOWED}
    assert (await counts(process))["console_session"] == before + 1
    again = await owner.state(await owner.try_password())
    assert (await refusal(sign_in.second_factor(again, code, DEVICE))).declared is SECOND_FACTOR_REFUSED


async def test_a22_a_recovery_code_works_once(owner: Somebody, process: Process) -> None:
    sign_in = process.people.desk.sign_in
    code = owner.recovery_codes[0]
    states = [await owner.state(await owner.try_password()) for _ in range(3)]
    outcomes = await asyncio.gather(
        *(sign_in.second_factor(state, code.upper(), DEVICE) for state in states), return_exceptions=True
    )
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
    await sign_in.second_factor(await owner.state(await owner.try_password()), owner.recovery_codes[1], DEVICE)
    [[left]] = await fetch(process, "SELECT count(*) FROM recovery_code WHERE used_at IS NULL")
    assert left == 8


async def test_a20_second_factors_are_guessed_slowly(owner: Somebody, process: Process) -> None:
    state = await owner.state(await owner.try_password())
    code, sign_in = owner.code(), process.people.desk.sign_in
    for _ in range(TRIES_MAX):
        assert (await refusal(sign_in.second_factor(state, "000000", DEVICE))).declared is SECOND_FACTOR_REFUSED
    assert (await refusal(sign_in.second_factor(state, code, DEVICE))).declared is SIGN_IN_SLOWED


async def test_enrolment_is_not_open_to_a_stolen_session(cashier: Somebody, process: Process) -> None:
    state = await cashier.state(await cashier.sign_in())
    cashier.clock.advance(timedelta(seconds=601))
    cashier.seed = b"s" * 20
    late = process.people.desk.sign_in.enrol(state, cashier.seed, cashier.code(), device=DEVICE)
    assert (await refusal(late)).code == "identity.enrolment_stale"
    assert (await counts(process))["recovery_code"] == 0


async def test_an_outdated_hash_is_renewed_at_the_next_success(cashier: Somebody, process: Process) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    await fetch(process, "UPDATE person SET password_hash = $1 RETURNING 1", old)
    await cashier.sign_in()
    [[renewed]] = await fetch(process, "SELECT password_hash FROM person")
    assert renewed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    await cashier.sign_in()


async def recovery_link(process: Process, email: str) -> str:
    await process.people.desk.recovery.ask(email, address="203.0.113.1", language="en")
    outbox = Outbox()
    await process.people.messages.deliver(outbox)
    [message] = [message for message in outbox.messages.values() if message.kind == "recovery"]
    assert message.to == email
    return message.link.rpartition("/")[2]


async def test_recovery_ends_all_sessions_and_keeps_the_second_factor(owner: Somebody, process: Process) -> None:
    cookie = await owner.sign_in()
    token = await recovery_link(process, owner.email)
    await process.people.desk.recovery.use(token, "another quiet river")
    assert await process.people.sessions.find(str(cookie), console="merchant") is None
    assert await wrong(owner) == "identity.sign_in_refused"
    opened = await owner.try_password(password="another quiet river")
    assert next_step(await owner.state(opened)) == "second_factor"


async def test_a_recovery_link_is_good_once_and_for_half_an_hour(cashier: Somebody, process: Process) -> None:
    recovery = process.people.desk.recovery
    token = await recovery_link(process, cashier.email)
    uses = [recovery.use(token, f"a new password {number}") for number in range(5)]
    outcomes = await asyncio.gather(*uses, return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 1
    assert {error.code for error in outcomes if isinstance(error, PlatformError)} == {"identity.link_invalid"}
    assert (await refusal(recovery.check(token))).code == "identity.link_invalid"
    late = await recovery_link(process, cashier.email)
    cashier.clock.advance(timedelta(minutes=30))
    assert (await refusal(recovery.use(late, "a new password 9"))).code == "identity.link_invalid"


async def test_a_refused_password_leaves_the_link_good(cashier: Somebody, process: Process) -> None:
    token = await recovery_link(process, cashier.email)
    assert (await refusal(process.people.desk.recovery.use(token, "short"))).code == "identity.password_refused"
    await process.people.desk.recovery.use(token, "a long enough one")


async def test_nobody_is_written_to_for_an_unknown_address(process: Process, cashier: Somebody) -> None:
    await process.people.messages.deliver(Outbox())
    await process.people.desk.recovery.ask("nobody@shop.example", address="203.0.113.1", language="en")
    outbox = Outbox()
    assert await process.people.messages.deliver(outbox) == 0
    assert outbox.messages == {}


async def test_a_message_is_sent_once_and_forgotten(process: Process, cashier: Somebody) -> None:
    await recovery_link(process, cashier.email)
    again = Outbox()
    assert await process.people.messages.deliver(again) == 0
    rows = await fetch(process, "SELECT sealed FROM person_message")
    assert {row[0] for row in rows} == {b""}


def test_an_address_counts_as_its_network() -> None:
    assert address_block("203.0.113.7") == "203.0.113.7"
    assert address_block("2001:db8:1:2:3::4") == address_block("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert address_block("::ffff:203.0.113.7") == "203.0.113.7"
    assert address_block("no address") == "no address"


async def test_refused_sign_ins_are_counted_by_account_reason_and_minute(owner: Somebody, process: Process) -> None:
    await process.refusals.flush(is_last=True)
    state = await owner.state(await owner.try_password())
    desk, nobody = process.people.desk, "nobody@shop.example"
    for _ in range(2):
        assert (await refusal(desk.sign_in.second_factor(state, "000000", DEVICE))).code.endswith("factor_refused")
    for _ in range(TRIES_MAX - 1):
        await wrong(owner)
    await wrong(owner, email=nobody, device=ELSEWHERE)
    assert await wrong(owner) == "identity.sign_in_refused"
    for _ in range(3):
        assert await wrong(owner) == "identity.sign_in_slowed"
    link = await recovery_link(process, owner.email)
    await desk.recovery.use(link, "another quiet river")
    for token in (link, link, "lnk_" + "0" * 26 + "." + "A" * 43, "no link"):
        assert (await refusal(desk.recovery.check(token))).code == "identity.link_invalid"
    before = await fetch(process, "SELECT position FROM audit_row WHERE kind = 'access.refused'")
    assert before == []
    await process.refusals.flush(is_last=True)
    rows = await fetch(
        process, "SELECT actor, subject, reason, facts, merchant_id FROM audit_row WHERE kind = 'access.refused'"
    )
    counted = Counter({tuple(row)[:3]: json.loads(row["facts"])["count"] for row in rows})
    account = next(row["actor"] for row in rows if row["actor"].startswith("account:"))
    assert counted == {
        (owner.person_id, "sign_in.second_factor", "identity.second_factor_refused"): 2,
        (owner.person_id, "sign_in.password", "identity.sign_in_refused"): TRIES_MAX,
        (owner.person_id, "sign_in.password", "identity.sign_in_slowed"): 3,
        (account, "sign_in.password", "identity.sign_in_refused"): 1,
        (owner.person_id, "sign_in.recovery", "identity.link_invalid"): 2,
        ("unknown", "sign_in.recovery", "identity.link_invalid"): 2,
    }
    written = str(rows)
    assert not any(secret in written for secret in (nobody, owner.email, link, "lnk_"))


async def test_what_people_do_stands_in_the_audit_log(owner: Somebody, process: Process) -> None:
    cookie = await owner.sign_in()
    token = await recovery_link(process, owner.email)
    await process.people.desk.recovery.use(token, "another quiet river")
    again = await owner.try_password(password="another quiet river")
    await process.people.sessions.end(str(again), console="merchant")
    await process.people.sessions.end_all(owner.person_id)
    rows = await fetch(
        process, "SELECT kind, actor, facts FROM audit_row WHERE actor = $1 ORDER BY position", owner.person_id
    )
    kinds = Counter(row[0] for row in rows)
    assert kinds.keys() >= {
        "person.created", "staff.joined", "person.signed_in", "person.enrolled", "person.proven",
        "person.recovery_asked", "person.recovered", "person.session_ended", "person.sessions_ended",
    }  # fmt: skip
    written = str(await fetch(process, "SELECT * FROM audit_row"))
    for secret in (cookie.secret, owner.email, PASSWORD, token):
        assert secret not in written
