"""Several server processes behind one listening socket, watched by uvicorn's supervisor.

The parent binds, migrates and watches the embedded database; each child opens a platform of its own and is started
again when it dies or hangs. SIGTERM and SIGINT stop all after their requests; SIGHUP replaces one child after another.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from platform_core.bootstrap.app import create_app
from platform_core.bootstrap.environment import load_settings, located_database, observed
from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.http.collector import settle_collector
from platform_core.kernel.ids import Ids
from platform_core.kernel.settings import Settings, variable_of

READY_S: Final = 60.0
CHILD_APP: Final = f"{__name__}:child_app"


class Supervisor(Multiprocess):
    """uvicorn's, which says when every child answers."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, on_ready: Callable[[], None]) -> None:
        super().__init__(config, [listener])
        self._on_ready = on_ready
        self.is_ready = False

    def init_processes(self) -> None:
        """Start all, wait for all, then tell; one that does not come up ends them all."""
        super().init_processes()
        self.is_ready = all(process.wait_until_ready(READY_S, self.should_exit) for process in self.processes)
        if self.is_ready:
            self._on_ready()
        else:
            self.should_exit.set()


def hand_on(settings: Settings, urls: DatabaseUrls) -> None:
    """Let child processes find the same origin and database, by the environment they inherit.

    Children must not count as users of the embedded server, which stops with its last one: they may be killed.
    """
    os.environ[variable_of("public_origin")] = settings.public_origin
    os.environ.setdefault(variable_of("database_url"), urls.owner)


def child_app() -> FastAPI:
    """The application of one child."""
    settings = load_settings()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Platform]:
        with observed(settings):
            async with open_platform(settings, located_database(settings)) as platform:
                settle_collector()
                yield platform

    return create_app(
        opened(), public_origin=settings.public_origin, ids=Ids(SystemClock()), language=settings.language
    )
