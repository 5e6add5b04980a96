"""Trusted plugins run in the host's process: directly while they ask for nothing, else in threads of their own.

Neither can be stopped at a deadline. A late answer is discarded and counted; whoever holds up the event loop for more
than 250 ms is named while it still does.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NoReturn

import structlog

from platform_core.contracts.hooks import CONTRACT
from platform_core.contracts.inspection import Implementation
from platform_core.contracts.plugin import Clients, Egress, HookContext, Log, Mode, Problems, Secrets, State
from platform_core.contracts.runtime import Answered, Fault, FaultKind
from platform_core.plugin_host.calls import CallFacts
from platform_core.plugin_host.installed import Release
from platform_core.plugin_host.majors import Major
from platform_core.plugin_host.metrics import BLOCKS, LATE

log = structlog.get_logger(__name__)
THREADS_MAX: Final = 4
"""Of one plugin; a plugin that hangs holds no other plugin's."""
WAITING_MAX: Final = 64
"""Calls of one plugin that wait for a thread."""
BLOCK_S: Final = 0.250
_WATCH_S: Final = 0.050
_DETAIL_MAX: Final = 300


class _NeedsThread(BaseException):
    """Code that runs on the event loop asked for something that takes time. No `except Exception` stops it."""


class LoopClients:
    """The clients of a plugin that runs directly: whatever would block the loop moves the call into a thread."""

    __slots__ = ("log",)

    def __init__(self, log: Log) -> None:
        self.log = log

    def _leave(self) -> NoReturn:
        raise _NeedsThread

    @property
    def state(self) -> State:
        """Not here."""
        self._leave()

    @property
    def egress(self) -> Egress:
        """Not here."""
        self._leave()

    @property
    def secrets(self) -> Secrets:
        """Not here."""
        self._leave()

    @property
    def problems(self) -> Problems:
        """Not here."""
        self._leave()

    def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:  # Any: as the Protocol has it
        """Not here."""
        self._leave()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedCall:
    """One call of a trusted plugin's function."""

    release: Release
    function: Implementation
    major: Major
    facts: CallFacts
    payload: object
    config: bytes
    mode: Mode
    locale: str
    deadline_ms: int
    clients: Clients = field(repr=False)

    def run(self, clients: Clients) -> Answered | Fault:
        """Call it and judge what came. Raises _NeedsThread alone."""
        facts, spec = self.facts, self.major.spec
        ctx = HookContext(
            call_id=facts.call_id,
            hook=spec.name,
            contract=CONTRACT,
            merchant_id=facts.merchant_id,
            store_id=facts.store_id,
            mode=self.mode,
            now=facts.now,
            deadline_ms=self.deadline_ms,
            locale=self.locale,
            idempotency_key=facts.idempotency_key,
            config=_config(self.config),
            clients=clients,
        )
        values = dict(zip(spec.arguments, (ctx, self.payload), strict=True))
        try:
            made = self.function(**{name: values[name] for name in _argument_names(self.function)})
        except MemoryError:
            return Fault(FaultKind.MEMORY, "MemoryError")
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is its own fault alone
            return Fault(FaultKind.EXCEPTION, _printable(type(error).__name__))
        return judged(made, self.major)


def judged(made: object, major: Major) -> Answered | Fault:
    """What a trusted function returned, read by the same model as an outside plugin's answer."""
    if inspect.isawaitable(made):
        if inspect.iscoroutine(made):
            made.close()
        return Fault(FaultKind.BAD_RESULT, "an awaitable came back; a hook returns its result at once")
    if not isinstance(made, major.result_types):
        wanted = " or ".join(one.__name__ for one in major.result_types)
        return Fault(FaultKind.BAD_RESULT, _printable(f"{type(made).__name__} came back; {wanted} is expected"))
    try:
        plain = made.model_dump(warnings="none")  # type: ignore[attr-defined]  # results of hooks are pydantic models
        return Answered(major.adapter.validate_python(plain))
    except Exception as error:  # noqa: BLE001 - a subclass of the plugin's own may raise anything
        return Fault(FaultKind.BAD_RESULT, _printable(f"the result's model refuses it ({type(error).__name__})"))


@lru_cache(maxsize=1024)
def _config(config: bytes) -> Mapping[str, Any]:  # Any: JSON by the plugin's own schema
    return MappingProxyType(json.loads(config))


