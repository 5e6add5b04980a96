"""Processes under test: started, awaited, killed at any moment, started again. Each writes a log of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import httpx
import psutil
import pytest

PYTHON = sys.executable
ARSENAL = str(Path(PYTHON).with_name("arsenal"))
POLL_S = 0.05


Tell = Callable[[str], None]
"""Says a line to whoever runs the suite, also while pytest keeps what tests write."""


def teller(capsys: pytest.CaptureFixture[str]) -> Tell:
    """What the fixture `tell` gives."""

    def tell(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}")
            sys.stdout.flush()

    return tell


class NeverReady(AssertionError):
    """A process ended, or was not ready in time; says what it wrote last."""


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemon:
    """One process in a session of its own, so that it can be killed with all that it started."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        ready: Ready,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """`environment` replaces what this process has; `ready` says whether the started process does its work."""
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self.starts = 0
        self.kills = 0
        self.log_start = 0
        self._ready = ready
        self._environment = dict(os.environ if environment is None else environment)
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process is not None, f"{self.name} is started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it is started and has not ended."""
        return self._process is not None and self._process.poll() is None

    async def start(self, *, timeout_s: float = 60) -> None:
        """Start it and wait until it is ready; raises `NeverReady`."""
        assert not self.is_running, f"{self.name} runs already"
        self.starts += 1
        self.log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                user=self._user,
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout_s
        while not await self._ready(self):
            if not self.is_running or time.monotonic() > deadline:
                raise NeverReady(f"{self.name} is not ready, exit {self._process.poll()}:\n{self.tail()}")
            await asyncio.sleep(POLL_S)

    async def kill(self) -> None:
        """SIGKILL to the whole session: nothing is flushed, nothing is said."""
        self.kills += 1
        await self._end(signal.SIGKILL, timeout_s=10)

    async def stop(self, *, timeout_s: float = 30) -> int:
        """SIGTERM; returns the exit status. Does nothing when it has ended."""
        await self._end(signal.SIGTERM, timeout_s=timeout_s)
        assert self._process is not None
        return int(self._process.returncode)

    async def _end(self, how: signal.Signals, *, timeout_s: float) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if how is signal.SIGKILL:
                os.killpg(process.pid, how)
            else:
                process.send_signal(how)
        deadline = time.monotonic() + timeout_s
        while process.poll() is None:
            assert time.monotonic() < deadline, f"{self.name} did not end within {timeout_s:g} s:\n{self.tail()}"
            await asyncio.sleep(POLL_S)

    def tail(self, *, lines: int = 40) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


Ready = Callable[[Daemon], Awaitable[bool]]


def answers_http(url: str, *, below: int = 500) -> Ready:
    """Readiness: a GET is answered with a status below `below`."""

    async def ready(_: Daemon) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
                return (await client.get(url)).status_code < below
        except httpx.HTTPError:
            return False

    return ready


def listens(port: int) -> Ready:
    """Readiness: somebody accepts connections on a port of loopback."""

    async def ready(_: Daemon) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    return ready


def says(words: str) -> Ready:
    """Readiness: what it wrote since it was started holds these words."""

    async def ready(daemon: Daemon) -> bool:
        return words.encode() in daemon.log.read_bytes()[daemon.log_start :]

    return ready


def kill_tree(pid: int) -> int:
    """SIGKILL a process and all that descends from it, stopped first so that none can react; returns how many."""
    try:
        root = psutil.Process(pid)
        root.suspend()
        family = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return 0
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=10)
    return len(family)
