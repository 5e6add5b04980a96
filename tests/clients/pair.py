"""Two servers of one process each on one database, and an HTTP client for each: where races are run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import DatabaseUrls
from tests.clients.conftest import Server
from tests.clients.turned_server import VARIABLE, turn
from tests.support.processes import PYTHON, Daemon, answers_http, free_port
from tests.support.processes_arsenal import environment, platform_of, server

PARALLEL = 40
ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """What runs. `clocks`: files that turn the business clock of each, where the pair was started with them."""

    main: Server
    given: dict[str, str]
    clients: tuple[httpx.AsyncClient, httpx.AsyncClient]
    clocks: tuple[Path, Path] | None = None

    async def at_once(self, form: dict[str, str], auth: tuple[str, str] | None = None) -> list[httpx.Response]:
        """The same token request forty times, half of them to each server."""
        return await asyncio.gather(
            *(
                self.clients[n % 2].post("/oauth/token", data=form, auth=auth or httpx.USE_CLIENT_DEFAULT)
                for n in range(PARALLEL)
            )
        )

    async def statuses(self, token: str) -> list[int]:
        """What both servers say to a token."""
        headers = {"Authorization": f"Bearer {token}"}
        return [(await client.get("/v1/stores", headers=headers)).status_code for client in self.clients]


@asynccontextmanager
async def running_pair(
    postgres: EmbeddedPostgres, folder: Path, *, name: str, grace_s: int = 30, is_turned: bool = False
) -> AsyncIterator[Pair]:
    """Started on a database of their own, `name`; limits by address are for strangers, and here all come from one."""
    postgres.create_database(name, template="template_arsenal")
    url, ports = postgres.url(name), (free_port(), free_port())
    origin = f"http://127.0.0.1:{ports[0]}"
    given = environment(
        folder, database_url=url, public_origin=origin, refresh_grace_s=grace_s, rate_address_per_s=100_000
    )
    clocks = (folder / "clock0", folder / "clock1") if is_turned else None
    daemons = [
        server(f"server{n}", folder, port=port, given=given)
        if clocks is None
        else _turned(f"server{n}", folder, port=port, given=given, clock=clocks[n])
        for n, port in enumerate(ports)
    ]
    async with platform_of(given, DatabaseUrls(owner=url)) as platform:
        await asyncio.gather(*(daemon.start() for daemon in daemons))
        limits = httpx.Limits(max_connections=PARALLEL)
        first, second = (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60, limits=limits)
            for port in ports
        )
        async with first, second:
            yield Pair(Server(origin, daemons[0], platform), given, (first, second), clocks)
        await asyncio.gather(*(daemon.stop() for daemon in daemons))
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


def _turned(name: str, folder: Path, *, port: int, given: dict[str, str], clock: Path) -> Daemon:
    turn(clock, timedelta(0))
    return Daemon(
        name,
        [PYTHON, "-m", "tests.clients.turned_server"],
        log=folder / f"{name}.log",
        ready=answers_http(f"http://127.0.0.1:{port}/openapi.json"),
        environment={**given, "ARSENAL_LISTEN_PORT": str(port), VARIABLE: str(clock)},
    )
