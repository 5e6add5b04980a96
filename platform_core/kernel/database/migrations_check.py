"""Migrations up, down and up again, and the models against what they made: `python -m` this module, exit status 0 or 1.

Starts an embedded PostgreSQL of its own in a temporary folder, or takes the owner's URL of an empty database. `also`
everywhere: further top-level packages that have tables, named by their folders.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, String, inspect
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

from platform_core.kernel.database import migrations
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import sqlalchemy_url

_CORE = Path(__file__).resolve().parents[2]
_LEFT_BEHIND = """
SELECT 'relation ' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
UNION ALL SELECT 'function ' || p.proname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = 'public'
UNION ALL SELECT 'type ' || t.typname FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
WHERE n.nspname = 'public' AND t.typtype IN ('e', 'd', 'r')
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class MigrationsReport:
    """What the check found. `undescribed` tables have no model, which is no fault: only SQL speaks to them."""

    described: tuple[str, ...]
    undescribed: tuple[str, ...]
    drift: tuple[str, ...]
    left_behind: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether models and migrations agree and going back leaves nothing."""
        return not self.drift and not self.left_behind


def import_models(also: Sequence[Path] = ()) -> list[str]:
    """Import every `models.py` and `models_*.py` of the core, so that `SQLModel.metadata` holds all tables.

    Returns their names.
    """
    roots = (_CORE, *(root.resolve() for root in also))
    found = ((path, root) for root in roots for path in sorted(root.rglob("models*.py")))
    names = [".".join(path.relative_to(root.parent).with_suffix("").parts) for path, root in found]
    for name in names:
        importlib.import_module(name)
    return names


async def check(url: str, *, also: Sequence[Path] = ()) -> MigrationsReport:
    """Run the whole check on the owner's `url` of an empty database, and leave it at the newest revision."""
    import_models(also)
    more = [folder for root in also for folder in migrations.migration_folders(root.resolve())]
    await migrations.upgrade(url, more=more)
    drift, undescribed = await _inspect(url, _compare)
    await migrations.downgrade(url, more=more)
    left_behind = await _inspect(url, _left_behind)
    await migrations.upgrade(url, more=more)
    again, _ = await _inspect(url, _compare)
    described = tuple(sorted(SQLModel.metadata.tables))
    return MigrationsReport(described, undescribed, (*drift, *(d for d in again if d not in drift)), left_behind)


def _compare(connection: Connection) -> tuple[tuple[str, ...], tuple[str, ...]]:
    described = set(SQLModel.metadata.tables)
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": _is_type_other,
            "include_name": lambda name, kind, parents: kind != "table" or name in described,
        },
    )
    differences = compare_metadata(context, SQLModel.metadata)
    drift = tuple(_in_words(difference) for difference in differences if not _is_migrations_own(difference))
    found = set(inspect(connection).get_table_names()) - {"alembic_version"}
    return drift, tuple(sorted(found - described))


def _is_migrations_own(difference: Any) -> bool:  # alembic's tuples differ in shape by kind
    """Indexes, keys and constraints stand in migrations alone; so do columns that the database fills by itself."""
    if isinstance(difference, list):
        return False
    kind = difference[0]
    if kind in ("remove_index", "remove_constraint", "remove_fk"):
        return True
    return kind == "remove_column" and difference[3].identity is not None


def _is_type_other(*compared: Any) -> bool | None:
    """None leaves the judgement to Alembic; text and varchar without a length are one type to PostgreSQL."""
    # Alembic hands over the context, the two columns, and in the last places the two types; SQLModel wraps its own.
    kinds = [getattr(kind, "impl", kind) for kind in compared[3:]]
    texts = [kind for kind in kinds if isinstance(kind, String) and kind.length is None]
    return False if len(texts) == 2 else None


def _in_words(difference: Any) -> str:  # alembic's tuples differ in shape by kind
    if isinstance(difference, list):
        return "; ".join(map(_in_words, difference))
    return " ".join(str(getattr(item, "name", None) or item) for item in difference if item is not None)


def _left_behind(connection: Connection) -> tuple[str, ...]:
    rows = connection.exec_driver_sql(_LEFT_BEHIND).scalars()
    return tuple(row for row in rows if row != "relation alembic_version")


async def _inspect(url: str, look: Any) -> Any:  # any reading of a connection, and what it returns
    engine = create_async_engine(sqlalchemy_url(url))
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(look)
    finally:
        await engine.dispose()


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print what is wrong, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="owner's URL of an empty database; default: an embedded one, thrown away after")
    parser.add_argument(
        "--also", type=Path, action="append", default=[], help="folder of a further package with tables"
    )
    given = parser.parse_args(arguments)
    url: str | None = given.url
    if url is not None:
        report = asyncio.run(check(url, also=given.also))
    else:
        with tempfile.TemporaryDirectory(prefix="arsenal-migrations-") as folder:
            server = EmbeddedPostgres(Path(folder) / "pg")
            try:
                report = asyncio.run(check(server.start(), also=given.also))
            finally:
                server.stop()
    lines = [f"drift: {difference}" for difference in report.drift]
    lines += [f"left behind by downgrade: {thing}" for thing in report.left_behind]
    lines.append(
        f"migrations {'hold' if report.is_clean else 'DO NOT HOLD'}: {len(report.described)} tables described, "
        f"{len(report.undescribed)} without a model ({', '.join(report.undescribed) or 'none'})"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
