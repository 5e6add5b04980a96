"""What a worker measures of its own confinement, by really trying, before any code of a plugin is there."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

from sandbox.runtime.levels import Level
from sandbox.runtime.lockdown import libc
from sandbox.runtime.lockdown.namespaces import HOST_NAME

_SECCOMP_MODE_FILTER: Final = 2
_NAMESPACES: Final = frozenset({"ipc", "mnt", "net", "pid", "uts"})
_PROBE: Final = "/tmp/.arsenal-probe"  # noqa: S108 - the attempt to make it must fail


class LockFacts(BaseModel):
    """What was measured in a worker. The frame `locked` says the same."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    level: Level
    """The highest level of which everything holds."""
    landlock_abi: int
    """0 where no Landlock binds the worker."""
    has_seccomp: bool
    namespaces: tuple[str, ...]
    """Which of the host's it has left: ipc, mnt, net, pid, user, uts."""
    uid: int
    holes: tuple[str, ...]
    """Names of what could be done although some level forbids it."""
    lock_ms: float
    """From the zygote's fork to the end of the self-test."""


@dataclass(frozen=True, slots=True)
class Host:
    """What the zygote knows of the host, for the worker to compare itself with."""

    uid: int


def find_holes(host: Host) -> tuple[str, ...]:
    """Try everything that a level forbids; the names of what succeeded. Every success is undone at once."""
    return tuple(name for name, (_, attempt) in CHECKS.items() if attempt(host))


def rehearse() -> None:
    """Fail as a confined worker does, at what changes nothing in the zygote either."""
    _reads("/nonexistent/file")
    _succeeds(lambda: os.listdir("/nonexistent"))
    _opens(socket.AF_UNIX, socket.SOCK_STREAM)
    _keeps_privileges(Host(uid=0))
    _sees_host_name(Host(uid=0))
    attained(("host_name",), left=_NAMESPACES, target=Level.L4)


def attained(holes: Iterable[str], *, left: Collection[str], target: Level) -> Level:
    """The highest level that has no hole in it or below it, not above the one that was aimed at.

    `left`: the host's namespaces that were left; one that is missing leaves L2 at most.
    """
    bound = target if _NAMESPACES.issubset(left) else min(target, Level.L2)
    return Level(min([bound, *(CHECKS[hole][0] - 1 for hole in holes)]))


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, ValueError):  # ValueError: setrlimit above the hard limit
        return False
    return True


def _reads(path: str) -> bool:
    def attempt() -> None:
        os.close(os.open(path, os.O_RDONLY))

    return _succeeds(attempt)


def _writes(_: Host) -> bool:
    try:
        os.close(os.open(_PROBE, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError:
        return False
    with contextlib.suppress(OSError):
        os.unlink(_PROBE)
    return True


def _lists_root(_: Host) -> bool:
    # A private root could be listed without Landlock, so this attempt shows it at work there as well.
    return _succeeds(lambda: os.listdir("/"))


def _opens(family: socket.AddressFamily, kind: socket.SocketKind) -> bool:
    return _succeeds(lambda: socket.socket(family, kind).close())


def _sends_to_path(_: Host) -> bool:
    """Datagrams of a socket pair can be sent to any socket file, where such a pair can be had."""

    def attempt() -> None:
        for each in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
            each.close()

    return _succeeds(attempt)


def _forks(_: Host) -> bool:
    try:
        child = libc.fork()
    except OSError:
        return False
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


def _signals_parent(_: Host) -> bool:
    # At L3 the parent is in another namespace and called 0, which kill(2) reads as the own group: refused all the same.
    return _succeeds(lambda: os.kill(os.getppid(), 0))


def _raises_limit(_: Host) -> bool:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not _succeeds(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard + 1))):
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return True


def _keeps_privileges(_: Host) -> bool:
    """Whether one of no_new_privs, the filter and "not dumpable" is missing."""
    found = (
        libc.prctl(libc.PR_GET_NO_NEW_PRIVS),
        libc.prctl(libc.PR_GET_SECCOMP),
        libc.prctl(libc.PR_GET_DUMPABLE),
    )
    return found != (1, _SECCOMP_MODE_FILTER, 0)


def _sees_host_name(_: Host) -> bool:
    try:
        return os.uname().nodename != HOST_NAME
    except OSError:  # no such call here: where there is no namespace for it, the kernel tells everybody the same name
        return False


CHECKS: Final[dict[str, tuple[Level, Callable[[Host], bool]]]] = {
    "privileges": (Level.L2, _keeps_privileges),
    "read_passwd": (Level.L2, lambda _: _reads("/etc/passwd")),
    "read_environ": (Level.L2, lambda _: _reads("/proc/1/environ")),
    "write_file": (Level.L2, _writes),
    "list_root": (Level.L2, _lists_root),
    "internet_socket": (Level.L2, lambda _: _opens(socket.AF_INET, socket.SOCK_STREAM)),
    "udp_socket": (Level.L2, lambda _: _opens(socket.AF_INET, socket.SOCK_DGRAM)),
    "unix_socket": (Level.L2, lambda _: _opens(socket.AF_UNIX, socket.SOCK_STREAM)),
    "unix_datagram_pair": (Level.L2, _sends_to_path),
    "fork": (Level.L2, _forks),
    "signal_parent": (Level.L2, _signals_parent),
    "raise_limit": (Level.L2, _raises_limit),
    "stat_passwd": (Level.L3, lambda _: _succeeds(lambda: os.stat("/etc/passwd"))),
    "host_name": (Level.L2, _sees_host_name),
    "host_uid": (Level.L4, lambda host: host.uid in (os.getuid(), os.geteuid(), os.getgid())),
}
"""Each attempt with the first level at which it must fail."""
