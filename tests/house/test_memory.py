"""What the tests stand on: a server in memory that leaves nothing behind, and databases that nobody has used."""

from __future__ import annotations

import fcntl
from pathlib import Path

import asyncpg
import pytest

from platform_core.kernel.database.embedded import EmbeddedPostgres
from tests.support import memory


def left_folder(parent: Path, name: str, *inside: str) -> Path:
    """A folder as a run makes it, with what is in it."""
    folder = parent / f"{memory.PREFIX}{name}"
    folder.mkdir()
    for each in inside:
        (folder / each).touch()
    return folder


def test_a_killed_runs_folder_is_removed_by_the_next_run_and_nobody_elses(tmp_path: Path) -> None:
    killed = left_folder(tmp_path, "killed", "lock", "pg")
    starting = left_folder(tmp_path, "starting", "lock")
    stranger = left_folder(tmp_path, "stranger", "pg")
    running = left_folder(tmp_path, "running", "lock", "pg")
    with (running / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with memory.run_folder(tmp_path) as own:
            assert not killed.exists()
            assert all(path.exists() for path in (starting, stranger, running, own))
            (own / "pg").touch()
            with memory.run_folder(tmp_path) as other:
                assert own.exists()
            assert not other.exists()
    assert not own.exists()


def test_memory_that_is_short_or_missing_is_not_used(tmp_path: Path) -> None:
    assert memory.has_room(tmp_path, room_bytes=1)
    assert not memory.has_room(tmp_path, room_bytes=1 << 60)
    assert not memory.has_room(tmp_path / "none", room_bytes=1)


async def contents(url: str) -> dict[str, list[str]]:
    """All rows of all tables, and where every sequence stands."""
    connection = await asyncpg.connect(url)
    try:
        tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"
        found = {
            name: [row[0] for row in await connection.fetch(f"SELECT t::text FROM {name} t ORDER BY 1")]
            for (name,) in await connection.fetch(tables)
        }
        sequences = "SELECT sequencename::text, coalesce(last_value::text, 'unused') FROM pg_sequences"
        return found | {name: [stands_at] for name, stands_at in await connection.fetch(sequences)}
    finally:
        await connection.close()


@pytest.mark.database
async def test_no_test_sees_what_another_one_wrote(postgres: EmbeddedPostgres) -> None:
    untouched = await contents(postgres.url("template_arsenal"))
    assert len(untouched) > 80
    postgres.create_database("planted_first", template="template_arsenal")
    first, second = postgres.url("planted_first"), postgres.url("planted_second")
    assert await contents(first) == untouched
    connection = await asyncpg.connect(first)
    await connection.execute(
        "INSERT INTO merchant VALUES ('mer_1', 'Noodles', 'test', 'catering', 'UTC', 'verified', 'active', 1, now());"
        "INSERT INTO seen_jti (id, until, born) VALUES ('planted', now(), NULL);"
        "SELECT nextval('audit_row_position_seq'), nextval('outbox_position_seq')"
    )
    await connection.close()
    changed = {name for name, rows in (await contents(first)).items() if rows != untouched[name]}
    assert changed == {"merchant", "seen_jti", "audit_row_position_seq", "outbox_position_seq"}
    postgres.create_database("planted_second", template="template_arsenal")
    assert await contents(second) == untouched
    for name in ("planted_first", "planted_second"):
        postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")
    postgres.create_database("planted_first", template="template_arsenal")
    assert await contents(first) == untouched
    postgres.sql("DROP DATABASE planted_first WITH (FORCE)")


@pytest.mark.database
def test_the_servers_settings_are_those_of_the_embedded_default_but_for_its_connections(
    postgres: EmbeddedPostgres,
) -> None:
    found = postgres.sql(
        "SELECT name || ' ' || setting FROM pg_settings "
        "WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'max_connections') ORDER BY name"
    )
    assert found.splitlines() == ["fsync on", "full_page_writes on", "max_connections 400", "synchronous_commit on"]
