"""The drain: business time goes from one due moment to the next, and stands at each until its work is done.

Settlement that is due at 02:00 sees 02:00, and what due work schedules within the span is done in its turn. The way is
written in the clock's row, so a worker that dies is followed by another; an advisory lock lets one drain at a time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import asyncpg
import structlog

from platform_core.delivery.draining import Ahead, Draining
from platform_core.kernel.errors import PlatformError
from sandbox.testbed.clock import LOST, Reading
from sandbox.testbed.clock_desk import ClockDesk

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 0.2
WAIT_S: Final = 0.02
STUCK_S: Final = 65.0
"""Real seconds after which work under way at a standing clock counts as lost; its lease is then let run out."""
TURNS_MAX: Final = 500
"""Turns at one moment: work that is due again at once, for ever, must not hold the clock."""
_LOCK: Final = "SELECT pg_try_advisory_lock(7233024)"


@dataclass(slots=True)
class Drainer:
    """Follows the clock's row in one worker. `ambient`: kinds of due rows that renew themselves often and whose moment
    matters to nobody; they are done along the way and stop the clock nowhere.
    """

    desk: ClockDesk
    ambient: Collection[str] = ()
    steps: Counter[str] = field(default_factory=Counter)

    async def run(self, draining: Draining) -> None:
        """Drain whenever a target is set, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.desk.clock.reading.target_at is None:
                continue
            try:
                await self._drain_alone(draining)
            except (*LOST, PlatformError) as error:
                log.warning("sandbox_drain.interrupted", error=str(error) or type(error).__name__)

    async def _drain_alone(self, draining: Draining) -> None:
        connection: asyncpg.Connection[Any] = await self.desk.database.connect("job")
        try:
            if await connection.fetchval(_LOCK):
                await self.drain(draining)
        finally:
            connection.terminate()  # and with it the lock

    async def drain(self, draining: Draining) -> None:
        """Go to the target, however often that is moved on meanwhile; returns when the clock runs again.

        409 `sandbox.clock_moved` when somebody else turns it; whoever calls begins again from what is there.
        """
        while (reading := await self.desk.read()).target_at is not None:
            assert reading.stands_at is not None, "the database checks it"
            await self._finish_moment(draining)
            ahead = await draining.look(reading.stands_at, without=self.ambient)
            step = self._next(ahead, reading)
            reading = await self.desk.step_to(reading, step) if step > reading.stands_at else reading
            if step == reading.target_at:
                await self._finish_moment(draining)
                await self.desk.run_on(reading)
            self.steps["moments"] += 1

    async def _finish_moment(self, draining: Draining) -> None:
        """Work until nothing is due at the moment where the clock stands, and nothing under way."""
        clock, began, turns = self.desk.clock, self.desk.clock.monotonic(), 0
        while turns < TURNS_MAX:
            self.steps["rows"] += await draining.turn()
            ahead = await draining.look(clock.now(), without=self.ambient)
            if ahead.is_quiet:
                return
            if ahead.under_way and not (ahead.waiting or ahead.unrelayed):
                if clock.monotonic() - began > STUCK_S:
                    log.warning("sandbox_drain.lease_lost", under_way=ahead.under_way, at=clock.now().isoformat())
                    return
                await asyncio.sleep(WAIT_S)
            else:
                turns += 1
        log.warning("sandbox_drain.not_quiet", at=clock.now().isoformat(), turns=TURNS_MAX)

    def _next(self, ahead: Ahead, reading: Reading) -> datetime:
        """The next moment with work, at most the target. Work that cannot be done where it is due is left behind."""
        assert reading.stands_at is not None
        assert reading.target_at is not None
        later = [at for at in (ahead.next_at, ahead.lease_ends_at) if at is not None and at > reading.stands_at]
        return min([*later, reading.target_at])
