"""Outside clients as processes: each gets one job, may ask the test to play the person, and says what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
JOB_S = 60.0
Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ClientFailed(AssertionError):
    """The client gave up. `told` is what it says: the error's name, message, and OAuth `error` where there is one."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(f"{told.get('name')}: {told.get('message')} ({told.get('error')})\n{told.get('stack', '')}")
        self.told = dict(told)

    @property
    def reason(self) -> str:
        """Name, message and what lies behind them, in one text."""
        return " ".join(str(self.told.get(part)) for part in ("name", "message", "cause"))

    def names(self, code: str) -> bool:
        """Whether the OAuth error was this one; some libraries have it in their message only."""
        return bool(self.told.get("error") == code or code in str(self.told.get("message")))


@dataclass(frozen=True, slots=True)
class OutsideClient:
    """A published library, unmodified, behind a script that uses it as its documentation does."""

    name: str
    command: tuple[str | Path, ...]
    folder: Path

    async def run(self, job: Mapping[str, Any], **answers: Answer) -> dict[str, Any]:
        """The outcome of one job; `answers` by question. Raises `ClientFailed`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("ARSENAL_", "PYTHON"))}
        process = await asyncio.create_subprocess_exec(
            *self.command,
            cwd=self.folder,
            env={**environment, "NO_PROXY": "127.0.0.1"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
        )
        try:
            async with asyncio.timeout(JOB_S):
                return await self._converse(process, job, answers)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def _converse(
        self, process: asyncio.subprocess.Process, job: Mapping[str, Any], answers: Mapping[str, Answer]
    ) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        document: dict[str, Any] = dict(job)
        while True:
            process.stdin.write(json.dumps(document).encode() + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
            if not line:
                _, said = await process.communicate()
                raise ClientFailed({"name": self.name, "message": "it ended", "stack": said.decode(errors="replace")})
            told = json.loads(line)
            if "done" in told:
                return dict(told["done"])
            if "failed" in told:
                raise ClientFailed(told["failed"])
            document = await answers[told["ask"]](told)


def install_npm(folder: Path) -> None:
    """What tests/clients/npm locks, with the scripts beside it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        _missing("node and npm (apt-get install nodejs npm)")
    shutil.copytree(HERE / "npm", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=120)


def install_python(folder: Path) -> Path:
    """An environment of the clients' own by its lock; returns its interpreter."""
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=120)
    python = environment / "bin" / "python"
    lock = HERE / "python" / "requirements.txt"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", lock],
        check=True,
        timeout=300,
    )
    return python


def _missing(what: str) -> None:
    if os.environ.get("ARSENAL_REQUIRE_ALL") == "1":
        pytest.fail(f"the outside clients need {what}")
    pytest.skip(f"NOT CHECKED: the outside clients need {what}")
