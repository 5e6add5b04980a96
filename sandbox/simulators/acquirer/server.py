"""Running the acquirer: in the foreground, or on a thread of its own beside a test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.simulators.acquirer.app import DROP, AcquirerConfig, create_app

STOP_WITHIN_S: Final = 10.0


class DroppingProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a way for the application to cut the connection without an answer."""

    def on_message_begin(self) -> None:
        """Begin a request; its scope carries the function that ends the connection."""
        super().on_message_begin()
        scope: dict[str, object] = self.scope  # type: ignore[assignment]  # a TypedDict; extra keys are the server's
        scope[DROP] = self.transport.abort


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Whoever connects from now on waits for the server."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(512)
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a listener is to be reached."""
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


def server_of(app: Starlette) -> uvicorn.Server:
    """A quiet uvicorn for the application."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=DroppingProtocol,
            ws="none",
            lifespan="on",
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
    )


def system_time() -> datetime:
    """The operating system's time, aware."""
    return datetime.now(UTC)


@contextmanager
def running(config: AcquirerConfig, clock: Callable[[], datetime] = system_time) -> Iterator[str]:
    """Run an acquirer on a thread of its own on a free loopback port; gives its URL, stops it at the end."""
    ready = threading.Event()
    listener = listen("127.0.0.1", 0)
    server = server_of(create_app(config, clock, on_ready=ready.set))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="acquirer", daemon=True)
    thread.start()
    try:
        if not ready.wait(STOP_WITHIN_S):
            raise RuntimeError("the simulated acquirer did not start")
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join(STOP_WITHIN_S)
        listener.close()
