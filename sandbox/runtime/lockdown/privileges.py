"""What a worker gives up for good: capabilities, the way back to them, its uid; and what it may use at most."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from functools import cache
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from sandbox.runtime.lockdown import libc

_CAP_SETPCAP: Final = 8
_CAPABILITIES_MAX: Final = 64
_NO_SETUID_FIXUP: Final = 0x4
_ALL_SECUREBITS_LOCKED: Final = 0xEF
"""NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE with their locks, KEEP_CAPS locked off (capabilities(7))."""
_MIB: Final = 1024 * 1024
_RLIMIT_MSGQUEUE: Final = 12
"""asm-generic/resource.h; `resource` does not name it."""


class WorkerLimits(BaseModel):
    """What one worker may use at most, besides its address space."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    cpu_s: int = Field(default=60, ge=1, le=3600)
    """Seconds of processor time in its life; then the kernel kills it."""
    open_files: int = Field(default=32, ge=8, le=1024)
    stack_bytes: int = Field(default=8 * _MIB, ge=_MIB, le=64 * _MIB)
    """Of its first thread."""
    thread_stack_bytes: int = Field(default=512 * 1024, ge=64 * 1024, le=8 * _MIB)
    """Of every further thread; they count against the address space."""
    processes: int = Field(default=64, ge=1, le=1024)
    """Threads, wherever the kernel can count them for each worker."""
    processes_of_user: int = Field(default=4096, ge=64, le=65_536)
    """Where it cannot (ordinary user, no namespace): all threads of the host's uid, beyond which no worker gets more.
    Without a bound one worker could fill the machine's process table. The host itself is not bound by it."""


def become(uid: int) -> None:
    """Take on a uid and gid of one's own, without groups. Capabilities stay, for `drop_capabilities` to end."""
    libc.prctl(libc.PR_SET_SECUREBITS, _NO_SETUID_FIXUP)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def be_counted_as(uid: int) -> None:
    """Take on a real uid of one's own and stay who one is: RLIMIT_NPROC counts by it, and spares the real uid 0.

    Where the uid is not to be had (no CAP_SETUID, not mapped), threads stay unbounded; only L4 promises that bound.
    """
    with contextlib.suppress(OSError):
        os.setresuid(uid, -1, -1)


@cache
def capability_count() -> int:
    """How many capabilities this kernel knows. The zygote asks it before the fork: each worker drops them all."""
    for number in range(_CAPABILITIES_MAX):
        try:
            libc.prctl(libc.PR_CAPBSET_READ, number)
        except OSError:
            return number
    return _CAPABILITIES_MAX


def drop_capabilities() -> None:
    """Give up every capability and every way back: bounding and ambient set, secure bits, exec, other's eyes."""
    if libc.capabilities() >> _CAP_SETPCAP & 1:
        for number in range(capability_count()):
            libc.prctl(libc.PR_CAPBSET_DROP, number)
        libc.prctl(libc.PR_SET_SECUREBITS, _ALL_SECUREBITS_LOCKED)
    libc.prctl(libc.PR_CAP_AMBIENT, libc.PR_CAP_AMBIENT_CLEAR_ALL)
    libc.capset_nothing()
    if libc.capabilities():
        raise OSError(errno.EPERM, "capabilities stayed although they were given up")
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)


def limit(limits: WorkerLimits, *, memory_mb: int, is_counted_alone: bool) -> None:
    """Set every limit, soft and hard alike. A limit above what the zygote itself may use becomes the zygote's.

    `is_counted_alone`: no other process has this real uid in this user namespace.
    """
    wanted = {
        resource.RLIMIT_AS: memory_mb * _MIB,
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_STACK: limits.stack_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        _RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NPROC: limits.processes if is_counted_alone else limits.processes_of_user,
    }
    for name, value in wanted.items():
        hard = resource.getrlimit(name)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (least, least))
