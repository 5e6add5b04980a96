"""The clients of `ctx` for plugins in the host's process: the same asks, from a thread of the host's pool.

They wait for the event loop, so they must not be used on it. A provider's coroutine that runs there may do cryptography
with the secrets of its call, which waits for nobody (`secrets.VaultContexts`).
"""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import structlog

from platform_core.contracts.plugin import EgressAnswer, Refused, Severity, StateItem
from platform_core.contracts.runtime import Told
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host.calls import CallFacts
from platform_core.plugin_host.gate_errors import (
    DEADLINE_PASSED,
    EGRESS_REFUSED,
    HANDLE_INVALID,
    ON_THE_LOOP,
    SECRET_UNKNOWN,
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
        self, operation: str, arguments: dict[str, Any], blobs: Sequence[bytes] = ()
    ) -> tuple[Any, tuple[bytes, ...]]:  # Any: JSON in both directions
        """Ask and wait. Raises Refused."""
        if threading.get_ident() == self._thread:
            raise refused(ON_THE_LOOP.error({"operation": operation}))
        work = self._call.asked(operation, arguments, blobs)
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

    def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:  # Any: the operation's answer, as JSON
        """A capability."""
        return self.ask(operation, dict(arguments))[0]

    @property
    def state(self) -> TrustedState:
        """The plugin's store."""
        return TrustedState(self)

    @property
    def egress(self) -> TrustedEgress:
        """HTTPS by the host."""
        return TrustedEgress(self)

    @property
    def secrets(self) -> TrustedSecrets:
        """Cryptography by the host."""
        return TrustedSecrets(self)

    @property
    def problems(self) -> TrustedProblems:
        """Problems for people to see."""
        return TrustedProblems(self)

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


class TrustedState:
    """`ctx.state`."""

    __slots__ = ("_clients",)

    def __init__(self, clients: TrustedClients) -> None:
        self._clients = clients

    def get(self, key: str) -> StateItem | None:
        """One item."""
        found = self._clients.call("state.get", {"key": key})
        return None if found is None else StateItem(**found)

    def list(self, prefix: str, *, limit: int = 100) -> tuple[StateItem, ...]:
        """Items by prefix."""
        return tuple(StateItem(**item) for item in self._clients.call("state.list", {"prefix": prefix, "limit": limit}))

    def put(self, key: str, value: Any, *, expected_version: int | None = None, ttl_s: int | None = None) -> int:
        """Store."""
        asked = {"key": key, "value": value, "expected_version": expected_version, "ttl_s": ttl_s}
        version: int = self._clients.call("state.put", asked)
        return version

    def increment(self, key: str, by: int = 1, *, ttl_s: int | None = None) -> int:
        """Count."""
        total: int = self._clients.call("state.increment", {"key": key, "by": by, "ttl_s": ttl_s})
        return total

    def delete(self, key: str) -> None:
        """Forget."""
        self._clients.call("state.delete", {"key": key})


class TrustedEgress:
    """`ctx.egress`."""

    __slots__ = ("_clients",)

    def __init__(self, clients: TrustedClients) -> None:
        self._clients = clients

    def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        secrets: Sequence[str] = (),
    ) -> EgressAnswer:
        """Ask a host outside."""
        asked: dict[str, Any] = {"method": method, "url": url, "headers": dict(headers or {}), "secrets": list(secrets)}
        asked |= {"timeout_s": timeout_s, "media_type": "application/json" if isinstance(body, Mapping) else None}
        value, blobs = self._clients.ask("egress.fetch", asked, (_raw(body),) if body else ())
        return EgressAnswer(status=value["status"], headers=value["headers"], body=b"".join(blobs))


class TrustedSecrets:
    """`ctx.secrets`. A name that the host does not know raises KeyError."""

    __slots__ = ("_clients",)

    def __init__(self, clients: TrustedClients) -> None:
        self._clients = clients

    def mac(self, name: str, message: bytes) -> bytes:
        """HMAC-SHA256."""
        return b64decode(self._ask("secrets.mac", name, message=message))

    def verify(self, name: str, message: bytes, signature: bytes) -> bool:
        """Whether a signature is right."""
        is_right: bool = self._ask("secrets.verify", name, message=message, signature=signature)
        return is_right

    def sign(self, name: str, message: bytes) -> bytes:
        """A signature by a private key."""
        return b64decode(self._ask("secrets.sign", name, message=message))

    def open(self, name: str, message: bytes, *, associated_data: bytes = b"") -> bytes:
        """The text of a sealed message."""
        return b64decode(self._ask("secrets.open", name, message=message, associated_data=associated_data))

    def _ask(self, operation: str, name: str, **arguments: bytes) -> Any:  # Any: what the operation answers
        asked = {key: b64encode(value).decode() for key, value in arguments.items()}
        try:
            return self._clients.call(operation, {"name": name, **asked})
        except Refused as error:
            if error.code == SECRET_UNKNOWN.code:
                raise KeyError(name) from error
            raise


class TrustedProblems:
    """`ctx.problems`."""

    __slots__ = ("_clients",)

    def __init__(self, clients: TrustedClients) -> None:
        self._clients = clients

    def report(self, key: str, message: str, *, hint: str = "", severity: Severity = "warning") -> None:
        """Open or count a problem."""
        asked = {"key": key, "message": message, "hint": hint, "severity": severity}
        self._clients.call("problems.report", asked)


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


def _raw(body: bytes | str | Mapping[str, Any]) -> bytes:
    if isinstance(body, bytes):
        return body
    try:
        return (body if isinstance(body, str) else json.dumps(body, allow_nan=False)).encode()
    except (TypeError, ValueError) as error:
        raise refused(EGRESS_REFUSED.error({"reason": "the body is no JSON"})) from error
