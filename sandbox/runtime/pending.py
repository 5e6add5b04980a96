"""Calls under way, and the one timer that watches all their deadlines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from platform_core.contracts.runtime import Answered, Fault, OutsideCall

_SWEEP_AT: Final = 1024


class CallOwner(Protocol):
    """Whoever serves calls."""

    def due(self, call: RunningCall, /) -> None:
        """A moment that the call was entered for has come."""
        ...

    def given_up(self, call: RunningCall, /) -> None:
        """Nobody waits for the outcome any more."""
        ...


class RunningCall:
    """A call from `begin` to its outcome."""

    __slots__ = ("_future", "_owner", "call", "finished_at", "holder", "wait_until")

    def __init__(self, owner: CallOwner, call: OutsideCall, loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self.holder: object = None
        """What works on it; None while it waits for a worker."""
        self.wait_until = call.deadline
        self.finished_at: float | None = None
        self._owner = owner
        self._future: asyncio.Future[Answered | Fault] = loop.create_future()

    @property
    def is_over(self) -> bool:
        """Whether there is an outcome."""
        return self._future.done()

    def finish(self, outcome: Answered | Fault) -> None:
        """The first outcome counts."""
        if not self._future.done():
            self.finished_at = time.monotonic()
            self._future.set_result(outcome)

    def expire(self) -> None:
        """Called by the timer."""
        self._owner.due(self)

    async def outcome(self) -> Answered | Fault:
        """Wait for it. A cancelled waiter ends the call, and the worker with it when it is in the midst of it."""
        try:
            return await self._future
        except asyncio.CancelledError:
            self._owner.given_up(self)
            raise


class Deadlines:
    """One timer of the loop for any number of calls: arming one for each would cost more than sending the call.

    Nearly every call is over long before its deadline, so that they are kept unsorted: entering one is one assignment,
    and when the timer fires all are looked at.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop = loop
        self._clock = clock
        self._moments: dict[RunningCall, float] = {}
        self._sweep_at = _SWEEP_AT
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0

    def add(self, call: RunningCall, when: float) -> None:
        """Have the call expire at `when`, by the monotonic clock, unless it is over by then.

        A later word on the same call replaces the earlier.
        """
        moments = self._moments
        moments[call] = when
        if len(moments) > self._sweep_at:
            self._sweep()
        if self._timer is None or when < self._armed_for:
            self._arm(when)

    def close(self) -> None:
        """Nothing expires any more."""
        self._moments.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = when
        self._timer = self._loop.call_later(max(0.0, when - self._clock()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._clock()
        left = [(when, call) for call, when in self._moments.items() if not call.is_over]
        self._moments = {call: when for when, call in left if when > now}
        for _, call in sorted((one for one in left if one[0] <= now), key=lambda one: one[0]):
            if not call.is_over:
                call.expire()
        if self._moments and self._timer is None:
            self._arm(min(self._moments.values()))

    def _sweep(self) -> None:
        """Let go of calls that were over long before their deadline."""
        self._moments = {call: when for call, when in self._moments.items() if not call.is_over}
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._moments))
