"""Single statements over the driver: names, reuse, and connections that died or were left in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.singles import Singles, positional

ROLE = "SELECT current_user, pg_backend_pid()"


@pytest.fixture
async def singles(database: Database) -> AsyncIterator[Singles]:
    """Two connections of the job role, at most."""
    singles = Singles(lambda: database.connect("job"), size=2)
    yield singles
    await singles.close()


@pytest.mark.unit
def test_names_become_numbers_and_casts_stay() -> None:
    sql = "SELECT :b::text, x::int FROM t WHERE a = :a AND b = :b"
    assert positional(sql) == ("SELECT $1::text, x::int FROM t WHERE a = $2 AND b = $1", ("b", "a"))


@pytest.mark.database
async def test_rows_come_by_the_role_over_one_connection(singles: Singles) -> None:
    first, second = await singles.row(ROLE, {}), await singles.row(ROLE, {})
    assert first is not None
    assert first[0] == "arsenal_job"
    assert first == second, "one connection is used again"
    assert [tuple(row) for row in await singles.rows("SELECT :a::int, :a::int + :b::int", {"a": 1, "b": 2})] == [(1, 3)]
    assert await singles.row("SELECT 1 WHERE false", {}) is None


@pytest.mark.database
async def test_more_callers_than_connections_wait_their_turn(singles: Singles) -> None:
    rows = await asyncio.gather(*(singles.row("SELECT pg_backend_pid(), pg_sleep(0.01)", {}) for _ in range(10)))
    assert len({row[0] for row in rows if row is not None}) == 2


@pytest.mark.database
async def test_a_refused_statement_keeps_its_connection(singles: Singles) -> None:
    before = await singles.row(ROLE, {})
    with pytest.raises(asyncpg.UndefinedTableError):
        await singles.row("SELECT * FROM nothing_here", {})
    assert await singles.row(ROLE, {}) == before


@pytest.mark.database
async def test_a_cancelled_callers_connection_is_not_lent_again(singles: Singles) -> None:
    before = await singles.row(ROLE, {})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await singles.row("SELECT pg_sleep(10)", {})
    after = await singles.row(ROLE, {})
    assert before is not None
    assert after is not None
    assert after[1] != before[1]


@pytest.mark.database
async def test_connections_that_the_server_ended_are_replaced(singles: Singles, database_url: str) -> None:
    rows = await asyncio.gather(*(singles.row("SELECT pg_backend_pid(), pg_sleep(0.01)", {}) for _ in range(2)))
    owner = await asyncpg.connect(database_url)
    for row in rows:
        assert row is not None
        await owner.execute("SELECT pg_terminate_backend($1)", row[0])
    await owner.close()
    failures = 0
    for _ in range(3):
        try:
            found = await singles.row(ROLE, {})
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            failures += 1
    assert failures <= 1, "the first to meet a dead connection drops the others"
    assert found is not None
    assert found[1] not in {row[0] for row in rows if row is not None}


@pytest.mark.database
async def test_a_tenants_reads_see_its_rows_alone_and_leave_nothing_behind(database: Database) -> None:
    asked = "SELECT current_user, current_setting('arsenal.merchant', true), current_setting('transaction_read_only')"
    singles = Singles(lambda: database.connect("app"), size=1)
    try:
        async with singles.tenant("mer_a") as connection:
            assert tuple(await connection.fetchrow(asked)) == ("arsenal_app", "mer_a", "on")
        async with singles.tenant("mer_b") as connection:
            assert (await connection.fetchrow(asked))[1] == "mer_b"
        left = await singles.row(asked, {})
        assert left is not None
        assert left[1] in (None, ""), "the variable was the transaction's"
    finally:
        await singles.close()


@pytest.mark.database
async def test_a_refused_read_of_a_tenant_ends_its_transaction(database: Database) -> None:
    singles = Singles(lambda: database.connect("app"), size=1)
    try:
        async with singles.tenant("mer_a") as connection:
            first = await connection.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(asyncpg.UndefinedTableError):
            async with singles.tenant("mer_a") as connection:
                await connection.fetch("SELECT * FROM nothing_here")
        async with singles.tenant("mer_a") as connection:
            assert await connection.fetchval("SELECT pg_backend_pid()") == first, "and its connection goes on"
        with pytest.raises(LookupError):
            async with singles.tenant("mer_a"):
                raise LookupError("the reader's own")
        async with singles.tenant("mer_a") as connection:
            assert await connection.fetchval("SELECT pg_backend_pid()") != first, "nobody knows what was under way"
    finally:
        await singles.close()


@pytest.mark.database
@pytest.mark.parametrize("odd", ["", "mer_a'", "mer_a; DROP TABLE merchant", "MER", "mer\x00", "m" * 65])
async def test_only_an_id_may_name_a_tenant(singles: Singles, odd: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        async with singles.tenant(odd):
            raise AssertionError("let in")
