"""The seam between the plugin host and whatever runs plugins outside its process: confined workers, remote servers.

No plugin needs this module. It stands here because the sandbox may import `contracts` alone, and the host no sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from pydantic import TypeAdapter

from platform_core.contracts.plugin import Mode


class FaultKind(StrEnum):
    """What went wrong with a call (specs/isolation.md section 6)."""

    EXCEPTION = "exception"
    BAD_RESULT = "bad_result"
    TIMEOUT = "timeout"
    OVERSIZE = "oversize"
    MALFORMED = "malformed"
    CAPABILITY_FLOOD = "capability_flood"
    MEMORY = "memory"
    DIED = "died"
    LOAD = "load"
    BOOT_TIMEOUT = "boot_timeout"
    NOT_CONFINED = "not_confined"
    SATURATED = "saturated"
    BREAKER_OPEN = "breaker_open"
    UNAVAILABLE = "unavailable"
    """There is no runtime, release or enablement to call."""
    QUARANTINED = "quarantined"
    FORBIDDEN_CALL = "forbidden_call"
    FORGED_ID = "forged_id"
    FOREIGN_HANDLE = "foreign_handle"
    UNSOLICITED = "unsolicited"
    TAMPERED = "tampered"


SECURITY_FAULTS: Final = frozenset(
    {
        FaultKind.FORBIDDEN_CALL,
        FaultKind.FORGED_ID,
        FaultKind.FOREIGN_HANDLE,
        FaultKind.UNSOLICITED,
        FaultKind.TAMPERED,
    }
)
"""Each quarantines the version for all merchants until two people lift it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no answer. `detail` is for publisher and operator: at most 300 characters, control ones escaped."""

    kind: FaultKind
    detail: str = ""

    @property
    def is_security(self) -> bool:
        """Whether it quarantines the version."""
        return self.kind in SECURITY_FAULTS


@dataclass(frozen=True, slots=True)
class Answered:
    """What a plugin returned, read by the result's model; what the model does not know was refused."""

    value: Any  # Any: of the hook's result type
    blobs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Whose call it is: one release for one merchant, with the revision of its configuration."""

    plugin_id: str
    version: str
    merchant_id: str
    mode: Mode
    locale: str
    revision: int
    """Of the configuration; a worker that holds another one is configured anew first."""
    config: bytes
    """JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One thing that a plugin asks of the host during a call.

    `operation` is a capability (`payments.get`), or one of the clients'. A worker asks for those, and reads the answer,
    as follows (`?`: absent when the plugin did not give it; base64 is that of RFC 4648 section 4):

    - `state.get` key: null or {key, value, version}; `state.list` prefix, limit: list of those; `state.put` key, value,
      expected_version?, ttl_s?: the version; `state.increment` key, by, ttl_s?: the sum; `state.delete` key: null.
    - `egress.fetch` method, url, headers, timeout_s?, media_type? (of a body that was given as a mapping), secrets?
      (names to fill into the body); the body is all blobs together: {status, headers}, and the body as blobs.
    - `secrets.mac`, `secrets.sign` name, message (base64): base64; `secrets.verify` name, message, signature (base64):
      true or false; `secrets.open` name, message, associated_data? (base64): base64.
    - `problems.report` key, message, hint, severity: null.
    """

    call_id: str
    sequence: int
    """Counts from 1 within the call."""
    handle: str
    operation: str
    arguments: dict[str, Any]  # Any: JSON, which each operation reads by its own strict model
    blobs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The host's answer: a value as JSON, or a refusal's code and hint."""

    value: bytes = b"null"
    code: str | None = None
    hint: str = ""
    blobs: tuple[bytes, ...] = ()


class Gate(Protocol):
    """Where plugins ask. It answers within the call's deadline, refuses by `Told.code`, and never raises.

    An unknown, expired or foreign handle is answered with code `plugin.handle_invalid`; the channel then ends the call
    as `foreign_handle`.
    """

    async def tell(self, ask: Ask, /) -> Told:
        """Check and carry out one ask."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class OutsideCall:
    """One call of a hook, or of a method of an object that a `register_` hook handed over.

    Nobody changes it: one is made for each call, and a frozen one takes three times as long.
    """

    id: str
    """128 random bits in hex, new for each call."""
    handle: str
    """128 random bits in hex: what the plugin shows to the gate, good for this call alone."""
    binding: Binding
    target: str
    """The hook's name; for providers `<register hook>/<object id>.<method>`."""
    major: int
    context: bytes
    """JSON object: call_id, hook, contract, store_id, now, deadline_ms, idempotency_key (see `HookContext`)."""
    arguments: bytes
    """JSON object: the payload as trimmed for this plugin."""
    deadline: float
    """Absolute, by time.monotonic(), fixed at dispatch: it covers queueing, sending, asks, blobs and the result."""
    result: TypeAdapter[Any]  # Any: of the hook's result type
    gate: Gate = field(repr=False)
    blobs: tuple[bytes, ...] = ()


class Pending(Protocol):
    """A call under way."""

    async def outcome(self) -> Answered | Fault:
        """Wait for it, at most until its deadline. Awaited once. Raises CancelledError alone, which ends the call."""
        ...


class TimedPending(Pending, Protocol):
    """A call that goes on whether anybody waits for it or not, and notes when it was over.

    Several of these are waited for one after another, which costs less than a task for each.
    """

    @property
    def finished_at(self) -> float | None:
        """By time.monotonic(), once there is an outcome."""
        ...


class Runtime(Protocol):
    """Runs plugins somewhere else. All methods belong to one event loop."""

    @property
    def level(self) -> str:
        """The level attained, as measured: L1 to L4; `remote` for an ISV's server."""
        ...

    def begin(self, call: OutsideCall, /) -> Pending:
        """Send it at once if a worker is free; never blocks, never raises."""
        ...

    async def end(self, plugin_id: str, *, version: str | None = None, merchant_id: str | None = None) -> None:
        """Kill the workers of a plugin, version or merchant. Calls under way end as `died`; their handles are void."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """What a release was found to offer once it was imported, to be compared with its manifest."""

    hooks: tuple[str, ...]
    providers: tuple[str, ...]
    """`<register hook>/<object id>`."""
    import_ms: float


class FaultListener(Protocol):
    """Hears of faults that happen outside any call, such as a byte on an idle channel or a failed import."""

    def heard(self, plugin_id: str, version: str, fault: Fault, /) -> None:
        """Take note; must not block."""
        ...


def refusal(code: str, hint: str) -> Told:
    """A `Told` that says no."""
    return Told(code=code, hint=hint)
