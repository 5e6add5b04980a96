"""`arsenal serve`: the HTTP server."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Annotated, Final

import typer
import uvicorn
from fastapi import FastAPI

from platform_core.bootstrap.app import create_app
from platform_core.bootstrap.environment import leave_on_signal, load_settings, migrated_database, observed
from platform_core.bootstrap.loud import banner
from platform_core.bootstrap.platform import open_platform
from platform_core.bootstrap.server_processes import CHILD_APP, Supervisor, hand_on
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.http.collector import settle_collector
from platform_core.kernel.http.one_write import OneWriteProtocol
from platform_core.kernel.ids import Ids
from platform_core.kernel.settings import Settings
from sandbox.testbed.dropping import DroppingProtocol

BACKLOG: Final = 2048
GRACE_S: Final = 10  # how long requests under way may take when the server is told to stop


class ReadyServer(uvicorn.Server):
    """uvicorn that says when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


@reporting
def serve(
    *,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Server processes behind one address.")] = 1,
    is_json: JsonOption = False,
) -> None:
    """Serve the API until SIGTERM or Ctrl-C.

    Without ARSENAL_DATABASE_URL an embedded PostgreSQL is started and migrated.
    """
    terminal = Terminal(is_json=is_json)
    settings = load_settings()
    leave_on_signal()
    with observed(settings):
        urls = migrated_database(settings)
        listener = listening(settings)
        settings = with_origin(settings, listener)

        def ready() -> None:
            settle_collector()
            terminal.warn(banner(settings))
            terminal.say(f"Arsenal answers on [bold]{url_of(listener)}[/]  ({settings.public_origin} for callers)")
            terminal.say(f"  ready: {url_of(listener)}/readyz   API: {url_of(listener)}/openapi.json   stop: Ctrl-C")
            terminal.document(
                {"url": url_of(listener), "public_origin": settings.public_origin, "pid": os.getpid(), "ready": True}
            )

        if workers > 1:
            hand_on(settings, urls)
            supervisor = Supervisor(_config(CHILD_APP, workers, is_sandbox=settings.is_sandbox), listener, ready)
            supervisor.run()
            is_started = supervisor.is_ready
        else:
            app = create_app(
                open_platform(settings, urls),
                public_origin=settings.public_origin,
                ids=Ids(SystemClock()),
                language=settings.language,
            )
            server = ReadyServer(_config(app, workers, is_sandbox=settings.is_sandbox), ready)
            # uvicorn raises the signal that stopped it once more when all is closed; something is left to do then.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: None)
            server.run([listener])
            is_started = server.started
        if not is_started:
            raise CliFailure(
                "The server could not start; the log says why.", "Run: arsenal doctor", code="cli.not_started"
            )


def _config(app: FastAPI | str, workers: int, *, is_sandbox: bool) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        loop="uvloop",
        http=DroppingProtocol if is_sandbox else OneWriteProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks for a caller's address or scheme
        timeout_graceful_shutdown=GRACE_S,
    )


def listening(settings: Settings) -> socket.socket:
    """A bound socket at the settings' address; port 0 takes any free one."""
    family = socket.AF_INET6 if ":" in settings.listen_host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.listen_host, settings.listen_port))
    except OSError as error:
        listener.close()
        raise CliFailure(
            f"Cannot listen on {settings.listen_host}:{settings.listen_port}: {error.strerror}.",
            "Stop what listens there, or choose another port: ARSENAL_LISTEN_PORT=0 arsenal serve",
            status=WRONG_USE,
            code="cli.address_taken",
        ) from error
    listener.listen(BACKLOG)
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a bound socket is reached on this machine."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def with_origin(settings: Settings, listener: socket.socket) -> Settings:
    """Settings whose public origin is the listening address, unless one was set."""
    if "public_origin" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"public_origin": url_of(listener)})
