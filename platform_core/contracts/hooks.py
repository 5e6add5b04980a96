"""The markers of hooks, and the catalogue of all hookspecs that `@hook` fills.

A hookspec stands in its capability's module, `contracts/<capability>.py`, decorated with `@hook`; a plugin marks its
function of the same name with `hookimpl`. Implementations are plain functions: a coroutine function is refused when
the plugin is registered, because pluggy would call it and never await it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, ParamSpec, TypeVar, get_args, get_type_hints

import pluggy

from platform_core.contracts.fields import Payload

PROJECT: Final = "arsenal"
"""pluggy's project name: what ties markers and manager together."""
ENTRY_POINT_GROUP: Final = "arsenal.plugins"
"""The group of the one entry point that a plugin's wheel carries; it names the module with the implementations."""
HookKind = Literal["check", "amend", "choose", "render", "register", "on"]
"""The kind is the name's prefix; it fixes merge rule, deadline and what happens on failure."""

P = ParamSpec("P")
R = TypeVar("R")

CONTRACT: Final = "1.0"
"""This contract's version. A minor adds hooks, optional payload fields or values of payload enums; else a major."""


@dataclass(frozen=True, slots=True)
class KindRule:
    """What a kind fixes for all its hooks (plugins.md section 3)."""

    each_ms: int
    """Deadline of one plugin's call; a manifest may only lower it."""
    all_ms: int | None
    """Deadline of all plugins' calls together; None: they do not wait for each other."""
    is_deciding: bool
    """Asked while a decision is made: no egress, no writes but to the plugin's own state."""
    on_failure: str
    """What happens on failure, lateness or an invalid answer; for the reference pages."""


KINDS: Final[Mapping[HookKind, KindRule]] = MappingProxyType(
    {
        "check": KindRule(150, 300, True, "the plugin counts as review; as deny at or above the amount of the policy"),
        "amend": KindRule(100, 250, True, "the plugin's whole answer is skipped and flagged"),
        "choose": KindRule(50, 100, True, "the platform's own order"),
        "render": KindRule(10_000, None, True, "the built-in template"),
        "register": KindRule(2_000, None, False, "at load: refused; a provider's call (10 s): unknown, asked again"),
        "on": KindRule(5_000, None, False, "tried again 8 times within 24 hours, then a visible dead letter"),
    }
)
PROVIDER_CALL_MS: Final = 10_000
"""Deadline of a call of a provider's method."""

hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class HookSpec:
    """One entry of the catalogue."""

    name: str
    kind: HookKind
    version: int
    """Major version of payload and result."""
    scope: str | None
    """Scope that covers the payload's base fields; None for a hook without a payload."""
    since: str
    """Contract version that brought the hook."""
    arguments: tuple[str, ...]
    """Names in order; an implementation may take fewer of them, never others."""
    reference: str
    """The hookspec's docstring."""
    function: Callable[..., object]
    """The hookspec itself."""
    payload: type[Payload] | None
    """Type of the argument after `ctx`; None for `register_` hooks, which have no arguments."""
    result: Any  # Any: a type or a union of types
    """What an implementation returns."""
    deprecated_since: str | None = None
    removed_in: str | None = None
    replaced_by: str | None = None

    @property
    def rule(self) -> KindRule:
        """What the kind fixes."""
        return KINDS[self.kind]

    @property
    def payload_name(self) -> str:
        """Name of the argument that carries the payload. Only for hooks that have one."""
        return self.arguments[1]


_catalogue: dict[str, HookSpec] = {}
CATALOGUE: Final[Mapping[str, HookSpec]] = MappingProxyType(_catalogue)
"""Hookspecs by name, of the contract modules imported so far."""

_besides: dict[str, list[type]] = {}


def promise_besides(hook_name: str, protocol: type) -> None:
    """Enter a Protocol whose methods the object of a `register_` hook may have besides those that it must have.

    A Protocol of its own keeps every object that was written before it what the hookspec promises.
    """
    known = _besides.setdefault(hook_name, [])
    if protocol not in known:
        known.append(protocol)


def promised_methods(spec: HookSpec) -> Mapping[str, Callable[..., object]]:
    """The methods of the object that a `register_` hook hands over by name: those that it must have, then others."""
    found: dict[str, Callable[..., object]] = {}
    for protocol in (spec.result, *_besides.get(spec.name, ())):
        for name, method in inspect.getmembers(protocol, inspect.isfunction):
            if not name.startswith("_"):
                found.setdefault(name, method)
    return found


def hook(
    kind: HookKind,
    *,
    version: int,
    scope: str | None = None,
    since: str,
    deprecated_since: str | None = None,
    removed_in: str | None = None,
    replaced_by: str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function as hookspec and enter it in the catalogue.

    ValueError for a name without its kind's prefix or its major version's suffix, an unknown kind, a missing docstring,
    other arguments than `(ctx, <payload>)` (none for `register_`), or a name taken by another module.
    """

    def enter(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__name__
        reference = inspect.getdoc(function)
        if kind not in get_args(HookKind) or not name.startswith(f"{kind}_"):
            raise ValueError(f"the hookspec {name} of kind {kind!r} must be named {kind}_<noun>, with a known kind")
        if _major_of(name) != version:
            raise ValueError(f"the hookspec {name} of major {version}: 1 is the bare name, 2 ends in _v2")
        if reference is None:
            raise ValueError(f"the hookspec {name} has no docstring; it is the hook's reference page")
        arguments = tuple(inspect.signature(function).parameters)
        hints = get_type_hints(function)
        if "return" not in hints:
            raise ValueError(f"the hookspec {name} does not say what it returns")
        entry = HookSpec(
            name=name,
            kind=kind,
            version=version,
            scope=scope,
            since=since,
            arguments=arguments,
            reference=reference,
            function=function,
            payload=_payload(name, kind, arguments, hints),
            result=hints["return"],
            deprecated_since=deprecated_since,
            removed_in=removed_in,
            replaced_by=replaced_by,
        )
        if _catalogue.setdefault(name, entry) != entry:
            raise ValueError(f"the hookspec {name} is declared twice, and differently")
        warning = None
        if deprecated_since is not None:
            warning = DeprecationWarning(f"{name} is deprecated since {deprecated_since}; use {replaced_by}")
        return hookspec(function, warn_on_impl=warning)

    return enter


def _major_of(name: str) -> int:
    """The major version that a hook's name states: 2 for `check_payment_v2`, 1 for the bare name, 0 for `_v1`."""
    suffix = re.search(r"_v([0-9]+)$", name)
    if suffix is None:
        return 1
    return int(suffix[1]) if int(suffix[1]) > 1 else 0


def _payload(
    name: str, kind: HookKind, arguments: tuple[str, ...], hints: Mapping[str, Any]
) -> type[Payload] | None:  # Any: types
    if kind == "register":
        if arguments:
            raise ValueError(f"the hookspec {name} hands over an object; it has no arguments")
        return None
    payload = hints.get(arguments[1]) if len(arguments) == 2 and arguments[0] == "ctx" else None
    if not (isinstance(payload, type) and issubclass(payload, Payload)):
        raise ValueError(f"the hookspec {name} has the arguments (ctx, <payload>), the second of a Payload's type")
    return payload
