"""One event loop in a worker process: relay and dispatcher run on it, and Celery's threads hand their work to it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

import structlog
import uvloop

from platform_core.delivery.assembly import Delivery, DeliveryNeeds, open_delivery, running
from platform_core.delivery.dispatcher import Publish

log = structlog.get_logger(__name__)

WORK_TIMEOUT_S: Final = 60.0
START_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Liveness:
    """Seconds since relay and dispatcher last finished a turn; both turn once a second when idle."""

    relay_s: float
    dispatcher_s: float


class WorkerRuntime:
    """The loop thread of a worker.

    `open_needs` is entered and left on that loop: it opens database, committer and the rest.
    """

    def __init__(self, open_needs: Callable[[], AbstractAsyncContextManager[DeliveryNeeds]]) -> None:
        self._open_needs = open_needs
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._delivery: Delivery | None = None
        self._needs: DeliveryNeeds | None = None
        self.failure: BaseException | None = None

    def start(self, publish: Publish) -> None:
        """Start the thread and wait until relay and dispatcher run. Raises what prevented it."""
        assert self._thread is None, "a runtime starts once"
        self._thread = threading.Thread(target=self._run, args=(publish,), name="arsenal-loop", daemon=True)
        self._thread.start()
        if not self._started.wait(START_TIMEOUT_S):
            raise TimeoutError(f"the worker's loop was not ready within {START_TIMEOUT_S:g} s")
        if self.failure is not None:
            raise RuntimeError("the worker could not start") from self.failure

    def work(self, queue: str, work_id: str) -> None:
        """Do one piece of work and wait for it; called from any thread but the loop's."""
        assert self._loop is not None, "the runtime is started"
        assert self._delivery is not None
        future = asyncio.run_coroutine_threadsafe(self._delivery.dispatcher.run_work(queue, work_id), self._loop)
        try:
            future.result(timeout=WORK_TIMEOUT_S)
        except TimeoutError:  # the row's lease is over too: it is taken up again
            future.cancel()
            log.warning("worker.work_timed_out", queue=queue, work=work_id)

    def liveness(self) -> Liveness:
        """How long ago the loops last turned, for a health check."""
        assert self._needs is not None, "the runtime is started"
        assert self._delivery is not None
        now = self._needs.clock.monotonic()
        return Liveness(now - self._delivery.relay.turned_at, now - self._delivery.dispatcher.turned_at)

    def stop(self) -> None:
        """End the loops, close what `open_needs` opened, end the thread."""
        if self._thread is None:
            return
        self._started.wait(START_TIMEOUT_S)  # a loop that is still starting has nothing to be stopped by
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, publish: Publish) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main(publish))
        except BaseException as error:
            self.failure = error
            log.error("worker.runtime_broke", exc_info=error)
            if self._started.is_set():
                os.kill(os.getpid(), signal.SIGTERM)  # Celery finishes what is under way and returns
        finally:
            self._started.set()

    async def _main(self, publish: Publish) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with self._open_needs() as needs, open_delivery(needs, publish) as delivery:
            self._needs, self._delivery = needs, delivery
            async with running(delivery, needs.database):
                self._started.set()
                await self._stop.wait()
