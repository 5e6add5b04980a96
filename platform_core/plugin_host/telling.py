"""What passes between the queue of `on_` deliveries and whoever calls the plugin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from platform_core.contracts.plugins import PluginChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """One event for one plugin of one merchant. The event's id is the idempotency key on every repeat."""

    merchant_id: str
    installation_id: str
    plugin_id: str
    hook: str
    event_id: str
    event_type: str
    object_id: str
    sequence: int
    occurred_at: datetime
    body: str
    """JSON of the object as of the event's commit, as `<capability>/schemas` encode it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of it. `parts` are committed with the end of the delivery: state writes, capability effects, audit."""

    outcome: Literal["done", "retry", "off"]
    """`off`: the plugin is not there to be told any more; the delivery is dropped."""
    version: str | None = None
    """Of the plugin that was told."""
    after_s: int | None = None
    """With `retry`: not before so many seconds, as the plugin asked (`RetryLater`)."""
    fault: str | None = None
    """With `retry`: the fault's kind, or the plugin's reason; at most 200 characters."""
    parts: Sequence[object] = ()


class Teller(Protocol):
    """Calls `on_` hooks."""

    async def tell(self, telling: Telling) -> Told:
        """Call the hook within its deadline of 5 s. Writes nothing. What it raises counts as `retry`."""
        ...


def plugin_change_of(telling: Telling) -> PluginChange:
    """The payload of `on_plugin_changed`, out of the installation in the event."""
    body = msgspec.json.decode(telling.body)
    return PluginChange(
        event_id=telling.event_id,
        sequence=telling.sequence,
        occurred_at=telling.occurred_at,
        change=body["last_change"],
        from_version=body["from_version"],
        to_version=body["plugin_version"],
    )
