"""`arsenal worker`: what follows a commit."""

from __future__ import annotations

import os

from platform_core.bootstrap.environment import leave_on_signal, load_settings, migrated_database, observed
from platform_core.bootstrap.loud import banner
from platform_core.bootstrap.terminal import CliFailure, JsonOption, Terminal, reporting
from platform_core.bootstrap.worker import worker_needs
from platform_core.delivery.celery_app import make_celery, run_worker
from platform_core.delivery.runtime import WorkerRuntime


@reporting
def worker(*, is_json: JsonOption = False) -> None:
    """Deliver webhooks and do due work until SIGTERM or Ctrl-C. As many workers as wanted may run."""
    terminal = Terminal(is_json=is_json)
    settings = load_settings()
    leave_on_signal()
    with observed(settings):
        urls = migrated_database(settings)

        def ready() -> None:
            broker = "files under " + str(settings.home / "broker") if settings.broker_url is None else "the set broker"
            terminal.warn(banner(settings))
            terminal.say(f"Worker {os.getpid()} works, wake-ups by {broker}. Stop: Ctrl-C")
            terminal.document({"pid": os.getpid(), "ready": True, "threads": settings.worker_threads})

        runtime = WorkerRuntime(worker_needs(settings, urls, on_ready=ready))
        try:
            run_worker(make_celery(settings), runtime)
        except RuntimeError as error:
            raise CliFailure(
                f"The worker ended: {runtime.failure or error}.", "Run: arsenal doctor", code="cli.worker_ended"
            ) from error
