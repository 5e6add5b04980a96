"""Balances, statements, lists, expiry and reversal, on a real database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer, Plan, PlanRefused
from platform_core.kernel.database import migrations_check
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Guard, GuardRefused, PendingGone, Transfer, TransferExists
from platform_core.ledger.records import AccountKey, AccountName, StatementPosition, TransferFilter
from platform_core.ledger.service import LedgerService

pytestmark = pytest.mark.database

MERCHANT = "mer_a"
CHANNEL = Account(MERCHANT, "CNY", MERCHANT, "channel_receivable", "acquirer")
PENDING = Account(MERCHANT, "CNY", MERCHANT, "merchant_pending", guard=Guard.GE0)
AVAILABLE = Account(MERCHANT, "CNY", MERCHANT, "merchant_available", guard=Guard.GE0)
BANK = Account(None, "CNY", "platform", "bank", "main")
KEY = AccountKey("CNY", MERCHANT, "merchant_pending")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

Move = Callable[..., Any]


@pytest.fixture
def service(database: Database, ids: Ids) -> LedgerService:
    return LedgerService(database, ids=ids)


@pytest.fixture
def move(committer: Committer) -> Move:
    async def move(id_: str, debit: Account, credit: Account, amount: int, **more: Any) -> None:
        merchant_id = more.pop("merchant_id", MERCHANT)
        transfer = Transfer(
            id_, debit, credit, amount, more.pop("code", "move"), more.pop("reference", "obj_1"), **more
        )
        await committer.commit(Plan(merchant_id, [transfer]))

    return move


async def test_balances_tell_posted_held_and_available(service: LedgerService, move: Move) -> None:
    await move("t1", CHANNEL, PENDING, 500)
    await move("t2", PENDING, CHANNEL, 120, is_pending=True)
    channel, pending = await service.balances(MERCHANT)
    assert (channel.role, channel.posted, channel.credits_pending, channel.available) == (
        "channel_receivable",
        -500,
        120,
        None,
    )
    assert (pending.role, pending.posted, pending.debits_pending, pending.available) == (
        "merchant_pending",
        500,
        120,
        380,
    )
    assert await service.balances(MERCHANT, after=(channel.role, channel.id)) == [pending]
    assert await service.balances(MERCHANT, role="merchant_pending") == [pending]
    assert await service.balances(MERCHANT, unit="USD") == []
    assert await service.balances("mer_b") == []


async def test_statement_adds_up_page_by_page(service: LedgerService, move: Move, clock: ManualClock) -> None:
    for n, amount in enumerate((100, 200, 300, 400)):
        await move(f"in{n}", CHANNEL, PENDING, amount)
        await move(f"out{n}", PENDING, AVAILABLE, 10)
        await move(f"hold{n}", PENDING, CHANNEL, 5, is_pending=True)
        clock.advance(HOUR)
    since, until = NOON + HOUR, NOON + 3 * HOUR
    rows, after = [], None
    for _ in range(3):
        page = await service.statement(MERCHANT, KEY, since=since, until=until, after=after, limit=2)
        assert (page.opening, page.closing) == (90, 570)
        rows += page.rows
        after = page.next
        if after is None:
            break
    assert [(row.transfer_id, row.amount, row.balance) for row in rows] == [
        ("in1", 200, 290),
        ("out1", -10, 280),
        ("in2", 300, 580),
        ("out2", -10, 570),
    ]
    assert after is None
    empty = await service.statement(MERCHANT, KEY, since=NOON - HOUR, until=NOON)
    assert (empty.opening, empty.closing, empty.rows, empty.next) == (0, 0, (), None)


async def test_booking_never_steps_back_with_the_clock(service: LedgerService, move: Move, clock: ManualClock) -> None:
    await move("t1", CHANNEL, PENDING, 500)
    clock.set(NOON - HOUR)
    await move("t2", CHANNEL, PENDING, 100)
    await move("t3", BANK, AVAILABLE, 7)
    page = await service.statement(MERCHANT, KEY, since=NOON, until=NOON + HOUR)
    assert [(row.transfer_id, row.balance, row.created_at) for row in page.rows] == [
        ("t1", 500, NOON),
        ("t2", 600, NOON),
    ]
    (other,) = await service.transfers(MERCHANT, wanted=TransferFilter(until=NOON))
    assert (other.id, other.created_at) == ("t3", NOON - HOUR)
    assert (await service.verify(NOON)).offences == ()


async def test_statement_of_a_foreign_account_is_not_found(service: LedgerService, move: Move) -> None:
    await move("t1", CHANNEL, PENDING, 500)
    with pytest.raises(PlatformError) as caught:
        await service.statement("mer_b", KEY, since=NOON, until=NOON + HOUR)
    assert caught.value.code == "ledger.account_not_found"
    page = await service.statement(None, KEY, since=NOON, until=NOON + HOUR)
    assert page.closing == 500


async def test_transfers_newest_first_by_role_reference_and_time(
    service: LedgerService, move: Move, clock: ManualClock
) -> None:
    await move("t1", CHANNEL, PENDING, 500, reference="pay_1")
    clock.advance(HOUR)
    await move("t2", PENDING, AVAILABLE, 100, reference="set_1")
    await move("t3", BANK, AVAILABLE, 7, reference="top_1")
    await move("t4", CHANNEL, PENDING, 9, reference="pay_2", is_pending=True)

    async def listed(**wanted: Any) -> list[str]:
        return [row.id for row in await service.transfers(MERCHANT, wanted=TransferFilter(**wanted))]

    assert await listed() == ["t4", "t3", "t2", "t1"]
    assert await listed(role="merchant_pending") == ["t4", "t2", "t1"]
    assert await listed(role="merchant_available") == ["t3", "t2"]
    assert await listed(bucket="acquirer") == ["t4", "t1"]
    assert await listed(role="merchant_pending", bucket="acquirer") == []
    assert await listed(references=("pay_1", "top_1")) == ["t3", "t1"]
    assert await listed(references=()) == []
    assert await listed(code="move") == ["t4", "t3", "t2", "t1"]
    assert await listed(code="fee") == []
    assert await listed(since=NOON + HOUR) == ["t4", "t3", "t2"]
    assert await listed(until=NOON + HOUR) == ["t1"]
    assert await service.transfers("mer_b", wanted=TransferFilter(references=("pay_1",))) == []
    third = (await service.transfers(MERCHANT, wanted=TransferFilter()))[1]
    assert (third.debit, third.credit) == (None, AccountName(MERCHANT, "merchant_available", ""))
    before = StatementPosition(third.created_at, third.position)
    older = await service.transfers(MERCHANT, wanted=TransferFilter(), before=before, limit=1)
    assert [row.id for row in older] == ["t2"]


async def test_expired_holds_are_released_once(
    service: LedgerService, committer: Committer, move: Move, clock: ManualClock
) -> None:
    await move("t1", CHANNEL, PENDING, 500)
    for n in range(3):
        await move(f"hold{n}", PENDING, CHANNEL, 10, is_pending=True, expires_at=NOON + (n + 1) * HOUR)
    assert await service.expire_pending(NOON) == []
    clock.advance(2 * HOUR)
    assert [plan.answer for plan in await service.expire_pending(clock.now(), limit=1)] == ["hold0"]
    twice = [*await service.expire_pending(clock.now()), *await service.expire_pending(clock.now())]
    assert [plan.answer for plan in twice] == ["hold0", "hold1"] * 2
    outcomes = await asyncio.gather(*(committer.commit(plan) for plan in twice), return_exceptions=True)
    assert outcomes[:2] == ["hold0", "hold1"]
    refusals = [outcome.refusal for outcome in outcomes[2:] if isinstance(outcome, PlanRefused)]
    assert refusals == [PendingGone("hold0", "expired"), PendingGone("hold1", "expired")]
    assert await service.expire_pending(clock.now()) == []
    (pending,) = await service.balances(MERCHANT, role="merchant_pending")
    assert (pending.posted, pending.debits_pending) == (500, 10)


async def test_reversal_moves_back_once(service: LedgerService, committer: Committer, move: Move) -> None:
    await move("t1", CHANNEL, PENDING, 500)
    plan = await service.reverse(MERCHANT, "t1", reference="cor_1")
    assert await committer.commit(plan) == "rev:t1"
    with pytest.raises(PlanRefused) as caught:
        await committer.commit(await service.reverse(MERCHANT, "t1", reference="cor_1"))
    assert caught.value.refusal == TransferExists("rev:t1", is_same=True)
    (back,) = await service.transfers(MERCHANT, wanted=TransferFilter(references=("cor_1",)))
    assert (back.reverses, back.amount, back.code) == ("t1", 500, "reversal")
    assert [account.posted for account in await service.balances(MERCHANT)] == [0, 0]


async def test_what_is_spent_cannot_be_reversed(service: LedgerService, committer: Committer, move: Move) -> None:
    await move("t1", CHANNEL, PENDING, 500)
    await move("t2", PENDING, AVAILABLE, 1)
    with pytest.raises(PlanRefused) as caught:
        await committer.commit(await service.reverse(MERCHANT, "t1", reference="cor_1"))
    assert caught.value.refusal == GuardRefused("CNY:mer_a:merchant_pending", "merchant_pending", 499, 500)


async def test_holds_and_foreign_transfers_are_not_reversed(service: LedgerService, move: Move) -> None:
    await move("t1", CHANNEL, PENDING, 500)
    await move("hold", PENDING, CHANNEL, 5, is_pending=True)
    for merchant_id, id_, code in (
        (MERCHANT, "hold", "ledger.transfer_not_reversible"),
        (MERCHANT, "none", "ledger.transfer_not_found"),
        ("mer_b", "t1", "ledger.transfer_not_found"),
    ):
        with pytest.raises(PlatformError) as caught:
            await service.reverse(merchant_id, id_, reference="cor_1")
        assert caught.value.code == code


async def test_trial_balance_is_zero_in_every_unit(service: LedgerService, move: Move) -> None:
    score = Account(MERCHANT, "points:1", MERCHANT, "issued")
    member = Account(MERCHANT, "points:1", MERCHANT, "member", "cus_1", Guard.GE0)
    await move("t1", CHANNEL, PENDING, 500)
    await move("t2", score, member, 30)
    await move("t3", CHANNEL, PENDING, 20, is_pending=True)
    sums = await service.trial_balance()
    assert [(unit.unit, unit.accounts, unit.debits_posted, unit.net, unit.net_pending) for unit in sums] == [
        ("CNY", 2, 500, 0, 0),
        ("points:1", 2, 30, 0, 0),
    ]


FILL = """
INSERT INTO ledger_transfer (id, merchant_id, kind, debit_account, credit_account, unit, amount, code, reference,
                             created_at, debit_after, credit_after)
