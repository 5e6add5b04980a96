"""What a plugin asks the host for: the context that rides in every call.

All clients are synchronous: a confined worker does one call at a time and waits. They are void once the call has
returned, so never keep one. An answer of refusal is raised as `Refused`, with the code and the next step of the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

Mode = Literal["live", "test"]
Severity = Literal["notice", "warning", "critical"]


class Refused(Exception):
    """The host refused what a plugin asked of it; nothing was written or sent."""

    def __init__(self, code: str, hint: str) -> None:
        """`code` reads `capability.reason`; `hint` says what happened and the next step, in English."""
        super().__init__(f"{code}: {hint}")
        self.code = code
        self.hint = hint


class Secrets(Protocol):
    """Cryptography by a secret's name; the secret itself stays with the host.

    Names are those of the manifest, or of the call at hand (`ChannelAccount.secret_names`). An unknown name raises
    KeyError; a secret of another kind than is needed raises `Refused` with `plugin.secret_unfit`. During a rotation the
    newest key signs, and the retiring one still verifies and opens.
    """

    def mac(self, name: str, message: bytes) -> bytes:
        """HMAC-SHA256 (RFC 2104) of the message, 32 bytes, by the newest key of that name."""
        ...

    def verify(self, name: str, message: bytes, signature: bytes) -> bool:
        """Whether the signature is right: of a `mac_key` compared in constant time, else as `sign` makes them."""
        ...

    def sign(self, name: str, message: bytes) -> bytes:
        """The signature by a `signing_key`: RSA with PKCS#1 v1.5 and SHA-256, ES256 (R and S, 64 bytes), or Ed25519."""
        ...

    def open(self, name: str, message: bytes, *, associated_data: bytes = b"") -> bytes:
        """The text of a message sealed with AES-256-GCM under an `aead_key`: 12 bytes of nonce, ciphertext, tag."""
        ...


@dataclass(frozen=True, slots=True)
class StateItem:
    """One value of the plugin's store."""

    key: str
    value: Any  # Any: whatever JSON the plugin put there
    version: int
    """Counts up by one with each write; for `expected_version`."""


class State(Protocol):
    """The plugin's own store, one for each merchant; no other plugin and no other merchant sees it.

    Keys are at most 128 characters, values JSON of at most 16 KiB. In a deciding hook (`check_`, `amend_`, `choose_`,
    `render_`) writes travel in the host's plan: they are kept if that commits and vanish with it. A full store raises
    `Refused` with `plugin.state_full`.
    """

    def get(self, key: str) -> StateItem | None:
        """What is stored and not expired. Sees this call's own writes."""
        ...

    def list(self, prefix: str, *, limit: int = 100) -> tuple[StateItem, ...]:
        """Items whose keys begin so, ordered by key, at most 100."""
        ...

    def put(self, key: str, value: Any, *, expected_version: int | None = None, ttl_s: int | None = None) -> int:
        """Store a value; returns its version. `expected_version` 0 means: not there yet.

        Raises `Refused` with `plugin.state_changed` when another version stands there.
        """
        ...

    def increment(self, key: str, by: int = 1, *, ttl_s: int | None = None) -> int:
        """Add to a whole number that begins at 0; returns the sum as this call sees it.

        Two calls at once both count: the sums add up although each may not see the other. `ttl_s` counts from the
        first increment, which makes a window.
        """
        ...

    def delete(self, key: str) -> None:
        """Forget a key; one that is not there is no error."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressAnswer:
    """What a host outside answered."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; of a repeated header the last."""
    body: bytes

    def json(self) -> Any:  # Any: whatever JSON came
        """The body as JSON. Raises ValueError when it is none."""
        import json  # noqa: PLC0415 - a worker that never asks for it does not load it

        return json.loads(self.body)


