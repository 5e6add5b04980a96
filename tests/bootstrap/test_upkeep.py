"""Upkeep renews itself, however many workers begin it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from platform_core.bootstrap.platform import open_platform
from platform_core.bootstrap.upkeep import BILLS, EVERY, EXPIRE, PURGE, SEAL, SUBJECT, Upkeep
from platform_core.bootstrap.worker import needs_of
from platform_core.identity.grants import EXPIRE as GRANT_EXPIRE
from platform_core.identity.limit_windows import SWEEP as LIMIT_SWEEP
from platform_core.kernel.commit import Plan
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.settings import Settings
from platform_core.ledger.accounts import Account, Guard, Transfer
from tests.support.world import World

pytestmark = pytest.mark.database


async def test_each_turn_plans_the_next(world: World) -> None:
    upkeep, platform = Upkeep(world.platform), world.platform
    await upkeep.plan_first()
    for kind, handle in upkeep.due_handlers().items():
        (work,) = await world.due(kind)
        plan = await handle(work)
        assert plan is not None
        await platform.committer.commit(plan)
    await upkeep.plan_first()  # a second worker begins: what is planned keeps its time
    assert [await world.due(kind) for kind in EVERY] == [[], [], [], []]
    connection = await platform.database.connect("job")
    rows = await connection.fetch("SELECT kind, subject_id, due_at FROM due WHERE kind = ANY ($1)", list(EVERY))
    await connection.close()
    now = platform.clock.now()
    assert {tuple(row) for row in rows} == {(kind, SUBJECT, now + EVERY[kind]) for kind in (PURGE, EXPIRE, SEAL, BILLS)}


async def test_a_pending_transfer_past_its_time_is_released(world: World, database_url: str) -> None:
    platform, merchant = world.platform, "mer_1"
    money = [
        Account(merchant, "CNY", merchant, role, "", Guard.FREE) for role in ("channel_receivable", "platform_fee")
    ]
    ends_at = platform.clock.now() - timedelta(seconds=1)
    held = Transfer("tra_1", *money, 100, "authorize", "pay_1", is_pending=True, expires_at=ends_at)
    await platform.committer.commit(Plan(merchant, [held]))
    await Upkeep(platform).expire(DueWork(EXPIRE, SUBJECT, None, platform.clock.now(), 0))
    owner = await asyncpg.connect(database_url)
    kinds = [row["kind"] for row in await owner.fetch("SELECT kind FROM ledger_transfer ORDER BY position")]
    await owner.close()
    assert kinds == ["pending", "expire"]


async def test_a_worker_ends_grants_and_sweeps_their_windows(database_url: str, tmp_path: Path) -> None:
    async with open_platform(Settings(home=tmp_path), DatabaseUrls(owner=database_url)) as platform:
        kinds = {handler.kind for handler in needs_of(platform, Upkeep(platform)).due_handlers}
    assert kinds >= {GRANT_EXPIRE, LIMIT_SWEEP, PURGE}
