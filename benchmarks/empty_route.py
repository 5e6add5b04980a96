"""What a token endpoint is compared with: FastAPI with one empty synchronous route. `python -m benchmarks.empty_route`

Prints its address as JSON once it answers. The route takes the same request and reads none of it.
"""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from benchmarks.naive import ReadyServer


def empty_app() -> FastAPI:
    """One route, run in a thread as FastAPI runs every function that is not a coroutine."""
    app = FastAPI(openapi_url=None)

    @app.post("/oauth/token")
    @app.post("/oauth/introspect")
    def nothing() -> dict[str, str]:
        """Nothing."""
        return {}

    return app


def main() -> None:
    """Serve until ended."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(empty_app(), loop="uvloop", http="httptools", access_log=False, log_level="warning")
    ReadyServer(config).run([listener])


if __name__ == "__main__":
    main()