SELECT 'f' || n, CASE WHEN n % 2 = 0 THEN 'mer_a' ELSE 'mer_b' END, 'transfer', CASE WHEN n % 2 = 0 THEN 1 ELSE 3 END,
       CASE WHEN n % 2 = 0 THEN 2 ELSE 4 END, 'CNY', 1, 'move', 'pay_' || n,
       '2026-01-01'::timestamptz + n * interval '1 min', -n, n
FROM generate_series(1, 120000) AS n
"""


@pytest.fixture
async def long_history(move: Move, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Accounts 1 and 2 of one merchant, 3 and 4 of another, with 60,000 transfers each."""
    theirs = [Account("mer_b", "CNY", "mer_b", role) for role in ("channel_receivable", "merchant_pending")]
    await move("t1", CHANNEL, PENDING, 1)
    await move("t2", *theirs, 1, merchant_id="mer_b")
    connection = await asyncpg.connect(database_url)
    await connection.execute(FILL)
    await connection.execute("VACUUM ANALYZE ledger_transfer")
    yield connection
    await connection.close()


@contextmanager
def explained(database: Database) -> Any:
    """Collects what the application asks, to be explained afterwards with the same arguments."""
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, arguments: Any, context: Any, is_many: bool) -> None:
        asked.append((statement, arguments))

    engine = database.engine("app").sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield asked
    event.remove(engine, "before_cursor_execute", note)


