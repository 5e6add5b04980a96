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
_MOUNT_POINTS: Final = ("/tmp", "/run", "/mnt", "/srv", "/media", "/proc")  # noqa: S108 - a mount point of our own
_OWN: Final = {name: f"/proc/self/ns/{name}" for name in NAMESPACES}


@dataclass(frozen=True, slots=True)
class Source:
    """Something of the host that a worker may read, under the same path in its root."""

    path: Path
    is_folder: bool


def identities() -> dict[str, str]:
    """The namespaces of this process by name."""
    return {name: os.readlink(path) for name, path in _OWN.items()}


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


@dataclass(frozen=True, slots=True)
class Root:
    """A private root, worked out before the fork: what is made where, in order."""

    mount_point: str
    folders: tuple[str, ...]
    files: tuple[str, ...]
    binds: tuple[tuple[str, str], ...]
    """Source and target."""


def plan_root(sources: Iterable[Source]) -> Root:
    """Where everything goes. The mount point is a folder that hides none of the sources when it is mounted over."""
    kept = without_nested(sources)
    hidden = {parent for source in kept for parent in (source.path, *source.path.parents)}
    mount_point = next(each for each in _MOUNT_POINTS if Path(each) not in hidden and os.path.isdir(each))
    folders: dict[str, None] = {}
    for source in kept:
        within = [*reversed(source.path.parents[:-1]), *([source.path] if source.is_folder else [])]
        folders |= {f"{mount_point}{each}": None for each in within}
    return Root(
        mount_point=mount_point,
        folders=tuple(folders),
        files=tuple(f"{mount_point}{source.path}" for source in kept if not source.is_folder),
        binds=tuple((str(source.path), f"{mount_point}{source.path}") for source in kept),
    )


def build_root(root: Root) -> None:
    """Make the planned root, read-only, and forget the old one. OSError names the source that is missing.

    Everything is bound here, after `unshare` and before privileges are given up: what was opened earlier belongs to
    another mount namespace, and whoever has lost root cannot walk through a parent folder that is closed to others.
    """
    libc.mount(None, "/", flags=libc.MS_REC | libc.MS_PRIVATE)
    libc.mount("tmpfs", root.mount_point, kind="tmpfs", flags=libc.MS_NOSUID | libc.MS_NODEV, options=_ROOT_OPTIONS)
    umask = os.umask(0o022)  # others must be able to walk through the folders that are made here
    for folder in root.folders:
        os.mkdir(folder, 0o755)
    for file in root.files:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    os.umask(umask)
    for source, target in root.binds:
        libc.mount(source, target, flags=libc.MS_BIND | libc.MS_REC)
    libc.make_read_only(root.mount_point)
    os.chdir(root.mount_point)
    libc.pivot_to_working_directory()
    os.chdir("/")


def without_nested(sources: Iterable[Source]) -> list[Source]:
    """The sources in order of path, without those that stand below another."""
    kept: list[Source] = []
    for source in sorted(set(sources), key=lambda each: (each.path.parts, not each.is_folder)):
        if not any(each.is_folder and source.path.is_relative_to(each.path) for each in kept):
            kept.append(source)
    return kept


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
