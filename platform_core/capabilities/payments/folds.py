"""`arsenal ledger check`: the amounts that payments keep as columns are folds, and are recomputed here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.kernel.database.pools import Database

_WORK_MEMORY: Final = "64MB"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first object whose columns are not what its parts or the ledger's transfers say, of one rule."""

    rule: str
    subject: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: expected {self.expected}, found {self.found}."


Check = Callable[[AsyncConnection], Awaitable[list[Difference]]]


async def check(database: Database, checks: Sequence[Check]) -> list[Difference]:
    """All checks on one snapshot, by the workers' role; writes nothing. Reads all of history."""
    async with database.read_all() as plain:
        connection = await plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        await connection.exec_driver_sql(f"SET LOCAL work_mem = '{_WORK_MEMORY}'")
        return [difference for each in checks for difference in await each(connection)]
