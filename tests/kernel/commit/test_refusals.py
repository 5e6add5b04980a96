"""A refused plan leaves nothing behind and its mates whole; within a batch, order of arrival decides."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from platform_core.kernel.commit import (
    Change,
    Due,
    Duplicate,
    Event,
    IdempotencyClaim,
    Insert,
    Missing,
    Plan,
    PlanRefused,
    Refusal,
    Remove,
    Replayed,
    TenantViolation,
    VersionConflict,
)
from platform_core.ledger.accounts import Account, Guard, GuardRefused, PendingGone, Transfer, TransferExists, Void
from tests.kernel.commit.conftest import NOTE, Bench, note, writing

pytestmark = pytest.mark.database
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BANK = Account("mer_a", "CNY", "mer_a", "channel_receivable")
PURSE = Account("mer_a", "CNY", "mer_a", "merchant_pending", guard=Guard.GE0)
FEE = Account("mer_a", "CNY", "mer_a", "platform_fee")
THEIRS = Account("mer_b", "CNY", "mer_b", "merchant_pending", guard=Guard.GE0)


def claim(key: str, body: str = "{}") -> IdempotencyClaim:
    return IdempotencyClaim("app_1", key, b"f" * 32, "note_x", NOON, 201, body)


def event(id_: str) -> Event:
    return Event(id_, "note.made", "note_x", 1, NOON, "{}")


REFUSED: list[tuple[object, Refusal]] = [
    (note("b", "first"), Duplicate("note", ("merchant_id", "number"), "first")),
    (Change(NOTE, "first", {"state": "paid"}, expected=7), VersionConflict("note", "first", 7, 1)),
    (Change(NOTE, "nowhere", {"state": "paid"}, expected=1), Missing("note", "nowhere")),
    (Remove(NOTE, "nowhere"), Missing("note", "nowhere")),
    (Change(NOTE, "theirs", {"state": "paid"}, expected=1), Missing("note", "theirs")),
    (Remove(NOTE, "theirs"), Missing("note", "theirs")),
    (note("b", merchant_id="mer_b"), TenantViolation("note b")),
    (claim("taken"), Replayed(b"f" * 32, 201, "{}", "note_x", NOON)),
    (
        Transfer("tra_over", PURSE, BANK, 101, "refund", "note_x"),
        GuardRefused("CNY:mer_a:merchant_pending", "merchant_pending", 100, 101),
    ),
    (Transfer("named_1", BANK, PURSE, 100, "pay", "note_x"), TransferExists("named_1", True)),
    (Transfer("tra_b", BANK, THEIRS, 5, "pay", "note_x"), TenantViolation(str(THEIRS))),
    (Void("tra_v", "tra_nowhere"), PendingGone("tra_nowhere", "missing")),
]


@pytest.mark.parametrize(
    ("part", "refusal"), REFUSED, ids=[f"{n}_{type(r).__name__}" for n, (_, r) in enumerate(REFUSED)]
)
async def test_refusal_writes_nothing_and_leaves_mates_whole(bench: Bench, part: object, refusal: Refusal) -> None:
    await bench.commit(
        Plan("mer_a", [note("first"), claim("taken"), Transfer("named_1", BANK, PURSE, 100, "pay", "note_x")]),
        Plan(
            "mer_b",
            [note("theirs", merchant_id="mer_b"), Transfer("tra_0", THEIRS, BANK_B, 0, "x", "y", balancing="debit")],
        ),
    )
    before = await bench.written()
    whole = [
        note("bad"),
        claim("bad"),
        event("evt_bad"),
        Due("x", "bad", NOON),
        Transfer("tra_bad", BANK, FEE, 1, "p", "r"),
    ]
    position = random.randrange(len(whole) + 1)
    outcomes = await bench.commit(
        Plan("mer_a", [note("early"), event("evt_early")], "early"),
        Plan("mer_a", [*whole[:position], part, *whole[position:]], "bad"),
        Plan("mer_a", [note("late"), event("evt_late"), Transfer("tra_late", BANK, PURSE, 1, "pay", "late")], "late"),
    )
    assert (outcomes[0], outcomes[2]) == ("early", "late")
    assert isinstance(outcomes[1], PlanRefused)
    assert outcomes[1].refusal == refusal
    after = await bench.written()
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 2, 0, 0, 1, 1], (
        "what the two mates hold, in one batch"
    )
    assert bench.reports[-1].refused == {type(refusal).__name__: 1}
    assert (
        await bench.owner.fetchval("SELECT credits_posted FROM ledger_account WHERE owner = 'mer_a' AND guard = 'ge0'")
        == 101
    )


BANK_B = Account("mer_b", "CNY", "mer_b", "channel_receivable")


async def test_of_equal_keys_the_first_to_arrive_wins(bench: Bench) -> None:
    plans = [writing(f"n{n}", "same") for n in range(20)]
    outcomes = await bench.commit(*plans)
    assert outcomes[0] == "n0"
    refusals = [outcome.refusal for outcome in outcomes[1:] if isinstance(outcome, PlanRefused)]
    assert refusals == [Duplicate("note", ("merchant_id", "number"), "n0")] * 19
    assert await bench.ids() == ["n0"]
    assert [report.plans for report in bench.reports] == [20]


async def test_of_changes_on_one_version_the_first_wins(bench: Bench) -> None:
    await bench.commit(writing("n"))
    plans = [Plan("mer_a", [Change(NOTE, "n", {"amount": amount}, expected=1)], amount) for amount in (10, 20, 30)]
    outcomes = await bench.commit(*plans)
    assert outcomes[0] == 10
    refusals = [outcome.refusal for outcome in outcomes[1:] if isinstance(outcome, PlanRefused)]
    assert refusals == [VersionConflict("note", "n", 1, 2)] * 2
    assert await bench.notes() == {"n": ("new", 10, 2)}


async def test_changes_that_follow_each_other_in_one_batch_become_one_write(bench: Bench) -> None:
    await bench.commit(writing("n"))
    outcomes = await bench.commit(
        Plan("mer_a", [Change(NOTE, "n", {"amount": 5, "state": "old"}, expected=1, raise_to=3)], "a"),
        Plan("mer_a", [Change(NOTE, "n", {"state": "paid"}, expected=3)], "b"),
        Plan("mer_a", [Change(NOTE, "n", {"amount": 7})], "c"),
    )
    assert outcomes == ["a", "b", "c"]
    assert await bench.notes() == {"n": ("paid", 7, 4)}
    assert [report.plans for report in bench.reports] == [1, 3], "no batch was split"


async def test_what_one_plan_removes_is_missing_for_the_next(bench: Bench) -> None:
    await bench.commit(writing("n"))
    outcomes = await bench.commit(
        Plan("mer_a", [Change(NOTE, "n", {"amount": 2})], "changed"),
        Plan("mer_a", [Remove(NOTE, "n", expected=1)], "removed"),
        Plan("mer_a", [Remove(NOTE, "n")], "again"),
        Plan("mer_a", [Change(NOTE, "n", {"amount": 3})], "late"),
    )
    assert outcomes[:2] == ["changed", "removed"]
    assert [o.refusal for o in outcomes[2:] if isinstance(o, PlanRefused)] == [Missing("note", "n")] * 2
    assert await bench.ids() == []


async def test_nulls_in_a_natural_key_are_distinct(bench: Bench) -> None:
    rows = [{**note(id_).row, "number": None} for id_ in ("a", "b")]
    assert await bench.commit(*(Plan("mer_a", [Insert(NOTE, row)], row["id"]) for row in rows)) == ["a", "b"]
    assert await bench.ids() == ["a", "b"]


async def test_a_refused_mates_key_stays_free(bench: Bench) -> None:
    await bench.commit(writing("first"))
    refused = Plan("mer_a", [note("x", "wanted"), note("y", "first")])
    outcomes = await bench.commit(refused, writing("z", "wanted"))
    assert isinstance(outcomes[0], PlanRefused)
    assert outcomes[1] == "z"
    assert await bench.ids() == ["first", "z"]


async def test_a_poison_plan_fails_alone_with_its_own_error(bench: Bench) -> None:
    plans = [writing(f"n{n:02}", state="poison" if n in {7, 30} else "new") for n in range(40)]
    outcomes = await bench.commit(*plans)
    assert [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, str)] == [7, 30]
    assert {type(outcomes[n]) for n in (7, 30)} == {asyncpg.CheckViolationError}
    assert await bench.ids() == [f"n{n:02}" for n in range(40) if n not in {7, 30}]
    assert bench.reports[0].failed == {"CheckViolationError": 2}


@pytest.mark.parametrize("amount", [2**63, "many", None])
async def test_a_value_that_the_driver_cannot_send_fails_alone(bench: Bench, amount: object) -> None:
    bad = Plan("mer_a", [Insert(NOTE, {**note("bad").row, "amount": amount})])
    outcomes = await bench.commit(writing("a"), bad, writing("b"))
    assert (outcomes[0], outcomes[2]) == ("a", "b")
    assert isinstance(outcomes[1], asyncpg.DataError | asyncpg.NotNullViolationError)
    assert await bench.ids() == ["a", "b"]


async def test_a_bug_in_a_part_fails_its_plan_alone_and_frees_the_locks(bench: Bench) -> None:
    row = dict(note("bad").row)
    del row["state"]
    outcomes = await bench.commit(writing("a"), Plan("mer_a", [Insert(NOTE, row)]), writing("b"))
    assert outcomes[0] == "a"
    assert isinstance(outcomes[1], KeyError)
    assert outcomes[2] == "b"
    assert await bench.owner.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    assert await bench.commit(writing("bad")) == ["bad"]


async def test_an_unknown_part_is_refused_before_it_queues(bench: Bench) -> None:
    with pytest.raises(TypeError, match="no applier takes a str"):
        await bench.committer.commit(Plan("mer_a", ["a word"]))
    assert bench.reports == []


async def test_one_plan_object_committed_twice_at_once_is_two_plans(bench: Bench) -> None:
    plan = Plan("mer_a", [note("n")], "n")
    outcomes = await bench.commit(plan, plan)
    assert outcomes[0] == "n"
    assert isinstance(outcomes[1], PlanRefused)
    assert await bench.ids() == ["n"]


async def test_the_database_refuses_another_tenants_row_where_python_would_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check in Python is switched off: the statements themselves carry the tenant, and the count gives it away."""
    await bench.commit(Plan("mer_b", [note("theirs", merchant_id="mer_b")]))
    monkeypatch.setattr("platform_core.kernel.commit.documents.DocumentWork._judge_existing", lambda *_: None)
    monkeypatch.setattr("platform_core.kernel.commit.documents.DocumentWork._judge_insert", lambda *_: None)
    outcomes = await bench.commit(
        writing("a"),
        Plan("mer_a", [Change(NOTE, "theirs", {"state": "stolen"})]),
        writing("b"),
        Plan("mer_a", [Remove(NOTE, "theirs")]),
        Plan("mer_a", [note("forged", merchant_id="mer_b")]),
        writing("c"),
    )
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "str",
        *["RowsMiscounted", "str", "RowsMiscounted"],
        "RowsMiscounted",
        "str",
    ]
    assert await bench.notes() == dict.fromkeys(("a", "b", "c", "theirs"), ("new", 1, 1))


