"""Plugins' own stores against a real database: what a call sees, what is kept, what vanishes, what is refused."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer, Plan, PlanRefused, TenantViolation
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host import state_sweep
from platform_core.plugin_host.state_parts import Add, Forget, Put, Quota, StateRefused, StateWrite
from platform_core.plugin_host.state_reader import StateReader
from platform_core.plugin_host.state_session import StateSession
from tests.support.patience import HEARD_S

pytestmark = pytest.mark.database
QUOTA = Quota(bytes_max=4096, keys_max=5)
WIDE = Quota(bytes_max=1024 * 1024, keys_max=1000)


class Stores:
    """Sessions of one plugin at one merchant, as calls open them one after another."""

    def __init__(self, database: Database, committer: Committer, clock: ManualClock) -> None:
        self.reader = StateReader(database)
        self.database = database
        self.committer = committer
        self.clock = clock

    def open(self, *, merchant_id: str = "mer_a", plugin_id: str = "a.b.c", quota: Quota = QUOTA) -> StateSession:
        return StateSession(self.reader, merchant_id=merchant_id, plugin_id=plugin_id, quota=quota, clock=self.clock)

    async def commit(self, *sessions: StateSession, may_refuse: bool = True, merchant_id: str = "mer_a") -> None:
        parts = [part for session in sessions if (part := session.part(may_refuse=may_refuse)) is not None]
        await self.committer.commit(Plan(merchant_id, list(parts)))

    async def rows(self, sql: str) -> list[Any]:
        async with self.database.read_all() as connection:
            return list((await connection.execute(text(sql))).all())

    async def held(self) -> list[Any]:
        return await self.rows("SELECT key, value, version FROM plugin_state ORDER BY key")

    async def use(self) -> tuple[int, int]:
        """What is noted as held, which must be what is there."""
        noted = await self.rows("SELECT sum(bytes)::bigint, sum(keys)::bigint FROM plugin_state_use")
        there = await self.rows("SELECT coalesce(sum(size), 0)::bigint, count(*)::bigint FROM plugin_state")
        assert tuple(noted[0]) == tuple(there[0])
        return int(noted[0][0]), int(noted[0][1])


@pytest.fixture
def stores(database: Database, committer: Committer, clock: ManualClock) -> Stores:
    return Stores(database, committer, clock)


async def test_what_a_call_writes_it_sees_at_once_and_others_after_the_commit(stores: Stores) -> None:
    one, other = stores.open(), stores.open()
    assert await one.put("limit", {"minor": 500, "why": "新商户"}, None, None) == 1
    assert await one.get("limit") == {"key": "limit", "value": {"minor": 500, "why": "新商户"}, "version": 1}
    assert await other.get("limit") is None
    await stores.commit(one)
    assert (await stores.open().get("limit") or {})["value"] == {"minor": 500, "why": "新商户"}


async def test_what_is_not_committed_vanishes(stores: Stores) -> None:
    call = stores.open()
    await call.put("a", 1, None, None)
    await call.increment("b", 3, None)
    assert await stores.held() == []


async def test_two_calls_at_once_both_count(stores: Stores) -> None:
    calls = [stores.open() for _ in range(20)]
    seen = await asyncio.gather(*(call.increment("paid", 1, 3600) for call in calls))
    assert seen == [1] * 20
    await asyncio.gather(*(stores.commit(call) for call in calls))
    assert await stores.held() == [("paid", "20", 20)]
    assert await stores.use() == (len("paid") + 20, 1)


async def test_many_increments_of_one_key_in_one_batch_are_one_row_written(stores: Stores, database_url: str) -> None:
    calls = [stores.open() for _ in range(50)]
    for call in calls:
        await call.increment("hot", 2, None)
    await stores.commit(*calls)
    assert await stores.held() == [("hot", "100", 50)]
    # One insertion and no dead version of the row: PostgreSQL would have kept one for each further write.
    sizes = await stores.rows("SELECT count(*) FROM plugin_state WHERE xmax::text <> '0'")
    assert sizes == [(0,)]


async def test_a_window_begins_with_its_first_increment_and_ends_by_the_clock_of_business(stores: Stores) -> None:
    call = stores.open()
    assert await call.increment("window", 1, 60) == 1
    await stores.commit(call)
    stores.clock.advance(timedelta(seconds=59))
    call = stores.open()
    assert await call.increment("window", 1, 60) == 2
    await stores.commit(call)
    stores.clock.advance(timedelta(seconds=1))
    call = stores.open()
    assert await call.get("window") is None
    assert await call.increment("window", 1, 60) == 1
    await stores.commit(call)
    assert await stores.held() == [("window", "1", 1)]
    assert await stores.use() == (len("window") + 20, 1)


async def test_a_list_is_ordered_bounded_and_shows_the_calls_own_writes(stores: Stores) -> None:
    call = stores.open(quota=WIDE)
    for name in ("b2", "a1", "b1", "B1", "b3"):
        await call.put(name, name, None, None)
    await call.put("b0", "gone", None, 10)
    await stores.commit(call)
    stores.clock.advance(timedelta(seconds=10))
    call = stores.open(quota=WIDE)
    await call.delete("b1")
    await call.put("b15", "own", None, None)
    assert [item["key"] for item in await call.items("b", 100)] == ["b15", "b2", "b3"]
    assert [item["key"] for item in await call.items("", 3)] == ["B1", "a1", "b15"]


async def test_an_expected_version_is_compared_when_asked_and_when_committed(stores: Stores) -> None:
    first = stores.open()
    assert await first.put("k", "one", 0, None) == 1
    await stores.commit(first)
    late, early = stores.open(), stores.open()
    with pytest.raises(PlatformError) as refused:
        await late.put("k", "two", 0, None)
    assert (refused.value.code, refused.value.values) == ("plugin.state_changed", {"expected": 0, "found": 1})
    assert await late.put("k", "late", 1, None) == 2
    assert await early.put("k", "early", 1, None) == 2
    await stores.commit(early)
    with pytest.raises(PlanRefused) as lost:
        await stores.commit(late)
    assert isinstance(lost.value.refusal, StateRefused)
    assert lost.value.refusal.code == "plugin.state_changed"
    assert await stores.held() == [("k", '"early"', 2)]


async def test_in_a_decision_a_write_that_no_longer_applies_is_left_out_and_the_plan_stands(stores: Stores) -> None:
    first = stores.open()
    await first.put("k", "one", None, None)
    await stores.commit(first)
    late, early, mate = stores.open(), stores.open(), stores.open(plugin_id="d.e.f")
    await late.put("k", "late", 1, None)
    await late.increment("counter", 1, None)
    await early.put("k", "early", 1, None)
    await mate.increment("counter", 1, None)
    await stores.commit(early)
    await stores.commit(late, mate, may_refuse=False)  # nothing is raised: the payment is not the plugin's to fail
    assert await stores.held() == [("counter", "1", 1), ("k", '"early"', 2)]
    owner = await stores.rows("SELECT plugin_id FROM plugin_state WHERE key = 'counter'")
    assert owner == [("d.e.f",)]


@pytest.mark.parametrize("how", ["keys", "bytes"])
async def test_a_full_store_is_refused_and_nothing_of_it_written(stores: Stores, how: str) -> None:
    call = stores.open()
    if how == "keys":
        for number in range(5):
            await call.increment(f"k{number}", 1, None)
    else:
        await call.put("large", "x" * 4000, None, None)
    await stores.commit(call)
    before = await stores.use()
    full = stores.open()
    with pytest.raises(PlatformError) as refused:
        await full.put("one-more", "y" * 200, None, None)
    assert refused.value.code == "plugin.state_full"
    assert full.part(may_refuse=True) is None
    await full.delete("k0" if how == "keys" else "large")
    await full.put("one-more", "y" * 200, None, None)  # there is room again
    await stores.commit(full)
    assert await stores.use() != before


async def test_two_calls_cannot_fill_a_store_beyond_its_quota(stores: Stores) -> None:
    calls = []
    for number in range(8):
        calls.append(stores.open())
        await calls[-1].increment(f"k{number}", 1, None)  # each sees an empty store
    outcomes = await asyncio.gather(*(stores.commit(call) for call in calls), return_exceptions=True)
    refusals = [outcome.refusal for outcome in outcomes if isinstance(outcome, PlanRefused)]
    assert [refusal.code for refusal in refusals if isinstance(refusal, StateRefused)] == ["plugin.state_full"] * 3
    assert (await stores.use())[1] == 5


async def test_a_merchant_and_a_plugin_have_stores_of_their_own(stores: Stores) -> None:
    mine, theirs, others = stores.open(), stores.open(merchant_id="mer_b"), stores.open(plugin_id="d.e.f")
    await mine.put("k", "mine", None, None)
    await stores.commit(mine)
    assert await theirs.get("k") is None
    assert await theirs.items("", 100) == []
    assert await others.get("k") is None
    async with stores.database.read("mer_b") as connection:  # and by row-level security alone
        assert (await connection.execute(text("SELECT count(*) FROM plugin_state"))).scalar() == 0
    async with stores.database.read(None) as connection:
        assert (await connection.execute(text("SELECT count(*) FROM plugin_state_use"))).scalar() == 0


async def test_a_plan_writes_to_its_own_merchants_stores_alone(stores: Stores) -> None:
    theirs = stores.open(merchant_id="mer_b")
    await theirs.put("k", "v", None, None)
    with pytest.raises(PlanRefused) as refused:
        await stores.commit(theirs, merchant_id="mer_a")
    assert isinstance(refused.value.refusal, TenantViolation)
    assert await stores.held() == []


async def test_counting_stays_exact_and_on_numbers(stores: Stores) -> None:
    call = stores.open()
    await call.put("text", "three", None, None)
    for key, by in (("text", 1), ("sum", 2**53 + 1)):
        with pytest.raises(PlatformError) as refused:
            await call.increment(key, by, None)
        assert refused.value.code == "plugin.state_number"
    assert await call.increment("sum", 2**53, None) == 2**53
    assert await call.increment("sum", -(2**53) - 5, None) == -5


@pytest.mark.parametrize("key", ["", "k" * 129, "a\x00b", "line\nbreak", "\ud800"])
async def test_a_key_that_is_none_is_refused(stores: Stores, key: str) -> None:
    call = stores.open()
    for act in (call.get(key), call.put(key, 1, None, None), call.increment(key, 1, None), call.delete(key)):
        with pytest.raises(PlatformError) as refused:
            await act
        assert refused.value.code == "plugin.state_key"
    assert call.part(may_refuse=True) is None


@pytest.mark.parametrize("value", ["x" * 16_384, float("nan"), {1, 2}, "\ud800", b"raw"], ids=str)
async def test_a_value_that_is_no_json_or_too_large_is_refused(stores: Stores, value: object) -> None:
    call = stores.open(quota=WIDE)
    with pytest.raises(PlatformError) as refused:
        await call.put("k", value, None, None)
    assert refused.value.code == "plugin.state_value"
    assert call.part(may_refuse=True) is None
    assert await call.put("k", "x" * 16_382, None, None) == 1


async def test_expired_values_are_swept_and_what_they_held_is_freed(stores: Stores) -> None:
    for merchant_id in ("mer_a", "mer_b"):
        call = stores.open(merchant_id=merchant_id, quota=WIDE)
        for number in range(30):
            await call.increment(f"k{number}", 1, 60 if number % 3 else None)
        await stores.commit(call, merchant_id=merchant_id)
    connection = await stores.database.connect("job")
    try:
        assert await state_sweep.sweep(connection, now=stores.clock.now() + timedelta(seconds=60), limit=5000) == 0
        now = stores.clock.advance(timedelta(seconds=61))
        swept = [await state_sweep.sweep(connection, now=now, limit=25) for _ in range(3)]
        assert swept == [25, 15, 0]
        assert (await stores.use())[1] == 20
        removed = await state_sweep.remove_store(connection, merchant_id="mer_a", plugin_id="a.b.c", limit=8)
        assert removed == 8
        assert await state_sweep.remove_store(connection, merchant_id="mer_a", plugin_id="a.b.c") == 2
        assert (await stores.use())[1] == 10
    finally:
        await connection.close()


async def test_a_removed_plugins_store_is_kept_for_thirty_days(stores: Stores) -> None:
    for plugin_id in ("a.b.c", "d.e.f"):
        call = stores.open(plugin_id=plugin_id)
        await call.increment("k", 1, None)
        await stores.commit(call)
    owner = await asyncpg.connect(stores.database.urls.owner)
    try:
        await owner.execute("SET session_replication_role = replica")  # no plugin, release or grant behind the row
        await owner.execute(
            "INSERT INTO plugin_installation (id, merchant_id, plugin_id, app_id, release_id, version, state, "
            "config_revision, is_dry_run, last_change, row_version, created_at, updated_at) SELECT 'ins_' || p, "
            "'mer_a', p, 'app_1', 'rel_1', '1.0.0', s, 0, false, 'removed', 1, $1, $1 "
            "FROM (VALUES ('a.b.c', 'removed'), ('d.e.f', 'disabled')) AS v(p, s)",
            stores.clock.now(),
        )
    finally:
        await owner.close()
    connection = await stores.database.connect("job")
    try:
        days_30 = stores.clock.now() + timedelta(days=30)
        assert await state_sweep.sweep_removed(connection, now=days_30) == 0
        assert await state_sweep.sweep_removed(connection, now=days_30 + timedelta(seconds=1)) == 1
        assert await state_sweep.sweep_removed(connection, now=days_30 + timedelta(seconds=1)) == 0
    finally:
        await connection.close()
    assert await stores.rows("SELECT plugin_id FROM plugin_state") == [("d.e.f",)]


async def test_the_sweep_leaves_a_store_alone_that_the_writer_is_busy_with(stores: Stores) -> None:
    call = stores.open()
    await call.increment("k", 1, 1)
    await stores.commit(call)
    now = stores.clock.advance(timedelta(seconds=2))
    writer, sweeper = await stores.database.connect("writer"), await stores.database.connect("job")
    try:
        async with writer.transaction():
            await writer.execute("SELECT pg_advisory_xact_lock($1)", state_sweep.store_lock("mer_a", "a.b.c"))
            assert await state_sweep.sweep(sweeper, now=now) == 0
        assert await state_sweep.sweep(sweeper, now=now) == 1
    finally:
        await writer.close()
        await sweeper.close()


async def test_another_process_waits_for_the_store_before_it_looks(stores: Stores) -> None:
    call = stores.open()
    await call.increment("k", 1, None)
    other, watch = await stores.database.connect("writer"), await stores.database.connect("job")
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    try:
        async with other.transaction():  # a batch of another process, which has counted 5 and not committed yet
            await other.execute("SELECT pg_advisory_xact_lock($1)", state_sweep.store_lock("mer_a", "a.b.c"))
            await other.execute("INSERT INTO plugin_state VALUES ('mer_a', 'a.b.c', 'k', '5', 21, 5, NULL)")
            await other.execute("INSERT INTO plugin_state_use VALUES ('mer_a', 'a.b.c', 21, 1)")
            commit = asyncio.create_task(stores.commit(call))
            async with asyncio.timeout(HEARD_S):
                while not commit.done() and not await watch.fetchval(waiting):  # noqa: ASYNC110 - the server tells nobody
                    await asyncio.sleep(0.01)
            assert not commit.done()
        await commit
    finally:
        await other.close()
        await watch.close()
    assert await stores.held() == [("k", "6", 6)]


async def test_reads_of_one_merchant_that_come_together_share_a_query(stores: Stores) -> None:
    call = stores.open(quota=WIDE)
    for number in range(10):
        await call.put(f"k{number}", number, None, None)
    await stores.commit(call)
    async with stores.database.read_plainly("mer_a") as connection:  # opens the connection that is lent next
        assert connection is not None
    asked: list[int] = []
    answer = stores.reader._answer

    async def counted(merchant_id: str, wanted: Any) -> None:
        asked.append(len(wanted))
        await answer(merchant_id, wanted)

    stores.reader._answer = counted  # type: ignore[method-assign]  # counts, and passes on
    found = await asyncio.gather(*(stores.reader.read("mer_a", "a.b.c", f"k{number}") for number in range(10)))
    assert [one.stored.value for one in found if one.stored is not None] == [str(number) for number in range(10)]
    assert asked == [10]


async def test_changes_are_applied_in_their_order_and_all_or_none(stores: Stores) -> None:
    write = StateWrite(
        plugin_id="a.b.c",
        merchant_id="mer_a",
        changes=(Put("k", "5", None, None), Add("k", 2, None), Forget("k"), Add("k", 1, None), Put("l", "1", 0, None)),
        quota=QUOTA,
        may_refuse=True,
    )
    await stores.committer.commit(Plan("mer_a", [write]))
    assert await stores.held() == [("k", "1", 1), ("l", "1", 1)]
    with pytest.raises(PlanRefused):  # the last change expects that `l` is not there
        await stores.committer.commit(Plan("mer_a", [write]))
    assert await stores.held() == [("k", "1", 1), ("l", "1", 1)]
