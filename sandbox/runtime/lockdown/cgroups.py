"""One cgroup for each plugin, where a subtree of version 2 was handed to us: what all its workers use together.

cgroup-v2.rst of the kernel's documentation and CGROUP_DELEGATION of systemd, read 2026-11-22. A group either holds
processes or divides what it has, so the host's own processes must stand in a group beside those made here:
`Delegate=yes` with `DelegateSubgroup=host` in the unit (systemd 254).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

HIERARCHY: Final = Path("/sys/fs/cgroup")
CONTROLLERS: Final = ("cpu", "memory", "pids")
_DELEGATED: Final = "user.delegate"
"""Extended attribute that systemd sets on what it has handed over."""
_CPU_PERIOD_US: Final = 100_000
_MIB: Final = 1024 * 1024


class GroupLimits(BaseModel):
    """What all workers of one plugin may use together."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    workers: int = Field(default=8, ge=1, le=64)
    """How many times a worker's memory and threads."""
    cpu_percent: int = Field(default=100, ge=1, le=10_000)
    """100: as much as one processor."""


def delegated_group(
    *, hierarchy: Path = HIERARCHY, own: Path = Path("/proc/self/cgroup"), attribute: str = _DELEGATED
) -> Path | None:
    """The group in which groups may be made: the parent of our own, if systemd handed it over with all controllers."""
    with contextlib.suppress(OSError, StopIteration):
        lines = own.read_text(encoding="utf-8").splitlines()
        path = next(line[3:] for line in lines if line.startswith("0::"))
        group = (hierarchy / path.lstrip("/")).parent
        offered = (group / "cgroup.controllers").read_text(encoding="ascii").split()
        if hierarchy in group.parents and set(CONTROLLERS) <= set(offered) and os.getxattr(group, attribute) == b"1":
            return group
    return None


def open_to_children(group: Path) -> None:
    """Let groups below have limits of their own. OSError where processes stand in the group itself."""
    _write(group / "cgroup.subtree_control", " ".join(f"+{each}" for each in CONTROLLERS))


def prepare(group: Path, *, limits: GroupLimits, memory_mb: int, processes: int) -> None:
    """Make a plugin's group, or set its limits anew. Swap is not used, so that memory.max is what it says."""
    with contextlib.suppress(FileExistsError):
        group.mkdir(mode=0o755)
    _write(group / "memory.max", str(limits.workers * memory_mb * _MIB))
    with contextlib.suppress(FileNotFoundError):  # a kernel without swap accounting
        _write(group / "memory.swap.max", "0")
    _write(group / "pids.max", str(limits.workers * processes))
    _write(group / "cpu.max", f"{limits.cpu_percent * _CPU_PERIOD_US // 100} {_CPU_PERIOD_US}")


def join(group: Path) -> None:
    """Move this process into a group; its children are born there."""
    _write(group / "cgroup.procs", "0")


def _write(path: Path, text: str) -> None:
    """Write one value at once. The file is never created: in a real hierarchy it is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)
