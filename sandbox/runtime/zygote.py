"""The process that forks workers: exec'd fresh, with a clean environment, one thread and nothing of the host in it.

It is started by `spawner` as `python -I -S -X utf8 -c <stub> <import path>` with its control socket as descriptor 0,
reads its settings, imports what every worker needs, proves its level and then serves requests until the socket ends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.machinery
import json
import os
import re
import select
import signal
import socket
import sys
import time
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from sandbox.runtime import birth as births
from sandbox.runtime import gaps, sources
from sandbox.runtime.birth import Birth, Wires
from sandbox.runtime.levels import Level, best_promised, look_at_machine
from sandbox.runtime.lockdown import cgroups, libc, namespaces
from sandbox.runtime.lockdown.filters import AUDIT_ARCHITECTURE, compile_filter
from sandbox.runtime.lockdown.namespaces import Source
from sandbox.runtime.release import ReleaseUnreadable, WorkerRelease, read_release
from sandbox.runtime.requests import (
    LINE_BYTES_MAX,
    REQUEST,
    Born,
    Reaped,
    ReapRequest,
    Refused,
    SpawnRequest,
    Started,
    Unproven,
    ZygoteSettings,
)
from sandbox.runtime.selftest import Host, LockFacts

Entry = Callable[[socket.socket, LockFacts, WorkerRelease], None]
PROOF_MEMORY_MB: Final = 256
REHEARSALS: Final = 64
PATTERNS_MAX: Final = 1024
_CLOSED_PACKAGES: Final = ("platform_core", "platform_core.kernel", "sandbox")
"""Packages of ours out of which nothing more can be imported."""
_NO_PYDANTIC_PLUGINS: Final = "PYDANTIC_DISABLE_PLUGINS"


class NotBorn(Exception):
    """A worker did not come to be; nothing of it is left."""

    def __init__(self, step: str, words: str, path: str = "") -> None:
        super().__init__(f"{step}: {words}")
        self.refusal = Refused(step=step, words=words, path=path)


@dataclass(slots=True)
class _Watch:
    """Reads what the intermediate and the worker tell."""

    descriptor: int
    until: float
    """Monotonic seconds."""
    step: str = births.STEPS[0]
    _text: bytearray = field(default_factory=bytearray)

    def wait_for(self, key: str) -> object:
        """The value told under `key`; NotBorn with the step at which it failed, ended or stood still."""
        while True:
            line = self._line()
            if key in line:
                return line[key]
            if "failed" in line:
                raise NotBorn(str(line["failed"]), str(line["words"]), str(line["path"]))
            self.step = str(line.get("at", self.step))

    def _line(self) -> dict[str, object]:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        while b"\n" not in self._text:
            left_ms = max(0.0, self.until - time.monotonic()) * 1000
            if not poll.poll(left_ms):
                raise NotBorn(self.step, "stood still until its time was over")
            chunk = os.read(self.descriptor, 4096)
            if not chunk:
                raise NotBorn(self.step, "ended without a word")
            self._text += chunk
        line, _, rest = self._text.partition(b"\n")
        self._text = rest
        told: dict[str, object] = json.loads(line)
        return told


class Zygote:
    """Forks workers at the level that it has proven."""

    def __init__(self, settings: ZygoteSettings, entry: Entry | None) -> None:
        self.level = Level.L1
        self._settings = settings
        self._entry = entry
        self._slots: dict[int, int] = {}
        """Slot by pid of every worker that has not been reaped."""
        self._patterns: dict[Path, Birth] = {}
        self._gaps: list[object] = []
        machine = look_at_machine()
        self._promised = min(best_promised(machine), settings.level_max)
        shared = (*sources.interpreter_sources(), *sources.module_sources(list(sys.modules.values())))
        known = next((each for each in AUDIT_ARCHITECTURE if each == machine.architecture), None)
        self._pattern = Birth(
            target=Level.L1,
            sources=(),
            folders=(),
            files=(),
            root=namespaces.plan_root(()),
            host=Host(uid=os.geteuid()),
            namespaces=namespaces.identities(),
            landlock_abi=machine.landlock_abi,
            program=compile_filter(known) if known else None,
            limits=settings.limits,
            memory_mb=PROOF_MEMORY_MB,
            uid=settings.uid_first + settings.uid_count - 1,
            has_counts_by_namespace=_version(machine.kernel) >= (5, 14),
            group=None,
            run=_pass,
        )
        self._pattern = _may_read(self._pattern, shared)

    def settle(self) -> None:
        """Arrange the memory that all workers will share, so that they copy little of it. Before the first fork."""
        births.rehearse(self._pattern, times=REHEARSALS)
        gc.collect()
        self._gaps = gaps.fill()
        gc.freeze()

    def prove(self) -> Started:
        """Find the highest level that holds: one worker passes the self-test there, one dies of a fatal call.

        NotBorn when not even L1 can be had.
        """
        unproven = []
        for level in range(self._promised, Level.L0, -1):
            try:
                facts = self._prove(Level(level))
            except NotBorn as error:
                if level == Level.L1:
                    raise
                refusal = error.refusal
                unproven.append(Unproven(level=Level(level), step=refusal.step, path=refusal.path, words=refusal.words))
                continue
            self.level = Level(level)
            break
        return Started(level=self.level, facts=facts, unproven=tuple(unproven))

    def _prove(self, level: Level) -> LockFacts:
        pattern = replace(self._pattern, target=level)
        status, facts = self._throw_away(pattern)
        if status != 0 or facts.level != level:
            holes = ", ".join(facts.holes) or "none"
            raise NotBorn("selftest", f"attained {facts.level.name}; holes: {holes}; wait status {status}")
        if level >= Level.L2:
            status, _ = self._throw_away(replace(pattern, run=_forbidden))
            if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGSYS:
                raise NotBorn("seccomp", f"a fatal call was survived; wait status {status}")
        return facts

    def _throw_away(self, pattern: Birth) -> tuple[int, LockFacts]:
        """Bear a worker without a plugin and see how it ends."""
        ours, theirs = socket.socketpair()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            pid, facts = self._bear(pattern, channel=theirs.fileno(), log=null)
            pidfd = os.pidfd_open(pid)
            try:
                is_over = select.select([pidfd], [], [], self._settings.spawn_within_s)[0]
                if not is_over:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                return os.waitpid(pid, 0)[1], facts
            finally:
                os.close(pidfd)
        finally:
            ours.close()
            theirs.close()
            os.close(null)

    def spawn(self, request: SpawnRequest, *, channel: int, log: int) -> tuple[Born, int]:
        """A worker for a release, with its pidfd. NotBorn says at which step it failed."""
        if self.level < self._settings.required:
            words = f"attained {self.level.name}, required {self._settings.required.name}"
            raise NotBorn("level", words)
        if self._entry is None:
            raise NotBorn("request", "this zygote proves its level and bears no workers")
        if request.slot >= self._settings.uid_count - 1 or request.slot in self._slots.values():
            raise NotBorn("request", f"slot {request.slot} is taken or does not exist")
        try:
            release = read_release(self._settings.plugins, plugin_id=request.plugin_id, version=request.version)
        except ReleaseUnreadable as error:
            raise NotBorn("release", error.words, str(error.path)) from error
        birth = replace(
            self._pattern_of(release.folder),
            target=self.level,
            memory_mb=release.memory_mb,
            uid=self._settings.uid_first + request.slot,
            group=self._group_of(release),
            run=partial(_enter, self._entry, release),
        )
        pid, facts = self._bear(birth, channel=channel, log=log)
        self._slots[pid] = request.slot
        return Born(pid=pid, facts=facts), os.pidfd_open(pid)

    def _group_of(self, release: WorkerRelease) -> Path | None:
        """The plugin's cgroup, made when its first worker comes. NotBorn where a group that was promised fails."""
        top = self._settings.group
        if top is None or self.level < Level.L4:
            return None
        group = top / release.plugin_id
        try:
            if not group.is_dir():
                cgroups.open_to_children(top)
            cgroups.prepare(
                group,
                limits=self._settings.group_limits,
                memory_mb=release.memory_mb,
                processes=self._settings.limits.processes,
            )
        except OSError as error:
            raise NotBorn("cgroup", error.strerror or str(error), str(error.filename or group)) from error
        return group

    def _pattern_of(self, folder: Path) -> Birth:
        """The pattern that lets a plugin's folder be read as well; worked out once for each."""
        found = self._patterns.get(folder)
        if found is None:
            if len(self._patterns) >= PATTERNS_MAX:
                self._patterns.clear()
            found = _may_read(self._pattern, [*self._pattern.sources, Source(folder, is_folder=True)])
            self._patterns[folder] = found
        return found

    def reap(self, pid: int) -> Reaped:
        """The wait status of a worker that has ended; its slot is free again."""
        if pid not in self._slots:
            raise NotBorn("reap", f"{pid} is no worker of this zygote, or was reaped before")
        found, status = os.waitpid(pid, os.WNOHANG)
        if not found:
            raise NotBorn("reap", f"worker {pid} is still running")
        del self._slots[pid]
        return Reaped(status=status)

    def _bear(self, birth: Birth, *, channel: int, log: int) -> tuple[int, LockFacts]:
        began = time.monotonic()
        go_theirs, go = os.pipe()
        reply, reply_theirs = os.pipe()
        worker: int | None = None
        child = 0
        try:
            child = _fork_intermediate(
                birth, Wires(channel=channel, log=log, go=go_theirs, reply=reply_theirs), began=began
            )
            watch = _Watch(reply, began + self._settings.spawn_within_s)
            worker = int(str(watch.wait_for("pid")))
            os.waitpid(child, 0)
            child = 0
            with contextlib.suppress(BrokenPipeError):  # it has died already: the watch says at which step
                os.write(go, b"g")
            return worker, LockFacts.model_validate(watch.wait_for("locked"), strict=False)
        except NotBorn as error:
            raise _undone(error, child=child, worker=worker) from error
        finally:
            os.close(go)
            os.close(reply)

    def end(self) -> None:
        """Kill every worker and wait until it is gone. Were the zygote killed instead, they would die by its death."""
        for pid in self._slots:
            os.kill(pid, signal.SIGKILL)
        for pid in self._slots:
            os.waitpid(pid, 0)


