"""Child processes of the demo: started in sessions of their own, read for their first line, ended by their ids."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from platform_core.bootstrap.terminal import CliFailure

READY_WITHIN_S: Final = 60.0
STOP_WITHIN_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Child:
    """A running process, and the JSON line by which it said that it is ready."""

    name: str
    process: asyncio.subprocess.Process
    said: Mapping[str, Any]
    log: Path

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.returncode is None


@asynccontextmanager
async def child(name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> AsyncIterator[Child]:
    """A process that runs inside the block. CliFailure when it ends, or says nothing, before it is ready.

    It stands in a session of its own: a Ctrl-C in the terminal reaches us alone, and we end it in order.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        said = await _first_line(name, process, log)
        yield Child(name, process, said, log)
    finally:
        await _end(process)


async def _first_line(name: str, process: asyncio.subprocess.Process, log: Path) -> Mapping[str, Any]:
    assert process.stdout is not None
    line = b""
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            line = await process.stdout.readline()
        said: Mapping[str, Any] = json.loads(line)
    except (TimeoutError, ValueError) as error:
        raise CliFailure(f"The {name} did not start.", f"Read {log}", code="cli.not_started") from error
    if "error" in said:
        failure = said["error"]
        raise CliFailure(f"The {name} did not start: {failure['message']}", failure["next_step"], code=failure["code"])
    return said


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask, then kill; the process is gone afterwards, also when we are being canceled."""
    if process.returncode is not None:
        return
    os.kill(process.pid, signal.SIGTERM)
    waiting = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait_for(asyncio.shield(waiting), STOP_WITHIN_S)
    except (TimeoutError, asyncio.CancelledError):
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        await waiting
