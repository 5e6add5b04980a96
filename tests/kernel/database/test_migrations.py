"""Migrations go up, down to nothing and up again, also from two processes at once."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from platform_core.kernel.database import migrations
from platform_core.kernel.database.embedded import EmbeddedPostgres

pytestmark = pytest.mark.database
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"


async def test_down_leaves_nothing_and_up_restores_it(database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    try:
        before = [row[0] for row in await owner.fetch(TABLES)]
        heads = await migrations.heads_found(database_url)
        assert heads
        assert {"outbox", "due", "idempotency", "commit_batch", "ledger_account"} <= set(before)
        await migrations.downgrade(database_url)
        assert [row[0] for row in await owner.fetch(TABLES)] == ["alembic_version"]
        assert await migrations.heads_found(database_url) == frozenset()
        await migrations.upgrade(database_url)
        assert [row[0] for row in await owner.fetch(TABLES)] == before
        assert await migrations.heads_found(database_url) == heads
    finally:
        await owner.close()


async def test_two_upgrades_at_once_agree(postgres: EmbeddedPostgres, database_url: str) -> None:
    postgres.create_database("upgraded_twice")
    url = postgres.url("upgraded_twice")
    await asyncio.gather(migrations.upgrade(url), asyncio.to_thread(migrations.main_upgrade, url))
    assert await migrations.heads_found(url) == await migrations.heads_found(database_url)


async def test_every_table_is_under_row_level_security(database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    try:
        bare = await owner.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "AND NOT relrowsecurity AND relname <> 'alembic_version'"
        )
        assert [row[0] for row in bare] == []
    finally:
        await owner.close()