def _fork_intermediate(birth: Birth, wires: Wires, *, began: float) -> int:
    """The pid of the intermediate, whose ends of the pipes are closed here. NotBorn when there is no room for it."""
    _assert_single_thread()
    try:
        child = libc.fork()
        if child == 0:
            try:
                births.intermediate(birth, wires, began=began)
            finally:
                os._exit(1)  # whatever happened there, a second zygote must not go on from here
        return child
    except OSError as error:
        raise NotBorn("fork", f"the zygote cannot fork: {error.strerror}") from error
    finally:
        os.close(wires.go)
        os.close(wires.reply)


def _may_read(birth: Birth, sources: Sequence[Source]) -> Birth:
    """The same birth with other sources: everything about them is worked out here, before the fork."""
    kept = tuple(namespaces.without_nested(sources))
    return replace(
        birth,
        sources=kept,
        folders=tuple(str(source.path) for source in kept if source.is_folder),
        files=tuple(str(source.path) for source in kept if not source.is_folder),
        root=namespaces.plan_root(kept),
    )


def _version(kernel: str) -> tuple[int, ...]:
    """The first two numbers of a kernel's release."""
    return tuple(int(each) for each in re.findall(r"\d+", kernel)[:2])


def _undone(error: NotBorn, *, child: int, worker: int | None) -> NotBorn:
    """Kill what is left of a birth and wait for it; the error with the signal that ended it."""
    words = error.refusal.words
    for pid in filter(None, (child, worker)):
        try:
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
        except (ProcessLookupError, ChildProcessError):
            continue
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
            words += f" (killed by {signal.Signals(os.WTERMSIG(status)).name})"
    return NotBorn(error.refusal.step, words, error.refusal.path)


