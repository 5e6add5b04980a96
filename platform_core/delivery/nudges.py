"""Nudges between processes: "there is something in the outbox", sent after a commit and never inside its transaction.

A nudge only shortens the wait; what gets lost is found by the relay's next look. (A NOTIFY inside the hot transaction
takes a lock of the whole database at commit: specs/performance.md section 2.)
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import asyncpg
import structlog

from platform_core.kernel.database.pools import Database

log = structlog.get_logger(__name__)

CHANNEL: Final = "arsenal_outbox"
LOST: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class Nudger:
    """Sends nudges for the commits of one process, at most one each `gap_s`, however many there are."""

    def __init__(self, database: Database, *, gap_s: float = 0.02) -> None:
        self._database = database
        self._gap_s = gap_s
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def nudge(self) -> None:
        """Something was committed. Costs nothing worth counting: this is called on the hot path."""
        self._asked.set()

    async def start(self) -> None:
        """Begin to send what `nudge` asks for."""
        assert self._task is None, "a Nudger starts once"
        self._task = asyncio.create_task(self._run(), name="delivery.nudger")

    async def stop(self) -> None:
        """End; nudges asked for and not sent are dropped."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        connection: asyncpg.Connection[Any] | None = None
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                try:
                    if connection is None or connection.is_closed():
                        connection = await self._database.connect("job")
                        # A NOTIFY takes a transaction id and would wait for the disk; a lost one only costs a poll.
                        await connection.execute("SET synchronous_commit = off")
                    await connection.execute(f"NOTIFY {CHANNEL}")
                except LOST as error:
                    log.warning("nudge.not_sent", error=type(error).__name__)
                    await asyncio.sleep(1)
                await asyncio.sleep(self._gap_s)
        finally:
            if connection is not None:
                connection.terminate()


async def listen(database: Database, wake: asyncio.Event) -> None:
    """Set `wake` at every nudge of any process, until cancelled; a lost connection is made anew."""
    while True:
        connection: asyncpg.Connection[Any] | None = None
        try:
            connection = await database.connect("job")
            ended = asyncio.Event()
            connection.add_termination_listener(lambda _, ended=ended: ended.set())
            await connection.add_listener(CHANNEL, lambda *_: wake.set())
            wake.set()  # what was committed while nobody listened
            await ended.wait()
        except LOST as error:
            log.warning("nudge.not_heard", error=type(error).__name__)
        finally:
            if connection is not None:
                connection.terminate()
        await asyncio.sleep(1)
