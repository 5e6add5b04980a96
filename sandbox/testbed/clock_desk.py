"""Turning the clock of a sandbox: what a turn writes, and who is told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from platform_core.kernel.commit import Audit, Change, Committer, Insert, Plan, PlanRefused
from platform_core.kernel.database.pools import Database
from sandbox.testbed.clock import CHANNEL, LOST, Reading, SandboxClock, read_clock
from sandbox.testbed.errors import CLOCK_BACKWARDS, CLOCK_MOVED
from sandbox.testbed.models import CLOCKS

log = structlog.get_logger(__name__)

ADVANCE_S_MAX: Final = 400 * 86_400
_US: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)
Follower = Callable[[datetime], Awaitable[None]]
"""Is told where business time is after each turn, such as a simulator with a clock of its own."""


class ClockAdvance(BaseModel):
    """How far to go; 1 second to 400 days."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by_s: int = Field(strict=True, ge=1, le=ADVANCE_S_MAX)


class ClockSet(BaseModel):
    """Where to go: a moment later than now, at most 400 days."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: AwareDatetime


class ClockRead(BaseModel):
    """Business time. While `state` is draining it moves from one due moment to the next, up to `target_at`."""

    model_config = ConfigDict(frozen=True)

    object: Literal["sandbox_clock"]
    now: datetime
    real_now: datetime
    ahead_s: int = Field(description="Business time less real time, whole seconds.")
    state: Literal["running", "draining"]
    target_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class ClockDesk:
    """Reads and turns the one clock of a sandbox."""

    clock: SandboxClock
    database: Database
    committer: Committer
    followers: Sequence[Follower] = ()

    async def read(self) -> Reading:
        """The reading in the database, which this process goes by from now on."""
        connection = await self.database.connect("job")
        try:
            reading = await read_clock(connection)
        finally:
            await connection.close()
        self.clock.take(reading)
        return reading

    def shown(self, reading: Reading) -> ClockRead:
        """For callers."""
        real = self.clock.real.now()
        now = reading.at(real)
        return ClockRead(
            object="sandbox_clock",
            now=now,
            real_now=real,
            ahead_s=(now - real) // _SECOND,
            state="running" if reading.target_at is None else "draining",
            target_at=reading.target_at,
            version=reading.version,
        )

    async def advance(self, by: timedelta, *, parts: Sequence[object] = (), who: str = "sandbox") -> ClockRead:
        """Begin a drain that goes so far beyond now, or beyond the target of the drain under way; workers do it.

        `parts` are written in the same plan. 409 `sandbox.clock_moved`.
        """
        before = await self.read()
        begins_at = before.target_at or before.at(self.clock.real.now())
        return await self._head_for(before, begins_at + by, parts=parts, who=who)

    async def go_to(self, moment: datetime, *, parts: Sequence[object] = (), who: str = "sandbox") -> ClockRead:
        """As `advance`, to a moment. 409 `sandbox.clock_backwards` for one that is not later than all that is asked."""
        before = await self.read()
        now = before.target_at or before.at(self.clock.real.now())
        if moment <= now or moment - now > timedelta(seconds=ADVANCE_S_MAX):
            raise CLOCK_BACKWARDS.error({"now": now.isoformat(), "to": moment.isoformat()})
        return await self._head_for(before, moment, parts=parts, who=who)

    async def _head_for(self, before: Reading, target: datetime, *, parts: Sequence[object], who: str) -> ClockRead:
        stands_at = before.stands_at or before.at(self.clock.real.now())
        told = Audit("sandbox_clock.advanced", who, "clock", None, {"to": target.isoformat()})
        after = replace(before, stands_at=stands_at, target_at=target, version=before.version + 1)
        await self.write(before, after, parts=[*parts, told])
        return self.shown(after)

    async def reset(self, *, parts: Sequence[object] = (), who: str = "sandbox") -> ClockRead:
        """Business time is real time again; a drain under way ends where it is. The one way back.

        What was written ahead of real time keeps its moments, and what is due then is due then.
        """
        before = await self.read()
        after = Reading(version=before.version + 1)
        told = Audit("sandbox_clock.reset", who, "clock", None, {"version": after.version})
        await self.write(before, after, parts=[*parts, told])
        return self.shown(after)

    async def step_to(self, before: Reading, moment: datetime) -> Reading:
        """The clock stands at a later moment of the drain under way. 409 `sandbox.clock_moved`."""
        assert before.stands_at is not None, "a drain is under way"
        assert moment >= before.stands_at, "a drain goes forwards"
        after = replace(before, stands_at=moment, version=before.version + 1)
        await self.write(before, after)
        return after

    async def run_on(self, before: Reading) -> Reading:
        """The drain has got to its target: the clock runs on from there. 409 `sandbox.clock_moved`."""
        assert before.target_at is not None, "a drain is under way"
        ahead = before.target_at - self.clock.real.now()
        after = Reading(ahead=ahead, version=before.version + 1)
        await self.write(before, after)
        return after

    async def write(self, before: Reading, after: Reading, *, parts: Sequence[object] = ()) -> None:
        """Write a reading over the one it was decided on, and tell everybody. 409 `sandbox.clock_moved`."""
        values: dict[str, object] = {
            "ahead_us": after.ahead // _US,
            "stands_at": after.stands_at,
            "target_at": after.target_at,
            "changed_at": self.clock.real.now(),
        }
        if before.version:
            change: object = Change(CLOCKS, "clock", values, expected=before.version)
        else:
            change = Insert(CLOCKS, {"id": "clock", "version": after.version, **values})
        try:
            await self.committer.commit(Plan(None, [change, *parts]))
        except PlanRefused as refused:
            if getattr(refused.refusal, "table", None) != CLOCKS.name:
                raise
            raise CLOCK_MOVED.error() from refused
        self.clock.take(after)
        await self._tell()

    async def _tell(self) -> None:
        """Other processes by NOTIFY, simulators by a call; who misses it reads again or is told with the next turn."""
        try:
            connection = await self.database.connect("job")
            try:
                await connection.execute(f"NOTIFY {CHANNEL}")
            finally:
                await connection.close()
        except LOST as error:
            log.warning("sandbox_clock.not_told", error=type(error).__name__)
        for follower in self.followers:
            await follower(self.clock.now())
