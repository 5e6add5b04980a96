"""What the pool keeps books of: versions, their workers, and the keys that workers are bound to."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from platform_core.contracts.runtime import Binding, Fault, FaultKind, Hosted
from sandbox.runtime import frames
from sandbox.runtime.channel import Channel, State
from sandbox.runtime.pending import RunningCall
from sandbox.runtime.spawner import Spawned

_CPU_OF_PROCESS = 2
"""CPUCLOCK_SCHED: with it `~pid << 3 | 2` is the id of a process's CPU clock (linux/include/linux/posix-timers.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the pool must know of a release; the installer wrote it down."""

    hooks: tuple[str, ...]
    providers: tuple[str, ...]
    memory_mb: int
    workers_max: int
    is_per_call: bool


class Key:
    """One merchant's workers of one version, and the calls that wait for them."""

    __slots__ = ("idle", "merchant_id", "size", "version", "waiting")

    def __init__(self, version: Version, merchant_id: str) -> None:
        self.version = version
        self.merchant_id = merchant_id
        self.idle: list[Worker] = []
        """Last used last: that one's memory is the warmest."""
        self.size = 0
        """Workers bound to this key, busy or not."""
        self.waiting: deque[RunningCall] = deque()


class Version:
    """One release in use."""

    __slots__ = (
        "facts",
        "failures",
        "hosted",
        "is_opening",
        "keys",
        "kills",
        "kills_at",
        "last_fault",
        "plugin_id",
        "refusal",
        "retry_at",
        "spares",
        "starting",
        "thirsty",
        "version",
        "warming",
        "workers",
    )

    def __init__(self, plugin_id: str, version: str) -> None:
        self.plugin_id = plugin_id
        self.version = version
        self.facts: Facts | None = None
        """None until the release was read and its files compared."""
        self.is_opening = False
        self.keys: dict[str, Key] = {}
        self.thirsty: dict[Key, None] = {}
        """Keys with waiting calls, the one served longest ago first."""
        self.workers: set[Worker] = set()
        """All, from the spawn to the burial."""
        self.spares: list[Worker] = []
        self.starting = 0
        self.refusal: Fault | None = None
        """Of every call, for good."""
        self.last_fault = Fault(FaultKind.LOAD)
        self.failures = 0
        self.retry_at = 0.0
        self.kills = 0.0
        """Workers lost to faults in calls, less what was forgiven by `kills_at`."""
        self.kills_at = 0.0
        self.hosted: Hosted | None = None
        self.warming: list[asyncio.Future[Hosted | Fault]] = []

    def kills_left(self, *, per_s: float) -> float:
        """How many workers it has lost lately, `per_s` of them forgiven every second."""
        now = time.monotonic()
        self.kills = max(0.0, self.kills - (now - self.kills_at) * per_s)
        self.kills_at = now
        return self.kills

    @property
    def is_in_use(self) -> bool:
        """Whether a spare is worth having."""
        return bool(self.thirsty or self.warming) or any(key.size for key in self.keys.values())

    def wanted(self) -> tuple[int, int]:
        """How many more workers waiting calls need, and how many spares there should be.

        As long as none was ever ready there is one at most: it may never be.
        """
        assert self.facts is not None
        if self.hosted is None:
            return int(self.is_in_use), 0
        most = self.facts.workers_max
        needed = sum(min(len(key.waiting), most - key.size) for key in self.thirsty)
        spares = (most if self.facts.is_per_call else 1) if self.is_in_use else 0
        return needed, spares

    def warmed(self, outcome: Hosted | Fault) -> None:
        """Whoever waits for a spare hears of it."""
        waiters, self.warming = self.warming, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(outcome)

    def next_thirsty(self) -> Key | None:
        """The key whose turn it is to get another worker."""
        assert self.facts is not None
        for key in self.thirsty:
            if key.waiting and key.size < self.facts.workers_max:
                del self.thirsty[key]
                if len(key.waiting) > 1:
                    self.thirsty[key] = None
                return key
        return None


