"""The host's end of a zygote: starts it, asks it for workers, starts a new one when it dies.

Asyncio alone, on any loop; one instance belongs to one loop. No answer is waited for longer than its deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
from array import array
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pydantic import ValidationError

import sandbox
from sandbox.runtime.levels import Level
from sandbox.runtime.requests import (
    ANSWER,
    LINE_BYTES_MAX,
    Born,
    Reaped,
    ReapRequest,
    Refused,
    SpawnRequest,
    Started,
    Unproven,
    ZygoteSettings,
)
from sandbox.runtime.selftest import LockFacts

ENVIRONMENT: Final = {"PATH": "/nonexistent", "LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2"}
START_WITHIN_S: Final = 30.0
"""For the imports of a fresh interpreter and the proofs, on a busy machine."""
ANSWER_WITHIN_S: Final = 1.0
BACK_OFF_S: Final = 0.1
BACK_OFF_S_MAX: Final = 30.0
STEADY_AFTER_S: Final = 60.0
"""A zygote that lived so long has earned a back-off from the start."""
_LAST_WORDS_BYTES: Final = 4096
_DEPENDENCIES: Final = (
    "pluggy",
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_extensions",
    "typing_inspection",
    "tzdata",
)
_STUB: Final = (
    "import sys; sys.dont_write_bytecode = True; sys.path += sys.argv[1:]; "
    "from sandbox.runtime.zygote import main; main()"
)
log = logging.getLogger(__name__)
A = TypeVar("A", Started, Born, Reaped)
R = TypeVar("R")


class SpawnFailed(Exception):
    """No worker, or no zygote; `step` and `path` say where it went wrong (`requests.Refused`).

    Steps of the host itself: `zygote` (it died, or is being restarted), `deadline` (no answer in time).
    """

    def __init__(self, step: str, words: str, path: str = "") -> None:
        super().__init__(f"{step}: {words}" + (f" ({path})" if path else ""))
        self.step = step
        self.words = words
        self.path = path


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a worker ended: by a code or by a signal."""

    code: int | None
    signal: int | None

    @property
    def is_forbidden_call(self) -> bool:
        """Whether it made a call that no honest plugin makes."""
        return self.signal == signal.SIGSYS


@dataclass(slots=True)
class Spawned:
    """A worker that is locked down. Its holder owns the three descriptors; `close` gives them back."""

    pid: int
    pidfd: int
    """Readable once the worker has ended; signals go through it, so none can reach a stranger."""
    channel: socket.socket
    """Non-blocking."""
    log: int
    """Read end of its standard output and error, non-blocking."""
    slot: int
    facts: LockFacts
    """As the zygote heard them, before any code of a plugin was there."""
    generation: int = 0
    """Which of the spawner's zygotes bore it."""

    def close(self) -> None:
        """Close channel, log and pidfd. A worker still running loses its host and is not waited for: reap it first."""
        self.channel.close()
        for descriptor in (self.log, self.pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self.log = self.pidfd = -1


class _Zygote:
    """One zygote process and the one question that may be under way with it."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self.ended = asyncio.Event()
        self._process = process
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._text = bytearray()
        self._descriptors: list[int] = []
        self._waiter: asyncio.Future[tuple[bytes, list[int]]] | None = None
        self._turn = asyncio.Lock()
        self._loop.add_reader(control, self._readable)

    @classmethod
    async def start(cls, settings: ZygoteSettings, *, python: Path) -> Self:
        """Exec a fresh interpreter; it has read nothing yet."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        command = [str(python), "-I", "-S", "-X", "utf8", "-c", _STUB, *import_path()]
        starting = asyncio.ensure_future(asyncio.to_thread(_exec, command, control=theirs))
        try:
            process = await asyncio.shield(starting)
        except OSError as error:
            ours.close()
            raise SpawnFailed("zygote", error.strerror or str(error), str(python)) from error
        except asyncio.CancelledError:
            # The thread cannot be stopped: what it started is ended here. Without a host it would end by itself.
            ours.close()
            (await starting).communicate()
            raise
        finally:
            theirs.close()
        return cls(process, ours)

    async def ask(
        self, line: bytes, kind: type[A], *, descriptors: tuple[int, ...] = (), within_s: float
    ) -> tuple[A, list[int]]:
        """One question and its answer. After a missing or strange answer the zygote is out of step, and killed."""
        async with self._turn:
            if self.ended.is_set():
                raise self._dead()
            self._waiter = self._loop.create_future()
            try:
                # Lines are far shorter than the socket's buffer, which is empty: questions do not overlap.
                socket.send_fds(self._control, [line], descriptors)
                text, received = await asyncio.wait_for(asyncio.shield(self._waiter), within_s)
            except TimeoutError:
                self.kill()
                raise SpawnFailed("deadline", f"the zygote gave no answer within {within_s:g} s") from None
            except asyncio.CancelledError:
                self.kill()
                raise
            except OSError as error:
                self.kill()
                raise self._dead() from error
            finally:
                self._waiter = None
        return self._read(text, received, kind)

    def _read(self, text: bytes, received: list[int], kind: type[A]) -> tuple[A, list[int]]:
        try:
            answer = ANSWER.validate_json(text)
        except ValidationError:
            answer = None
        if isinstance(answer, kind) and len(received) == (1 if kind is Born else 0):
            return answer, received
        for descriptor in received:
            os.close(descriptor)
        if isinstance(answer, Refused):
            raise SpawnFailed(answer.step, answer.words, answer.path)
        self.kill()
        raise SpawnFailed("zygote", f"a strange answer: {text[:200]!r}")

    def _readable(self) -> None:
        try:
            chunk, ancillary, _, _ = self._control.recvmsg(4096, socket.CMSG_SPACE(4 * 4), socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            chunk, ancillary = b"", []
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._descriptors += array("i", data[: len(data) - len(data) % 4])
        self._text += chunk
        if not chunk or len(self._text) > LINE_BYTES_MAX:
            self._end()
        elif self._text.endswith(b"\n"):
            self._answer()

    def _answer(self) -> None:
        text, descriptors = bytes(self._text), self._descriptors
        self._text.clear()
        self._descriptors = []
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result((text, descriptors))
            return
        for descriptor in descriptors:
            os.close(descriptor)
        self._end()

    def _end(self) -> None:
        """The connection is over: no answer can come any more, and no worker can live."""
        self.kill()
        if not self.ended.is_set():
            self._hang_up()

    def _hang_up(self) -> None:
        self.ended.set()
        self._loop.remove_reader(self._control)
        self._control.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._dead())

    def _dead(self) -> SpawnFailed:
        return SpawnFailed("zygote", f"it has ended. {self._last_words()}".strip())

    def _last_words(self) -> str:
        assert self._process.stderr is not None
        if self._process.stderr.closed:
            return ""
        os.set_blocking(self._process.stderr.fileno(), False)
        try:
            text = os.read(self._process.stderr.fileno(), _LAST_WORDS_BYTES)
        except BlockingIOError:
            return ""
        return text.decode("utf-8", "backslashreplace").strip()[-300:]

    def kill(self) -> None:
        """End it at once, and all its workers with it."""
        if self._process.returncode is None:
            self._process.kill()

    async def close(self, *, within_s: float) -> None:
        """Hang up, and leave no process, no zombie and no descriptor. It gets a moment to see its workers die."""
        if not self.ended.is_set():
            self._hang_up()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, within_s)
        self.kill()
        await asyncio.to_thread(self._process.wait)
        assert self._process.stderr is not None
        self._process.stderr.close()


