"""The gate: handles, the order of checks, budgets, what each kind may ask; refusals leave only their account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict
from sqlalchemy import text

from platform_core.contracts.runtime import Ask
from platform_core.identity.principal import Principal
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Audit, Committer, Plan
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import declare
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.i18n import Text
from platform_core.kernel.ids import Ids
from platform_core.plugin_host.call_audit import CallAudits
from platform_core.plugin_host.calls import CallFacts
from platform_core.plugin_host.client_asks import ClientTools
from platform_core.plugin_host.depth import is_inside_hook
from platform_core.plugin_host.egress import Egress
from platform_core.plugin_host.gate import Gatekeeper, GateTools
from platform_core.plugin_host.gate_errors import GRANT_NEEDED
from platform_core.plugin_host.operations import Operation, Operations, Replays
from platform_core.plugin_host.problem_book import ProblemBook
from platform_core.plugin_host.secrets import PluginSecrets, StoredSecret
from platform_core.plugin_host.state_parts import StateWrite
from platform_core.plugin_host.state_reader import StateReader
from tests.plugin_host.gate_support import WORDS, Asker, enabled, facts, manifest, scopes
from tests.plugin_host.outside import Names, Network

pytestmark = pytest.mark.database
FORBIDDEN = declare(
    "testing.forbidden_by_rule", status=403, title=Text(en="No", zh="否"), detail=Text(en="No.", zh="否。")
)


class Look(BaseModel):
    """Arguments of the read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: str


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    body: str


class Service:
    """What stands behind the operations: it counts, and may be slow or broken."""

    def __init__(self, clock: ManualClock) -> None:
        self.reads: list[tuple[Principal, str]] = []
        self.writes: list[tuple[Principal, IdempotentRequest]] = []
        self.was_inside_hook: list[bool] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.raises: Exception | None = None
        self._clock = clock

    async def read(self, principal: Principal, asked: Look) -> str:
        self.reads.append((principal, asked.id))
        self.was_inside_hook.append(is_inside_hook())
        await self.may_go_on.wait()
        if self.raises is not None:
            raise self.raises
        return msgspec.json.encode({"id": asked.id}).decode()

    async def write(self, principal: Principal, asked: Look, key: IdempotentRequest) -> Said:
        self.writes.append((principal, key))
        await self.may_go_on.wait()
        return Said(201, "{}")

    def operations(self) -> Operations:
        async def look(principal: Principal, key: IdempotentRequest) -> None:
            return None

        async def present(principal: Principal, object_id: str | None) -> str:
            return "{}"

        replays = Replays(look=look, present=present, clock=self._clock)
        return Operations(
            (
                Operation(name="things.get", scope="payments:read", request=Look, read=self.read),
                Operation(name="things.make", scope="refunds:write", request=Look, write=self.write, replays=replays),
                Operation(
                    name="things.nest",
                    scope="refunds:write",
                    request=Look,
                    write=self.write,
                    replays=replays,
                    needs_hooks=True,
                ),
            )
        )


class Grants:
    """Principals without a database."""

    def __init__(self) -> None:
        self.scopes: frozenset[str] | None = None
        self.is_living = True

    async def of(self, facts: CallFacts, *, scopes: frozenset[str]) -> Principal:
        if not self.is_living:
            raise GRANT_NEEDED.error()
        return Principal(
            kind="app",
            client_id=f"plugin:{facts.enabled.release.plugin_id}",
            app_id="app_1",
            merchant_id=facts.merchant_id,
            standing="active",
            mode="test",
            scopes=scopes if self.scopes is None else scopes & self.scopes,
            stores=None,
            grant_id="gra_1",
            grant_version=1,
            token_id=facts.call_id,
            key_id="",
            expires_at=0,
            api_version="",
        )


class NoSecrets:
    """A book without secrets."""

    async def secrets_of(self, plugin_id: str, merchant_id: str) -> dict[str, StoredSecret]:
        return {}

    def used(self, plugin_id: str, merchant_id: str, name: str) -> None:
        raise AssertionError("there is none")


