"""One call of a plugin as the gate sees it: opened by dispatch, asked during the call, closed with the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from platform_core.contracts.hooks import HookSpec
from platform_core.contracts.plugin import Clients, PluginContext
from platform_core.contracts.runtime import Gate
from platform_core.plugin_host.installed import Enabled


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What a call is about."""

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
    context: PluginContext | None = None
    """A provider's method: the context that the capability made for it, with the secrets of the account at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """What a call leaves behind."""

    parts: Sequence[object] = ()
    """For a plan: state writes and audit rows. In deciding hooks they ride in the host's; else the caller commits."""
    asks: int = 0
    is_handle_misused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall:
    """A call that may ask."""

    handle: str
    """128 random bits, hex, void once the call is closed or its deadline has passed."""
    gate: Gate = field(repr=False)
    """For plugins that run elsewhere."""
    clients: Clients = field(repr=False)
    """For trusted plugins: synchronous, to be used in a thread of the host's pool."""


class Calls(Protocol):
    """Opens and closes calls."""

    def open(self, facts: CallFacts) -> OpenCall:
        """Mint a handle and the clients behind it. Reads and writes nothing yet."""
        ...

    def close(self, handle: str) -> Trail:
        """Void the handle; what the call wrote and was told. A handle that is closed already leaves an empty trail."""
        ...
