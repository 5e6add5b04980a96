"""The server under load, a process of its own: the real application on uvicorn with uvloop and httptools.

`python -m benchmarks.server URL HOME` listens on a free port of the loopback and prints it as JSON once it is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from starlette.types import ASGIApp

from benchmarks.ground import ORIGIN, bench_settings
from platform_core.bootstrap.app import create_app
from platform_core.bootstrap.platform import open_platform
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.http.collector import settle_collector
from platform_core.kernel.ids import Ids
from platform_core.kernel.logs import configure_logs


async def serve(app: ASGIApp) -> None:
    """Serve on a free port until SIGTERM."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", lifespan="on", access_log=False, log_level="warning", log_config=None
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not running.done():
        await asyncio.sleep(0.005)
    if server.started:
        settle_collector()
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    await running


def arsenal(url: str, home: Path) -> ASGIApp:
    """The application as `arsenal serve` runs it."""
    settings = bench_settings(home)
    clock = SystemClock()
    configure_logs(level=settings.log_level, form="json", clock=clock)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        async with open_platform(settings, DatabaseUrls(owner=url)) as platform:
            yield platform

    return create_app(opened(), public_origin=ORIGIN, ids=Ids(clock))


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("home", type=Path)
    chosen = parser.parse_args()
    uvloop.run(serve(arsenal(chosen.url, chosen.home)))


if __name__ == "__main__":
    main()