def _assert_single_thread() -> None:
    """A fork copies the forking thread alone, and another's locks as they are."""
    count = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1
    assert count == 1, f"the zygote has {count} threads; nothing that it imports may start one"


def _pass(channel: socket.socket, facts: LockFacts) -> None:
    """The first throwaway worker: it only passes the self-test."""


def _forbidden(channel: socket.socket, facts: LockFacts) -> None:
    """The second throwaway worker: it must not survive this."""
    libc.trace_me()


def _enter(entry: Entry, release: WorkerRelease, channel: socket.socket, facts: LockFacts) -> None:
    entry(channel, facts, release)


def preload(entry: str | None) -> Entry | None:
    """Import what every worker needs, then close the import path behind it: what is left is the standard library.

    Not even `pydantic` may load plugins here: it would look for them among all distributions of the host. Time zones
    come from `tzdata` at every level: at L2 the system's could be seen and not be read, above they are not there.
    """
    os.environ[_NO_PYDANTIC_PLUGINS] = "__all__"
    for name in ("pluggy", "tzdata"):
        importlib.import_module(name)
    sources.import_contract()
    found: Entry | None = None
    if entry is not None:
        module, _, function = entry.partition(":")
        entered = importlib.import_module(module)
        found = getattr(entered, function)
        getattr(entered, "prepare", lambda: None)()  # what the entry can make once for all workers
    del os.environ[_NO_PYDANTIC_PLUGINS]
    zoneinfo.reset_tzpath(())
    given = set(sys.argv[1:])
    sys.path[:] = [each for each in sys.path if each not in given]
    for name in _CLOSED_PACKAGES:
        sys.modules[name].__path__ = []
    sys.path_importer_cache.clear()
    # Have the folders listed once, here: each worker would do it at its first import, and keep the lists for itself.
    importlib.machinery.PathFinder.find_spec("no_module_of_this_name")
    sys.argv[:] = ["worker"]
    sys.orig_argv[:] = []
    return found


