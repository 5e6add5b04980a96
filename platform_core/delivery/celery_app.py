"""The Celery application: carries wake-ups from dispatchers to workers, and nothing else.

Messages hold the name of a queue and an id. No result is kept, nothing is delayed by the broker (a countdown on Redis
runs again after the visibility timeout), and a message that is lost is made up for by its row, which stays due.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

import structlog
from celery import Celery

from platform_core.delivery.dispatcher import BrokerDown, Publish
from platform_core.delivery.runtime import WorkerRuntime
from platform_core.kernel.settings import Settings

log = structlog.get_logger(__name__)

WORK_TASK: Final = "arsenal.work"
EMBEDDED_TRANSPORT: Final = "platform_core.delivery.embedded_broker:Transport"
_RETRY_ONCE: Final = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


def make_celery(settings: Settings) -> Celery:
    """The application for `settings.broker_url`; unset means files under `home`. Opens no connection."""
    celery = Celery("arsenal", set_as_current=False)
    celery.conf.update(
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=3,
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=True,
        task_default_queue="arsenal",
        task_publish_retry_policy=_RETRY_ONCE,
        # Unbounded: messages are ids of rows. With a bound, a worker that held messages when Redis died counts them as
        # unacknowledged for ever and consumes no more (celery 5.7.0, issues 8091 and 9054, read 2026-11-22).
        worker_prefetch_multiplier=0,
        worker_concurrency=settings.worker_threads,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        enable_utc=True,
        timezone="UTC",
    )
    if settings.broker_url is None:
        celery.conf.update(_embedded(settings.home / "broker"))
    else:
        celery.conf.update(broker_url=settings.broker_url.get_secret_value(), broker_transport_options=_timeouts())
    return celery


def _embedded(folder: Path) -> dict[str, Any]:
    folders = {name: folder.resolve() / name for name in ("messages", "taken", "control")}
    for path in folders.values():
        path.mkdir(parents=True, exist_ok=True)
    return {
        "broker_url": "filesystem://",
        "broker_transport": EMBEDDED_TRANSPORT,
        "broker_transport_options": {
            "data_folder_in": str(folders["messages"]),
            "data_folder_out": str(folders["messages"]),
            "processed_folder": str(folders["taken"]),
            "control_folder": str(folders["control"]),
            "polling_interval": 0.1,
        },
    }


def _timeouts() -> dict[str, Any]:
    """Bounds for a broker that does not answer; each transport reads those it knows."""
    return {"socket_connect_timeout": 3, "socket_timeout": 10, "connect_timeout": 3}


def register_work(celery: Celery, runtime: WorkerRuntime) -> None:
    """The one task: do what stands in a row. A message that no row stands behind any more does nothing."""

    @celery.task(name=WORK_TASK, acks_late=True, ignore_result=True)  # type: ignore[untyped-decorator]  # Celery is untyped
    def work(queue: str, work_id: str) -> None:
        runtime.work(queue, work_id)


def publisher(celery: Celery) -> Publish:
    """Sends wake-ups to the broker, over one pooled connection; `BrokerDown` for whatever its client raises."""

    def publish(queue: str, ids: Sequence[str]) -> None:
        try:
            with celery.producer_pool.acquire(block=True, timeout=5) as producer:
                for work_id in ids:
                    celery.send_task(WORK_TASK, args=[queue, work_id], producer=producer, ignore_result=True)
        except Exception as error:
            raise BrokerDown(type(error).__name__) from error

    return publish


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def run_worker(celery: Celery, runtime: WorkerRuntime) -> None:
    """Run a worker in this process until it is told to stop (SIGTERM, SIGINT); call it from the main thread.

    Relay and dispatcher run on the runtime's own loop, also while the broker is away. Raises what broke the runtime,
    after the work under way has ended, so that a supervisor starts the process anew.
    """
    register_work(celery, runtime)
    signal.signal(signal.SIGTERM, _leave)  # until Celery installs its own
    try:
        runtime.start(publisher(celery))
        worker = celery.Worker(
            pool="threads",
            concurrency=celery.conf.worker_concurrency,
            loglevel=logging.WARNING,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()
    finally:
        runtime.stop()
    if runtime.failure is not None:
        raise RuntimeError("relay or dispatcher broke; see the log line before") from runtime.failure
