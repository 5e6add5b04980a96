"""`arsenal serve` and `arsenal worker` as processes: ready, stopped, without their database, and back."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from platform_core.bootstrap.openapi import document
from platform_core.kernel.database.embedded import EmbeddedPostgres
from tests.bootstrap.conftest import CommandLine, Start
from tests.support.world import World

pytestmark = pytest.mark.api


def ready(process: subprocess.Popen[str]) -> dict[str, str]:
    """What the process says once it is ready."""
    assert process.stdout is not None
    return dict(json.loads(process.stdout.readline()))


def until(holds: Callable[[], bool], timeout_s: float = 20) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.1)


def status_of(url: str) -> int:
    """The HTTP status of a GET."""
    return httpx.get(url, timeout=10, trust_env=False).status_code


def test_serve_and_worker_start_and_stop(
    command_line: CommandLine, start: Start, record_property: Callable[[str, object], None]
) -> None:
    began = time.monotonic()
    server = start(command_line, "serve", "--json", ARSENAL_LISTEN_PORT="0")
    url = ready(server)["url"]
    record_property("serve_ready_s", round(time.monotonic() - began, 2))
    worker = start(command_line, "worker", "--json")
    assert ready(worker)["threads"] == 8
    assert (status_of(f"{url}/healthz"), status_of(f"{url}/readyz"), status_of(f"{url}/openapi.json")) == (
        200,
        200,
        200,
    )
    for process in (server, worker):
        process.send_signal(signal.SIGTERM)
    assert (server.wait(30), worker.wait(30)) == (0, 0)


def test_an_address_in_use_is_told(command_line: CommandLine, start: Start) -> None:
    url = ready(start(command_line, "serve", "--json", ARSENAL_LISTEN_PORT="0"))["url"]
    second = command_line.run("serve", ARSENAL_LISTEN_PORT=url.rpartition(":")[2])
    assert second.exit_code == 2
    assert "ARSENAL_LISTEN_PORT=0 arsenal serve" in second.stderr


def test_the_server_survives_its_database(start: Start, tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "pg")
    line = CommandLine({"ARSENAL_HOME": str(tmp_path / "home"), "ARSENAL_DATABASE_URL": postgres.start()})
    assert line.run("migrate").exit_code == 0
    try:
        server = start(line, "serve", "--json", ARSENAL_LISTEN_PORT="0")
        url = ready(server)["url"]
        postgres.stop()
        until(lambda: status_of(f"{url}/readyz") == 503)
        assert status_of(f"{url}/healthz") == 200
        postgres.start()
        until(lambda: status_of(f"{url}/readyz") == 200)
        assert server.poll() is None
    finally:
        postgres.stop()


def test_the_embedded_database_stops_with_its_last_user_also_after_a_kill(start: Start, tmp_path: Path) -> None:
    line = CommandLine({"ARSENAL_HOME": str(tmp_path / "home"), "ARSENAL_LISTEN_PORT": "0"})
    killed = start(line, "serve", "--json")
    ready(killed)
    killed.kill()
    killed.wait(30)
    again = start(line, "serve", "--json")
    url = ready(again)["url"]
    assert status_of(f"{url}/readyz") == 200
    again.send_signal(signal.SIGINT)
    assert again.wait(30) == 0
    assert not (tmp_path / "home" / "pg" / "postmaster.pid").exists()


async def test_the_document_without_a_server_is_the_served_one(world: World) -> None:
    served = (await world.client.get("/openapi.json")).json()
    assert served == json.loads(json.dumps(document()))
    for path in ("/v1/payments", "/v1/balances", "/v1/webhook-endpoints", "/v1/stores", "/oauth/token"):
        assert path in served["paths"]


async def test_a_problem_type_leads_to_its_page(world: World) -> None:
    problem = (await world.client.get("/v1/payments")).json()
    page = await world.client.get(problem["type"])
    assert page.status_code == 200
    assert f"<h1><code>{problem['code']}</code></h1>" in page.text
    told = await world.client.get(problem["type"], headers={"accept": "application/json"})
    assert (told.json()["status"], told.json()["title_en"]) == (problem["status"], problem["title"])
    assert (await world.client.get("/problems/no.such")).status_code == 404
