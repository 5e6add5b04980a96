"""A table of our own in the test's database, and looks past the writer at what it wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import pytest
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

from platform_core.bootstrap.appliers import make_appliers
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import BatchReport, Committer, DocumentTable, Insert, Plan
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.tenancy import tenant_table_sql
from platform_core.kernel.ids import Ids

_TABLE = Table(
    "note",
    MetaData(),
    Column("id", Text, primary_key=True),
    Column("merchant_id", Text, nullable=False),
    Column("number", Text),
    Column("state", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
)
NOTE = DocumentTable(_TABLE, version="version", unique=(("merchant_id", "number"),))
CREATE = """
CREATE TABLE note (
  id text PRIMARY KEY, merchant_id text NOT NULL, number text, state text NOT NULL CHECK (state <> 'poison'),
  amount bigint NOT NULL, version integer NOT NULL, UNIQUE (merchant_id, number));
"""


def note(
    id_: str, number: str | None = None, *, merchant_id: str = "mer_a", state: str = "new", amount: int = 1
) -> Insert:
    """A new note, its number the same as its id unless said otherwise."""
    row = {
        "id": id_,
        "merchant_id": merchant_id,
        "number": number or id_,
        "state": state,
        "amount": amount,
        "version": 1,
    }
    return Insert(NOTE, row)


def writing(id_: str, number: str | None = None, *, state: str = "new") -> Plan:
    """A plan of one note, answered by its id."""
    return Plan("mer_a", [note(id_, number, state=state)], id_)


@dataclass
class Bench:
    """One database with the table `note`, and a committer on it that keeps its reports."""

    url: str
    database: Database
    committer: Committer
    owner: asyncpg.Connection
    writer: asyncio.Task[None]
    reports: list[BatchReport] = field(default_factory=list)

    async def commit(self, *plans: Plan) -> list[object]:
        """Commit at once, so that they share a batch; answers and exceptions in the order of the plans."""
        outcomes: list[object] = await asyncio.gather(*map(self.committer.commit, plans), return_exceptions=True)
        return outcomes

    async def ids(self) -> list[str]:
        """The notes there are, in order."""
        return [row[0] for row in await self.owner.fetch("SELECT id FROM note ORDER BY id")]

    async def notes(self) -> dict[str, tuple[str, int, int]]:
        """State, amount and version of every note."""
        rows = await self.owner.fetch("SELECT id, state, amount, version FROM note")
        return {id_: (state, amount, version) for id_, state, amount, version in rows}

    async def written(self) -> list[int]:
        """How many rows each table that plans write to holds."""
        tables = ("note", "outbox", "idempotency", "due", "ledger_transfer", "commit_batch")
        return [await self.owner.fetchval(f"SELECT count(*) FROM {table}") for table in tables]

    async def until_blocked(self) -> None:
        """Return once the writer waits for a lock."""
        await self.until_none("SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")

    async def until_none(self, query: str) -> None:
        """Return once the database finds no row for the query: there is nothing to wait on but its own views."""
        async with asyncio.timeout(10):
            while await self.owner.fetch(query):  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.005)


@pytest.fixture
def note_url(postgres: EmbeddedPostgres, database_url: str) -> str:
    """The owner's URL of a fresh database that has the table `note`."""
    name = database_url.split("@/")[1].split("?", maxsplit=1)[0]
    postgres.sql(CREATE + tenant_table_sql("note", removable=True), database=name)
    return database_url


@pytest.fixture
async def bench(note_url: str, database: Database, clock: ManualClock, ids: Ids) -> AsyncIterator[Bench]:
    """Table, committer, and the owner's own connection."""
    reports: list[BatchReport] = []
    committer = Committer(database.connect_writer, make_appliers(clock), clock=clock, ids=ids, observe=reports.append)
    owner = await asyncpg.connect(note_url)
    others = asyncio.all_tasks()
    await committer.start()
    (writer,) = asyncio.all_tasks() - others
    yield Bench(note_url, database, committer, owner, writer, reports)
    await committer.stop()
    await owner.close()
