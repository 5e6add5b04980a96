"""`startup` and `memory`: how long `arsenal serve` takes on the embedded default once it exists, and what it keeps."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, Goal, Rounds
from benchmarks.ground import fetch_token, open_ground, seed_sellers, serving
from benchmarks.load import Job, drive
from benchmarks.options import Options
from benchmarks.processes import memory_mib, running

START_GOAL = Goal("<=", 3.0, 1.5)
MEMORY_GOAL = Goal("<=", 160, 100)


def startup(options: Options) -> list[Figure]:
    """From starting the command to its first answer: the database is migrated, but stopped; files are in the cache."""
    seconds: list[float] = []
    command = [Path(sys.executable).parent / "arsenal", "serve", "--json"]
    with tempfile.TemporaryDirectory(prefix="arsenal-bench-") as home:
        settings = {"ARSENAL_HOME": home, "ARSENAL_LISTEN_PORT": "0", "ARSENAL_LOG_LEVEL": "warning"}
        with running(command, settings=settings):
            pass  # the first start makes the database
        for _ in range(options.rounds):
            with running(command, settings=settings) as server:
                seconds.append(server.ready_s)
    return [Figure("startup", "serve_warm_s", seconds, "s", START_GOAL)]


def memory(options: Options) -> list[Figure]:
    """Resident memory of the server: just started, and after it has taken orders at 64 connections."""
    rounds = Rounds()
    with open_ground() as ground:
        url = ground.database("app")
        seller = seed_sellers(ground, url, count=1)[0]
        for number in range(min(options.rounds, 3)):
            with serving(ground, url) as server:
                started = memory_mib(server.pid)
                drive(Job(server.port, [fetch_token(server.port, seller)], 64, options.seconds, f"m{number}"))
                rounds.add({"started": started, "loaded": memory_mib(server.pid)})
    return [
        Figure("memory", "server_started_mib", rounds.of("started"), "MiB"),
        Figure("memory", "server_loaded_mib", rounds.of("loaded"), "MiB", MEMORY_GOAL),
    ]
