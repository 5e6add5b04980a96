"""Migrations: one branch per folder named `migrations`, wherever a package keeps it; a new capability edits no other.

A package's first revision carries `branch_labels` (its name). The kernel's branch comes first, because it makes the
roles; the others refer to no table but their own, so that their order does not matter. (Alembic's `depends_on` loses
count of heads when two branches depend on one: alembic 1.20.1, HeadMaintainer.)

`more` everywhere: further folders, with branches of their own, that bootstrap knows of (a sandbox has tables too).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from platform_core.kernel.database.pools import sqlalchemy_url

_CORE = Path(__file__).resolve().parents[2]


def migration_folders(root: Path = _CORE) -> list[Path]:
    """Every `migrations` folder under a package, by default the core, sorted by path."""
    return sorted(path for path in root.rglob("migrations") if path.is_dir())


def alembic_config(connection: Connection | None = None, *, more: Sequence[Path] = ()) -> Config:
    """Alembic's configuration, made in code: there is no alembic.ini to keep in step."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(str, [*migration_folders(), *more])))
    config.attributes["connection"] = connection
    return config


def heads_expected(more: Sequence[Path] = ()) -> frozenset[str]:
    """The revisions that a database of this release stands at."""
    return frozenset(ScriptDirectory.from_config(alembic_config(more=more)).get_heads())


def revisions_known(more: Sequence[Path] = ()) -> frozenset[str]:
    """Every revision that these folders hold, old ones too."""
    return frozenset(
        script.revision for script in ScriptDirectory.from_config(alembic_config(more=more)).walk_revisions()
    )


async def upgrade(url: str, revision: str = "heads", *, more: Sequence[Path] = ()) -> None:
    """Bring the database at the owner's `url` up to a revision. Of two processes at once, one waits for the other."""

    def work(connection: Connection) -> None:
        command.upgrade(alembic_config(connection, more=more), "kernel@head")
        command.upgrade(alembic_config(connection, more=more), revision)

    await _run(url, work)


async def downgrade(url: str, *, more: Sequence[Path] = ()) -> None:
    """Take the database back to nothing, the kernel last. Destroys what the tables hold."""

    def work(connection: Connection) -> None:
        script = ScriptDirectory.from_config(alembic_config(more=more))
        labels = sorted(next(iter(base.branch_labels)) for base in script.get_revisions(script.get_bases()) if base)
        for label in sorted(labels, key=lambda label: label == "kernel"):
            command.downgrade(alembic_config(connection, more=more), f"{label}@base")

    await _run(url, work)


async def heads_found(url: str) -> frozenset[str]:
    """The revisions that the database stands at; empty for a new one."""
    found: list[str] = []

    def read(connection: Connection) -> None:
        found.extend(MigrationContext.configure(connection).get_current_heads())

    await _run(url, read)
    return frozenset(found)


async def _run(url: str, work: object) -> None:
    engine = create_async_engine(sqlalchemy_url(url))
    try:
        async with engine.connect() as connection:
            await connection.exec_driver_sql("SELECT pg_advisory_lock(7233021)")
            await connection.commit()
            await connection.run_sync(work)  # type: ignore[arg-type]  # any callable of one connection
            await connection.commit()
    finally:
        await engine.dispose()


def main_upgrade(url: str) -> None:
    """`upgrade` for callers without a loop."""
    asyncio.run(upgrade(url))