class Bench:
    """A gate with everything behind it."""

    def __init__(self, database: Database, committer: Committer, clock: ManualClock, ids: Ids) -> None:
        self.database = database
        self.committer = committer
        self.clock = clock
        self.service = Service(clock)
        self.grants = Grants()
        self.audits = CallAudits(committer)
        self.network = Network(0)
        self.names = Names()
        self.problems = ProblemBook(database=database, committer=committer, clock=clock, ids=ids)
        self.rules: list[str] = []
        self.forbids: frozenset[str] = frozenset()
        self.tools = GateTools(
            clients=ClientTools(
                states=StateReader(database),
                egress=Egress(resolver=self.names, inner=self.network),
                secrets=PluginSecrets(Vault(b"v" * 32), NoSecrets()),
                problems=self.problems,
            ),
            operations=self.service.operations(),
            principals=self.grants,  # type: ignore[arg-type]  # the one method that the gate calls
            audits=self.audits,
            clock=clock,
            rules=self._rule,
            level_of=lambda enabled: "L4",
        )
        self.calls = Gatekeeper(self.tools)

    async def _rule(self, facts: CallFacts, operation: str) -> None:
        self.rules.append(operation)
        if operation in self.forbids:
            raise FORBIDDEN.error()

    def open(self, hook_name: str = "on_payment_captured", **more: Any) -> Asker:
        what = more.pop("what", None) or enabled(WHOLE, grant_id="gra_1")
        return Asker(self.calls.open(facts(what, clock=self.clock, hook_name=hook_name, **more)))

    async def accounts(self) -> list[Any]:
        """Every ask that the log accounts for: sequence, operation, scope, code, limit, times; in order."""
        assert await self.audits.flush()
        async with self.database.read_all() as connection:
            found = await connection.execute(
                text("SELECT facts FROM audit_row WHERE kind = 'plugin.call_asked' ORDER BY position")
            )
            asks = [ask for (row,) in found for ask in msgspec.json.decode(row)["asks"]]
        return [(ask[0], ask[1], ask[2], ask[4], ask[5], ask[7]) for ask in asks]

    async def is_untouched(self) -> bool:
        """Nothing read or written by a service, kept, resolved or connected to."""
        async with self.database.read_all() as connection:
            held = (await connection.execute(text("SELECT count(*) FROM plugin_state"))).scalar()
        outside = (self.names.asked, self.network.went_to)
        return (self.service.reads, self.service.writes, held, *outside) == ([], [], 0, [], [])


WHOLE = manifest(
    hooks=[{"name": "check_payment"}, {"name": "on_payment_captured"}],
    scopes=scopes("payments:read", "refunds:write"),
    egress=[{"host": "api.crm.example", "purpose": WORDS}],
    secrets=[{"name": "mac", "kind": "mac_key", "label": WORDS}],
)


@pytest.fixture
async def bench(database: Database, committer: Committer, clock: ManualClock, ids: Ids) -> AsyncIterator[Bench]:
    bench = Bench(database, committer, clock, ids)
    yield bench
    await bench.calls.finish()


async def test_an_ask_reaches_the_service_as_the_plugin_with_hooks_off(bench: Bench) -> None:
    call = bench.open()
    assert await call.value("things.get", id="x") == {"id": "x"}
    [(principal, _)] = bench.service.reads
    assert (principal.client_id, principal.merchant_id) == ("plugin:example.acme.risk", "mer_a")
    assert principal.scopes == {"payments:read", "refunds:write"}
    assert bench.service.was_inside_hook == [True]
    assert not is_inside_hook()
    assert await bench.accounts() == [(1, "things.get", "payments:read", "ok", None, 1)]


async def test_handles_are_128_random_bits_and_void_once_the_call_is_closed(bench: Bench) -> None:
    calls = [bench.open() for _ in range(100)]
    assert len({call.handle for call in calls}) == 100
    assert all(len(bytes.fromhex(call.handle)) == 16 for call in calls)
    call = calls[0]
    bench.calls.close(call.handle)
    assert await call.code("things.get", id="x") == "plugin.handle_invalid"
    assert await call.code("state.put", key="k", value=1) == "plugin.handle_invalid"
    assert bench.calls.gate_of(call.handle) is None
    assert bench.calls.gate_of(calls[1].handle) is calls[1].gate
    assert await bench.is_untouched()
    assert bench.calls.close(call.handle).parts == ()


