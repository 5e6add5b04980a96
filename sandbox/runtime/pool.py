"""Which worker serves which call: keys, spares, waiting, recycling, and the bounds of all of them.

A worker is bound to one merchant by its first call and never serves another. Everything happens on one event loop; the
only things awaited are the spawner's answers.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Protocol

from platform_core.contracts.runtime import Binding, Fault, FaultKind, Hosted, OutsideCall
from sandbox.runtime import frames
from sandbox.runtime.channel import Channel
from sandbox.runtime.crew import Facts, Key, Version, Worker
from sandbox.runtime.frames import FrameFault
from sandbox.runtime.freezer import Freezer
from sandbox.runtime.limits import PoolLimits
from sandbox.runtime.pending import Deadlines, RunningCall
from sandbox.runtime.spawner import ExitStatus, Spawned, SpawnFailed

_SWEEP_S = 1.0
_WARMED_AGAIN_MAX = 8
_BACKOFF_DOUBLINGS_MAX = 16
_SATURATED = Fault(FaultKind.SATURATED, "no worker was free in time")
_ENDED = Fault(FaultKind.DIED, "the platform ended the plugin's workers")
_CLOSED = Fault(FaultKind.UNAVAILABLE, "the runtime is closed")


_REAPS_MAX = 10


class Starts(Protocol):
    """What of `spawner.Spawner` the pool uses."""

    async def spawn(self, plugin_id: str, version: str, slot: int) -> Spawned: ...
    async def reap(self, worker: Spawned) -> ExitStatus: ...


class Watch(Protocol):
    """What the pool asks and tells its supervisor."""

    async def open(self, plugin_id: str, version: str, /) -> Facts | Fault:
        """Read a release and compare its files, before its first worker."""
        ...

    def judge_lock(self, frame: frames.Locked, /) -> Fault | None:
        """Whether a worker is confined enough."""
        ...

    def failed(self, plugin_id: str, version: str, fault: Fault, /) -> None:
        """A worker failed outside any call: while it loaded, or idle."""
        ...

    def security(self, plugin_id: str, version: str, fault: Fault, /, *, is_told: bool) -> None:
        """A security fault: the version must not run again. Must call `refuse`. `is_told`: a call has it as outcome."""
        ...

    def logged(self, plugin_id: str, version: str, call_id: str, output: bytes, /) -> None:
        """Output of a worker."""
        ...


class Pool:
    """All workers of one host process."""

    def __init__(
        self, starts: Starts, *, watch: Watch, loop: asyncio.AbstractEventLoop, limits: PoolLimits | None = None
    ) -> None:
        self.limits = PoolLimits() if limits is None else limits
        self._starts = starts
        self._watch = watch
        self._loop = loop
        self._deadlines = Deadlines(loop)
        self._freezer = Freezer(loop)
        self._versions: dict[tuple[str, str], Version] = {}
        self._keys: dict[tuple[str, str, str], Key] = {}
        self._slots = list(range(self.limits.workers_max - 1, -1, -1))
        self._memory_mb = 0
        self._starting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep)

    # Calls.

    def begin(self, call: OutsideCall) -> RunningCall:
        """Send it at once if a worker is free, else let it wait."""
        running = RunningCall(self, call, self._loop)
        binding = call.binding
        key = self._keys.get((binding.plugin_id, binding.version, binding.merchant_id))
        if key is None:
            opened = self._open_key(binding)
            if isinstance(opened, Fault):
                running.finish(opened)
                return running
            key = opened
        if key.waiting or not self._serve(key, running):
            self._wait(key, running)
        return running

    def _open_key(self, binding: Binding) -> Key | Fault:
        if self._is_closed:
            return _CLOSED
        version = self.version(binding.plugin_id, binding.version)
        if version.refusal is not None:
            return version.refusal
        return self._new_key(version, binding.merchant_id)

    def _new_key(self, version: Version, merchant_id: str) -> Key:
        key = Key(version, merchant_id)
        version.keys[merchant_id] = key
        self._keys[version.plugin_id, version.version, merchant_id] = key
        return key

    def version(self, plugin_id: str, version: str) -> Version:
        """The books of a version, opened when there are none."""
        found = self._versions.get((plugin_id, version))
        if found is None:
            found = self._versions[plugin_id, version] = Version(plugin_id, version)
        return found

    def _serve(self, key: Key, running: RunningCall) -> bool:
        """Send a call to an idle worker of its key. False when there is none."""
        while key.idle:
            worker = key.idle.pop()
            try:
                is_sent = worker.serve(running)
            except FrameFault as wrong:
                key.idle.append(worker)
                running.finish(Fault(wrong.kind, str(wrong)))
                return True
            if is_sent:
                self._deadlines.add(running, running.call.deadline)
                return True
            if key.version.refusal is not None:
                running.finish(key.version.refusal)
                return True
        return False

    def _wait(self, key: Key, running: RunningCall) -> None:
        version, now = key.version, time.monotonic()
        if version.retry_at > now and not version.workers:
            running.finish(version.last_fault)
        elif len(key.waiting) >= self.limits.waiting_per_key_max:
            running.finish(_SATURATED)
        elif not running.is_over:
            key.waiting.append(running)
            version.thirsty[key] = None
            running.holder = key
            deadline = running.call.deadline
            running.wait_until = now + max(0.0, deadline - now) * self.limits.wait_share
            self._deadlines.add(running, running.wait_until)
            if version.facts is None or key.size < version.facts.workers_max:
                self._pump(version)
        if running.is_over:
            self._forget(key)

    def due(self, call: RunningCall) -> None:
        """A call's deadline, or the end of its wait for a busy worker."""
        holder = call.holder
        if isinstance(holder, Channel):
            if time.monotonic() >= call.call.deadline:
                holder.expire()
            return
        if not isinstance(holder, Key):
            call.finish(Fault(FaultKind.DIED, "the worker ended in the call"))
            return
        if time.monotonic() < call.call.deadline and self._will_be_served(holder):
            self._deadlines.add(call, call.call.deadline)
            return
        for worker in [worker for worker in holder.version.workers if worker.key is holder]:
            worker.channel.look()  # Whatever held the loop up, an answer that lies there frees its worker.
        if call.holder is not holder or call.is_over:
            return
        self._unqueue(holder, call)
        call.finish(_SATURATED)

    def _will_be_served(self, key: Key) -> bool:
        """Whether a worker is on its way for this key; a call waits for that until its deadline."""
        version = key.version
        if version.facts is None:
            return version.is_opening
        return key.size < version.facts.workers_max and (version.starting > 0 or self._starting > 0)

    def given_up(self, call: RunningCall) -> None:
        """Nobody waits any more: a worker in the midst of it cannot be stopped but by its end."""
        holder = call.holder
        if isinstance(holder, Channel):
            holder.end(_ENDED)
        elif isinstance(holder, Key):
            self._unqueue(holder, call)

    def _unqueue(self, key: Key, call: RunningCall) -> None:
        if call in key.waiting:
            key.waiting.remove(call)
        if not key.waiting:
            key.version.thirsty.pop(key, None)
        self._forget(key)

    def _forget(self, key: Key) -> None:
        """A key without workers and calls is kept no longer."""
        if not key.size and not key.waiting and key.version.keys.get(key.merchant_id) is key:
            del key.version.keys[key.merchant_id]
            del self._keys[key.version.plugin_id, key.version.version, key.merchant_id]

    # Workers: starting.

    def _pump(self, version: Version) -> None:
        """Give spares to waiting keys, and start what is missing."""
        if version.refusal is not None or self._is_closed:
            return
        if version.facts is None:
            if not version.is_opening:
                version.is_opening = True
                self._spawn_task(self._open_version(version))
            return
        while version.spares and (key := version.next_thirsty()) is not None:
            key.take(version.spares.pop())
            version.refill_at = time.monotonic() + self.limits.refill_s
            running = key.waiting.popleft()
            if not self._serve(key, running):
                key.waiting.appendleft(running)
                version.thirsty[key] = None
        needed, spares = version.wanted()
        while version.starting + len(version.spares) < needed + spares:
            is_urgent = version.starting + len(version.spares) < needed
            if not is_urgent and self._waits_to_refill(version):
                break
            if not self._may_start(version, is_urgent=is_urgent):
                break
            self._start(version)

    def _waits_to_refill(self, version: Version) -> bool:
        """Whether the next spare is for later: the one that was just taken shall answer first.

        A fork, and the end of the worker that made the spare necessary, would take the processors from that call.
        """
        assert version.facts is not None
        left_s = version.refill_at - time.monotonic()
        if left_s <= 0 or version.warming or version.facts.is_per_call:
            return False
        if not version.is_refilling:
            version.is_refilling = True
            self._loop.call_later(left_s, self._refill, version)
        return True

    def _refill(self, version: Version) -> None:
        version.is_refilling = False
        self._pump(version)

    def _pump_all(self) -> None:
        for version in tuple(self._versions.values()):
            self._pump(version)

    async def _open_version(self, version: Version) -> None:
        opened = await self._watch.open(version.plugin_id, version.version)
        version.is_opening = False
        if version.refusal is not None or self._is_closed:
            return
        if isinstance(opened, Fault):
            self._load_failed(version, opened)
            return
        version.facts = opened
        self._pump(version)

    def _may_start(self, version: Version, *, is_urgent: bool) -> bool:
        assert version.facts is not None
        if self._starting >= self.limits.spawning_max or version.retry_at > time.monotonic():
            return False
        if version.kills_left(per_s=self.limits.kills_per_s) >= self.limits.kills_burst:
            return False
        of_plugin = [w for v in self._versions.values() if v.plugin_id == version.plugin_id for w in v.workers]
        starting = sum(v.starting for v in self._versions.values() if v.plugin_id == version.plugin_id)
        is_plugin_full = len(of_plugin) + starting >= self.limits.workers_per_plugin_max
        memory_mb = self._memory_mb + version.facts.memory_mb
        if not is_plugin_full and self._slots and memory_mb <= self.limits.memory_mb_max:
            return True
        if is_urgent:
            self._evict(of_plugin if is_plugin_full else list(self._workers()))
        return False

    def _evict(self, workers: list[Worker]) -> None:
        """End the worker that has been idle longest, unless one of them is on its way out already."""
        if any(not worker.channel.is_alive for worker in workers):
            return
        idle = [w for w in workers if w.is_idle and not (w.key is None and w.version.thirsty)]
        if idle:
            min(idle, key=lambda worker: worker.idle_since).retire()

    def _workers(self) -> Iterator[Worker]:
        for version in self._versions.values():
            yield from version.workers

    def _start(self, version: Version) -> None:
        assert version.facts is not None
        slot = self._slots.pop()
        version.starting += 1
        self._starting += 1
        self._memory_mb += version.facts.memory_mb
        self._spawn_task(self._spawn(version, version.facts, slot))

    async def _spawn(self, version: Version, facts: Facts, slot: int) -> None:
        try:
            spawned = await self._starts.spawn(version.plugin_id, version.version, slot)
        except SpawnFailed as failed:
            version.starting -= 1
            self._starting -= 1
            self._release(slot, facts.memory_mb)
            self._load_failed(version, Fault(FaultKind.LOAD, str(failed)[: frames.DETAIL_MAX]))
            return
        worker = Worker(spawned, version=version, facts=facts, owner=self, loop=self._loop, boot_s=self.limits.boot_s)
        version.workers.add(worker)
        if version.refusal is not None or self._is_closed:
            worker.retire()

    def _release(self, slot: int, memory_mb: int) -> None:
        self._slots.append(slot)
        self._memory_mb -= memory_mb

    # Workers: what they tell.

    def judge_lock(self, worker: Worker, frame: frames.Locked) -> Fault | None:
        """Pass on."""
        return self._watch.judge_lock(frame)

    def ready(self, worker: Worker, frame: frames.Ready) -> None:
        """A worker is a spare until a key needs it."""
        version = worker.version
        if {*frame.hooks, *frame.providers} != {*worker.facts.hooks, *worker.facts.providers}:
            what = f"offers {', '.join(frame.hooks + frame.providers) or 'nothing'}; its manifest says otherwise"
            worker.channel.end(Fault(FaultKind.LOAD, frames.shown(what)[: frames.DETAIL_MAX]))
            return
        worker.is_booted = True
        version.starting -= 1
        self._starting -= 1
        version.failures = 0
        version.hosted = Hosted(hooks=frame.hooks, providers=frame.providers, import_ms=frame.import_ms)
        worker.idle_since = time.monotonic()
        version.spares.append(worker)
        version.warmed(version.hosted)
        self._pump_all()

    def answered(self, worker: Worker) -> None:
        """A worker is free again."""
        key = worker.key
        assert key is not None
        if worker.facts.is_per_call or worker.calls >= self.limits.calls_max:
            worker.retire()
            return
        worker.idle_since = time.monotonic()
        key.idle.append(worker)
        while key.waiting and key.idle:
            running = key.waiting.popleft()
            if not key.waiting:
                key.version.thirsty.pop(key, None)
            if not self._serve(key, running):
                key.waiting.appendleft(running)
                key.version.thirsty[key] = None
        if worker.is_idle:
            self._freezer.add(worker.channel)

    def ended(self, worker: Worker, fault: Fault | None, call: RunningCall | None) -> None:
        """A worker is killed, or gone."""
        version, key = worker.version, worker.key
        if worker in version.spares:
            version.spares.remove(worker)
        if key is not None:
            key.size -= 1
            if worker in key.idle:
                key.idle.remove(worker)
            self._forget(key)
        if not worker.is_booted:
            version.starting -= 1
            self._starting -= 1
        if call is not None and not worker.is_retired:
            version.kills = version.kills_left(per_s=self.limits.kills_per_s) + 1
        if call is not None and fault is None:
            call.holder = worker
        self._spawn_task(self._bury(worker, fault, call))
        if fault is not None and fault.is_security and not worker.is_retired:
            self._watch.security(version.plugin_id, version.version, fault, is_told=call is not None)

    async def _bury(self, worker: Worker, fault: Fault | None, call: RunningCall | None) -> None:
        """Learn how it ended, and let go of everything it had."""
        version = worker.version
        status = await self._reap(worker)
        worker.channel.bury()
        version.workers.discard(worker)
        if status is not None:
            self._release(worker.spawned.slot, worker.facts.memory_mb)
            if status.is_forbidden_call and not worker.is_retired and fault is None:
                fault = Fault(FaultKind.FORBIDDEN_CALL, "it made a system call that no honest plugin makes")
                is_told = call is not None and not call.is_over
                self._watch.security(version.plugin_id, version.version, fault, is_told=is_told)
        if call is not None:
            call.finish(fault or Fault(FaultKind.DIED, f"the worker ended in the call: {words_of_status(status)}"))
        if not worker.is_booted and not worker.is_retired:
            gone = Fault(FaultKind.LOAD, f"the worker ended while it loaded: {words_of_status(status)}")
            self._load_failed(version, fault or gone)
        self._pump_all()

    async def _reap(self, worker: Worker) -> ExitStatus | None:
        """How it ended. None when it will not go: its slot and memory stay taken."""
        for _ in range(_REAPS_MAX):
            try:
                return await self._starts.reap(worker.spawned)
            except SpawnFailed:
                continue
        return None

    def _load_failed(self, version: Version, fault: Fault) -> None:
        """Nobody waits for a version that cannot be loaded, and it is tried again later and later."""
        doublings = min(version.failures, _BACKOFF_DOUBLINGS_MAX)
        version.failures += 1
        wait_s = min(self.limits.backoff_s * 2**doublings, self.limits.backoff_s_max)
        version.retry_at = time.monotonic() + wait_s
        version.last_fault = fault
        self._dismiss(version, fault)
        if not fault.is_security:
            self._watch.failed(version.plugin_id, version.version, fault)

    def _dismiss(self, version: Version, fault: Fault, merchant_id: str | None = None) -> None:
        """Every waiting call has this as its outcome."""
        for key in tuple(version.keys.values()):
            if merchant_id in (None, key.merchant_id):
                while key.waiting:
                    key.waiting.popleft().finish(fault)
                version.thirsty.pop(key, None)
                self._forget(key)
        if merchant_id is None:
            version.warmed(fault)

    def logged(self, worker: Worker, output: bytes, call_id: str) -> None:
        """Pass on."""
        self._watch.logged(worker.version.plugin_id, worker.version.version, call_id, output)

    async def warm(self, plugin_id: str, version: str, *, merchant_id: str | None = None) -> Hosted | Fault:
        """A spare, started if there is none, and what it offers. With `merchant_id` that merchant has it for itself."""
        for _ in range(_WARMED_AGAIN_MAX):
            found = self.version(plugin_id, version)
            has_own = merchant_id in found.keys and found.keys[merchant_id].size > 0
            if has_own and found.hosted is not None:
                return found.hosted
            outcome = await self._spare(found)
            if merchant_id is None or isinstance(outcome, Fault):
                return outcome
            if found.spares:
                key = found.keys.get(merchant_id) or self._new_key(found, merchant_id)
                key.take(found.spares.pop())
                self._pump(found)
                return outcome
        return _SATURATED  # others took each spare as soon as it was ready

    async def _spare(self, found: Version) -> Hosted | Fault:
        if self._is_closed:
            return _CLOSED
        if found.refusal is not None:
            return found.refusal
        if found.spares and found.hosted is not None:
            return found.hosted
        if found.retry_at > time.monotonic():
            return found.last_fault
        waiter: asyncio.Future[Hosted | Fault] = self._loop.create_future()
        found.warming.append(waiter)
        self._pump(found)
        try:
            return await asyncio.wait_for(waiter, 2 * self.limits.boot_s)
        except TimeoutError:
            found.warming.remove(waiter)
            return _SATURATED

    def pids(self, plugin_id: str) -> tuple[int, ...]:
        """Process ids of a plugin's workers."""
        return tuple(w.spawned.pid for w in self._workers() if w.version.plugin_id == plugin_id and w.channel.is_alive)

    def in_use(self) -> tuple[tuple[str, str], ...]:
        """Plugins and versions that have workers."""
        return tuple(name for name, version in self._versions.items() if version.workers)

    # Ending.

    def refuse(self, plugin_id: str, version: str, fault: Fault, *, cause: Fault | None = None) -> None:
        """From here on every call of the version has this outcome; what runs of it is killed.

        Whoever waits for its first worker hears of the `cause`.
        """
        found = self.version(plugin_id, version)
        found.refusal = fault
        found.warmed(fault if cause is None else cause)
        self._dismiss(found, fault)
        for worker in tuple(found.workers):
            worker.is_retired = True
            worker.channel.end(fault)

    def allow(self, plugin_id: str, version: str) -> None:
        """Undo `refuse`; the release is read anew."""
        found = self._versions.get((plugin_id, version))
        if found is not None and found.refusal is not None:
            found.refusal = None
            found.facts = found.facts if found.workers or found.starting else None
            found.retry_at = 0.0

    async def end(self, plugin_id: str, *, version: str | None = None, merchant_id: str | None = None) -> None:
        """Kill workers, and wait until they are gone."""
        for found in tuple(self._versions.values()):
            if found.plugin_id != plugin_id or version not in (None, found.version):
                continue
            self._dismiss(found, _ENDED, merchant_id)
            for worker in tuple(found.workers):
                if merchant_id is None or (worker.key is not None and worker.key.merchant_id == merchant_id):
                    worker.is_retired = True
                    worker.channel.end(_ENDED)
        await self._settle()

    async def close(self) -> None:
        """Kill everything. No process and no descriptor is left."""
        self._is_closed = True
        self._sweeper.cancel()
        for version in self._versions.values():
            self._dismiss(version, _CLOSED)
            for worker in tuple(version.workers):
                worker.is_retired = True
                worker.channel.end(_ENDED)
        while self._tasks:
            await self._settle()
        self._deadlines.close()
        self._freezer.close()
        self._keys.clear()
        self._versions.clear()

    async def _settle(self) -> None:
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def _spawn_task(self, work: object) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)  # type: ignore[arg-type]  # a coroutine of this class
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Recycling.

    def _sweep(self) -> None:
        """Once a second: what has lived long enough, or has nothing to do."""
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        limits, now = self.limits, time.monotonic()
        for worker in sorted(self._workers(), key=lambda worker: worker.idle_since):
            if not worker.is_idle:
                continue
            is_unused = now - worker.idle_since > limits.idle_s_max
            if worker.key is None and worker.version.is_in_use:
                is_unused = False
            if is_unused or worker.is_spent(
                calls_max=limits.calls_max, age_s_max=limits.age_s_max, cpu_s_max=limits.cpu_s_max
            ):
                worker.retire()
        for name, version in tuple(self._versions.items()):
            is_empty = not (version.workers or version.keys or version.starting or version.is_opening)
            # A version that failed is remembered for as long as a back-off may last, so that it goes on growing.
            if is_empty and version.refusal is None and version.retry_at + limits.backoff_s_max < now:
                del self._versions[name]
        self._pump_all()


def words_of_status(status: ExitStatus | None) -> str:
    """How a process ended, for people."""
    if status is None:
        return "how is not known"
    if status.signal is None:
        return f"exit status {status.code}"
    return f"signal {signal.Signals(status.signal).name}" if status.signal < signal.SIGRTMIN else "a signal"
