"""`ctx` in a worker: each client asks the host and waits for its answer.

The operations and their arguments are listed at `platform_core.contracts.runtime.Ask`.
"""

from __future__ import annotations

import base64
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from platform_core.contracts.plugin import EgressAnswer, Refused, Severity, StateItem
from sandbox.runtime import frames
from sandbox.runtime.worker_line import Line

_TOLD: Final[TypeAdapter[frames.Told]] = TypeAdapter(frames.Told)


class WorkerClients:
    """The clients of one call. Threads of the plugin may use them too, one at a time; void when the call is over."""

    __slots__ = ("_call_id", "_handle", "_is_over", "_line", "_lock", "_sequence")

    def __init__(self, line: Line, *, call_id: str, handle: str) -> None:
        self._line = line
        self._call_id = call_id
        self._handle = handle
        self._sequence = 0
        self._is_over = False
        self._lock = threading.Lock()

    def end(self) -> None:
        """From here on every client raises: the call is answered."""
        with self._lock:
            self._is_over = True

    def ask(
        self, operation: str, arguments: Mapping[str, Any], blobs: Sequence[bytes] = ()
    ) -> tuple[Any, tuple[bytes, ...]]:  # Any: JSON in both directions
        """Ask the host and wait. Raises Refused with the host's code, RuntimeError when the call is over."""
        json = _json(arguments)
        with self._lock:
            if self._is_over:
                raise RuntimeError(f"{operation}: the call has returned, and its ctx is void; never keep one.")
            self._sequence += 1
            body = b'{"t":"capability","id":"%b","sequence":%d,"handle":"%b","operation":%b,"arguments":%b%b}' % (
                self._call_id.encode(),
                self._sequence,
                self._handle.encode(),
                to_json(operation),
                json,
                frames.lengths_json(blobs),
            )
            if len(body) > frames.ASK_BYTES_MAX:
                self._sequence -= 1
                raise Refused("plugin.ask_too_large", f"{operation} would send {len(body)} bytes; 65,536 may go out.")
            self._line.send_all(body, blobs)
            told, received = self._line.read(_TOLD, self._line.next_frame())
        if told.code is not None:
            raise Refused(told.code, told.hint)
        return told.value, received

    def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:  # Any: the operation's answer, as JSON
        """A capability."""
        return self.ask(operation, arguments)[0]

    @property
    def state(self) -> WorkerState:
        """The plugin's store."""
        return WorkerState(self)

    @property
    def egress(self) -> WorkerEgress:
        """HTTPS by the host."""
        return WorkerEgress(self)

    @property
    def secrets(self) -> WorkerSecrets:
        """Cryptography by the host."""
        return WorkerSecrets(self)

    @property
    def problems(self) -> WorkerProblems:
        """Problems for people to see."""
        return WorkerProblems(self)

    @property
    def log(self) -> WorkerLog:
        """Lines in the host's log."""
        return WorkerLog(self._call_id)


class WorkerState:
    """`ctx.state`."""

    __slots__ = ("_clients",)

    def __init__(self, clients: WorkerClients) -> None:
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
        asked = {"key": key, "value": value} | _given(expected_version=expected_version, ttl_s=ttl_s)
        version: int = self._clients.call("state.put", asked)
        return version

    def increment(self, key: str, by: int = 1, *, ttl_s: int | None = None) -> int:
        """Count."""
        total: int = self._clients.call("state.increment", {"key": key, "by": by} | _given(ttl_s=ttl_s))
        return total

    def delete(self, key: str) -> None:
        """Forget."""
        self._clients.call("state.delete", {"key": key})


class WorkerEgress:
    """`ctx.egress`."""

    __slots__ = ("_clients",)

    def __init__(self, clients: WorkerClients) -> None:
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
        """Ask a host outside. `secrets`: names of those that the host fills into the body."""
        asked: dict[str, Any] = {"method": method, "url": url, "headers": dict(headers or {})}
        asked |= _given(timeout_s=timeout_s, media_type="application/json" if isinstance(body, Mapping) else None)
        asked |= _given(secrets=[*secrets] or None)
        value, blobs = self._clients.ask("egress.fetch", asked, _chunks(body))
        return EgressAnswer(status=value["status"], headers=value["headers"], body=b"".join(blobs))


