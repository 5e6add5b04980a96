"""What is told when a window has nothing left, and what becomes of windows that are long over."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import LIMIT_EXCEEDED
from platform_core.identity.limit_windows import EXHAUSTED, LIMIT, SOURCE, SWEEP, USED
from platform_core.identity.limits import Charge, given_back, posted
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Plan, PlanRefused
from platform_core.kernel.commit.due import DueWork, lease_due
from platform_core.kernel.commit.errors import COMMIT_BUSY
from platform_core.kernel.errors import PlatformError
from platform_core.ledger.accounts import AccountClosed
from tests.identity.conftest import open_shop
from tests.identity.test_limits import History

pytestmark = pytest.mark.database


@pytest.fixture
async def history(deps: IdentityDeps, clock: ManualClock) -> History:
    """A limit of 500 fen a day and 40 refunds a month, and two processes that meter by it."""
    shop = await open_shop(deps, "Metered", frozenset({"refunds:write"}))
    history = History(deps, shop, clock)
    await history.give(500)
    return history


async def exhausted(history: History) -> list[dict[str, Any]]:
    """What was told, in order."""
    async with history.deps.database.read(history.shop.merchant.id) as connection:
        rows = await connection.exec_driver_sql(
            f"SELECT object_id, sequence, body FROM outbox WHERE type = '{EXHAUSTED}' ORDER BY position"
        )
        found = [(object_id, sequence, msgspec.json.decode(body)) for object_id, sequence, body in rows]
    assert all((object_id, sequence) == (body["id"], 1) for object_id, sequence, body in found)
    return [body for _, _, body in found]


async def standing(history: History) -> dict[tuple[str, str], int]:
    """Posted balances by role and period; the source by its unit."""
    found = {}
    for role in (LIMIT, USED, SOURCE):
        for record in await history.ledger.balances(history.shop.merchant.id, role=role):
            place = record.bucket.split("/")[2] if record.bucket else record.unit
            found[role, place] = record.posted
    return found


async def due(history: History) -> list[DueWork]:
    connection = await history.deps.database.connect("job")
    try:
        return await lease_due(connection, kind=SWEEP, now=history.clock.now())
    finally:
        await connection.close()


async def try_act(history: History, amount: int, *, process: int, is_held: bool = False) -> Charge | None:
    try:
        return await history.act(history.processes[process], await history.principal(), amount, is_held=is_held)
    except PlatformError as error:
        if error.declared is not LIMIT_EXCEEDED:
            raise
        return None


async def sweep(history: History) -> int:
    """Do what is due, as a worker does; returns how much."""
    works = await due(history)
    for work in works:
        await history.deps.committer.commit(await history.processes[0].windows.sweep(work))
    return len(works)


async def test_forty_acts_at_once_from_two_processes_tell_once_that_nothing_is_left(history: History) -> None:
    acts = await asyncio.gather(*(try_act(history, 25, process=n % 2) for n in range(40)))
    assert sum(act is not None for act in acts) == 20
    who = await history.principal()
    [granted] = who.details
    [told] = await exhausted(history)
    assert told.pop("id").startswith("lim_")
    assert told == {
        "grant_id": who.grant_id,
        "app_id": history.shop.app.id,
        "merchant_id": history.shop.merchant.id,
        "type": "payment_refund",
        "detail_id": granted.id,
        "limit": {"per": "day", "amount_minor": 500, "currency": "CNY"},
        "window": "2026-11-22",
        "left": 0,
        "resets_at": "2026-11-22T16:00:00Z",
        "exhausted_at": "2026-11-22T12:00:00Z",
    }
    history.clock.advance(timedelta(days=1))
    assert await try_act(history, 500, process=0) is not None
    assert [body["window"] for body in await exhausted(history)] == ["2026-11-22", "2026-11-23"]


async def test_a_limit_of_counts_is_told_too_and_a_held_act_counts(history: History) -> None:
    for _ in range(39):
        await try_act(history, 1, process=0)
    assert await exhausted(history) == []
    assert await try_act(history, 1, process=1, is_held=True) is not None
    [told] = await exhausted(history)
    assert (told["limit"], told["left"]) == ({"per": "month", "quantity": 40}, 0)
    assert (told["window"], told["resets_at"]) == ("2026-11-01", "2026-11-30T16:00:00Z")


async def test_the_first_refusal_in_a_window_is_told_with_what_was_left(history: History) -> None:
    assert await try_act(history, 501, process=0) is None
    assert await exhausted(history) == []  # nothing was used of it: the act is too large for the limit
    await try_act(history, 450, process=0)
    for process in (0, 1, 0, 1):
        assert await try_act(history, 51, process=process) is None
    [told] = await exhausted(history)
    assert told["left"] == 50
    assert await try_act(history, 50, process=1) is not None
    assert len(await exhausted(history)) == 1


async def test_what_cannot_be_told_fails_no_act_and_is_told_by_the_next_refusal(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = history.processes[0].windows

    class Busy:
        async def commit(self, plan: Plan) -> Any:
            raise COMMIT_BUSY.error()

    with monkeypatch.context() as patch:
        patch.setattr(windows, "_committer", Busy())
        assert await try_act(history, 500, process=0) is not None
    assert await exhausted(history) == []
    assert await try_act(history, 1, process=0) is None
    assert [body["left"] for body in await exhausted(history)] == [0]


async def test_ended_windows_are_swept_after_thirty_five_days(history: History) -> None:
    charge = await try_act(history, 200, process=0)
    assert charge is not None
    who = await history.principal()
    history.clock.advance(timedelta(days=35, hours=3, minutes=59))
    assert await due(history) == []
    history.clock.advance(timedelta(minutes=1))  # 35 days after midnight in Shanghai
    assert await sweep(history) == 1
    assert await standing(history) == {
        (LIMIT, "day"): 0,
        (USED, "day"): 200,
        (SOURCE, "limit:CNY"): -200,
        (LIMIT, "month"): 39,
        (USED, "month"): 1,
        (SOURCE, "limit:count"): -40,
    }
    with pytest.raises(PlanRefused) as refused:
        await history.deps.committer.commit(Plan(history.shop.merchant.id, replace(charge, opening=()).spent()))
    assert isinstance(refused.value.refusal, AccountClosed)
    back = given_back(charge.record(), merchant_id=history.shop.merchant.id, reference="bounced", amount=200)
    await history.deps.committer.commit(Plan(history.shop.merchant.id, list(back)))  # what was used is not lost
    assert (await standing(history))[USED, "day"] == 0
    history.clock.advance(timedelta(days=30))
    assert await sweep(history) == 1  # the month's
    history.clock.advance(timedelta(days=365))
    assert await sweep(history) == 0
    read = await history.grants.get(str(who.grant_id), merchant_id=history.shop.merchant.id)
    assert [version.kind for version in read.history] == ["changed", "created"]
    assert (await history.ledger.verify(history.clock.now())).is_clean


async def test_two_workers_at_once_sweep_a_window_once(history: History) -> None:
    await try_act(history, 200, process=0)
    history.clock.advance(timedelta(days=36))
    [work] = await due(history)
    plans = [await process.windows.sweep(work) for process in history.processes]
    outcomes = await asyncio.gather(*map(history.deps.committer.commit, plans), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "PlanRefused"]
    assert (await standing(history))[SOURCE, "limit:CNY"] == -200
    again = await history.processes[1].windows.sweep(work)
    await history.deps.committer.commit(again)
    assert (await standing(history))[SOURCE, "limit:CNY"] == -200
    assert await due(history) == []


async def test_a_window_with_something_pending_is_swept_when_that_has_ended(history: History) -> None:
    held = await try_act(history, 200, process=0, is_held=True)
    assert held is not None
    history.clock.advance(timedelta(days=36))
    assert await sweep(history) == 1
    assert (await standing(history))[SOURCE, "limit:CNY"] == -500
    await history.deps.committer.commit(
        Plan(history.shop.merchant.id, list(posted(held.record(), ids=history.deps.ids)))
    )
    assert await sweep(history) == 0
    history.clock.advance(timedelta(days=1))
    assert await sweep(history) == 1
    assert (await standing(history))[SOURCE, "limit:CNY"] == -200


async def test_a_revoked_grant_leaves_nothing_to_sweep(history: History, database_url: str) -> None:
    await try_act(history, 200, process=0)
    who = await history.principal()
    await history.grants.revoke(str(who.grant_id), merchant_id=history.shop.merchant.id, by="per_1", why="test")
    found = await standing(history)
    assert (found[LIMIT, "day"], found[SOURCE, "limit:CNY"]) == (0, -200)
    assert (found[LIMIT, "month"], found[SOURCE, "limit:count"]) == (0, -1)
    history.clock.advance(timedelta(days=400))
    assert await due(history) == []
    owner = await asyncpg.connect(database_url)
    assert await owner.fetchval("SELECT count(*) FROM limit_window WHERE swept_at IS NULL") == 0
    await owner.close()