@pytest.mark.parametrize("how", ["invented", "another call's", "another call's id"])
async def test_a_handle_that_is_not_the_calls_own_is_a_security_fault_and_does_nothing(bench: Bench, how: str) -> None:
    """Corpus: stale_token."""
    call, other = bench.open(), bench.open(merchant_id="mer_b")
    handle = {"invented": "0" * 32, "another call's": other.handle, "another call's id": call.handle}[how]
    call_id = other.gate.facts.call_id if how == "another call's id" else call.gate.facts.call_id
    ask = Ask(call_id=call_id, sequence=1, handle=handle, operation="things.get", arguments={"id": "x"})
    for _ in range(3):
        assert (await call.gate.tell(ask)).code == "plugin.handle_invalid"
    assert await bench.is_untouched()
    assert bench.calls.close(call.handle).is_handle_misused
    assert not bench.calls.close(other.handle).is_handle_misused
    assert await bench.audits.flush()
    async with bench.database.read_all() as connection:
        rows = await connection.execute(
            text("SELECT actor, merchant_id FROM audit_row WHERE kind = 'plugin.handle_misused'")
        )
        assert rows.all() == [("example.acme.risk", "mer_a")]


async def test_an_ask_after_the_deadline_is_late_and_no_security_fault(bench: Bench) -> None:
    call = bench.open(seconds=-0.001)
    assert await call.code("things.get", id="x") == "plugin.deadline_passed"
    assert await call.code("state.increment", key="k") == "plugin.deadline_passed"
    assert await bench.is_untouched()
    assert not bench.calls.close(call.handle).is_handle_misused


async def test_a_service_that_hangs_is_answered_at_the_deadline(bench: Bench) -> None:
    bench.service.may_go_on.clear()
    call = bench.open(seconds=0.05)
    assert await call.code("things.get", id="x") == "plugin.deadline_passed"
    assert await bench.accounts() == [(1, "things.get", "payments:read", "plugin.deadline_passed", None, 1)]


async def test_a_write_that_was_begun_is_finished_and_accounted_for_by_its_outcome(bench: Bench) -> None:
    bench.service.may_go_on.clear()
    call = bench.open(seconds=0.05)
    assert await call.code("things.make", id="x", key="k") == "plugin.deadline_passed"
    bench.calls.close(call.handle)
    bench.service.may_go_on.set()
    await bench.calls.finish()
    codes = [(ask[1], ask[3]) for ask in await bench.accounts()]
    assert codes == [("things.make", "plugin.deadline_passed"), ("things.make", "ok")]
    assert len(bench.service.writes) == 1


async def test_fifty_asks_and_no_more_however_many_are_tried(bench: Bench) -> None:
    """Corpus: capflood."""
    call = bench.open()
    codes = [await call.code("state.increment", key="k") for _ in range(50)]
    assert codes == [None] * 50
    flood = [await call.code("things.make", id="x", key="k") for _ in range(5_000)]
    assert set(flood) == {"plugin.budget_exceeded"}
    assert bench.service.writes == []
    trail = bench.calls.close(call.handle)
    assert trail.asks == 5_050
    rows = [part for part in trail.parts if isinstance(part, Audit)]
    assert len(rows) == 3, "50 asks and one account of the flood"
    await bench.committer.commit(Plan("mer_a", list(trail.parts)))
    accounts = await bench.accounts()
    assert accounts[-1] == (51, "beyond the budget", None, "plugin.budget_exceeded", None, 5_000)
    assert [account[0] for account in accounts[:50]] == list(range(1, 51))


