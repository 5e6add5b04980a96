"""Where the corpus plays: canaries, listeners and their witnesses, none of which belongs to the victim."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import shutil
import socket
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from sandbox.runtime.installed import delete_tree
from tests.sandbox.corpus.bundles import HOSTILE, VERSION, install_hostile, install_neighbour, version_of
from tests.sandbox.corpus.table import BOOTS

MERCHANTS: Final = {"mer_a": 5, "mer_b": 47}
"""Each with its salt, the figure in its configuration that its plugins' answers depend on."""
SECRETS: Final = (
    "file",
    "database",
    "environment",
    "command",
    "memory",
    "name",
    "folder",
    "shared",
    "segment",
    "sealed",
)
_DOORS: Final = 16
_IPC_CREAT: Final = 0o1000
_IPC_RMID: Final = 0
REDUCED: Final = Path("/tmp/arsenal-corpus-reduced")  # noqa: S108 - what a mode would make


def _token(name: str) -> str:
    return f"canary-{name}-{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What can be told of files from outside."""

    entries: frozenset[tuple[object, ...]]


@dataclass(slots=True)
class Listeners:
    """Whoever can be reached over a network or a socket file; every contact is a hit."""

    hits: list[str] = field(default_factory=list)
    tcp_port: int = 0
    udp_port: int = 0
    _open: list[Any] = field(default_factory=list)

    async def start(self, *, unix_path: str, unix_abstract: str, unix_datagram: str) -> None:
        """Listen on all of them."""
        tcp = await asyncio.start_server(self._tcp, "127.0.0.1", 0)
        self.tcp_port = tcp.sockets[0].getsockname()[1]
        self._open = [tcp]
        for path in (unix_path, "\0" + unix_abstract):
            self._open.append(await asyncio.start_unix_server(self._unix, path))
        os.chmod(unix_path, 0o777)  # noqa: S103 - whoever is let may
        loop = asyncio.get_running_loop()
        datagram, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self.hits, "udp"), ("127.0.0.1", 0))
        self.udp_port = datagram.get_extra_info("sockname")[1]
        mailbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        mailbox.bind(unix_datagram)
        os.chmod(unix_datagram, 0o777)  # noqa: S103 - whoever is let may
        unix, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self.hits, "unix datagram"), sock=mailbox)
        self._open += [datagram, unix]

    async def _tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits.append("tcp")
        await reader.read(100)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    async def _unix(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits.append("unix")
        writer.close()

    async def close(self) -> None:
        """Hang up."""
        for each in self._open:
            each.close()
        await asyncio.sleep(0)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, hits: list[str], name: str) -> None:
        self._hits = hits
        self._name = name

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._hits.append(self._name)


