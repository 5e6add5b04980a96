"""Business time of a sandbox: real time, moved by an offset in the database that every process follows at once.

Tokens and proofs live by real time; only what is handed this clock moves. What is heard by NOTIFY is read again once a
second besides and after each reconnection, so a lost notification costs a second and no more. While the database is
away the last reading counts.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import structlog

from platform_core.kernel.clock import Clock, SystemClock
from platform_core.kernel.database.pools import Database

log = structlog.get_logger(__name__)

CHANNEL: Final = "sandbox_clock"
READ_AGAIN_S: Final = 1.0
LOST: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_READ: Final = "SELECT ahead_us, stands_at, target_at, version FROM sandbox_clock WHERE id = 'clock'"


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the clock is. `stands_at`: it stands there; else it runs, `ahead` of real time (negative: behind).

    `target_at`: a drain is under way to that moment. `version` 0: nobody has ever turned it.
    """

    ahead: timedelta = timedelta(0)
    stands_at: datetime | None = None
    target_at: datetime | None = None
    version: int = 0

    def at(self, real: datetime) -> datetime:
        """Business time at a real moment."""
        return self.stands_at or real + self.ahead


async def read_clock(connection: asyncpg.Connection[Any]) -> Reading:
    """The reading in the database."""
    row = await connection.fetchrow(_READ)
    if row is None:
        return Reading()
    return Reading(timedelta(microseconds=row["ahead_us"]), row["stands_at"], row["target_at"], row["version"])


class SandboxClock:
    """A kernel `Clock` that follows the database. Real time until started."""

    def __init__(self, real: Clock | None = None) -> None:
        self.real: Clock = real or SystemClock()
        self.reading = Reading()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def now(self) -> datetime:
        return self.reading.at(self.real.now())

    def unix_ms(self) -> int:
        return (self.now() - _EPOCH) // _MS

    def monotonic(self) -> float:
        return self.real.monotonic()

    def take(self, reading: Reading) -> None:
        """Go by a reading that this process has just written or read; an older one is dropped."""
        if reading.version >= self.reading.version:
            self.reading = reading

    async def start(self, database: Database) -> None:
        """Read once, then follow until stopped. Raises what the driver raises when the first reading fails."""
        assert self._task is None, "a clock starts once"
        connection = await database.connect("job")
        try:
            self.take(await read_clock(connection))
        finally:
            await connection.close()
        self._task = asyncio.create_task(self._follow(database), name="sandbox.clock")

    async def stop(self) -> None:
        """Follow no longer; the last reading stays."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _follow(self, database: Database) -> None:
        while True:
            connection: asyncpg.Connection[Any] | None = None
            try:
                connection = await database.connect("job")
                await connection.add_listener(CHANNEL, lambda *_: self._changed.set())
                while True:
                    self.take(await read_clock(connection))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(READ_AGAIN_S):
                            await self._changed.wait()
                    self._changed.clear()
            except LOST as error:
                log.warning("sandbox_clock.not_followed", error=type(error).__name__)
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(READ_AGAIN_S)
