"""What processes cost: CPU time and memory from /proc, and children that are started, spoken to and ended."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_TICKS = os.sysconf("SC_CLK_TCK")
STOP_S = 15.0


def cpu_s(pid: int) -> float:
    """User and system time of one process so far, in seconds; resolution is a clock tick (10 ms)."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def family_cpu_s(pid: int) -> float:
    """The same for a process and all its direct children, those that have ended included."""
    fields = _stat(pid)
    total = sum(int(fields[n]) for n in (11, 12, 13, 14)) / _TICKS
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        try:
            total += cpu_s(int(child))
        except (
            FileNotFoundError,
            ProcessLookupError,
        ):  # ended meanwhile; the next reading finds it in its parent's sum
            continue
    return total


def memory_mib(pid: int) -> float:
    """Resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()


@dataclass(frozen=True, slots=True)
class Child:
    """A running command, and the first document it printed."""

    process: subprocess.Popen[str]
    hello: Any  # parsed JSON, as the command says
    ready_s: float

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def port(self) -> int:
        """Where it listens on the loopback."""
        port = urlsplit(self.hello["url"]).port
        assert port is not None, self.hello
        return port


@contextmanager
def running(command: Sequence[str | Path], *, settings: Mapping[str, str] | None = None) -> Iterator[Child]:
    """A command, up to its first document (JSON); ended by SIGTERM. RuntimeError if it ends before it speaks.

    `settings` are environment variables; of this process's own none that is a setting of Arsenal is handed on.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARSENAL_")}
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, **(settings or {})},
    )
    try:
        hello = _first_document(process)
        yield Child(process, hello, time.monotonic() - started)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _first_document(process: subprocess.Popen[str]) -> Any:  # parsed JSON, as the command says
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        try:
            return json.loads(text)
        except json.JSONDecodeError:  # not all of it has come
            continue
    raise RuntimeError(f"{process.args} ended with {process.wait()} before it was ready: {text}")
