"""One call of a plugin as the gate sees it: opened by dispatch, asked during the call, closed with the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from platform_core.contracts.hooks import HookSpec
from platform_core.contracts.plugin import Clients
from platform_core.contracts.runtime import Gate
from platform_core.plugin_host.installed import Enabled


@dataclass(slots=True, kw_only=True, eq=False)
class CallFacts:
    """What a call is about. Nobody changes it; a frozen one, made for each call, would take three times as long."""

    call_id: str
    """128 random bits, hex."""
    enabled: Enabled
    merchant_id: str
    hook: HookSpec
    operation: str
    """The hook's name, or `<register hook>/<object id>.<method>`."""
    store_id: str | None
    now: datetime
    """By the injected clock."""
    deadline: float
    """Absolute, by time.monotonic()."""
    idempotency_key: str
    secrets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Sealed secrets that come with the call, by name, such as a channel account's (`secrets.Sealed`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """What a call leaves behind."""

    parts: Sequence[object] = ()
    """For a plan: state writes and audit rows. In deciding hooks they ride in the host's; else the caller commits.

    Whoever drops them with its plan hands them to `Calls.forsake`, which keeps the audit rows.
    """
    asks: int = 0
    has_sent: bool = False
    """Whether a byte of some request to the outside may have left."""
    is_handle_misused: bool = False


NO_TRAIL: Final = Trail()
"""Of a call that asked for nothing."""


class OpenCall(Protocol):
    """A call that may ask."""

    @property
    def handle(self) -> str:
        """128 random bits, hex, void once the call is closed or its deadline has passed."""
        ...

    @property
    def gate(self) -> Gate:
        """For plugins that run elsewhere."""
        ...

    @property
    def clients(self) -> Clients:
        """For trusted plugins: synchronous, to be used in a thread of the host's pool. To be taken on the loop."""
        ...


class Calls(Protocol):
    """Opens and closes calls."""

    def open(self, facts: CallFacts) -> OpenCall:
        """Mint a handle and the clients behind it. Reads and writes nothing yet."""
        ...

    def close(self, handle: str) -> Trail:
        """Void the handle; what the call wrote and was told. A handle that is closed already leaves an empty trail."""
        ...

    def forsake(self, parts: Iterable[object], /) -> None:
        """The plan that these parts of trails would have ridden in is not to be: state writes vanish, audit rows stay.

        Never called for a plan whose outcome is unknown: its rows may be in.
        """
        ...
