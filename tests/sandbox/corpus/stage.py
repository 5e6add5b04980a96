"""The victim's process as the witnesses hold it: asked, watched from outside, and started anew when it is ruined."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from sandbox.runtime.levels import Level
from tests.sandbox.corpus.scene import MERCHANTS, Scene
from tests.support.patience import HEARD_S

Json = dict[str, Any]
ROOT: Final = Path(__file__).parents[3]
_LINE_MAX: Final = 1 << 22


class Gone(Exception):
    """The victim does not answer, and will not."""


@dataclass(slots=True)
class Watched:
    """What was seen of the victim's processes while a behaviour was under way: the most at any moment."""

    processes: int = 0
    resident_mib: int = 0
    threads: int = 0
    descriptors: int = 0
    is_traced: bool = False
    is_listening: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What others could change of a process from outside."""

    nice: str
    limits: str
    affinity: str
    oom: str


@dataclass(slots=True)
class Output:
    """What came out of the victim's log: loot, and everything else."""

    raw: bytearray = field(default_factory=bytearray)
    size: int = 0

    def take(self, chunk: bytes) -> None:
        """Keep the first megabyte, count the rest."""
        self.size += len(chunk)
        if len(self.raw) < 1 << 20:
            self.raw += chunk

    def loot(self) -> bytes:
        """What the plugin carried out, decoded."""
        found = bytearray(self.raw)
        for line in bytes(self.raw).splitlines():
            if line.startswith(b"LOOT "):
                with contextlib.suppress(binascii.Error):
                    found += b"\n" + base64.b64decode(line[5:])
        return bytes(found)


