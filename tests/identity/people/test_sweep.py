"""What is over is taken away in time and in batches, by workers who cannot read what was in it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from platform_core.identity.revocation import news
from platform_core.identity.schemas_people import StaffInvite
from platform_core.identity.staff import AT_THE_TERMINAL
from platform_core.identity.sweep import KEPT, sweep
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Plan
from tests.identity.conftest import Process, Shop
from tests.identity.people.conftest import Somebody, fetch

pytestmark = pytest.mark.database


async def sweep_once(process: Process, *, limit: int = 5000) -> dict[str, int]:
    """What was taken away, tables of which nothing was left out."""
    connection = await process.deps.database.connect("job")
    try:
        swept = await sweep(connection, now=process.deps.clock.now(), limit=limit)
    finally:
        await connection.close()
    assert set(swept) == {one.table for one in KEPT}
    return {table: count for table, count in swept.items() if count}


async def device_code(process: Process, shop: Shop, grant_id: str) -> None:
    """One that was approved."""
    now = process.deps.clock.now()
    await fetch(
        process,
        "INSERT INTO oauth_device_code VALUES ('dvc_1', NULL, $1, $2, 'test', $3, $3, '', '[]', 'x', 5, NULL, 1, $4, "
        "$4)",
        shop.app.client.id, shop.app.id, b"d" * 32, now,
    )  # fmt: skip
    await fetch(
        process,
        "INSERT INTO oauth_device_decision VALUES ('dvc_1', $1, $2, 'per_1', 'approved', $3, 'fam_1', NULL, '', '[]', "
        "'x', 1, 1, $4, NULL)",
        shop.merchant.id, shop.app.client.id, grant_id, now,
    )  # fmt: skip


async def test_what_is_over_is_swept_and_what_lives_stays(
    process: Process, clock: ManualClock, shop: Shop, owner: Somebody
) -> None:
    people = process.people
    await people.desk.recovery.ask(owner.email, address="203.0.113.7", language="en")
    await people.staff.invite(
        owner.party, StaffInvite(email="late@shop.example", roles=["cashier"]), by=AT_THE_TERMINAL
    )
    await device_code(process, shop, shop.grant.id)
    gone = news(process.deps.ids, kind="jti", subject_id="jti_1", merchant_id=shop.merchant.id, now=clock.now())
    await process.deps.committer.commit(Plan(shop.merchant.id, [gone]))
    assert await sweep_once(process) == {}
    clock.advance(timedelta(days=29))
    living = await owner.sign_in()
    assert await sweep_once(process) == {"one_time_link": 1, "sign_in_counter": 2, "revocation": 1}
    clock.advance(timedelta(days=2))
    assert await sweep_once(process) == {"oauth_device_code": 1, "person_message": 3, "sign_in_counter": 3}
    assert await fetch(process, "SELECT id FROM oauth_device_decision") == []
    clock.advance(timedelta(days=6))
    assert await sweep_once(process) == {"console_session": 2, "invitation": 2}
    remembered = await fetch(process, "SELECT id FROM console_session WHERE ended_at IS NULL")
    assert [row["id"] for row in remembered] == [living.session_id]
    assert await fetch(process, "SELECT id FROM membership WHERE id = $1", owner.staff_id) != []


async def test_many_rows_go_in_batches_and_two_workers_take_each_once(process: Process, owner: Somebody) -> None:
    for _ in range(5):
        await owner.sign_in()
    rows = len(await fetch(process, "SELECT id FROM console_session"))
    process_clock = owner.clock
    process_clock.advance(timedelta(days=40))
    first = (await sweep_once(process, limit=4))["console_session"]
    both = await asyncio.gather(sweep_once(process), sweep_once(process))
    assert (first, first + sum(swept.get("console_session", 0) for swept in both)) == (4, rows)
    assert await sweep_once(process) == {}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT email FROM invitation",
        "SELECT digest FROM one_time_link",
        "SELECT sealed FROM person_message",
        "SELECT person_id FROM console_session",
        "SELECT failures FROM sign_in_counter",
        "UPDATE console_session SET ended_at = NULL",
        "INSERT INTO one_time_link (id) VALUES ('lnk_1')",
    ],
)
async def test_who_sweeps_reads_and_changes_nothing(process: Process, statement: str) -> None:
    connection = await process.deps.database.connect("job")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)
    await connection.close()
