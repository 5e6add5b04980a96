"""Who sees what: the application its tenant's rows, workers all, the writer nothing outside its statements."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer, Event, Plan
from platform_core.kernel.database.pools import Database, DatabaseUrls
from platform_core.kernel.database.tenancy import TENANT

pytestmark = pytest.mark.database
OUTBOX = "SELECT id FROM outbox ORDER BY id"


@pytest.fixture
async def two_tenants(committer: Committer, clock: ManualClock) -> None:
    """An event of each of two merchants, and one of the platform."""
    for tenant in ("mer_a", "mer_b", None):
        await committer.commit(Plan(tenant, [Event(f"evt_{tenant}", "x.made", "x", 1, clock.now(), "{}")]))


@pytest.mark.usefixtures("two_tenants")
@pytest.mark.parametrize(
    ("tenant", "seen"), [("mer_a", ["evt_mer_a"]), ("mer_b", ["evt_mer_b"]), ("mer_c", []), (None, []), ("", [])]
)
async def test_a_request_sees_its_own_tenant(database: Database, tenant: str | None, seen: list[str]) -> None:
    async with database.read(tenant) as connection:
        assert [row[0] for row in await connection.exec_driver_sql(OUTBOX)] == seen


@pytest.mark.usefixtures("two_tenants")
async def test_a_pooled_connection_forgets_the_tenant_before_it(database_url: str) -> None:
    database = Database(DatabaseUrls(owner=database_url), application_name="test", pool_size=1)
    async with database.read("mer_a") as connection:
        assert [row[0] for row in await connection.exec_driver_sql(OUTBOX)] == ["evt_mer_a"]
        first = (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
    async with database.engine("app").connect() as connection:
        assert (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one() == first
        assert (await connection.exec_driver_sql(f"SELECT {TENANT}")).scalar_one() is None
        assert list(await connection.exec_driver_sql(OUTBOX)) == []
    await database.close()


@pytest.mark.usefixtures("two_tenants")
async def test_parallel_requests_do_not_mix_their_tenants(database: Database) -> None:
    async def seen(tenant: str) -> list[str]:
        async with database.read(tenant) as connection:
            return [row[0] for row in await connection.exec_driver_sql(OUTBOX)]

    tenants = ["mer_a", "mer_b", "mer_c"] * 20
    answers = await asyncio.gather(*map(seen, tenants))
    assert answers == [[] if tenant == "mer_c" else [f"evt_{tenant}"] for tenant in tenants]


@pytest.mark.usefixtures("two_tenants")
async def test_workers_see_all_tenants(database: Database) -> None:
    async with database.read_all() as connection:
        assert len(list(await connection.exec_driver_sql(OUTBOX))) == 3


@pytest.mark.usefixtures("two_tenants")
@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("app", "UPDATE outbox SET body = '[]'"),
        ("app", "INSERT INTO commit_batch VALUES ('bat_1', 1, now())"),
        ("app", "DELETE FROM outbox"),
        ("job", "UPDATE outbox SET body = '[]'"),
        ("job", "UPDATE due SET due_at = now()"),
        ("auth", "SELECT 1 FROM outbox"),
        ("writer", "DELETE FROM outbox"),
        ("writer", "DELETE FROM ledger_transfer"),
        ("writer", "ALTER TABLE outbox DISABLE ROW LEVEL SECURITY"),
    ],
)
async def test_no_role_does_more_than_its_part(database: Database, role: str, statement: str) -> None:
    connection = await database.connect(role)
    try:
        assert await connection.fetchval("SELECT current_user") == f"arsenal_{role}"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()
