"""Namespaces of its own and a root that holds a few read-only folders: what L3 adds."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.runtime.lockdown import libc

HOST_NAME: Final = "worker"
NAMESPACES: Final = {
    "ipc": libc.CLONE_NEWIPC,
    "mnt": libc.CLONE_NEWNS,
    "net": libc.CLONE_NEWNET,
    "pid": libc.CLONE_NEWPID,
    "user": libc.CLONE_NEWUSER,
    "uts": libc.CLONE_NEWUTS,
}
_ROOT_OPTIONS: Final = "size=64k,nr_inodes=2048,mode=0755"
_OWN: Final = Path("/proc/self/ns")


@dataclass(frozen=True, slots=True)
class Source:
    """Something of the host that a worker may read, under the same path in its root."""

    path: Path
    is_folder: bool


def identities() -> dict[str, str]:
    """The namespaces of this process by name."""
    return {name: os.readlink(_OWN / name) for name in NAMESPACES}


def enter(*, is_root: bool) -> None:
    """Leave the host's namespaces: pid for children only. A user namespace comes first for those who are not root.

    In it uid and gid stay what they are: a process may map itself alone, once it has given up setgroups
    (user_namespaces(7)).
    """
    flags = sum(NAMESPACES.values())
    uid, gid = os.geteuid(), os.getegid()
    libc.unshare(flags & ~libc.CLONE_NEWUSER if is_root else flags)
    if not is_root:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    socket.sethostname(HOST_NAME)


def left(before: Mapping[str, str]) -> tuple[str, ...]:
    """Which of the host's namespaces this process has left. Never pid: that only its children leave."""
    now = identities()
    return tuple(name for name in now if now[name] != before[name])


def build_root(sources: Iterable[Source]) -> None:
    """Make a root of the sources alone, read-only, and forget the old one. OSError names the source that is missing.

    Binds are made before the mounts are frozen, and with all privileges still there: whoever has given them up cannot
    walk through a parent folder that is closed to others.
    """
    libc.mount(None, "/", flags=libc.MS_REC | libc.MS_PRIVATE)
    umask = os.umask(0o022)  # others must be able to walk through the folders that are made here
    root = "/tmp"  # noqa: S108 - only a mount point in a mount namespace of our own
    # A source below the mount point would vanish behind the new root, so all are held by descriptors opened here, in
    # this namespace.
    held = [(source, _hold(source)) for source in without_nested(sources)]
    libc.mount("tmpfs", root, kind="tmpfs", flags=libc.MS_NOSUID | libc.MS_NODEV, options=_ROOT_OPTIONS)
    for source, descriptor in held:
        _bind(descriptor, source, root)
        os.close(descriptor)
    libc.make_read_only(root)
    os.chdir(root)
    libc.pivot_to_working_directory()
    os.chdir("/")
    os.umask(umask)


def without_nested(sources: Iterable[Source]) -> list[Source]:
    """The sources in order of path, without those that stand below another."""
    kept: list[Source] = []
    for source in sorted(set(sources), key=lambda each: (each.path.parts, not each.is_folder)):
        if not any(each.is_folder and source.path.is_relative_to(each.path) for each in kept):
            kept.append(source)
    return kept


def _hold(source: Source) -> int:
    return os.open(source.path, os.O_PATH | os.O_CLOEXEC | (os.O_DIRECTORY if source.is_folder else 0))


def _bind(descriptor: int, source: Source, root: str) -> None:
    target = f"{root}{source.path}"
    os.makedirs(target if source.is_folder else os.path.dirname(target), mode=0o755, exist_ok=True)
    if not source.is_folder:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    try:
        libc.mount(f"/proc/self/fd/{descriptor}", target, flags=libc.MS_BIND | libc.MS_REC)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(source.path)) from error


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