MATRIX = {
    "check_payment": {"things.get", "state.get", "problems.report"},
    "amend_basket": {"things.get", "state.get", "problems.report"},
    "choose_route": {"things.get", "state.get", "problems.report"},
    "render_receipt": {"things.get", "state.get", "problems.report"},
    "on_payment_captured": {"things.get", "things.make", "state.get", "egress.fetch", "secrets.mac", "problems.report"},
    "register_payment_provider": {"state.get", "egress.fetch", "secrets.mac", "problems.report"},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "things.get": {"id": "x"},
    "things.make": {"id": "x", "key": "k"},
    "state.get": {"key": "k"},
    "egress.fetch": {"method": "POST", "url": "https://api.crm.example/"},
    "secrets.mac": {"name": "mac", "message": ""},
    "problems.report": {"key": "k", "message": "m"},
}
REACHED = {None, "plugin.egress_not_sent", "plugin.secret_unknown"}  # past the check of the kind


@pytest.mark.parametrize("hook_name", MATRIX)
async def test_each_kind_of_hook_may_ask_what_the_table_says(bench: Bench, hook_name: str) -> None:
    operation = "register_payment_provider/acme.pay" if hook_name.startswith("register") else None
    call = bench.open(hook_name, operation=operation)
    codes = {name: await call.code(name, **ARGUMENTS[name]) for name in ARGUMENTS}
    assert {name for name, code in codes.items() if code in REACHED} == MATRIX[hook_name]
    if hook_name != "on_payment_captured":
        assert bench.service.writes == []
    if hook_name not in ("on_payment_captured", "register_payment_provider"):
        assert codes["things.make"] == "plugin.write_in_decision"
        assert codes["egress.fetch"] == "plugin.egress_in_decision"
        assert codes["secrets.mac"] == "plugin.not_allowed_here"
        assert (bench.names.asked, bench.network.went_to) == ([], [])


async def test_a_register_hook_itself_may_ask_nothing(bench: Bench) -> None:
    call = bench.open("register_payment_provider")
    codes = {await call.code(name, **arguments) for name, arguments in ARGUMENTS.items()}
    assert codes == {"plugin.not_allowed_here"}
    assert await bench.is_untouched()


@pytest.mark.parametrize("lost", ["manifest", "granted", "the grant now"])
async def test_an_operation_needs_its_scope_in_manifest_grant_and_now(bench: Bench, lost: str) -> None:
    """Corpus: scope."""
    made = replace(enabled(WHOLE, grant_id="gra_1"), scopes=frozenset({"refunds:write"}))
    if lost == "manifest":
        made = enabled(manifest(scopes=scopes("refunds:write")), granted=frozenset({"payments:read", "refunds:write"}))
    if lost == "the grant now":
        made, bench.grants.scopes = enabled(WHOLE, grant_id="gra_1"), frozenset({"refunds:write"})
    call = bench.open(what=made)
    assert await call.code("things.get", id="x") == "identity.scope_missing"
    assert await bench.is_untouched()
    bench.calls.forsake(bench.calls.close(call.handle).parts)
    assert [ask[3] for ask in await bench.accounts()] == ["identity.scope_missing"]


async def test_scopes_that_write_are_not_there_while_deciding(bench: Bench) -> None:
    call = bench.open("check_payment")
    await call.value("things.get", id="x")
    assert bench.service.reads[0][0].scopes == {"payments:read"}


async def test_checks_are_made_in_the_order_of_the_specification(bench: Bench) -> None:
    """Each ask is wrong in all that follows too; only what comes first is told."""
    scopeless = enabled(manifest(scopes=scopes("payments:read")), grant_id=None)
    bench.forbids = frozenset({"things.make"})
    bench.grants.is_living = False
    wrong = {"id": 7, "merchant_id": "mer_b"}

    spent = bench.open("check_payment", what=scopeless)
    spent.gate.asks = 50
    stale = Ask(call_id="x", sequence=1, handle="0" * 32, operation="things.make", arguments=wrong)
    assert (await spent.gate.tell(stale)).code == "plugin.handle_invalid"
    assert await spent.code("things.make", **wrong) == "plugin.budget_exceeded"

    deciding = bench.open("check_payment", what=scopeless)
    assert await deciding.code("things.make", **wrong) == "plugin.write_in_decision"
    assert await bench.open(what=scopeless).code("things.make", **wrong) == "identity.scope_missing"
    call = bench.open()
    assert await call.code("things.make", **wrong) == "plugin.merchant_named"
    assert await call.code("things.make", id=7) == "plugin.key_needed"
    assert await call.code("things.make", id=7, key="k") == "kernel.validation_failed"
    assert bench.rules == []
    assert await call.code("things.make", id="x", key="k") == "testing.forbidden_by_rule"
    bench.forbids = frozenset()
    assert await call.code("things.make", id="x", key="k") == "plugin.grant_needed"
    assert bench.rules == ["things.make", "things.make"]
    assert await bench.is_untouched()