def _exec(command: list[str], *, control: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own stub, run by the interpreter that runs us
        command,
        stdin=control.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


async def _dispose(task: asyncio.Task[R], unwanted: Callable[[R], Coroutine[Any, Any, None]] | None) -> None:
    """See a conversation to its end whose result nobody waits for."""
    with contextlib.suppress(SpawnFailed, ProcessLookupError):
        result = await task
        if unwanted is not None:
            await unwanted(result)


class Spawner:
    """Workers from a zygote. All its methods but `close` raise SpawnFailed."""

    def __init__(
        self,
        settings: ZygoteSettings,
        *,
        python: Path | None = None,
        start_within_s: float = START_WITHIN_S,
        answer_within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        self._settings = settings
        self._python = python or Path(getattr(sys, "_base_executable", "") or sys.executable)
        self._start_within_s = start_within_s
        self._answer_within_s = answer_within_s
        self._zygote: _Zygote | None = None
        self._generation = 0
        self._started: Started | None = None
        self._is_ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def level(self) -> Level:
        """The level that the zygote proved; L0 before the first start."""
        return self._started.level if self._started else Level.L0

    @property
    def facts(self) -> LockFacts | None:
        """What the proving worker measured."""
        return self._started.facts if self._started else None

    @property
    def unproven(self) -> tuple[Unproven, ...]:
        """Higher levels that were tried in vain, with the step that failed."""
        return self._started.unproven if self._started else ()

    async def start(self) -> None:
        """Start the zygote and learn its level. Not below the required one: that refuses spawns, not the start."""
        await self._launch()
        self._keeper = asyncio.create_task(self._keep(), name="zygote keeper")

    async def spawn(self, plugin_id: str, version: str, slot: int) -> Spawned:
        """A locked worker of an installed release, about to run its entry. `slot`: free, less than `uid_count` - 1.

        Who is cancelled meanwhile leaves nothing: the worker is put down as soon as it is there.
        """
        return await self._unharmed(self._spawn(plugin_id, version, slot), unwanted=self._put_down)

    async def _spawn(self, plugin_id: str, version: str, slot: int) -> Spawned:
        try:
            request = SpawnRequest(plugin_id=plugin_id, version=version, slot=slot).line()
        except ValidationError as error:
            raise SpawnFailed("request", str(error.errors(include_url=False, include_input=False))) from error
        zygote = await self._ready()
        generation = self._generation
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        log, log_theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(log, False)
        os.set_blocking(log_theirs, True)
        try:
            descriptors = (theirs.fileno(), log_theirs)
            answer, (pidfd,) = await zygote.ask(request, Born, descriptors=descriptors, within_s=self._answer_within_s)
        except BaseException:
            ours.close()
            os.close(log)
            raise
        finally:
            theirs.close()
            os.close(log_theirs)
        return Spawned(answer.pid, pidfd, ours, log, slot, answer.facts, generation)

    async def reap(self, worker: Spawned) -> ExitStatus:
        """Wait for a worker's end, learn how it ended, free its slot. Its descriptors stay open, for what is unread.

        SpawnFailed `deadline` when it still runs after the deadline: kill it first. When the zygote is gone the worker
        was killed with it, and that is the answer. Who is cancelled meanwhile does not learn it, and the slot is free.
        """
        return await self._unharmed(self._reap(worker))

    async def _reap(self, worker: Spawned) -> ExitStatus:
        await self._wait_for_end(worker)
        zygote = self._zygote
        if zygote is None or zygote.ended.is_set() or worker.generation != self._generation:
            return ExitStatus(code=None, signal=signal.SIGKILL)
        try:
            answer, _ = await zygote.ask(ReapRequest(pid=worker.pid).line(), Reaped, within_s=self._answer_within_s)
        except SpawnFailed:
            if zygote.ended.is_set():
                return ExitStatus(code=None, signal=signal.SIGKILL)
            raise
        if os.WIFSIGNALED(answer.status):
            return ExitStatus(code=None, signal=os.WTERMSIG(answer.status))
        return ExitStatus(code=os.WEXITSTATUS(answer.status), signal=None)

    async def _unharmed(
        self, work: Coroutine[Any, Any, R], *, unwanted: Callable[[R], Coroutine[Any, Any, None]] | None = None
    ) -> R:
        """Finish a conversation with the zygote even if the caller is cancelled: half of one puts it out of step."""
        task = asyncio.create_task(work)
        self._hold(task)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._hold(asyncio.create_task(_dispose(task, unwanted)))
            raise

    def _hold(self, task: asyncio.Task[Any]) -> None:
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _put_down(self, worker: Spawned) -> None:
        try:
            signal.pidfd_send_signal(worker.pidfd, signal.SIGKILL)
            await self._reap(worker)
        finally:
            worker.close()

    async def _wait_for_end(self, worker: Spawned) -> None:
        loop = asyncio.get_running_loop()
        # A descriptor of its own: the holder may be watching the pidfd as well, and a loop takes one reader for each.
        watched = os.dup(worker.pidfd)
        ended = loop.create_future()
        loop.add_reader(watched, lambda: None if ended.done() else ended.set_result(None))
        try:
            await asyncio.wait_for(ended, self._answer_within_s)
        except TimeoutError:
            raise SpawnFailed("deadline", f"worker {worker.pid} is still running") from None
        finally:
            loop.remove_reader(watched)
            os.close(watched)

    async def close(self) -> None:
        """Kill the zygote and with it every worker."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        self._is_ready.clear()
        if self._zygote is not None:
            await self._zygote.close(within_s=self._answer_within_s)
            self._zygote = None
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _ready(self) -> _Zygote:
        try:
            await asyncio.wait_for(self._is_ready.wait(), self._answer_within_s)
        except TimeoutError:
            raise SpawnFailed("zygote", "it is being restarted") from None
        assert self._zygote is not None
        return self._zygote

    async def _launch(self) -> None:
        zygote = await _Zygote.start(self._settings, python=self._python)
        try:
            self._started, _ = await zygote.ask(self._settings.line(), Started, within_s=self._start_within_s)
        except BaseException:
            await zygote.close(within_s=self._answer_within_s)
            raise
        self._zygote = zygote
        self._generation += 1
        self._is_ready.set()

    async def _keep(self) -> None:
        """Start a new zygote whenever the present one has died, with growing pauses."""
        loop = asyncio.get_running_loop()
        pause_s = BACK_OFF_S
        while True:
            assert self._zygote is not None
            since = loop.time()
            await self._zygote.ended.wait()
            self._is_ready.clear()
            log.error("the zygote has ended, and all its workers with it; another is started")
            await self._zygote.close(within_s=self._answer_within_s)
            if loop.time() - since >= STEADY_AFTER_S:
                pause_s = BACK_OFF_S
            while not self._is_ready.is_set():
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACK_OFF_S_MAX)
                try:
                    await self._launch()
                except SpawnFailed as failed:
                    log.error("no zygote can be started, next try in %.1f s: %s", pause_s, failed)


def import_path() -> list[str]:
    """The folders that a zygote imports from, besides the standard library: ours, and those of its dependencies."""
    found = {Path(sandbox.__path__[0]).parent: None}
    for name in _DEPENDENCIES:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        found[origin.parents[1] if origin.name == "__init__.py" else origin.parent] = None
    return [str(each) for each in found]
