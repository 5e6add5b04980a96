"""The dispatcher: once a second, and whenever it is poked, finds what is due and wakes workers for it.

Waking is a hint through the broker. While the broker cannot be reached the work is done in this process instead; what a
broker lost is found again, because the rows stay due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg
import structlog

from platform_core.delivery.queues import WorkQueue
from platform_core.delivery.relay import wait_for_either
from platform_core.kernel.clock import Clock
from platform_core.kernel.errors import PlatformError

log = structlog.get_logger(__name__)

TURN_ROWS_MAX: Final = 200
BROKER_REST_S: Final = 5.0
UNAVAILABLE: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, PlatformError)


class BrokerDown(Exception):
    """The broker did not take a wake-up."""


Publish = Callable[[str, Sequence[str]], None]
"""Sends wake-ups (queue, ids) to the broker; blocks, raises `BrokerDown`."""


class Dispatcher:
    """Wakes workers for due rows of all queues. One in every worker process; SKIP LOCKED shares the rows among them."""

    def __init__(
        self,
        queues: Sequence[WorkQueue],
        publish: Publish,
        *,
        clock: Clock,
        here_max: int = 8,
        poke_gap_s: float = 0.02,
        is_held: Callable[[], bool] = lambda: False,
    ) -> None:
        """`here_max` bounds what is done in this process while the broker is away; while held nobody is woken."""
        self.queues = {queue.name: queue for queue in queues}
        assert len(self.queues) == len(queues), "every queue has a name of its own"
        self._publish = publish
        self._clock = clock
        self._here = asyncio.Semaphore(here_max)
        self._poke_gap_s = poke_gap_s
        self._is_held = is_held
        self._poked = asyncio.Event()
        self._broker_rests_until = float("-inf")
        self.turned_at = clock.monotonic()

    def poke(self) -> None:
        """Something may be due now: look soon."""
        self._poked.set()

    async def turn(self) -> int:
        """Wake what is due, at most 200 rows of each queue, and return how many rows."""
        woken = 0
        for queue in () if self._is_held() else self.queues.values():
            ids = await queue.take_due(TURN_ROWS_MAX)
            if ids:
                await self._wake(queue, ids)
                woken += len(ids)
        self.turned_at = self._clock.monotonic()
        return woken

    async def run(self, *, poll_s: float = 1.0) -> None:
        """Turn until cancelled."""
        while True:
            self._poked.clear()
            woken = 0
            try:
                woken = await self.turn()
            except UNAVAILABLE as error:
                log.warning("dispatcher.unavailable", error=type(error).__name__)
            if woken < TURN_ROWS_MAX:
                await wait_for_either(self._poked, poll_s)
            await asyncio.sleep(self._poke_gap_s)  # many pokes make one turn

    async def run_work(self, queue: str, work_id: str) -> None:
        """Do one piece of work.

        A queue that this release does not know is left for one that does: its row stays due.
        """
        found = self.queues.get(queue)
        if found is None:
            log.warning("dispatcher.queue_unknown", queue=queue)
            return
        try:
            await found.run(work_id)
        except UNAVAILABLE as error:  # the row's lease runs out and it is taken up again
            log.warning("dispatcher.work_interrupted", queue=queue, work=work_id, error=type(error).__name__)
        self.poke()

    async def _wake(self, queue: WorkQueue, ids: Sequence[str]) -> None:
        if self._clock.monotonic() >= self._broker_rests_until:
            try:
                await asyncio.to_thread(self._publish, queue.name, ids)
                return
            except BrokerDown as error:
                self._broker_rests_until = self._clock.monotonic() + BROKER_REST_S
                log.warning("dispatcher.broker_down", error=str(error), rows=len(ids))
        await asyncio.gather(*(self._run_here(queue.name, work_id) for work_id in ids))

    async def _run_here(self, queue: str, work_id: str) -> None:
        async with self._here:
            await self.run_work(queue, work_id)
