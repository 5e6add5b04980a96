"""Breakers and quarantined versions: written once, heard by all processes, lifted by two people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from platform_core.contracts.runtime import Fault, FaultKind
from platform_core.identity.revocation import RevocationFeed
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.ids import Ids
from platform_core.plugin_host.health_rows import BreakerRows, HealthDeps, Quarantines

pytestmark = pytest.mark.database
FAULT = Fault(FaultKind.FORGED_ID, "an id that no call has")


@dataclass(frozen=True, slots=True)
class Opened:
    """What dispatch tells."""

    plugin_id: str
    hook: str
    version: str
    why: str
    until: datetime
    open_s: int


@dataclass
class Process:
    """One process's view: its feed, polled by hand."""

    feed: RevocationFeed
    breakers: BreakerRows
    quarantines: Quarantines
    openings: list[dict[str, Any]] = field(default_factory=list)
    changes: list[tuple[str, str, bool]] = field(default_factory=list)


@pytest.fixture
def deps(database: Database, committer: Committer, clock: ManualClock, ids: Ids) -> HealthDeps:
    return HealthDeps(database=database, committer=committer, clock=clock, ids=ids)


@asynccontextmanager
async def process(deps: HealthDeps) -> AsyncIterator[Process]:
    feed = RevocationFeed(lambda: deps.database.connect("auth"), clock=deps.clock)
    openings: list[dict[str, Any]] = []
    changes: list[tuple[str, str, bool]] = []
    breakers = BreakerRows(deps, feed, hear=lambda **facts: openings.append(facts))
    quarantines = Quarantines(deps, feed, changed=lambda *change: changes.append(change))
    await feed.poll()
    await breakers.start()
    await quarantines.start()
    yield Process(feed, breakers, quarantines, openings, changes)
    await breakers.stop()
    await quarantines.stop()
    await feed.stop()


async def audits(database: Database) -> list[tuple[str, str, str | None]]:
    async with database.read_all() as connection:
        rows = await connection.execute(text("SELECT kind, actor, reason FROM audit_row ORDER BY position"))
        return [tuple(row) for row in rows]


def opening(clock: ManualClock, *, seconds: int = 120, hook: str = "check_payment") -> Opened:
    return Opened("a.b.c", hook, "1.0.0", "faults", clock.now() + timedelta(seconds=seconds), seconds)


async def test_a_breaker_opened_in_one_process_is_heard_in_the_others(deps: HealthDeps, clock: ManualClock) -> None:
    async with process(deps) as one, process(deps) as other:
        one.breakers.opened(opening(clock))
        await one.breakers.stop()
        await other.feed.poll()
        heard = {
            "plugin_id": "a.b.c",
            "hook": "check_payment",
            "version": "1.0.0",
            "why": "faults",
            "until": clock.now() + timedelta(seconds=120),
            "open_s": 120,
        }
        assert other.openings == [heard]
        async with process(deps) as late:
            assert late.openings, "a process that starts hears of what is open"
            assert all(told == heard for told in late.openings)
        clock.advance(timedelta(seconds=120))
        async with process(deps) as later:
            assert later.openings == []


async def test_the_longer_of_two_openings_stands(deps: HealthDeps, clock: ManualClock, database: Database) -> None:
    async with process(deps) as one, process(deps) as other:
        for seconds, by in ((240, one), (120, other), (480, other)):
            by.breakers.opened(opening(clock, seconds=seconds))
            await by.breakers.stop()
        one.breakers.opened(opening(clock, hook="amend_basket"))
        await one.breakers.stop()
        async with database.read_all() as connection:
            rows = await connection.execute(text("SELECT id, open_s, version FROM plugin_breaker ORDER BY id"))
            assert rows.all() == [("a.b.c/amend_basket", 120, 1), ("a.b.c/check_payment", 480, 2)]