async def test_generated_statements_write_no_row_of_another_tenant(bench: Bench) -> None:
    await bench.commit(Plan("mer_b", [note("theirs", merchant_id="mer_b")]))
    row = note("forged", merchant_id="mer_b").row
    writer = await bench.database.connect_writer()
    try:
        insert = NOTE.insert_sql.format(*(f"${n + 1}" for n in range(len(NOTE.columns) + 1)))
        assert await writer.fetch(insert, *([row[name]] for name in NOTE.columns), ["mer_a"]) == []
        update = NOTE.update_sql(["state"]).format("$1", "$2", "$3")
        assert await writer.fetch(update, ["theirs"], ["mer_a"], ["stolen"]) == []
        assert await writer.fetch(NOTE.delete_sql.format("$1", "$2"), ["theirs"], ["mer_a"]) == []
        assert len(await writer.fetch(update, ["theirs"], ["mer_b"], ["own"])) == 1
    finally:
        await writer.close()
    assert await bench.notes() == {"theirs": ("own", 1, 1)}


async def test_events_and_due_rows_are_those_of_the_plans_tenant(bench: Bench) -> None:
    plan = Plan(
        "mer_a", [note("n"), event("evt_1"), Due("expire", "n", NOON), Due("expire", "n", NOON + timedelta(hours=1), 2)]
    )
    await bench.commit(plan)
    assert [tuple(row) for row in await bench.owner.fetch("SELECT id, merchant_id, object_id FROM outbox")] == [
        ("evt_1", "mer_a", "note_x")
    ]
    assert [
        tuple(row) for row in await bench.owner.fetch("SELECT subject_id, merchant_id, due_at, tries FROM due")
    ] == [("n", "mer_a", NOON + timedelta(hours=1), 2)]


async def test_a_batch_holds_no_more_plans_than_it_may(bench: Bench) -> None:
    outcomes = await asyncio.gather(*(bench.committer.commit(writing(f"n{n:03}")) for n in range(300)))
    assert outcomes == [f"n{n:03}" for n in range(300)]
    assert [report.plans for report in bench.reports] == [128, 128, 44]
