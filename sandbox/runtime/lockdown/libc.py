"""Kernel calls that the standard library does not offer, through ctypes; each raises OSError as `os` does.

Numbers are those of the kernel's headers of Linux 6.1 and newer (include/uapi/linux/{prctl,sched,mount,seccomp,
capability}.h), read 2026-11-22. Calls since 424 have one number on all architectures.
"""

from __future__ import annotations

import ctypes
import os
import struct
from functools import cache
from typing import Final

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWUTS: Final = 0x0400_0000
CLONE_NEWIPC: Final = 0x0800_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000

MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x4_0000
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MNT_DETACH: Final = 0x2

PR_SET_PDEATHSIG: Final = 1
PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4
PR_GET_SECCOMP: Final = 21
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_SET_SECUREBITS: Final = 28
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

_MOUNT_SETATTR: Final = 442
_AT_RECURSIVE: Final = 0x8000
_MOUNT_ATTR_RDONLY_NOSUID_NODEV: Final = 0x1 | 0x2 | 0x4
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_PTRACE: Final = {"x86_64": 101, "aarch64": 117}
_SECCOMP_GET_ACTION_AVAIL: Final = 2
_SECCOMP_RET_KILL_PROCESS: Final = 0x8000_0000
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1
_CAPABILITY_VERSION_3: Final = 0x2008_0522
_PTHREAD_ATTR_BYTES: Final = 64
"""Larger than glibc's and musl's `pthread_attr_t` on 64-bit machines (56 bytes)."""

_libc = ctypes.CDLL(None, use_errno=True)
_allocate = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(("malloc", _libc))
_libc_in_turn = ctypes.PyDLL(None, use_errno=True)
"""The same, called without letting go of the interpreter: a child must not have to take it back first."""
_MACHINE: Final = os.uname().machine
_capability_data = ctypes.create_string_buffer(24)
"""Made once: ctypes would make a class for the size each time, in every worker anew."""


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a kernel call; integers are passed as 64-bit registers."""
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _checked(int(_libc.syscall(ctypes.c_long(number), *given)))


def allocate(size: int) -> int:
    """The address of memory that is never given back: malloc(3)."""
    return int(_allocate(size) or 0)


def look_up() -> None:
    """Find every function of this module that a birth calls; ctypes would do it at the first call, in each worker."""
    for name in ("prctl", "unshare", "mount", "umount2", "capset", "capget", "syscall"):
        getattr(_libc, name, None)
    getattr(_libc_in_turn, "fork", None)


def fork() -> int:
    """fork(2) and no more: the child's pid, 0 in the child.

    `os.fork` has the child renew whatever another thread may have held, through every module that asked for it
    (`os.register_at_fork`); each page touched by that is copied and stays the worker's own. With one thread, as the
    zygote asserts, nothing is held. What must differ in a child all the same, the caller renews.
    """
    return _checked(int(_libc_in_turn.fork()))


def prctl(option: int, argument: int = 0, second: int = 0) -> int:
    """prctl(2); unused arguments are zero, which some options insist on."""
    unused = ctypes.c_ulong(0)
    return _checked(int(_libc.prctl(option, ctypes.c_ulong(argument), ctypes.c_ulong(second), unused, unused)))


def unshare(flags: int) -> None:
    """unshare(2)."""
    _checked(int(_libc.unshare(flags)))


def mount(source: str | None, target: str, *, kind: str | None = None, flags: int = 0, options: str = "") -> None:
    """mount(2). The error names the source, where there is one."""
    texts = [None if each is None else os.fsencode(each) for each in (source, target, kind)]
    _checked(int(_libc.mount(*texts, ctypes.c_ulong(flags), options.encode() or None)), source or target)


def make_read_only(target: str) -> None:
    """Make a mount and all below it read-only, without set-uid and devices: mount_setattr(2), Linux 5.12."""
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_RDONLY_NOSUID_NODEV, 0, 0, 0)
    at_fdcwd = -100
    syscall(_MOUNT_SETATTR, at_fdcwd, os.fsencode(target), _AT_RECURSIVE, attributes, len(attributes))


def pivot_to_working_directory() -> None:
    """Make the working directory the root and let the old one go: pivot_root(2), 'pivot_root(".", ".")'."""
    syscall(_PIVOT_ROOT[_MACHINE], b".", b".")
    _checked(int(_libc.umount2(b".", MNT_DETACH)))


def capset_nothing() -> None:
    """Give up every effective, permitted and inheritable capability: capset(2)."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _checked(int(_libc.capset(header, bytes(24))))


def capabilities() -> int:
    """Every effective, permitted and inheritable capability, as bits: capget(2)."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _checked(int(_libc.capget(header, _capability_data)))
    low = struct.unpack_from("=III", _capability_data, 0)
    high = struct.unpack_from("=III", _capability_data, 12)
    return int(low[0] | low[1] | low[2] | (high[0] | high[1] | high[2]) << 32)


@cache
def filter_buffer(size: int) -> ctypes.Array[ctypes.c_char]:
    """Where a filter of this size stands while it is installed. The zygote has it made before the fork."""
    return ctypes.create_string_buffer(size)


def install_filter(program: bytes) -> None:
    """Bind every thread of this process to a seccomp filter for good: seccomp(2) with TSYNC."""
    holder = filter_buffer(len(program))
    holder.raw = program
    fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(holder))
    stuck = syscall(_SECCOMP[_MACHINE], _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, fprog)
    if stuck:
        raise OSError(0, f"thread {stuck} could not be bound to the filter")


def can_kill_by_filter() -> bool:
    """Whether seccomp filters exist and may kill a process."""
    if _MACHINE not in _SECCOMP or not hasattr(_libc, "prctl"):
        return False
    try:
        syscall(_SECCOMP[_MACHINE], _SECCOMP_GET_ACTION_AVAIL, 0, struct.pack("=I", _SECCOMP_RET_KILL_PROCESS))
    except OSError:
        return False
    return True


def trace_me() -> None:
    """ptrace(PTRACE_TRACEME): harmless, and fatal in a worker."""
    syscall(_PTRACE[_MACHINE], 0, 0, 0, 0)


def set_thread_stack(size: int) -> None:
    """Let threads that this process starts from now on have stacks of `size` bytes (pthread_setattr_default_np(3))."""
    if not hasattr(_libc, "pthread_setattr_default_np"):
        return
    attributes = ctypes.create_string_buffer(_PTHREAD_ATTR_BYTES)
    for status in (
        _libc.pthread_attr_init(attributes),
        _libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(size)),
        _libc.pthread_setattr_default_np(attributes),
    ):
        if status:
            raise OSError(status, os.strerror(status))


def _checked(result: int, path: str | None = None) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result