class Egress(Protocol):
    """HTTPS to the hosts that the manifest declares, in `on_` hooks and provider methods; the host does the calling.

    `secret:NAME` is filled in by the host, for that secret's hosts only: in a header's value where it stands alone or
    after a space (`Bearer secret:token`), and in the body for names listed in `secrets`, each of which stands there
    once. A body is not searched for others, because it may hold what a customer typed.
    """

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
        """Ask once. A mapping goes out as JSON. No redirects are followed.

        Raises `Refused`: `plugin.egress_not_declared`, `plugin.egress_in_decision`, `plugin.egress_not_sent` (no byte
        left), `plugin.egress_unknown` (something left and no whole answer came), `plugin.egress_too_large`.
        """
        ...


class PluginContext(Protocol):
    """The clients a provider's method may use. It is void once that method has returned: never keep it."""

    @property
    def secrets(self) -> Secrets:
        """Cryptography with the secrets of the merchant this call is for."""
        ...

    @property
    def egress(self) -> Egress:
        """HTTPS to declared hosts. A host whose providers keep connections of their own has none: Refused."""
        raise Refused("plugin.not_allowed_here", "This host gives the provider no egress; it runs with its own client.")

    @property
    def state(self) -> State:
        """The plugin's store for this merchant. A host whose providers keep nothing has none: Refused."""
        raise Refused("plugin.not_allowed_here", "This host gives the provider no store.")


class Problems(Protocol):
    """Tells merchant, publisher and operator what is wrong, at most 10 a minute."""

    def report(self, key: str, message: str, *, hint: str = "", severity: Severity = "warning") -> None:
        """Open a problem, or count one that is open under the same key."""
        ...


class Log(Protocol):
    """Lines in the host's structured log, tagged with plugin, version and call. At most 8 KiB a call."""

    def info(self, message: str, **facts: object) -> None:
        """What is worth knowing."""
        ...

    def warning(self, message: str, **facts: object) -> None:
        """What somebody should look at."""
        ...


class Clients(PluginContext, Protocol):
    """What stands behind a `HookContext`."""

    @property
    def state(self) -> State: ...
    @property
    def egress(self) -> Egress: ...
    @property
    def problems(self) -> Problems: ...
    @property
    def log(self) -> Log: ...

    def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:  # Any: the operation's answer, as JSON
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HookContext:
    """Facts of one call, and the clients a plugin may use in it."""

    call_id: str
    hook: str
    contract: str
    """The host's contract version, such as 1.0."""
    merchant_id: str
    store_id: str | None
    mode: Mode
    now: datetime
    """Aware, UTC, by the injected clock."""
    deadline_ms: int
    """For the whole call, queueing included."""
    locale: str
    idempotency_key: str
    """The same on every repeat: for `on_` hooks the event's id."""
    config: Mapping[str, Any]  # Any: JSON by the plugin's own schema
    clients: Clients = field(repr=False, compare=False)

    def call(self, operation: str, **arguments: Any) -> Any:  # Any: the operation's answer, as JSON
        """Use a capability, such as `ctx.call("payments.get", id=...)`; writes need `key`. Raises `Refused`."""
        return self.clients.call(operation, arguments)

    @property
    def state(self) -> State:
        """The plugin's store for this merchant."""
        return self.clients.state

    @property
    def egress(self) -> Egress:
        """HTTPS to declared hosts."""
        return self.clients.egress

    @property
    def secrets(self) -> Secrets:
        """Cryptography with this merchant's secrets."""
        return self.clients.secrets

    @property
    def problems(self) -> Problems:
        """Where to report what is wrong."""
        return self.clients.problems

    @property
    def log(self) -> Log:
        """The structured log."""
        return self.clients.log


@runtime_checkable
class HoldsConnections(Protocol):
    """An object handed over through a `register_` hook that keeps connections open between calls."""

    async def aclose(self) -> None:
        """Release what the running event loop opened. The host calls it before that loop ends; more calls may follow.

        Calls under way on that loop may fail with an unknown outcome.
        """
        ...
