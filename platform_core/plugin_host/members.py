"""What a generation is made of: one release with its implementations, and what pluggy gets to see of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from keyword import iskeyword
from typing import Any, Final, Protocol

from platform_core.contracts.fields import Cut, Payload
from platform_core.contracts.hooks import HookSpec, hookimpl
from platform_core.contracts.inspection import Implementation
from platform_core.contracts.manifest import HookUse
from platform_core.plugin_host.installed import Release

Key = tuple[str, str]
"""Plugin id and version."""
_CUTS_MAX: Final = 4096


class Asks(Protocol):
    """What the host hands over as `ctx`: it does the calling, and answers for the plugin what became of it."""

    def ask(self, key: Key, payload: Payload, /) -> object:
        """Begin one member's call. Never raises, never None."""
        ...


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Member:
    """One release in one generation."""

    release: Release
    implementations: Mapping[str, Implementation] = field(repr=False)
    """Trusted: the plugin's own functions by hook. Empty for releases that run elsewhere."""

    @property
    def key(self) -> Key:
        """Plugin and version."""
        return self.release.key

    def use_of(self, hook: str) -> HookUse | None:
        """What the manifest says about a hook."""
        return self.release.manifest.hook(hook)


def cut_of(spec: HookSpec, *, fields: tuple[str, ...], granted: frozenset[str]) -> Cut:
    """What leaves the host of a hook's payload, the same object for the same question. ValueError for unknown paths."""
    assert spec.payload is not None, f"{spec.name} has no payload"
    return _cut(spec.payload, fields, spec.scope, granted)


@lru_cache(maxsize=_CUTS_MAX)
def _cut(shape: type[Payload], fields: tuple[str, ...], base: str | None, granted: frozenset[str]) -> Cut:
    return Cut(shape, fields=fields, base=base, granted=granted)


class Proxies:
    """A plugin as pluggy sees it: one function for each hook, written by the host."""

    def __init__(self, key: Key) -> None:
        self.key = key

    def add(self, spec: HookSpec) -> None:
        """A proxy for a hook with a payload."""
        setattr(self, spec.name, hookimpl(_compiled(spec, self.key)))

    def __repr__(self) -> str:
        """For pluggy's messages."""
        return f"<{' '.join(self.key)}>"


def _compiled(spec: HookSpec, key: Key) -> Callable[..., object]:
    """A function with exactly the hookspec's arguments, which pluggy reads from `__code__`.

    Its text is made of names of the catalogue alone; nothing in it comes from a manifest.
    """
    names = (spec.name, *spec.arguments)
    assert len(spec.arguments) == 2, f"{spec.name} has a context and a payload"
    assert all(name.isidentifier() and not iskeyword(name) for name in names), f"{spec.name} is written in names"
    ctx, payload = spec.arguments
    source = f"def {spec.name}({ctx}, {payload}):\n    return {ctx}.ask(_key, {payload})\n"
    namespace: dict[str, Any] = {"_key": key}  # Any: what a module holds
    exec(compile(source, f"<proxy of {key[0]} {key[1]}>", "exec"), namespace)  # noqa: S102 - names of our own catalogue
    proxy: Callable[..., object] = namespace[spec.name]
    return proxy
