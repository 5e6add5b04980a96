"""The markers of hooks, and the catalogue of all hookspecs that `@hook` fills.

A hookspec stands in its capability's module, `contracts/<capability>.py`, decorated with `@hook`; a plugin marks its
function of the same name with `hookimpl`. Implementations are plain functions: a coroutine function is refused when
the plugin is registered, because pluggy would call it and never await it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, ParamSpec, TypeVar, get_args

import pluggy

PROJECT: Final = "arsenal"
"""pluggy's project name: what ties markers and manager together."""
ENTRY_POINT_GROUP: Final = "arsenal.plugins"
"""The group of the one entry point that a plugin's wheel carries; it names the module with the implementations."""
HookKind = Literal["check", "amend", "choose", "render", "register", "on"]
"""The kind is the name's prefix; it fixes merge rule, deadline and what happens on failure."""

P = ParamSpec("P")
R = TypeVar("R")

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
    """The hookspec itself; its annotations name payload and result."""


_catalogue: dict[str, HookSpec] = {}
CATALOGUE: Final[Mapping[str, HookSpec]] = MappingProxyType(_catalogue)
"""Hookspecs by name, of the contract modules imported so far."""


def hook(
    kind: HookKind, *, version: int, scope: str | None = None, since: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function as hookspec and enter it in the catalogue.

    ValueError for a name without its kind's prefix, an unknown kind, a missing docstring, or a name taken by another
    module.
    """

    def enter(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__name__
        reference = inspect.getdoc(function)
        if kind not in get_args(HookKind) or not name.startswith(f"{kind}_"):
            raise ValueError(f"the hookspec {name} of kind {kind!r} must be named {kind}_<noun>, with a known kind")
        if reference is None:
            raise ValueError(f"the hookspec {name} has no docstring; it is the hook's reference page")
        entry = HookSpec(
            name=name,
            kind=kind,
            version=version,
            scope=scope,
            since=since,
            arguments=tuple(inspect.signature(function).parameters),
            reference=reference,
            function=function,
        )
        if _catalogue.setdefault(name, entry) != entry:
            raise ValueError(f"the hookspec {name} is declared twice, and differently")
        return hookspec(function)

    return enter