class WorkerSecrets:
    """`ctx.secrets`. A name that the host does not know raises KeyError."""

    __slots__ = ("_clients",)

    def __init__(self, clients: WorkerClients) -> None:
        self._clients = clients

    def mac(self, name: str, message: bytes) -> bytes:
        """HMAC-SHA256."""
        return self._bytes("secrets.mac", name, message)

    def verify(self, name: str, message: bytes, signature: bytes) -> bool:
        """Whether a signature is right."""
        right: bool = self._ask("secrets.verify", name, message=_base64(message), signature=_base64(signature))
        return right

    def sign(self, name: str, message: bytes) -> bytes:
        """A signature by a private key."""
        return self._bytes("secrets.sign", name, message)

    def open(self, name: str, message: bytes, *, associated_data: bytes = b"") -> bytes:
        """The text of a sealed message."""
        more = {"associated_data": _base64(associated_data)} if associated_data else {}
        return base64.b64decode(self._ask("secrets.open", name, message=_base64(message), **more))

    def _bytes(self, operation: str, name: str, message: bytes) -> bytes:
        return base64.b64decode(self._ask(operation, name, message=_base64(message)))

    def _ask(self, operation: str, name: str, **arguments: str) -> Any:  # Any: what the operation answers
        try:
            return self._clients.call(operation, {"name": name} | arguments)
        except Refused as refused:
            if refused.code == "plugin.secret_unknown":
                raise KeyError(name) from refused
            raise


class WorkerProblems:
    """`ctx.problems`."""

    __slots__ = ("_clients",)

    def __init__(self, clients: WorkerClients) -> None:
        self._clients = clients

    def report(self, key: str, message: str, *, hint: str = "", severity: Severity = "warning") -> None:
        """Open or count a problem."""
        asked = {"key": key, "message": message, "hint": hint, "severity": severity}
        self._clients.call("problems.report", asked)


class WorkerLog:
    """`ctx.log`: a line on standard error, which the host reads, tags and cuts."""

    __slots__ = ("_call_id",)

    def __init__(self, call_id: str) -> None:
        self._call_id = call_id

    def info(self, message: str, **facts: object) -> None:
        """What is worth knowing."""
        self._write("info", message, facts)

    def warning(self, message: str, **facts: object) -> None:
        """What somebody should look at."""
        self._write("warning", message, facts)

    @staticmethod
    def _write(level: str, message: str, facts: Mapping[str, object]) -> None:
        told = "".join(f" {name}={value!r}" for name, value in facts.items())
        print(f"{level}: {message}{told}".replace("\n", "\\n"), file=sys.stderr)  # noqa: T201 - standard error is the log


def _given(**optional: object) -> dict[str, Any]:  # Any: JSON
    return {name: value for name, value in optional.items() if value is not None}


def _json(value: object) -> bytes:
    """JSON without NaN and Infinity. Raises ValueError or TypeError for what JSON cannot say."""
    json = to_json(value, inf_nan_mode="constants")
    if b"NaN" in json or b"Infinity" in json:
        from_json(json, allow_inf_nan=False)
    return json


def _chunks(body: bytes | str | Mapping[str, Any] | None) -> tuple[bytes, ...]:
    if body is None:
        return ()
    whole = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else _json(body)
    most = frames.BLOB_BYTES_MAX
    if len(whole) > frames.BLOBS_BYTES_MAX:
        raise Refused("plugin.ask_too_large", f"the body has {len(whole)} bytes; {frames.BLOBS_BYTES_MAX} may go out.")
    return tuple(whole[start : start + most] for start in range(0, len(whole), most))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