@pytest.mark.parametrize("key", ["", "k" * 256, "with space", "密", 7, None])
async def test_a_write_needs_a_key_that_is_one(bench: Bench, key: object) -> None:
    assert await bench.open().code("things.make", id="x", key=key) == "plugin.key_needed"
    assert await bench.is_untouched()


async def test_an_idempotency_key_is_hashed_from_plugin_merchant_operation_and_key(bench: Bench) -> None:
    for merchant_id, key in (("mer_a", "k"), ("mer_a", "k"), ("mer_b", "k"), ("mer_a", "l")):
        call = bench.open(merchant_id=merchant_id)
        assert await call.code("things.make", id="x", key=key) is None
    keys = [made.key for _, made in bench.service.writes]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert all(len(key) == 64 for key in keys)


async def test_what_needs_its_own_hooks_is_refused_from_within_one(bench: Bench) -> None:
    assert await bench.open().code("things.nest", id="x", key="k") == "plugin.hook_depth"
    assert await bench.is_untouched()


async def test_an_unknown_operation_names_the_known_ones(bench: Bench) -> None:
    told = await bench.open().ask("payments.steal", amount=1)
    assert told.code == "plugin.operation_unknown"
    assert "things.get, things.make" in told.hint
    assert "ctx.call" in told.hint


async def test_a_service_that_breaks_is_an_internal_error_without_its_words(bench: Bench) -> None:
    bench.service.raises = RuntimeError("password=hunter2")
    told = await bench.open().ask("things.get", id="x")
    assert told.code == "kernel.internal"
    assert "hunter2" not in told.hint


async def test_arguments_of_clients_are_strict(bench: Bench) -> None:
    call = bench.open()
    for operation, arguments in {
        "state.get": {"key": "k", "merchant_id": "mer_b"},
        "state.put": {"key": "k"},
        "state.increment": {"key": "k", "by": "1"},
        "state.list": {"prefix": "", "limit": 101},
        "egress.fetch": {"method": "POST"},
        "secrets.mac": {"name": "mac", "message": "not base64!"},
        "problems.report": {"key": "Bad Key", "message": "m"},
    }.items():
        assert await call.code(operation, **arguments) == "kernel.validation_failed", operation
    assert await bench.is_untouched()


async def test_state_of_a_decision_rides_in_the_hosts_plan_with_its_account(bench: Bench) -> None:
    call = bench.open("check_payment")
    assert await call.value("state.increment", key="paid:card", ttl_s=3600) == 1
    assert await call.value("state.put", key="last", value={"minor": 5}) == 1
    assert await call.value("state.list", prefix="") == [
        {"key": "last", "value": {"minor": 5}, "version": 1},
        {"key": "paid:card", "value": 1, "version": 1},
    ]
    trail = bench.calls.close(call.handle)
    write, row = trail.parts
    assert isinstance(write, StateWrite)
    assert not write.may_refuse
    assert isinstance(row, Audit)
    assert (row.kind, row.stream, row.actor, row.merchant_id) == (
        "plugin.call_asked",
        "call",
        "example.acme.risk",
        "mer_a",
    )
    assert row.facts["level"] == "L4"
    assert await bench.accounts() == []
    await bench.committer.commit(Plan("mer_a", list(trail.parts)))
    assert [ask[:2] for ask in await bench.accounts()] == [(1, "state.increment"), (2, "state.put"), (3, "state.list")]
    later = bench.open("check_payment")
    assert await later.value("state.increment", key="paid:card") == 2