@lru_cache(maxsize=1024)
def _argument_names(function: Implementation) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _printable(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")[:_DETAIL_MAX]


def asks_nothing(release: Release) -> bool:
    """Whether a manifest asks for no more than fields: then its hooks are begun on the event loop.

    One that all the same uses a client that takes time is moved to a thread, for good.
    """
    manifest = release.manifest
    return not (manifest.authorizations or manifest.egress or manifest.secrets or "state" in manifest.model_fields_set)


class Direct:
    """A call that is run on the event loop when it is collected, after all calls of others have been sent."""

    __slots__ = ("_call", "_runs")

    def __init__(self, runs: TrustedRuns, call: TrustedCall) -> None:
        self._runs = runs
        self._call = call

    async def outcome(self) -> Answered | Fault:
        """Run it, here or, if it asks for something that takes time, in a thread."""
        return await self._runs.run_directly(self._call)


class Threaded:
    """A call in a thread."""

    __slots__ = ("_call", "_done")

    def __init__(self, call: TrustedCall, done: asyncio.Future[Answered | Fault]) -> None:
        self._call = call
        self._done = done

    async def outcome(self) -> Answered | Fault:
        """Wait for it until its deadline; then what still comes is discarded."""
        left_s = self._call.facts.deadline - time.monotonic()
        try:
            async with asyncio.timeout(max(left_s, 0.0)):
                return await self._done
        except TimeoutError:
            return Fault(FaultKind.TIMEOUT, f"no answer within {self._call.deadline_ms} ms")
        finally:
            self._done.cancel()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that was not begun."""

    fault: Fault

    async def outcome(self) -> Answered | Fault:
        """Why."""
        return self.fault


@dataclass(frozen=True, slots=True)
class _Job:
    call: TrustedCall
    done: asyncio.Future[Answered | Fault]
    loop: asyncio.AbstractEventLoop
    context: contextvars.Context

    def run(self) -> None:
        """In a thread: answer on the event loop, where that still lives."""
        if self.done.done():
            return
        outcome = self.context.run(self.call.run, self.call.clients)
        try:
            self.loop.call_soon_threadsafe(self._settle, outcome)
        except RuntimeError:  # the loop is closed: nobody waits any more
            _count_late(self.call)

    def _settle(self, outcome: Answered | Fault) -> None:
        if self.done.done():
            _count_late(self.call)
        else:
            self.done.set_result(outcome)


def _count_late(call: TrustedCall) -> None:
    LATE.add(1, _labels(call))
    log.warning("plugin.late_answer", **_labels(call), version=call.release.version, call_id=call.facts.call_id)


def _labels(call: TrustedCall) -> dict[str, str]:
    return {"plugin": call.release.plugin_id, "hook": call.major.spec.name}


class _Threads:
    """One plugin's threads, started as they are needed. They end with the process: nothing can stop them."""

    def __init__(self, plugin_id: str) -> None:
        self._name = plugin_id
        self._waiting: deque[_Job] = deque()
        self._change = threading.Condition()
        self._idle = 0
        self._count = 0
        self._is_closed = False

    def put(self, job: _Job) -> bool:
        """Run it soon; False when too many wait."""
        with self._change:
            if len(self._waiting) >= WAITING_MAX or self._is_closed:
                return False
            self._waiting.append(job)
            if len(self._waiting) > self._idle and self._count < THREADS_MAX:
                self._count += 1
                threading.Thread(target=self._work, name=f"plugin {self._name}", daemon=True).start()
            self._change.notify()
        return True

    def close(self) -> None:
        """Let the threads end that do nothing."""
        with self._change:
            self._is_closed = True
            self._waiting.clear()
            self._change.notify_all()

    def _work(self) -> None:
        while True:
            with self._change:
                self._idle += 1
                while not self._waiting and not self._is_closed:
                    self._change.wait()
                self._idle -= 1
                if self._is_closed:
                    return
                job = self._waiting.popleft()
            job.run()


class TrustedRuns:
    """Runs the calls of trusted plugins. Belongs to one event loop."""

    def __init__(self) -> None:
        self._threads: dict[str, _Threads] = {}
        self._moved: set[tuple[str, str, str]] = set()
        self._watchdog = Watchdog()

    def begin(self, call: TrustedCall) -> Direct | Threaded | Refusal:
        """Send it to a thread, or keep it for its turn on the event loop. Never blocks, never raises."""
        if asks_nothing(call.release) and (*call.release.key, call.major.spec.name) not in self._moved:
            return Direct(self, call)
        return self._in_thread(call)

    async def run_directly(self, call: TrustedCall) -> Answered | Fault:
        """On the event loop; in a thread when it asks for something that takes time, from then on always."""
        started = time.monotonic()
        try:
            with self._watchdog.watching(call):
                outcome = call.run(LoopClients(call.clients.log))
        except _NeedsThread:
            self._moved.add((*call.release.key, call.major.spec.name))
            return await self._in_thread(call).outcome()
        took_ms = (time.monotonic() - started) * 1000
        if took_ms > call.deadline_ms:
            _count_late(call)
            return Fault(FaultKind.TIMEOUT, f"it took {took_ms:.0f} ms of {call.deadline_ms} and held up the process")
        return outcome

    def close(self) -> None:
        """End what is idle. A thread that hangs stays until the process ends."""
        self._watchdog.close()
        for threads in self._threads.values():
            threads.close()

    def _in_thread(self, call: TrustedCall) -> Threaded | Refusal:
        threads = self._threads.get(call.release.plugin_id)
        if threads is None:
            threads = self._threads[call.release.plugin_id] = _Threads(call.release.plugin_id)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Answered | Fault] = loop.create_future()
        if not threads.put(_Job(call, done, loop, contextvars.copy_context())):
            return Refusal(Fault(FaultKind.SATURATED, f"{WAITING_MAX} calls of this plugin wait for a thread"))
        return Threaded(call, done)


class Watchdog:
    """Names the plugin that holds up the event loop, while it does."""

    def __init__(self) -> None:
        self._running: tuple[TrustedCall, float] | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, call: TrustedCall) -> Iterator[None]:
        """A block in which this call is the one that runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="plugin watchdog", daemon=True)
            self._thread.start()
        self._running = (call, time.monotonic())
        try:
            yield
        finally:
            self._running = None

    def close(self) -> None:
        """Stop watching."""
        self._ended.set()

    def _watch(self) -> None:
        named: object = None
        while not self._ended.wait(_WATCH_S):
            running = self._running
            if running is None or running is named or time.monotonic() - running[1] <= BLOCK_S:
                continue
            named = running
            call = running[0]
            BLOCKS.add(1, _labels(call))
            log.error("plugin.blocks_loop", **_labels(call), version=call.release.version, call_id=call.facts.call_id)
