"""Stops workers that have nothing to do, so that a plugin's leftovers take no processor between its calls."""

from __future__ import annotations

import asyncio
from typing import Final

from sandbox.runtime.channel import Channel

FREEZE_S: Final = 0.001
"""Within so long after the answer (isolation.md section 7). A worker that is called again before was not stopped: two
signals and two switches of processes are more than a short call takes by itself."""


class Freezer:
    """One timer for all workers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._idle: dict[Channel, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, channel: Channel) -> None:
        """Have a worker stopped that has just answered, unless it is given another call before."""
        self._idle[channel] = None
        if self._timer is None:
            self._timer = self._loop.call_later(FREEZE_S, self._fire)

    def close(self) -> None:
        """Nobody is stopped any more."""
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        idle, self._idle = self._idle, {}
        for channel in idle:
            channel.freeze()