def _serve(zygote: Zygote, control: socket.socket) -> None:
    while True:
        text, descriptors = _receive(control)
        if not text:
            return
        pidfd = -1
        try:
            try:
                request = REQUEST.validate_json(text)
            except ValidationError as error:
                raise NotBorn("request", str(error.errors(include_url=False, include_input=False))[:500]) from error
            if isinstance(request, ReapRequest):
                answer = zygote.reap(request.pid).line()
            elif len(descriptors) == 2:
                spawned, pidfd = zygote.spawn(request, channel=descriptors[0], log=descriptors[1])
                answer = spawned.line()
            else:
                raise NotBorn("request", f"{len(descriptors)} descriptors came with a spawn, not 2")
        except NotBorn as error:
            answer = error.refusal.line()
        except OSError as error:  # descriptors or memory have run out: the workers that live shall go on living
            answer = Refused(step="request", words=f"the zygote: {error.strerror}").line()
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        socket.send_fds(control, [answer], [pidfd] if pidfd >= 0 else [])
        if pidfd >= 0:
            os.close(pidfd)


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """One line and the descriptors that came with it; no text at the end of the connection."""
    text = bytearray()
    descriptors: list[int] = []
    while not text.endswith(b"\n"):
        chunk, more, _, _ = socket.recv_fds(control, 4096, 4, socket.MSG_CMSG_CLOEXEC)
        descriptors += more
        text += chunk
        if not chunk or len(text) > LINE_BYTES_MAX:
            return b"", descriptors
    return bytes(text), descriptors


def main() -> None:
    """Serve the control socket until its other end is closed."""
    os.chdir("/")
    os.umask(0o077)
    control = socket.socket(fileno=0)
    text, _ = _receive(control)
    settings = ZygoteSettings.model_validate_json(text)
    libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
    libc.set_thread_stack(settings.limits.thread_stack_bytes)
    zygote: Zygote | None = None
    try:
        zygote = Zygote(settings, preload(settings.entry))
        zygote.settle()
        control.sendall(zygote.prove().line())
    except NotBorn as error:
        control.sendall(error.refusal.line())
        return
    except (ImportError, AttributeError, OSError) as error:
        path = os.fsdecode(getattr(error, "filename", None) or "")
        control.sendall(Refused(step="start", path=path, words=f"{type(error).__name__}: {error}"[:500]).line())
        return
    try:
        _serve(zygote, control)
    finally:
        zygote.end()
