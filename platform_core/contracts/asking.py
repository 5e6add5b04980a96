"""The clients of `ctx` as asks: what a plugin calls becomes an operation with arguments, wherever the plugin runs.

A trusted plugin's asks go to the event loop, a confined one's over its channel; both are an `Asker`. The operations and
their arguments are listed at `contracts.runtime.Ask`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from platform_core.contracts.plugin import EgressAnswer, Refused, Severity, StateItem

Body = bytes | str | Mapping[str, Any] | None  # Any: JSON
SECRET_UNKNOWN = "plugin.secret_unknown"  # noqa: S105 - the code of a refusal


class Asker(Protocol):
    """Brings an ask to the host and waits for the answer. Raises `Refused` with the host's code."""

    def ask(
        self, operation: str, arguments: Mapping[str, Any], blobs: Sequence[bytes] = ()
    ) -> tuple[Any, tuple[bytes, ...]]:  # Any: JSON in both directions
        """The value, and what came beside it."""
        ...

    def chunks(self, body: bytes | str | Mapping[str, Any]) -> tuple[bytes, ...]:  # Any: JSON
        """A body as it travels beside an ask; a mapping as JSON. Raises `Refused` for one that cannot go out."""
        ...


class AskingState:
    """`ctx.state`."""

    __slots__ = ("_asker",)

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def get(self, key: str) -> StateItem | None:
        """One item."""
        found, _ = self._asker.ask("state.get", {"key": key})
        return None if found is None else StateItem(**found)

    def list(self, prefix: str, *, limit: int = 100) -> tuple[StateItem, ...]:
        """Items by prefix."""
        found, _ = self._asker.ask("state.list", {"prefix": prefix, "limit": limit})
        return tuple(StateItem(**item) for item in found)

    def put(self, key: str, value: Any, *, expected_version: int | None = None, ttl_s: int | None = None) -> int:
        """Store."""
        asked = {"key": key, "value": value} | _given(expected_version=expected_version, ttl_s=ttl_s)
        version, _ = self._asker.ask("state.put", asked)
        return int(version)

    def increment(self, key: str, by: int = 1, *, ttl_s: int | None = None) -> int:
        """Count."""
        total, _ = self._asker.ask("state.increment", {"key": key, "by": by} | _given(ttl_s=ttl_s))
        return int(total)

    def delete(self, key: str) -> None:
        """Forget."""
        self._asker.ask("state.delete", {"key": key})


class AskingEgress:
    """`ctx.egress`."""

    __slots__ = ("_asker",)

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        timeout_s: float | None = None,
        secrets: Sequence[str] = (),
    ) -> EgressAnswer:
        """Ask a host outside. `secrets`: names of those that the host fills into the body."""
        asked: dict[str, Any] = {"method": method, "url": url, "headers": dict(headers or {})}
        asked |= _given(timeout_s=timeout_s, media_type="application/json" if isinstance(body, Mapping) else None)
        asked |= _given(secrets=[*secrets] or None)
        value, blobs = self._asker.ask("egress.fetch", asked, () if body is None else self._asker.chunks(body))
        return EgressAnswer(status=value["status"], headers=value["headers"], body=b"".join(blobs))


class AskingSecrets:
    """`ctx.secrets`. A name that the host does not know raises KeyError."""

    __slots__ = ("_asker",)

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def mac(self, name: str, message: bytes) -> bytes:
        """HMAC-SHA256."""
        return b64decode(self._ask("secrets.mac", name, message=message))

    def verify(self, name: str, message: bytes, signature: bytes) -> bool:
        """Whether a signature is right."""
        return bool(self._ask("secrets.verify", name, message=message, signature=signature))

    def sign(self, name: str, message: bytes) -> bytes:
        """A signature by a private key."""
        return b64decode(self._ask("secrets.sign", name, message=message))

    def open(self, name: str, message: bytes, *, associated_data: bytes = b"") -> bytes:
        """The text of a sealed message."""
        return b64decode(self._ask("secrets.open", name, message=message, associated_data=associated_data))

    def _ask(self, operation: str, name: str, **arguments: bytes) -> Any:  # Any: what the operation answers
        asked = {key: b64encode(value).decode("ascii") for key, value in arguments.items()}
        try:
            return self._asker.ask(operation, {"name": name, **asked})[0]
        except Refused as refused:
            if refused.code == SECRET_UNKNOWN:
                raise KeyError(name) from refused
            raise


class AskingProblems:
    """`ctx.problems`."""

    __slots__ = ("_asker",)

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def report(self, key: str, message: str, *, hint: str = "", severity: Severity = "warning") -> None:
        """Open or count a problem."""
        asked = {"key": key, "message": message, "hint": hint, "severity": severity}
        self._asker.ask("problems.report", asked)


def _given(**optional: object) -> dict[str, Any]:  # Any: JSON
    return {name: value for name, value in optional.items() if value is not None}
