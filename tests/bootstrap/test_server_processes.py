"""Several processes behind one address: all answer, a dead one is replaced, a signal ends them all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.processes import ARSENAL, Daemon, free_port, says
from tests.support.processes_arsenal import environment, server_children

pytestmark = pytest.mark.database


async def test_a_dead_process_is_replaced_and_a_signal_ends_all(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    given = environment(tmp_path, database_url=database_url, listen_port=port)
    command = [ARSENAL, "serve", "--workers", "2", "--json"]
    daemon = Daemon("server", command, log=tmp_path / "log", ready=says('"ready": true'), environment=given)
    await daemon.start()
    try:
        before = server_children(daemon)
        assert len(before) == 2
        psutil.Process(min(before)).kill()
        async with asyncio.timeout(30):
            while len(after := server_children(daemon)) < 2 or after == before:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.1)
        async with httpx.AsyncClient(base_url=origin, trust_env=False, timeout=20) as http:
            answers = [await http.get("/oauth/jwks", headers={"connection": "close"}) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.text for answer in answers}) == 1, "all have the same keys"
        living = server_children(daemon)
    finally:
        assert await daemon.stop() == 0, daemon.tail()
    assert not [pid for pid in before | living if psutil.pid_exists(pid)]


async def test_processes_that_cannot_start_end_the_command(database_url: str, tmp_path: Path) -> None:
    """An origin that neither https nor loopback protects is refused by every child."""
    given = environment(
        tmp_path, database_url=database_url, listen_port=free_port(), public_origin="http://example.com"
    )
    command = [ARSENAL, "serve", "--workers", "2", "--json"]
    daemon = Daemon("server", command, log=tmp_path / "log", ready=says("error"), environment=given)
    await daemon.start()
    async with asyncio.timeout(60):
        while daemon.is_running:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.1)
    assert await daemon.stop() != 0
    assert '"ready": true' not in daemon.tail()
