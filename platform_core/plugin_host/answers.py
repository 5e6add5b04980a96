"""What came of asking plugins: the answer of each, and the decision that was made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from platform_core.contracts.fields import Payload
from platform_core.contracts.runtime import Fault, FaultKind
from platform_core.plugin_host.installed import Enabled, Tier
from platform_core.plugin_host.majors import Major

R = TypeVar("R")
OVERALL: str = ""
"""Plugin of a degraded decision that is no plugin's fault."""


class Degraded(NamedTuple):
    """Something that should have been asked and did not answer: stored on the record that the decision touched."""

    plugin_id: str
    """Empty when nobody could say which plugins are enabled."""
    version: str
    hook: str
    kind: FaultKind


@dataclass(slots=True, kw_only=True)
class Answer:
    """One plugin's answer: a value of the newest major's result type, or a fault."""

    plugin_id: str
    version: str
    tier: Tier
    hook: str
    """As the plugin implements it, its major included."""
    call_id: str
    """Empty when nothing was begun."""
    ms: float = 0.0
    """From the begin of the call to its end, queueing included."""
    deadline_ms: int = 0
    value: Any = None  # Any: of the hook's result type
    fault: Fault | None = None
    is_dry_run: bool = False
    is_used: bool = False
    """Whether the decision was made with it."""
    fields: tuple[str, ...] = ()
    """What the manifest asks for; `withheld` of these did not go out."""
    withheld: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """`ok`, or the kind of fault; for metrics and traces."""
        return "ok" if self.fault is None else self.fault.kind.value


@dataclass(slots=True)
class Decision(Generic[R]):
    """What asking a hook came to. Nobody changes it: one is made for each asking, and a frozen one takes thrice as
    long.
    """

    result: R
    """Merged."""
    answers: tuple[Answer, ...] = ()
    """In the operator's order, dry runs included."""
    degraded: tuple[Degraded, ...] = ()
    parts: tuple[object, ...] = ()
    """State writes and audit rows of the calls: they belong into the plan that carries out the decision. A refusal
    that commits nothing else commits these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What came of telling one plugin."""

    answer: Answer
    """Its value is an Acknowledgement or RetryLater."""
    parts: Sequence[object] = field(default=())
    """To be committed with what is noted about the delivery."""
    is_gone: bool = False
    """Nobody is there to be told: the plugin is neither enabled nor merely suspended, or does not have the hook."""


class Seated(Protocol):
    """One plugin of one merchant at one hook, as listeners see it."""

    @property
    def enabled(self) -> Enabled: ...
    @property
    def major(self) -> Major: ...


@dataclass(slots=True, kw_only=True, eq=False)
class HookSeen:
    """One asking of a hook, as listeners see it. Not frozen, as one is made each time."""

    hook: str
    merchant_id: str
    store_id: str | None
    idempotency_key: str
    answers: tuple[Answer, ...]
    degraded: tuple[Degraded, ...]
    result: object
    payload: Payload | None = None
    """Whole, as no single plugin got it: what is kept or shown of it is cut first."""
    seats: Mapping[tuple[str, str], Seated] = field(default_factory=dict)
    """By plugin and version, those that could be asked."""


def unasked(enabled: Enabled, hook: str, fault: Fault) -> Answer:
    """The answer of a plugin that could not even be called."""
    release = enabled.release
    return Answer(
        plugin_id=release.plugin_id,
        version=release.version,
        tier=release.tier,
        hook=hook,
        call_id="",
        fault=fault,
        is_dry_run=enabled.is_dry_run,
    )


def degraded_by(answers: Sequence[Answer]) -> tuple[Degraded, ...]:
    """What belongs on the record: faults of plugins that are not on a dry run."""
    return tuple(
        Degraded(one.plugin_id, one.version, one.hook, one.fault.kind)
        for one in answers
        if one.fault is not None and not one.is_dry_run
    )