async def test_a_decision_that_is_not_to_be_leaves_only_its_account(bench: Bench) -> None:
    call = bench.open("check_payment")
    await call.value("state.increment", key="k")
    bench.calls.forsake(bench.calls.close(call.handle).parts)
    assert [ask[1] for ask in await bench.accounts()] == ["state.increment"]
    assert await bench.is_untouched()


async def test_an_event_hooks_writes_refuse_its_acknowledgement_when_they_no_longer_apply(bench: Bench) -> None:
    call = bench.open()
    await call.value("state.put", key="k", value=1)
    [write, _] = bench.calls.close(call.handle).parts
    assert isinstance(write, StateWrite)
    assert write.may_refuse


async def test_egress_is_told_apart_and_counted_and_noted_on_the_trail(bench: Bench) -> None:
    call = bench.open()
    fetch = {"method": "POST", "url": "https://api.crm.example/"}
    codes = [await call.code("egress.fetch", **fetch) for _ in range(6)]
    assert codes == ["plugin.egress_not_sent"] * 5 + ["plugin.egress_exhausted"]
    assert len(bench.network.went_to) == 5
    assert not bench.calls.close(call.handle).has_sent
    assert [ask[1] for ask in await bench.accounts()] == ["egress.fetch"] * 6


async def test_without_room_for_the_account_nothing_is_shown_or_done(bench: Bench) -> None:
    full = CallAudits(bench.committer, rows_max=2)
    bench.calls = Gatekeeper(replace(bench.tools, audits=full))
    call = bench.open()
    assert [await call.code("things.get", id=str(number)) for number in range(4)] == [
        None,
        None,
        "plugin.audit_full",
        "plugin.audit_full",
    ]
    assert [id_ for _, id_ in bench.service.reads] == ["0", "1"]
    assert await call.code("egress.fetch", method="POST", url="https://api.crm.example/") == "plugin.audit_full"
    assert bench.names.asked == []
    assert await full.flush()
    assert await call.code("things.get", id="again") is None
    trail = bench.calls.close(call.handle)
    refused = [ask for part in trail.parts if isinstance(part, Audit) for ask in part.facts["asks"]]  # type: ignore[attr-defined]
    assert [ask[4] for ask in refused] == ["plugin.audit_full"] * 3, "refusals are accounted for too"


async def test_accounts_that_cannot_be_written_are_kept_and_written_later(bench: Bench) -> None:
    call = bench.open()
    await call.value("things.get", id="x")
    stopped = Committer(bench.database.connect_writer, [], clock=bench.clock, ids=Ids(bench.clock))
    await stopped.start()
    await stopped.stop()
    working, bench.audits._committer = bench.audits._committer, stopped
    assert not await bench.audits.flush()
    bench.audits._committer = working
    assert [ask[1] for ask in await bench.accounts()] == ["things.get"]


async def test_a_canceled_ask_is_accounted_for_and_gives_its_room_back(bench: Bench) -> None:
    bench.service.may_go_on.clear()
    call = bench.open()
    task = asyncio.create_task(call.ask("things.get", id="x"))
    while not bench.service.reads:  # noqa: ASYNC110 - the service has no event to wait for
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [ask[3] for ask in await bench.accounts()] == ["canceled"]
    assert bench.audits._reserved == 0


async def test_calls_that_nobody_closes_do_not_pile_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_core.plugin_host.gate.STALE_CALLS", 10)
    for _ in range(10):
        bench.open(seconds=-31.0)
    fresh = bench.open()
    assert bench.calls.gate_of(fresh.handle) is not None
    assert len(bench.calls._open) == 1


async def test_asks_at_once_of_one_call_all_count(bench: Bench) -> None:
    call = bench.open()
    values = await asyncio.gather(*(call.value("state.increment", key="k") for _ in range(10)))
    assert sorted(values) == list(range(1, 11))
    trail = bench.calls.close(call.handle)
    assert trail.asks == 10
    await bench.committer.commit(Plan("mer_a", list(trail.parts)))
    assert await bench.open().value("state.get", key="k") == {"key": "k", "value": 10, "version": 10}
