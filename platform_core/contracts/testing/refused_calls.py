"""Which kernel calls of a plugin its confinement refuses, by name, with file and line.

`python -m ...refused_calls <folder> <module>` imports the plugin and calls its hooks on the golden fixtures in a
process of its own, where whatever a worker is refused is refused as well (PEP 578, read 2026-11-22), and prints JSON.
On standard input it takes a JSON object of more payloads, each as JSON text, by hook.

The kernel says only that it killed a worker, or EPERM; this says what was called. No part of the confinement.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from platform_core.contracts.testing.kit import Setup, cases
from platform_core.contracts.testing.loaded import load_plugin

_CALLS: Final[Mapping[str, str]] = {
    "socket.__new__": "socket", "socket.connect": "connect", "socket.bind": "bind", "socket.getaddrinfo": "socket",
    "socket.gethostbyname": "socket", "subprocess.Popen": "execve", "os.system": "execve", "os.exec": "execve",
    "os.posix_spawn": "execve", "os.spawn": "execve", "os.fork": "fork", "os.forkpty": "fork", "os.kill": "kill",
    "os.killpg": "kill", "signal.pthread_kill": "tgkill", "os.mkdir": "mkdir", "os.rename": "rename",
    "os.remove": "unlink", "os.rmdir": "rmdir", "os.link": "link", "os.symlink": "symlink",
    "os.truncate": "truncate", "os.chmod": "chmod", "os.chown": "chown", "os.utime": "utimensat",
    "os.setxattr": "setxattr", "os.unshare": "unshare", "os.setns": "setns", "resource.setrlimit": "prlimit64",
    "resource.prlimit": "prlimit64",
}  # fmt: skip
"""By Python's audit event, the kernel call behind it."""
_BY_CTYPES: Final = frozenset(
    {"accept", "bind", "chmod", "chown", "clone", "connect", "execve", "execvp", "fork", "kill", "link", "listen",
     "mkdir", "mount", "open_by_handle_at", "personality", "pivot_root", "prctl", "ptrace", "rename", "setns",
     "setrlimit", "setuid", "socket", "symlink", "syscall", "system", "umount", "unlink", "unshare", "vfork"}
)  # fmt: skip
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True, slots=True, order=True)
class RefusedCall:
    """One kernel call that a worker is refused."""

    call: str
    where: str
    """File and line in the plugin."""


class Watch:
    """An audit hook that refuses as the worker's kernel does, and remembers what it refused."""

    def __init__(self, folder: Path) -> None:
        self.refused: list[RefusedCall] = []
        self.is_on = False
        self._folder = folder.resolve()
        self._readable = tuple(str(Path(root).resolve()) for root in {*sys.path, sys.prefix, sys.base_prefix} if root)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:  # Any: of any event
        """As `sys.addaudithook` calls it."""
        if not self.is_on:
            return
        self.is_on = False  # what this does itself is no plugin's doing
        try:
            call = _CALLS.get(event) or self._opened(event, arguments) or _by_ctypes(event, arguments)
            where = None if call is None else self._where()
            if call is None or where is None:
                return
            self.refused.append(RefusedCall(call, where))
        finally:
            self.is_on = True
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def _opened(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
            return None
        if isinstance(arguments[2], int) and arguments[2] & _WRITES:
            return "openat (to write)"
        path = os.path.realpath(os.fsdecode(arguments[0]))
        return None if path.startswith((str(self._folder), *self._readable)) else "openat"

    def _where(self) -> str | None:
        """The line of the plugin that is running; None when none is."""
        frame = sys._getframe(2)
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if self._folder in path.parents:
                return f"{path.relative_to(self._folder)}:{frame.f_lineno}"
            if frame.f_back is None:
                return None
            frame = frame.f_back
        return None


def _by_ctypes(event: str, arguments: tuple[Any, ...]) -> str | None:
    if event not in ("ctypes.dlsym", "ctypes.dlsym/handle"):
        return None
    name = arguments[1]
    return f"{name} (by ctypes)" if name in _BY_CTYPES else None


def look(folder: Path, module: str, *, calls: Mapping[str, str]) -> list[RefusedCall]:
    """Import and call; each refused call once, in order. What the plugin raises is not told here.

    `calls`: payloads in JSON, by hook, that the plugin is asked about besides the fixtures.
    """
    sys.path.insert(0, str(folder))
    watch = Watch(folder)
    sys.addaudithook(watch)
    watch.is_on = True
    try:
        _quietly(lambda: _run(module, watch, calls))
    finally:
        watch.is_on = False
    return list(dict.fromkeys(watch.refused))


def _run(module: str, watch: Watch, calls: Mapping[str, str]) -> None:
    plugin = load_plugin(module)
    for case in cases(plugin, Setup()):
        for told in {case.json(), calls.get(case.hook.name, "").encode()} - {b""}:
            watch.is_on = False
            host = case.setup.host(plugin, case.fixture)
            watch.is_on = True
            _quietly(partial(case.call, host, told))


def _quietly(work: Callable[[], object]) -> None:
    try:
        work()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise


if __name__ == "__main__":
    found = look(Path(sys.argv[1]), sys.argv[2].partition(":")[0], calls=json.loads(sys.stdin.read() or "{}"))
    sys.stdout.write(json.dumps([asdict(each) for each in found]) + "\n")
