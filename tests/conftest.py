"""One real PostgreSQL for the whole run; a database of its own, copied from a migrated template, for whoever asks."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from platform_core.bootstrap.appliers import make_appliers
from platform_core.bootstrap.sandbox import all_sandbox_folders
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer
from platform_core.kernel.database import migrations
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import Database, DatabaseUrls
from platform_core.kernel.ids import Ids
from sandbox.simulators.acquirer.app import AcquirerConfig
from sandbox.simulators.acquirer.server import running
from tests.support import memory
from tests.support.world import ACQUIRER_KEY, Till, World, open_world


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Temporary folders in a place of this run's own.

    By default all runs of a user share one, which each run closes to everybody else when it starts: also to the account
    that the embedded PostgreSQL of a run already under way needs when that user is root.
    """
    if config.option.basetemp is None:
        config.option.basetemp = tempfile.mkdtemp(prefix="arsenal-pytest-")
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp, ignore_errors=True))


def pytest_report_header() -> str:
    """Where the tests' PostgreSQL is: on a disk the suite takes much longer."""
    if memory.has_room():
        return f"PostgreSQL: in {memory.SHARED_MEMORY}"
    return f"PostgreSQL: on disk, much slower; {memory.SHARED_MEMORY} lacks {memory.ROOM_BYTES >> 20} MiB free"


_names = (f"test_{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The embedded server, in memory where there is room, with a migrated database `template_arsenal` to copy from."""
    with memory.run_folder(memory.place()) as folder:
        server = memory.TestPostgres(folder / "pg")
        url = server.start(database="template_arsenal")
        asyncio.run(migrations.upgrade(url))
        yield server
        server.stop()


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The owner's URL of a fresh, migrated database."""
    name = next(_names)
    postgres.create_database(name, template="template_arsenal")
    yield postgres.url(name)
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def sandbox_template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database that has a sandbox's tables besides."""
    name = "template_sandbox"
    postgres.create_database(name, template="template_arsenal")
    asyncio.run(migrations.upgrade(postgres.url(name), more=all_sandbox_folders()))
    return name


@pytest.fixture
def sandbox_database_url(postgres: EmbeddedPostgres, sandbox_template: str) -> Iterator[str]:
    """The owner's URL of a fresh database of a sandbox."""
    name = next(_names)
    postgres.create_database(name, template=sandbox_template)
    yield postgres.url(name)
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Engines by role on a fresh database."""
    database = Database(DatabaseUrls(owner=database_url), application_name="test")
    yield database
    await database.close()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands at noon of 2026-11-22 UTC until a test moves it."""
    return ManualClock(datetime(2026, 11, 22, 12, tzinfo=UTC))


@pytest.fixture
def ids(clock: ManualClock) -> Ids:
    """Ids by the test's clock."""
    return Ids(clock)


@pytest.fixture
async def committer(database: Database, clock: ManualClock, ids: Ids) -> AsyncIterator[Committer]:
    """The writer of a fresh database, started."""
    committer = Committer(database.connect_writer, make_appliers(clock), clock=clock, ids=ids)
    await committer.start()
    yield committer
    await committer.stop()


@pytest.fixture(scope="session")
def acquirer() -> Iterator[str]:
    """The URL of a simulated acquirer that keeps its book in memory."""
    with running(AcquirerConfig(merchants={"M1": ACQUIRER_KEY})) as url:
        yield url


@pytest.fixture
async def world(database_url: str, acquirer: str, tmp_path: Path) -> AsyncIterator[World]:
    """A platform with its application; business time stands still at the present moment until moved."""
    clock = ManualClock(datetime.now(UTC))
    async with open_world(database_url, clock=clock, home=tmp_path, acquirer_url=acquirer) as world:
        yield world


@pytest.fixture
async def till(world: World) -> Till:
    """A merchant's app that may do everything with payments."""
    return await world.new_till()