class WorkerOwner(Protocol):
    """The pool, as a worker sees it."""

    def judge_lock(self, worker: Worker, frame: frames.Locked, /) -> Fault | None: ...
    def ready(self, worker: Worker, frame: frames.Ready, /) -> None: ...
    def answered(self, worker: Worker, /) -> None: ...
    def ended(self, worker: Worker, fault: Fault | None, call: RunningCall | None, /) -> None: ...
    def logged(self, worker: Worker, output: bytes, call_id: str, /) -> None: ...


class Worker:
    """One process, from its spawn to its burial."""

    __slots__ = (
        "_binding",
        "_owner",
        "boot_timer",
        "born_at",
        "calls",
        "channel",
        "facts",
        "idle_since",
        "is_booted",
        "is_retired",
        "key",
        "level",
        "spawned",
        "version",
    )

    def __init__(
        self,
        spawned: Spawned,
        *,
        version: Version,
        facts: Facts,
        owner: WorkerOwner,
        loop: asyncio.AbstractEventLoop,
        boot_s: float,
    ) -> None:
        self.spawned = spawned
        self.version = version
        self.facts = facts
        self.key: Key | None = None
        self.calls = 0
        self.born_at = self.idle_since = time.monotonic()
        self.is_booted = False
        self.is_retired = False
        """Ended by the pool itself: its end is nobody's fault."""
        self.level = 0
        self._owner = owner
        self._binding: Binding | None = None
        self.boot_timer = loop.call_later(boot_s, self._boot_late)
        self.channel = Channel(spawned, owner=self, loop=loop)

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a call, bound or as a spare."""
        return self.channel.state is State.IDLE

    def serve(self, running: RunningCall) -> bool:
        """Send a call, with the configuration when it differs from the last. False: the worker is gone, nothing sent.

        Raises FrameFault for what is over a limit; then nothing was sent either.
        """
        new, old = running.call.binding, self._binding
        if old is not None and old.revision == new.revision and old.mode == new.mode and old.locale == new.locale:
            return self.channel.start(running)
        preface = frames.configure_frame(
            merchant_id=new.merchant_id, mode=new.mode, locale=new.locale, revision=new.revision, config=new.config
        )
        if not self.channel.start(running, preface):
            return False
        self._binding = new
        return True

    def retire(self) -> None:
        """End it without anybody's fault."""
        self.is_retired = True
        self.channel.end(None)

    def is_spent(self, *, calls_max: int, age_s_max: float, cpu_s_max: float) -> bool:
        """Whether it has lived long enough."""
        if self.calls >= calls_max or time.monotonic() - self.born_at > age_s_max:
            return True
        try:
            return time.clock_gettime(~self.spawned.pid << 3 | _CPU_OF_PROCESS) > cpu_s_max
        except OSError:
            return False  # It is gone, and its channel will say so.

    def _boot_late(self) -> None:
        self.channel.end(Fault(FaultKind.BOOT_TIMEOUT, "the plugin was not imported and registered in time"))

    # What the channel tells.

    def locked(self, frame: frames.Locked) -> Fault | None:
        """Pass on."""
        self.level = frame.level
        return self._owner.judge_lock(self, frame)

    def ready(self, frame: frames.Ready) -> None:
        """Pass on."""
        self.boot_timer.cancel()
        self._owner.ready(self, frame)

    def answered(self, call: RunningCall) -> None:
        """Pass on."""
        self.calls += 1
        self._owner.answered(self)

    def ended(self, fault: Fault | None, call: RunningCall | None) -> None:
        """Pass on."""
        self.boot_timer.cancel()
        self._owner.ended(self, fault, call)

    def logged(self, output: bytes, call_id: str) -> None:
        """Pass on."""
        self._owner.logged(self, output, call_id)