class Victim:
    """One process."""

    def __init__(self, pid: int, line: socket.socket, log: int) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.output = Output()
        self.facts: Json = {}
        self.watched = Watched()
        self._log = log
        self._socket = line
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._is_gone = False
        self._loop = asyncio.get_running_loop()
        self._text = bytearray()
        for descriptor in (line.fileno(), log):
            os.set_blocking(descriptor, False)
        self._loop.add_reader(log, self._read_log)
        self._loop.add_reader(line, self._read_line)
        self._loop.add_reader(self.pidfd, self._gone)

    async def ask(self, do: str, *, within_s: float = 3 * HEARD_S, **told: Any) -> Json:
        """One command and its answer. Raises Gone."""
        return await self.answer_to(self.send(do, **told), within_s=within_s)

    def send(self, do: str, **told: Any) -> asyncio.Future[Json]:
        """Give a command; its answer comes by the future."""
        number = next(self._ids)
        answer: asyncio.Future[Json] = self._loop.create_future()
        self._waiting[number] = answer
        try:
            self._socket.setblocking(True)
            self._socket.sendall(json.dumps({"do": do, "id": number, **told}).encode() + b"\n")
        except OSError:
            self._gone()
        finally:
            self._socket.setblocking(False)
        if self._is_gone and not answer.done():
            answer.set_exception(Gone())
        return answer

    async def answer_to(self, answer: asyncio.Future[Json], *, within_s: float = 3 * HEARD_S) -> Json:
        """Wait for it. A victim that is stopped counts as gone."""
        until = self._loop.time() + within_s
        while not answer.done():
            await asyncio.wait([answer], timeout=0.5)
            if not answer.done() and (self.state() in "TtZX" or self._loop.time() > until):
                answer.cancel()
                raise Gone
        return answer.result()

    def _read_line(self) -> None:
        try:
            chunk = self._socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk or len(self._text) > _LINE_MAX:
            self._gone()
            return
        self._text += chunk
        while b"\n" in self._text:
            line, _, rest = self._text.partition(b"\n")
            self._text = bytearray(rest)
            try:
                told = json.loads(line)
                waiter = self._waiting.pop(told["id"])
            except (ValueError, KeyError, TypeError):
                self._gone()  # It does not speak sense any more.
                return
            if not waiter.done():
                waiter.set_result(told)

    def _read_log(self) -> None:
        try:
            chunk = os.read(self._log, 1 << 16)
        except BlockingIOError:
            return
        if not chunk:
            self._loop.remove_reader(self._log)
        self.output.take(chunk)

    def _gone(self) -> None:
        if self._is_gone:
            return
        self._is_gone = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_reader(self.pidfd)
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(Gone())
                waiter.exception()

    # What is seen of it from outside.

    def state(self) -> str:
        """By the letter of proc(5); X when there is none."""
        return state_of(self.pid)

    def is_well(self) -> bool:
        """Whether it lives, runs and speaks."""
        return not self._is_gone and self.state() in "RSD"

    def standing(self) -> Standing | None:
        """None when it is gone."""
        try:
            return Standing(
                nice=_fields(self.pid)[16],
                limits=str(resource.prlimit(self.pid, resource.RLIMIT_CORE)),
                affinity=str(os.sched_getaffinity(self.pid)),
                oom=Path(f"/proc/{self.pid}/oom_score_adj").read_text(encoding="ascii"),
            )
        except OSError:
            return None

    def watch(self, *, port: int) -> None:
        """Look once, and keep the most of everything."""
        seen = self.watched
        family = self.family()
        seen.processes = max(seen.processes, len(family))
        for pid in family:
            with contextlib.suppress(OSError, ValueError):
                pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
                seen.resident_mib = max(seen.resident_mib, pages * resource.getpagesize() >> 20)
        with contextlib.suppress(OSError, KeyError, IndexError):
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
            told = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
            seen.threads = max(seen.threads, int(told["Threads"][0]))
            seen.is_traced |= told["TracerPid"][0] != "0"
            seen.descriptors = max(seen.descriptors, len(os.listdir(f"/proc/{self.pid}/fd")))
        if port:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2):
                seen.is_listening = True

    def family(self) -> list[int]:
        """The victim and all that descend from it, the zygote's orphans among them."""
        found, ahead = [], [self.pid]
        while ahead:
            pid = ahead.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    children = Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii")
                    ahead += [int(each) for each in children.split()]
        return found

    def zygote(self) -> int:
        """Its one child."""
        return next((pid for pid in self.family() if pid != self.pid), 0)

    async def close(self) -> None:
        """Kill it with all that descends from it."""
        family = self.family()
        self._gone()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        for pid in family[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._loop.remove_reader(self._log)
        self._socket.close()
        os.close(self._log)
        os.close(self.pidfd)


def _fields(pid: int) -> list[str]:
    """From the third on: proc(5), stat."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def state_of(pid: int) -> str:
    """By the letter of proc(5); X when there is no such process."""
    try:
        return _fields(pid)[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def cpu_ticks(pid: int) -> int:
    """Processor time, in ticks of the clock; 0 when the process is gone."""
    try:
        fields = _fields(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12])


def opening(scene: Scene, level: Level) -> Json:
    """What a victim is told at its start."""
    return {
        "level": int(level),
        "plugins": str(scene.plugins),
        "key": str(scene.key),
        "memory_secret": scene.tokens["memory"],
        "merchants": {name: {"salt": salt, "note": scene.tokens[name]} for name, salt in MERCHANTS.items()},
        "payments": {
            "pay_a": {"merchant_id": "mer_a", "amount_minor": 1},
            "pay_b": {"merchant_id": "mer_b", "amount_minor": 2, "note": scene.tokens["mer_b"]},
        },
    }


class Stage:
    """One level's victim, over and over."""

    def __init__(self, scene: Scene, level: Level, *, required: Level | None = None) -> None:
        """`required`: what the victim asks for, when that is more than it gets."""
        self.scene = scene
        self.level = level
        self._required = level if required is None else required
        self._victim: Victim | None = None
        self._nursery: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._processes: list[subprocess.Popen[bytes]] = []

    async def victim(self) -> Victim:
        """The one that is well, or another."""
        if self._victim is not None and (self.level == Level.L0 or not self._victim.is_well()):
            await self.discard()
        if self._victim is None:
            self._victim = await self._start()
            self._victim.facts = await self._victim.ask(
                "open", **opening(self.scene, self.level), required=int(self._required)
            )
            attained = (await self._victim.ask("pids", plugin=""))["level"]
            assert attained == self.level.name, f"this machine attains {attained}, not {self.level.name}"
        return self._victim

    async def discard(self) -> None:
        """What is ruined is ended."""
        if self._victim is not None:
            await self._victim.close()
            self._victim = None
        for process in self._processes:
            await asyncio.to_thread(process.wait)
        self._processes.clear()

    async def _start(self) -> Victim:
        ours, theirs = socket.socketpair()
        log, log_theirs = os.pipe()
        try:
            if self.level > Level.L0:
                process = self._exec(theirs, log=log_theirs, role="victim")
                self._processes.append(process)
                return Victim(process.pid, ours, log)
            if self._requests is None:
                self._requests, nursery_end = socket.socketpair()
                self._nursery = self._exec(nursery_end, log=None, role="nursery")
                nursery_end.close()
            socket.send_fds(self._requests, [b"fork"], [theirs.fileno(), log_theirs])
            born = await asyncio.to_thread(self._requests.recv, 4)
            return Victim(int.from_bytes(born, "big"), ours, log)
        finally:
            theirs.close()
            os.close(log_theirs)

    def _exec(self, line: socket.socket, *, log: int | None, role: str) -> subprocess.Popen[bytes]:
        module = "tests.sandbox.corpus.victim"
        return subprocess.Popen(
            [sys.executable, "-B", "-m", module, str(line.fileno()), role, self.scene.tokens["command"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=[line.fileno()],
            cwd=self.scene.working_directory,
            env={"CORPUS_SECRET": self.scene.tokens["environment"], "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )

    async def close(self) -> None:
        """End everything."""
        await self.discard()
        if self._requests is not None and self._nursery is not None:
            self._requests.close()
            await asyncio.to_thread(self._nursery.wait)