async def test_reads_cost_the_same_however_long_the_history(
    service: LedgerService, database: Database, long_history: asyncpg.Connection
) -> None:
    since = datetime(2026, 2, 1, tzinfo=UTC)
    with explained(database) as asked:
        page = await service.statement(MERCHANT, KEY, since=since, until=since + HOUR, limit=10)
        after = page.next
        assert after is not None
        await service.statement(MERCHANT, KEY, since=since, until=since + HOUR, after=after, limit=10)
        await service.transfers(MERCHANT, wanted=TransferFilter())
        await service.transfers(MERCHANT, wanted=TransferFilter(until=since), before=after)
        await service.transfers(MERCHANT, wanted=TransferFilter(role="merchant_pending"))
        await service.transfers(MERCHANT, wanted=TransferFilter(references=("pay_777",)))
    assert len(page.rows) == 10
    queries = [(sql, arguments) for sql, arguments in asked if "ledger_transfer" in sql]
    assert len(queries) == 6
    await long_history.execute("SET ROLE arsenal_app")
    for sql, arguments in queries:
        async with long_history.transaction():
            await long_history.execute("SELECT set_config('arsenal.merchant', 'mer_a', true)")
            plan = json.loads(await long_history.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *arguments))
        nodes = list(_nodes(plan[0]["Plan"]))
        scans = [node["Node Type"] for node in nodes if node.get("Relation Name") == "ledger_transfer"]
        assert scans
        assert set(scans) <= {"Index Scan", "Index Only Scan"}, (sql, scans)
        top = nodes[0]
        assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] <= 250, (sql, top)


def _nodes(node: dict[str, Any]) -> Any:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)


async def test_models_are_what_the_migrations_made(postgres: Any) -> None:
    postgres.create_database("drift")
    report = await migrations_check.check(postgres.url("drift"))
    postgres.sql("DROP DATABASE drift WITH (FORCE)")
    assert {"ledger_account", "ledger_transfer", "ledger_pending"} <= set(report.described)
    assert [difference for difference in report.drift if "ledger_" in difference] == []
    assert report.left_behind == ()
