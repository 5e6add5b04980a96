"""The operations that plugins may use: REST operations whose capability marks them so, with the same service, scope,
arguments and errors. A capability makes its `Operation`s, bootstrap collects them, the gate finds them by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import msgspec
from pydantic import BaseModel

from platform_core.identity.principal import Principal
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import PlanRefused, Replayed
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.body import validated
from platform_core.kernel.http.idempotency import IdempotentRequest, answer_replay, canonical, fingerprint
from platform_core.plugin_host.depth import inside_hook
from platform_core.plugin_host.gate_errors import KEY_NEEDED, MERCHANT_NAMED

MERCHANT_ARGUMENTS: Final = frozenset({"merchant", "merchant_id"})
KEY_LENGTH_MAX: Final = 255


class Reply(Protocol):
    """What a service answers: an HTTP status, and JSON."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> str: ...


Read = Callable[[Principal, Any], Awaitable[str]]
Write = Callable[[Principal, Any, IdempotentRequest], Awaitable[Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """How the service of a write finds what stands under a key, and shows what is in flight (see `act_once`)."""

    look: Callable[[Principal, IdempotentRequest], Awaitable[Replayed | None]]
    present: Callable[[Principal, str | None], Awaitable[str]]
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. Reads give the answer's JSON; writes take a key and happen once under it."""

    name: str
    """As in the REST interface: `payments.get`."""
    scope: str
    request: type[BaseModel]
    """Its arguments, strict. None of them names a merchant."""
    read: Read | None = None
    write: Write | None = None
    replays: Replays | None = None
    limit: str | None = None
    """Type of authorization detail by which a write is metered."""
    needs_hooks: bool = False
    """Whether it must not run without its own hooks: then no plugin may use it from within a hook."""

    def __post_init__(self) -> None:
        """Raise ValueError unless it is either a read or a write with its replays."""
        if (self.read is None) == (self.write is None) or (self.write is None) != (self.replays is None):
            raise ValueError(f"{self.name} is a read, or a write with replays")

    @property
    def is_write(self) -> bool:
        """Whether it changes anything."""
        return self.write is not None


class Operations:
    """All operations by name. Capabilities offer theirs while the process is put together, before any call."""

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        """As `offer`."""
        self._by_name: dict[str, Operation] = {}
        self.offer(operations)

    def offer(self, operations: Iterable[Operation]) -> None:
        """Take more. ValueError for a name that two have."""
        for operation in operations:
            if self._by_name.setdefault(operation.name, operation) is not operation:
                raise ValueError(f"the operation {operation.name} is declared twice")

    def get(self, name: str) -> Operation | None:
        """The operation of a name."""
        return self._by_name.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._by_name))


@dataclass(frozen=True, slots=True)
class Request:
    """A plugin's arguments as they were checked."""

    body: BaseModel
    idempotent: IdempotentRequest | None


def read_arguments(operation: Operation, arguments: Mapping[str, Any], *, client_id: str, merchant_id: str) -> Request:
    """Check the arguments against the operation's schema. For a write, `key` among them makes it happen once.

    The idempotency key is hashed from plugin (`client_id`), merchant, operation and key. Raises 422
    `plugin.merchant_named`, `plugin.key_needed`, `kernel.validation_failed`.
    """
    for name in arguments:
        if name in MERCHANT_ARGUMENTS:
            raise MERCHANT_NAMED.error({"argument": name})
    given = dict(arguments)
    key = given.pop("key", None) if operation.is_write else None
    is_key = isinstance(key, str) and 1 <= len(key) <= KEY_LENGTH_MAX and key.isascii() and key.isprintable()
    if operation.is_write and (not is_key or " " in str(key)):
        raise KEY_NEEDED.error({"operation": operation.name})
    body = validated(operation.request, msgspec.json.encode(given), given)
    if not operation.is_write:
        return Request(body, None)
    hashed = hashlib.sha256("\x1f".join((client_id, merchant_id, operation.name, str(key))).encode()).hexdigest()
    meaning = fingerprint(method="PLUGIN", path=operation.name, body=canonical(given))
    return Request(body, IdempotentRequest(client_id, hashed, meaning))


async def carry_out(operation: Operation, request: Request, principal: Principal) -> bytes:
    """Do it, with hooks off. Raises what the service raises, as REST would answer it."""
    with inside_hook():
        if operation.read is not None:
            return (await operation.read(principal, request.body)).encode()
        assert request.idempotent is not None, "a write has its key"
        return await _once(operation, request.body, request.idempotent, principal)


async def _once(operation: Operation, body: BaseModel, key: IdempotentRequest, principal: Principal) -> bytes:
    """The act, or what its key stands for already (as `act_once` does it for REST)."""
    assert operation.write is not None
    assert operation.replays is not None
    look = partial(operation.replays.look, principal, key)
    try:
        return (await operation.write(principal, body, key)).body.encode()
    except PlanRefused as refused:
        if not isinstance(refused.refusal, Replayed):
            raise
        record = refused.refusal
    except PlatformError:
        found = await look()  # what is refused now may have been done under this key before the state moved on
        if found is None:
            raise
        record = found
    present = partial(operation.replays.present, principal)
    answer = await answer_replay(record, key, look=look, present=present, clock=operation.replays.clock)
    assert answer.status_code < 400, "a refusal is not kept under a key: it may be asked for again"
    return bytes(answer.body)
