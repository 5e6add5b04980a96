"""How many processes answer requests, so that each takes its part of every rate.

A process keeps a row fresh by a plan every 5 s and counts the rows that are. Between a start and the next beat the
parts of all processes may add up to more than the whole, for 5 s at most; after a crash to less, for 15 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import text

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models_conventions import SERVER_PROCESSES
from platform_core.identity.rate_limits import RateLimits
from platform_core.kernel.commit import Change, Insert, Plan, PlanRefused, Remove
from platform_core.kernel.database.pools import is_away
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.handlers import MAY_SAY_AWAY

log = structlog.get_logger(__name__)

BEAT_S: Final = 5.0
ALIVE: Final = timedelta(seconds=15)
FORGOTTEN: Final = timedelta(hours=1)
_SEEN: Final = text("SELECT id, seen_at FROM server_process")


class ServerProcesses:
    """This process's row, and what the others' say."""

    def __init__(self, deps: IdentityDeps, limits: RateLimits, *, beat_s: float = BEAT_S) -> None:
        self._deps = deps
        self._limits = limits
        self._beat_s = beat_s
        self._id = deps.ids.mint("prc")
        self._is_there = False

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        """While this process serves. A database that is away leaves the parts as they are."""
        await self._try_beat()
        task = asyncio.get_running_loop().create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            if self._is_there:
                with suppress(PlatformError, PlanRefused, *MAY_SAY_AWAY):
                    await self._deps.committer.commit(Plan(None, [Remove(SERVER_PROCESSES, self._id)]))

    async def beat(self) -> int:
        """Say that this process is there, and divide the rates by how many are. Says how many."""
        now = self._deps.clock.now()
        part = (
            Change(SERVER_PROCESSES, self._id, {"seen_at": now})
            if self._is_there
            else Insert(SERVER_PROCESSES, {"id": self._id, "seen_at": now})
        )
        try:
            await self._deps.committer.commit(Plan(None, [part]))
            self._is_there = True
        except PlanRefused:  # an unlogged table is empty after a crash of the database
            self._is_there = False
        async with self._deps.database.read_all() as connection:
            rows = (await connection.execute(_SEEN)).all()
        alive = len([row for row in rows if row.seen_at > now - ALIVE])
        self._limits.share_among(alive)
        await self._sweep([(row.id, row.seen_at) for row in rows], now)
        return alive

    async def _sweep(self, rows: list[tuple[str, datetime]], now: datetime) -> None:
        """Take away the rows of processes that ended without saying so."""
        gone: list[object] = [Remove(SERVER_PROCESSES, id_) for id_, seen_at in rows if seen_at < now - FORGOTTEN]
        if gone:
            with suppress(PlanRefused):  # another process was quicker
                await self._deps.committer.commit(Plan(None, gone))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._beat_s)
            await self._try_beat()

    async def _try_beat(self) -> None:
        try:
            await self.beat()
        except PlatformError as error:
            log.warning("processes.beat_missed", code=error.code)
        except MAY_SAY_AWAY as error:
            if not is_away(error):
                raise
            log.warning("processes.beat_missed", error=type(error).__name__)
