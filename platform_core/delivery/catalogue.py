"""What may be told to whom: the event types that exist, and the parts of the platform that follow events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from platform_core.kernel.commit import Plan
from platform_core.kernel.http.version import ONE_VERSION, Versions


@dataclass(frozen=True, slots=True)
class EventKind:
    """An event type as its capability declares it.

    `scope` is what an app needs to be told (identity.md section 11). `path` is where the object is read, with `{id}` in
    it: an event too large to be sent names this instead.
    """

    type: str
    scope: str
    path: str


@dataclass(frozen=True, slots=True)
class EventSeen:
    """A committed event, as a consumer gets it. `body` is the encoded JSON of the object as of that commit."""

    id: str
    type: str
    merchant_id: str | None
    object_id: str
    sequence: int
    occurred_at: datetime
    body: str
    traceparent: str | None


EventHandler = Callable[[EventSeen], Awaitable[Plan | None]]


@dataclass(frozen=True, slots=True)
class EventConsumer:
    """A part of the platform that acts on events, once for each, after their commit.

    `handle` returns what it decided as a plan for the event's merchant, or None. The end of the work is written in that
    same plan, so the effect happens exactly once, although `handle` itself may run more than once. What it raises is
    tried again by the schedule of webhooks, then stays visible as dead.
    """

    name: str
    types: frozenset[str]
    handle: EventHandler


class EventCatalogue:
    """Every event type by its name. A type that is not in it is delivered to nobody."""

    def __init__(self, kinds: Iterable[EventKind], versions: Versions = ONE_VERSION) -> None:
        """ValueError when a type is declared twice, or its path does not say where the id stands."""
        found: dict[str, EventKind] = {}
        for kind in kinds:
            if found.setdefault(kind.type, kind) is not kind:
                raise ValueError(f"the event {kind.type} is declared twice")
            if "{id}" not in kind.path:
                raise ValueError(f"{kind.type}: the path {kind.path} does not say where the id stands")
        self.kinds: Mapping[str, EventKind] = MappingProxyType(found)
        self.versions = versions

    def scope_of(self, type_: str) -> str | None:
        """The scope under which a type may be told, None for an unknown type."""
        kind = self.kinds.get(type_)
        return None if kind is None else kind.scope

    def knows_pattern(self, pattern: str) -> bool:
        """Whether a subscription (`payment.captured`, `payment.*` or `*`) can ever match."""
        if pattern == "*":
            return True
        if pattern.endswith(".*"):
            return any(type_.startswith(pattern[:-1]) for type_ in self.kinds)
        return pattern in self.kinds

    def types_under(self, scopes: frozenset[str]) -> list[str]:
        """The types that somebody with these scopes may see, sorted."""
        return sorted(type_ for type_, kind in self.kinds.items() if kind.scope in scopes)


def patterns_of(type_: str) -> list[str]:
    """The subscriptions that match a type."""
    return [type_, f"{type_.partition('.')[0]}.*", "*"]