async def test_a_quarantine_holds_at_once_and_everywhere_within_a_poll(deps: HealthDeps, database: Database) -> None:
    async with process(deps) as one, process(deps) as other:
        await one.quarantines.begin("a.b.c", "1.0.0", FAULT, merchant_id="mer_a", call_id="c1")
        assert one.quarantines.holds("a.b.c", "1.0.0")
        assert not one.quarantines.holds("a.b.c", "1.0.1")
        assert not other.quarantines.holds("a.b.c", "1.0.0")
        await other.feed.poll()
        assert other.quarantines.holds("a.b.c", "1.0.0")
        assert other.changes == [("a.b.c", "1.0.0", True)]
        await other.quarantines.begin("a.b.c", "1.0.0", FAULT)  # seen by both: one row, one act
        assert [kind for kind, *_ in await audits(database)] == ["plugin.quarantined"]
        async with process(deps) as restarted:
            assert restarted.quarantines.holds("a.b.c", "1.0.0")


async def test_a_fault_that_is_only_told_is_written_as_soon_as_it_can_be(
    deps: HealthDeps, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform_core.plugin_host.health_rows.RETRY_S", 0.01)
    stopped = Committer(database.connect_writer, [], clock=deps.clock, ids=deps.ids)
    await stopped.start()
    await stopped.stop()
    away = HealthDeps(database=database, committer=stopped, clock=deps.clock, ids=deps.ids)
    async with process(away) as one:
        one.quarantines.fault("a.b.c", "1.0.0", FAULT)
        one.quarantines.fault("a.b.c", "1.0.0", FAULT)
        assert one.quarantines.holds("a.b.c", "1.0.0")
        await asyncio.sleep(0)
        await one.quarantines.start()  # news of anything else does not let it go
        assert one.quarantines.holds("a.b.c", "1.0.0")
        assert await audits(database) == []
        one.quarantines._deps = deps
        await asyncio.wait(one.quarantines._tasks)
        assert [kind for kind, *_ in await audits(database)] == ["plugin.quarantined"]


async def test_two_people_lift_a_quarantine_with_a_reason(deps: HealthDeps, database: Database) -> None:
    async with process(deps) as one, process(deps) as other:
        await one.quarantines.begin("a.b.c", "1.0.0", FAULT)
        await other.feed.poll()
        assert not await one.quarantines.lift("a.b.c", "1.0.0", by="per_1", reason="false alarm of a test host")
        with pytest.raises(PlatformError) as refused:
            await one.quarantines.lift("a.b.c", "1.0.0", by="per_1", reason="again")
        assert refused.value.code == "plugin.second_person_needed"
        assert one.quarantines.holds("a.b.c", "1.0.0")
        assert await one.quarantines.lift("a.b.c", "1.0.0", by="per_2", reason="confirmed")
        assert not one.quarantines.holds("a.b.c", "1.0.0")
        assert other.quarantines.holds("a.b.c", "1.0.0")
        await other.feed.poll()
        assert not other.quarantines.holds("a.b.c", "1.0.0")
        assert other.changes == [("a.b.c", "1.0.0", True), ("a.b.c", "1.0.0", False)]
        assert await audits(database) == [
            ("plugin.quarantined", "platform", None),
            ("plugin.quarantine_lift_asked", "per_1", "false alarm of a test host"),
            ("plugin.quarantine_lifted", "per_2", "confirmed"),
        ]
        with pytest.raises(PlatformError) as refused:
            await one.quarantines.lift("a.b.c", "1.0.0", by="per_3", reason="late")
        assert refused.value.code == "plugin.not_quarantined"
        await one.quarantines.begin("a.b.c", "1.0.0", FAULT)  # it may come again, and is a new one
        assert one.quarantines.holds("a.b.c", "1.0.0")


async def test_the_database_itself_refuses_one_person_twice(deps: HealthDeps, database: Database) -> None:
    async with process(deps) as one:
        await one.quarantines.begin("a.b.c", "1.0.0", FAULT)
    connection = await database.connect("writer")
    try:
        with pytest.raises(Exception, match="plugin_quarantine"):
            await connection.execute(
                "UPDATE plugin_quarantine SET lift_asked_by = 'per_1', lifted_by = 'per_1', lifted_at = now(), "
                "slot = NULL"
            )
    finally:
        await connection.close()
