"""Majors of one hook side by side: the newest payload is built once, and turned into what older plugins know.

`check_payment` and `check_payment_v2` are one family. Of two majors in one plugin the newer one is called. Beside an
older hookspec stand the pure functions that lead down to it from the next one: `legacy_<payload>_v<n>` for the payload,
and `legacy_<payload>_v<n>_result` up again for its answer where the results differ.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

from pydantic import TypeAdapter

from platform_core.contracts.fields import Payload
from platform_core.contracts.hooks import HookSpec

_MAJOR: Final = re.compile(r"_v[0-9]+$")

Down = Callable[[Any], Payload]  # Any: the next major's payload
Up = Callable[[Any], Any]  # Any: this major's result, the next one's


@dataclass(frozen=True)
class Major:
    """One major of a hook, and the way to it."""

    spec: HookSpec
    down: tuple[Down, ...] = ()
    """From the newest payload to this one, in the order of their application."""
    up: tuple[Up, ...] = ()
    """From this result to the newest one."""

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:  # Any: of the hook's result type
        """Reads and writes results."""
        return TypeAdapter(self.spec.result)

    @cached_property
    def result_types(self) -> tuple[type, ...]:
        """What `isinstance` takes for the result's type or union of types."""
        return getattr(self.spec.result, "__args__", None) or (self.spec.result,)

    def payload_from(self, newest: Payload) -> Payload:
        """This major's payload. Pure."""
        for step in self.down:
            newest = step(newest)
        return newest

    def result_to_newest(self, value: Any) -> Any:  # Any: results of this and the newest major
        """The newest major's result. Pure."""
        for step in self.up:
            value = step(value)
        return value


@dataclass(frozen=True)
class Family:
    """One hook with all its living majors."""

    name: str
    majors: tuple[Major, ...]
    """The newest first."""

    @property
    def newest(self) -> HookSpec:
        """The major that the host speaks."""
        return self.majors[0].spec

    def of(self, names: Collection[str]) -> Major | None:
        """The newest major among hooks by their names; None when the family is not among them."""
        return next((major for major in self.majors if major.spec.name in names), None)


def family_name(hook: str) -> str:
    """The name without its major."""
    return _MAJOR.sub("", hook)


def families(hooks: Mapping[str, HookSpec]) -> Mapping[str, Family]:
    """Hooks by family. ValueError for an older major whose payload nothing leads to."""
    by_name: dict[str, list[HookSpec]] = {}
    for spec in hooks.values():
        by_name.setdefault(family_name(spec.name), []).append(spec)
    return {name: _family(name, sorted(specs, key=lambda spec: -spec.version)) for name, specs in by_name.items()}


def _family(name: str, specs: list[HookSpec]) -> Family:
    majors = [Major(specs[0])]
    for newer, older in pairwise(specs):
        above = majors[-1]
        if older.payload is None:
            majors.append(Major(older))
            continue
        wanted = f"legacy_{older.payload_name}_v{older.version}"
        module = sys.modules[older.function.__module__]
        down, up = getattr(module, wanted, None), getattr(module, f"{wanted}_result", None)
        if down is None or (up is None and older.result != newer.result):
            missing = wanted if down is None else f"{wanted}_result"
            raise ValueError(f"{module.__name__} has no {missing}, which leads from {newer.name} to {older.name}")
        majors.append(Major(older, (*above.down, down), (above.up if up is None else (up, *above.up))))
    return Family(name, tuple(majors))