class Scene:
    """One for a whole run of the corpus. Everything in it may be read and written by anybody who is let."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="arsenal-corpus-"))
        self.tokens = {name: _token(name) for name in SECRETS} | {m: _token(m) for m in MERCHANTS}
        self.key = self.folder / "secret.key"
        self.database = self.folder / "pgdata" / "base" / "2619"
        self.working_directory = self.folder / self.tokens["folder"]
        self.plugins = self.folder / "plugins"
        self.truth = "".join(secrets.choice("01") for _ in range(_DOORS))
        self.listeners = Listeners()
        self.segment = -1
        self.shared = Path("/dev/shm") / self.tokens["shared"]  # noqa: S108 - what others could read
        self._untouched: Snapshot | None = None

    @classmethod
    async def set_up(cls) -> Self:
        """Lay everything out."""
        scene = cls()
        scene.folder.chmod(0o777)
        scene.working_directory.mkdir()
        scene.database.parent.mkdir(parents=True)
        doors = scene.folder / "doors"
        doors.mkdir()
        for number, is_there in enumerate(scene.truth):
            if is_there == "1":
                (doors / f"door-{number}").touch()
        (scene.folder / scene.tokens["name"]).touch()
        scene.shared.write_text(scene.tokens["shared"], encoding="utf-8")
        scene._share_memory()
        await scene.listeners.start(
            unix_path=str(scene.folder / "unix.sock"),
            unix_abstract=scene.folder.name,
            unix_datagram=str(scene.folder / "mail.sock"),
        )
        scene.restore()
        scene._install()
        scene._untouched = scene.look()
        return scene

    def _install(self) -> None:
        install_neighbour(self.plugins, self.folder)
        install_hostile(self.plugins, self.folder)
        for number, behaviour in enumerate(BOOTS, start=1):
            known = self.known() | {"seconds": 3.0, "log_mib": 1, "level": -1}
            told = {"mode": behaviour.mode, "known": known}
            install_hostile(self.plugins, self.folder, version=version_of(number), boot=told)

    def _share_memory(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.segment = libc.shmget(0, 4096, _IPC_CREAT | 0o666)
        libc.shmat.restype = ctypes.c_void_p
        place = libc.shmat(self.segment, None, 0)
        ctypes.memmove(place, self.tokens["segment"].encode() + b"\0", len(self.tokens["segment"]) + 1)
        libc.shmdt(ctypes.c_void_p(place))

    async def clear_away(self) -> None:
        """Leave nothing."""
        await self.listeners.close()
        ctypes.CDLL(None).shmctl(self.segment, _IPC_RMID, None)
        for left in (*self.leftovers(), self.shared):
            os.unlink(left)
        await asyncio.to_thread(delete_tree, self.folder)

    def known(self) -> dict[str, Any]:
        """What the attacker knows of it."""
        return {
            "scene": str(self.folder),
            "key": str(self.key),
            "database": str(self.database),
            "doors": [str(self.folder / "doors" / f"door-{number}") for number in range(_DOORS)],
            "tcp_port": self.listeners.tcp_port,
            "udp_port": self.listeners.udp_port,
            "unix_path": str(self.folder / "unix.sock"),
            "unix_abstract": self.folder.name,
            "unix_datagram": str(self.folder / "mail.sock"),
            "segment": self.segment,
            "own_payment": "pay_a",
            "other_payment": "pay_b",
        }

    def restore(self) -> None:
        """Make the canaries what they were."""
        self.listeners.hits.clear()
        for path, name in ((self.key, "file"), (self.database, "database")):
            path.unlink(missing_ok=True)
            path.write_text(f"{self.tokens[name]} and some more text", encoding="utf-8")
            path.chmod(0o666)
            os.utime(path, (1_700_000_000, 1_700_000_000))
        (self.database.parent / "2619.gone").unlink(missing_ok=True)
        if self._untouched is not None:
            for entry in self.look().entries - self._untouched.entries:
                path = Path(str(entry[0]))
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path not in (self.key, self.database):
                    path.unlink(missing_ok=True)
        for leftover in self.leftovers():
            leftover.rmdir() if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
        self._untouched = None if self._untouched is None else self.look()

    def leftovers(self) -> list[Path]:
        """What modes leave outside of the folder."""
        notes = self.shared.with_name(f"{self.folder.name}-notes")
        return [each for each in (notes, REDUCED) if each.is_symlink() or each.exists()]

    def is_untouched(self) -> bool:
        """Whether every file and folder is as it was laid out."""
        return self.look() == self._untouched and not self.leftovers()

    def look(self) -> Snapshot:
        """Names, kinds, modes, owners, sizes, times and contents."""
        package = self.plugins / HOSTILE / VERSION / "tree" / "corpus_hostile"
        paths = [*self.folder.iterdir(), *self.database.parent.iterdir()]
        paths += list(package.iterdir()) if package.exists() else []
        return Snapshot(frozenset(_look_at(path) for path in paths if path != self.plugins))


def _look_at(path: Path) -> tuple[object, ...]:
    found = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(found.st_mode) and found.st_size < 1 << 16 else b""
    times = found.st_mtime_ns if stat.S_ISREG(found.st_mode) else 0
    return str(path), found.st_mode, found.st_uid, found.st_size if content else 0, times, content, found.st_nlink
