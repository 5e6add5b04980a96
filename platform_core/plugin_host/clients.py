"""The clients of `ctx` for plugins in the host's process: the same asks, from a thread of the host's pool.

They wait for the event loop, so they must not be used on it. A provider's coroutine that runs there may do cryptography
with the secrets of its call, which waits for nobody (`secrets.VaultContexts`).
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import structlog

from platform_core.contracts.asking import AskingEgress, AskingProblems, AskingSecrets, AskingState
from platform_core.contracts.plugin import Refused
from platform_core.contracts.runtime import Told
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host.calls import CallFacts
from platform_core.plugin_host.gate_errors import (
    DEADLINE_PASSED,
    EGRESS_REFUSED,
    HANDLE_INVALID,
    ON_THE_LOOP,
)

LOG_BYTES_MAX: Final = 8 * 1024
GRACE_S: Final = 1.0  # the gate answers by the deadline; whoever waits in a thread gives it a moment more
log = structlog.get_logger("plugin")


class Asking(Protocol):
    """An open call, as the clients see it."""

    facts: CallFacts
    is_open: bool

    @property
    def left_s(self) -> float: ...

    async def asked(self, operation: str, arguments: dict[str, Any], blobs: Sequence[bytes] = ()) -> Told:  # Any: JSON
        """Carry out an ask."""
        ...


class TrustedClients:
    """`contracts.plugin.Clients` over one open call."""

    __slots__ = ("_call", "_log_bytes", "_loop", "_thread")

    def __init__(self, call: Asking, loop: asyncio.AbstractEventLoop) -> None:
        """Made on the loop's own thread."""
        self._call = call
        self._loop = loop
        self._thread = threading.get_ident()
        self._log_bytes = 0

    def ask(
        self, operation: str, arguments: Mapping[str, Any], blobs: Sequence[bytes] = ()
    ) -> tuple[Any, tuple[bytes, ...]]:  # Any: JSON in both directions
        """Ask and wait. Raises Refused."""
        if threading.get_ident() == self._thread:
            raise refused(ON_THE_LOOP.error({"operation": operation}))
        work = self._call.asked(operation, dict(arguments), blobs)
        if not self._call.is_open or self._loop.is_closed():
            work.close()
            raise refused(HANDLE_INVALID.error())
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            told = future.result(timeout=max(self._call.left_s, 0.0) + GRACE_S)
        except TimeoutError:
            future.cancel()
            raise refused(DEADLINE_PASSED.error({"operation": operation})) from None
        if told.code is not None:
            raise Refused(told.code, told.hint)
        return msgspec.json.decode(told.value), told.blobs

    def chunks(self, body: bytes | str | Mapping[str, Any]) -> tuple[bytes, ...]:  # Any: JSON
        """Whole, as nothing has to travel. Raises Refused."""
        if isinstance(body, bytes):
            return (body,)
        try:
            return ((body if isinstance(body, str) else json.dumps(body, allow_nan=False)).encode(),)
        except (TypeError, ValueError) as error:
            raise refused(EGRESS_REFUSED.error({"reason": "the body is no JSON"})) from error

    def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:  # Any: the operation's answer, as JSON
        """A capability."""
        return self.ask(operation, arguments)[0]

    @property
    def state(self) -> AskingState:
        """The plugin's store."""
        return AskingState(self)

    @property
    def egress(self) -> AskingEgress:
        """HTTPS by the host."""
        return AskingEgress(self)

    @property
    def secrets(self) -> AskingSecrets:
        """Cryptography by the host."""
        return AskingSecrets(self)

    @property
    def problems(self) -> AskingProblems:
        """Problems for people to see."""
        return AskingProblems(self)

    @property
    def log(self) -> TrustedLog:
        """The structured log."""
        return TrustedLog(self)

    def write_log(self, message: str, facts: Mapping[str, object], *, is_warning: bool) -> None:
        """One line, tagged; beyond 8 KiB of a call nothing more is written."""
        shown = {name[:40]: repr(value)[:500] for name, value in list(facts.items())[:20]}
        line = message[:2000]
        self._log_bytes += len(line.encode(errors="replace")) + len(str(shown))
        if self._log_bytes > LOG_BYTES_MAX:
            return
        about = self._call.facts
        release = about.enabled.release
        write = log.warning if is_warning else log.info
        write(
            "plugin.log", plugin=release.plugin_id, version=release.version, call=about.call_id, said=line, facts=shown
        )


class TrustedLog:
    """`ctx.log`. Waits for nobody, so it may be used on the loop too."""

    __slots__ = ("_clients",)

    def __init__(self, clients: TrustedClients) -> None:
        self._clients = clients

    def info(self, message: str, **facts: object) -> None:
        """What is worth knowing."""
        self._clients.write_log(message, facts, is_warning=False)

    def warning(self, message: str, **facts: object) -> None:
        """What somebody should look at."""
        self._clients.write_log(message, facts, is_warning=True)


def refused(error: PlatformError) -> Refused:
    """A refusal as a plugin gets it."""
    hint = error.hint("en")
    return Refused(error.code, error.detail("en") + (f" {hint}" if hint else ""))
