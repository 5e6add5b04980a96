"""One platform on the embedded default, with everything in processes of their own that may be killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from platform_core.bootstrap.platform import database_urls
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.settings import Settings
from tests.delivery.receiver import receiving
from tests.support.load import Credentials
from tests.support.processes import Daemon, NeverReady, Tell, free_port, kill_tree, teller
from tests.support.processes_arsenal import (
    Inbox,
    acquirer,
    environment,
    open_shops,
    platform_of,
    server,
    subscribe,
    worker,
)

REVIVED_S = 60.0


class Database:
    """The embedded PostgreSQL, which the platform's own processes start again when it crashes."""

    def __init__(self, home: Path) -> None:
        self.kills = 0
        self.url = ""
        self._folder = home / "pg"

    async def kill(self) -> None:
        """SIGKILL to the postmaster and all its processes at once: what only memory held is gone."""
        pid = self._postmaster()
        if pid is not None:
            self.kills += await asyncio.to_thread(kill_tree, pid) > 0

    async def wait(self) -> None:
        """Until it answers."""
        async with asyncio.timeout(REVIVED_S):
            while True:
                try:
                    connection = await asyncpg.connect(self.url, timeout=2)
                except (OSError, TimeoutError, asyncpg.PostgresError):
                    await asyncio.sleep(0.1)
                    continue
                await connection.close()
                return

    def _postmaster(self) -> int | None:
        try:
            return int((self._folder / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None


@dataclass(slots=True)
class Fleet:
    """What runs, and what is asked of it."""

    database: Database
    server: Daemon
    worker: Daemon
    origin: str
    given: Mapping[str, str]
    acquirer_url: str
    shops: list[Credentials]
    inbox: Inbox
    tell: Tell
    failed_starts: int = 0

    async def start_again(self, daemon: Daemon) -> None:
        """As an operator's supervisor does: at once, and again when it ends before it is ready."""
        for _ in range(10):
            try:
                return await daemon.start()
            except NeverReady as error:
                self.tell(f"crash test: {error}")
                self.failed_starts += 1
                await daemon.kill()
        raise NeverReady(f"{daemon.name} did not come up in ten starts:\n{daemon.tail()}")


@asynccontextmanager
async def running_fleet(folder: Path, tell: Tell) -> AsyncIterator[Fleet]:
    """All processes, with three merchants who hear of everything."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    home = folder / "home"
    given = environment(home, public_origin=origin)
    database = Database(home)
    book, acquirer_url = acquirer(folder)
    serving, working = server("server", folder, port=port, given=given), worker("worker", folder, given=given)
    try:
        await book.start()
        await serving.start()
        await working.start()
        urls = await asyncio.to_thread(database_urls, Settings(home=home))
        database.url = urls.owner
        async with platform_of(given, urls) as platform:
            shops = await open_shops(platform, count=3, acquirer_url=acquirer_url)
        async with receiving() as receiver:
            secrets = {}
            for n, shop in enumerate(shops):
                secrets[f"/hooks/{n}"] = await subscribe(origin, shop, receiver.url(f"/hooks/{n}"))
            yield Fleet(database, serving, working, origin, given, acquirer_url, shops, Inbox(receiver, secrets), tell)
    finally:
        for daemon in (working, serving, book):
            await daemon.stop()
        await asyncio.to_thread(EmbeddedPostgres(home / "pg").start)
        await asyncio.to_thread(EmbeddedPostgres(home / "pg").stop)


@pytest.fixture
async def fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Fleet]:
    """A platform to be mistreated."""
    async with running_fleet(tmp_path, teller(capsys)) as fleet:
        yield fleet
