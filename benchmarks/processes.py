"""What processes cost: CPU time and memory from /proc, and children that are started, spoken to and ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """A running Python module, and the first line it printed."""

    process: subprocess.Popen[str]
    hello: Any  # parsed JSON, as the module says
    ready_s: float

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid


@contextmanager
def running(module: str, arguments: Sequence[str]) -> Iterator[Child]:
    """`python -m module`, up to its first line (JSON); ended by SIGTERM. RuntimeError if it ends before it speaks."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{module} ended with {process.wait()} before it was ready")
        yield Child(process, json.loads(line), time.monotonic() - started)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
