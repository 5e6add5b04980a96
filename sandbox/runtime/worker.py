"""What a worker does once it is confined: load the plugin, then answer one call after the other.

Everything here runs beside a plugin that may change any of it; the host trusts nothing that comes out. What this module
promises, it promises to honest plugins: their mistakes are told apart, and cost nobody a process.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any, Final, Protocol

from pydantic import TypeAdapter
from pydantic_core import to_json

from platform_core.contracts.plugin import HookContext
from sandbox.runtime import frames, worker_plugin
from sandbox.runtime.rehearsal import rehearse
from sandbox.runtime.release import WorkerRelease
from sandbox.runtime.worker_clients import WorkerClients
from sandbox.runtime.worker_line import HostGone, Line
from sandbox.runtime.worker_plugin import Loaded, NotLoadable, load
from sandbox.runtime.worker_targets import CallBegun, Target, ValueRefused

_CONFIGURE: Final = TypeAdapter(frames.Configure)
_UNBOUND: Final = "a call came before the worker was configured"


class LockedFacts(Protocol):
    """What the lockdown found when it tried the doors."""

    @property
    def level(self) -> int: ...
    @property
    def landlock_abi(self) -> int: ...
    @property
    def has_seccomp(self) -> bool: ...
    @property
    def namespaces(self) -> tuple[str, ...]: ...
    @property
    def uid(self) -> int: ...
    @property
    def holes(self) -> tuple[str, ...]: ...
    @property
    def lock_ms(self) -> float: ...


def prepare() -> None:
    """What every worker would do alike. The zygote calls it once, before any fork."""
    worker_plugin.prepare()
    rehearse(lambda line, loaded: _Worker(line, loaded).serve())


def run(channel: socket.socket, facts: LockedFacts, release: WorkerRelease) -> None:
    """Report the lockdown, load the plugin, answer calls until the host hangs up.

    Called in the worker when nothing of the plugin has run yet: the report is the first that the channel carries.
    """
    line = Line(channel)
    try:
        line.send(_locked(facts))
        line.next_frame()  # `go`: the host found the level high enough.
        loaded = _load(line, release)
        if loaded is not None:
            _Worker(line, loaded).serve()
    except HostGone:
        return


def _load(line: Line, release: WorkerRelease) -> Loaded | None:
    """Load the plugin and tell the host, either way."""
    began = time.perf_counter()
    try:
        loaded = load(release)
    except NotLoadable as error:
        line.send(frames.Failed(error_type=error.error_type, detail=error.detail).model_dump_json().encode())
        return None
    import_ms = (time.perf_counter() - began) * 1000
    ready = {"t": "ready", "hooks": loaded.hooks, "providers": loaded.providers, "import_ms": import_ms}
    line.send(to_json(ready))
    return loaded


def _locked(facts: LockedFacts) -> bytes:
    """The frame `frames.Locked`, without a model: every object touched here is a page of each worker's own."""
    told = {
        "t": "locked",
        "level": int(facts.level),
        "landlock_abi": facts.landlock_abi,
        "has_seccomp": facts.has_seccomp,
        "namespaces": facts.namespaces,
        "uid": facts.uid,
        "holes": facts.holes,
        "lock_ms": facts.lock_ms,
    }
    return to_json(told)


class _Worker:
    """The loop, and what outlives a call: the configuration and the providers' event loop."""

    def __init__(self, line: Line, loaded: Loaded) -> None:
        self._line = line
        self._loaded = loaded
        self._configured: frames.Configure | None = None
        self._runner: asyncio.Runner | None = None

    def serve(self) -> None:
        """Read and answer until the host hangs up."""
        while True:
            body = self._line.next_frame()
            target = frames.target_of(body)
            if target is None:
                self._configured = _CONFIGURE.validate_json(body)
                continue
            self._line.send_all(*self._answer(self._loaded.targets[target], body))

    def _answer(self, target: Target, body: bytes) -> tuple[bytes, tuple[bytes, ...]]:
        """A result frame's JSON, and its blobs."""
        begun, _ = self._line.read(target.reader, body)
        clients = WorkerClients(self._line, call_id=begun.id, handle=begun.handle)
        try:
            value = self._call(target, begun, clients)
            clients.end()
            json, out = target.dump(value)
        except MemoryError:
            return _refusal(begun.id, frames.MEMORY, "the worker's memory is spent"), ()
        except ValueRefused as error:
            return _refusal(begun.id, frames.BAD_RESULT, str(error)), ()
        except HostGone:
            raise
        except BaseException as error:  # noqa: BLE001 - the worker's own loop: sys.exit() of a plugin is an error of it too
            return _refusal(begun.id, type(error).__name__, self._loaded.where(error)), ()
        finally:
            clients.end()
        result = b'{"t":"result","id":"%b","value":%b%b}' % (begun.id.encode(), json, frames.lengths_json(out))
        if len(result) > frames.ASK_BYTES_MAX or not _may_go(out, target):
            size = len(result) + sum(map(len, out))
            return _refusal(begun.id, frames.OVERSIZE, f"the answer has {size} bytes"), ()
        return result, out

    def _call(self, target: Target, begun: CallBegun, clients: WorkerClients) -> object:
        configured = self._configured
        if configured is None:
            raise AssertionError(_UNBOUND)
        facts = begun.ctx
        ctx = HookContext(
            call_id=facts.call_id,
            hook=facts.hook,
            contract=facts.contract,
            merchant_id=configured.merchant_id,
            store_id=facts.store_id,
            mode=configured.mode,
            now=facts.now,
            deadline_ms=facts.deadline_ms,
            locale=configured.locale,
            idempotency_key=facts.idempotency_key,
            config=configured.config,
            clients=clients,
        )
        value = target.invoke(ctx, begun.args)
        return self._wait_for(value) if target.is_async else value

    def _wait_for(self, value: Any) -> object:  # Any: an awaitable of the plugin's
        if self._runner is None:
            self._runner = asyncio.Runner()

        async def finish() -> object:
            return await value

        return self._runner.run(finish())


def _refusal(call_id: str, error_type: str, detail: str) -> bytes:
    result = frames.Result(
        t="result",
        id=call_id,
        error_type=_printable(error_type)[: frames.ERROR_TYPE_MAX] or "Exception",
        detail=_printable(detail)[: frames.DETAIL_MAX],
    )
    return result.model_dump_json(exclude={"value", "blobs"}).encode()


def _printable(text: str) -> str:
    """Text that JSON can carry: lone surrogates and control characters escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _may_go(blobs: tuple[bytes, ...], target: Target) -> bool:
    try:
        frames.check_blobs([len(blob) for blob in blobs])
    except frames.FrameFault:
        return False
    return not blobs or target.has_blobs
