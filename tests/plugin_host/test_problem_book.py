"""Problems of plugins: opened once, counted, bounded, seen by whom they concern."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer
from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.retention import take_away
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.i18n import Text
from platform_core.kernel.ids import Ids
from platform_core.kernel.pagination import Position
from platform_core.plugin_host.problem_book import KEPT, Noted, ProblemBook, Reported

pytestmark = pytest.mark.database


def noted(key: str = "timeout", *, merchant_id: str | None = "mer_a", plugin_id: str = "a.b.c") -> Noted:
    return Noted(
        plugin_id=plugin_id,
        plugin_version="1.0.0",
        merchant_id=merchant_id,
        kind="timeout",
        key=key,
        severity="warning",
        message=Text(en="It was late.", zh="超时。"),
        hint=Text(en="Do less.", zh="请减少工作。"),
        hook="check_payment",
        call_id="c1",
    )


def reported(key: str = "crm", **more: Any) -> Reported:
    facts: dict[str, Any] = {
        "plugin_id": "a.b.c",
        "plugin_version": "1.0.0",
        "merchant_id": "mer_a",
        "hook": "on_payment_captured",
        "key": key,
        "message": "The CRM says {no}.",
        "hint": "",
        "severity": "critical",
        "call_id": "c2",
    }
    return Reported(**{**facts, **more})


@pytest.fixture
def book(database: Database, committer: Committer, clock: ManualClock, ids: Ids) -> ProblemBook:
    return ProblemBook(database=database, committer=committer, clock=clock, ids=ids)


async def kept(database: Database) -> list[tuple[Any, ...]]:
    async with database.read_all() as connection:
        rows = await connection.execute(
            text("SELECT key, merchant_id, count, state, version FROM plugin_problem ORDER BY id")
        )
        return [tuple(row) for row in rows]


async def test_the_same_problem_is_one_row_that_counts(book: ProblemBook, database: Database) -> None:
    for _ in range(5):
        book.note(noted())
    book.note(noted(merchant_id="mer_b"))
    await book.flush()
    book.note(noted())
    await book.flush()
    assert await kept(database) == [("timeout", "mer_a", 6, "open", 2), ("timeout", "mer_b", 1, "open", 1)]


async def test_after_an_hour_without_it_it_is_a_new_problem(
    book: ProblemBook, database: Database, clock: ManualClock
) -> None:
    book.note(noted())
    await book.flush()
    clock.advance(timedelta(minutes=60))
    book.note(noted())
    await book.flush()
    clock.advance(timedelta(minutes=60, seconds=1))
    book.note(noted())
    await book.flush()
    assert [(row[0], row[2]) for row in await kept(database)] == [("timeout", 2), ("timeout", 1)]


async def test_two_processes_at_once_keep_one_row(
    book: ProblemBook, database: Database, committer: Committer, clock: ManualClock, ids: Ids
) -> None:
    other = ProblemBook(database=database, committer=committer, clock=clock, ids=ids)
    before = other._standing

    async def late(slots: Any) -> Any:
        found = await before(slots)
        await book.flush()  # the first process is faster by this much
        return found

    other._standing = late  # type: ignore[method-assign]  # lets the other one go first
    book.note(noted())
    other.note(noted())
    await other.flush()
    other._standing = before  # type: ignore[method-assign]  # as it was
    await other.flush()
    assert await kept(database) == [("timeout", "mer_a", 2, "open", 2)]


async def test_a_hundred_are_open_for_a_plugin_and_merchant_and_no_more(book: ProblemBook, database: Database) -> None:
    for number in range(104):
        book.note(noted(f"k{number}"))
    book.note(noted("k", merchant_id="mer_b"))
    book.note(noted("k", plugin_id="d.e.f"))
    await book.flush()
    rows = await kept(database)
    assert len(rows) == 102
    book.note(noted("one-more"))
    await book.flush()
    assert len(await kept(database)) == 102


async def test_a_plugin_reports_ten_a_minute(book: ProblemBook, database: Database, clock: ManualClock) -> None:
    clock.set(clock.now().replace(second=0))
    for number in range(10):
        book.reported(reported(f"k{number}"))
    with pytest.raises(PlatformError) as refused:
        book.reported(reported("k10"))
    assert refused.value.code == "plugin.reports_exceeded"
    book.reported(reported("other", plugin_id="d.e.f"))
    await book.flush()
    assert len(await kept(database)) == 11
    clock.advance(timedelta(minutes=1))
    book.reported(reported("k10"))
    await book.flush()
    assert len(await kept(database)) == 12


async def test_what_a_plugin_says_is_kept_as_it_said_it(book: ProblemBook) -> None:
    book.reported(reported())
    await book.flush()
    [row] = await book.of_plugins(["a.b.c"], after=None, limit=10)
    assert (row.message, row.hint) == ({"en": "The CRM says {no}.", "zh": "The CRM says {no}."}, {"en": "", "zh": ""})
    assert (row.kind, row.severity, row.call_id) == ("reported", "critical", "c2")


async def test_each_sees_what_concerns_them(book: ProblemBook, clock: ManualClock, database: Database) -> None:
    for made in (noted("mine"), noted("theirs", merchant_id="mer_b"), noted("all", merchant_id=None)):
        book.note(made)
        await book.flush()
        clock.advance(timedelta(seconds=1))
    mine = await book.of_merchant("mer_a", ["a.b.c"], after=None, limit=10)
    assert [row.key for row in mine] == ["all", "mine"]
    assert [row.key for row in await book.of_merchant("mer_a", [], after=None, limit=10)] == ["mine"]
    first = await book.of_plugins(["a.b.c"], after=None, limit=2)
    assert [row.key for row in first] == ["all", "theirs"]
    rest = await book.of_plugins(["a.b.c"], after=Position(first[-1].last_at, first[-1].id), limit=2)
    assert [row.key for row in rest] == ["mine"]
    assert await book.of_plugins(["d.e.f"], after=None, limit=10) == []
    async with database.read("mer_a") as connection:
        seen = (await connection.execute(text("SELECT key FROM plugin_problem"))).scalars().all()
    assert seen == ["mine"], "row-level security shows a merchant its own alone"


async def test_acknowledged_and_resolved_with_an_account_of_who_did_it(book: ProblemBook, database: Database) -> None:
    book.note(noted())
    await book.flush()
    [row] = await book.of_plugins(["a.b.c"], after=None, limit=1)
    await book.acknowledge(row.id, by="per_1", merchant_id="mer_a")
    book.note(noted())
    await book.flush()
    assert await kept(database) == [("timeout", "mer_a", 2, "acknowledged", 3)]
    for problem_id, merchant_id in ((row.id, "mer_b"), (row.id, None), ("prb_none", "mer_a")):
        with pytest.raises(PlatformError) as refused:
            await book.resolve(problem_id, by="per_1", merchant_id=merchant_id)
        assert refused.value.code == "plugin.problem_not_found"
    await book.resolve(row.id, by="per_1", merchant_id="mer_a")
    book.note(noted())
    await book.flush()
    assert await kept(database) == [("timeout", "mer_a", 2, "resolved", 4), ("timeout", "mer_a", 1, "open", 1)]
    with pytest.raises(PlatformError):
        await book.acknowledge(row.id, by="per_1", merchant_id="mer_a")
    async with database.read_all() as connection:
        acts = await connection.execute(text("SELECT kind, actor, subject FROM audit_row ORDER BY position"))
        assert acts.all() == [
            ("plugin_problem.acknowledged", "per_1", row.id),
            ("plugin_problem.resolved", "per_1", row.id),
        ]


async def test_a_running_book_writes_by_itself_and_all_of_it_when_it_stops(
    book: ProblemBook, database: Database
) -> None:
    await book.start()
    book.note(noted("a"))
    book.note(noted("b"))
    await book.stop()
    assert [row[0] for row in await kept(database)] == ["a", "b"]


async def test_what_cannot_be_written_now_is_kept(
    book: ProblemBook, database: Database, clock: ManualClock, ids: Ids
) -> None:
    stopped = Committer(database.connect_writer, [], clock=clock, ids=ids)
    await stopped.start()
    await stopped.stop()
    working, book._committer = book._committer, stopped
    book.note(noted())
    await book.flush()
    assert await kept(database) == []
    book._committer = working
    book.note(noted())
    await book.flush()
    assert await kept(database) == [("timeout", "mer_a", 2, "open", 1)]


async def test_problems_that_nobody_has_met_for_ninety_days_are_taken_away(
    book: ProblemBook, database: Database, clock: ManualClock
) -> None:
    book.note(noted("old"))
    await book.flush()
    clock.advance(timedelta(days=90, seconds=1))
    book.note(noted("new"))
    await book.flush()
    connection = await database.connect("job")
    try:
        assert await take_away(connection, KEPT, now=clock.now(), limit=10) == {"plugin_problem": 1}
    finally:
        await connection.close()
    assert [row[0] for row in await kept(database)] == ["new"]
