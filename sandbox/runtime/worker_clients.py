"""`ctx` in a worker: each client asks the host and waits for its answer.

The operations and their arguments are listed at `platform_core.contracts.runtime.Ask`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from platform_core.contracts.asking import AskingEgress, AskingProblems, AskingSecrets, AskingState
from platform_core.contracts.plugin import Refused
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

    def chunks(self, body: bytes | str | Mapping[str, Any]) -> tuple[bytes, ...]:  # Any: JSON
        """In pieces that fit a frame. Raises Refused for a body that no frames hold."""
        whole = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else _json(body)
        most = frames.BLOB_BYTES_MAX
        if len(whole) > frames.BLOBS_BYTES_MAX:
            words = f"the body has {len(whole)} bytes; {frames.BLOBS_BYTES_MAX} may go out."
            raise Refused("plugin.ask_too_large", words)
        return tuple(whole[start : start + most] for start in range(0, len(whole), most))

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
    def log(self) -> WorkerLog:
        """Lines in the host's log."""
        return WorkerLog(self._call_id)


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


def _json(value: object) -> bytes:
    """JSON without NaN and Infinity. Raises ValueError or TypeError for what JSON cannot say."""
    json = to_json(value, inf_nan_mode="constants")
    if b"NaN" in json or b"Infinity" in json:
        from_json(json, allow_inf_nan=False)
    return json
