"""Finding plugins and hookspecs: which there are, and loading what was found."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from platform_core import contracts
from platform_core.contracts.hooks import CATALOGUE, ENTRY_POINT_GROUP, HookSpec
from platform_core.plugin_host.installed import Release
from platform_core.plugin_host.problems import Problem, ProblemKind, location_of


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin as it goes into a generation: its id and the module or object that carries the implementations."""

    id: str
    implementations: object
    """Of one that runs elsewhere: what the host hands over in its name through `register_` hooks, or nothing."""
    release: Release | None = None
    """Without one it can hand over providers, and no other hook of it is asked."""


def catalogue() -> Mapping[str, HookSpec]:
    """Every hookspec of the contract, whichever capability owns it: imports all modules of `contracts`."""
    for module in pkgutil.walk_packages(contracts.__path__, prefix=f"{contracts.__name__}."):
        import_module(module.name)
    return CATALOGUE


def discover() -> tuple[EntryPoint, ...]:
    """The entry points of the group `arsenal.plugins`, ordered by name. Imports no plugin.

    One that several metadata folders declare alike counts once; two that differ under one name both stay, and `load`
    refuses that name.
    """
    return tuple(sorted(set(entry_points(group=ENTRY_POINT_GROUP)), key=lambda point: (point.name, point.value)))


def load(points: Sequence[EntryPoint]) -> tuple[tuple[Plugin, ...], tuple[Problem, ...]]:
    """Import what was found, in the order given. A plugin that cannot be imported is a problem and loses no other."""
    names = [point.name for point in points]
    plugins: list[Plugin] = []
    problems: list[Problem] = []
    for point in points:
        if names.count(point.name) > 1:
            problems.append(_named_twice(point))
            continue
        try:
            plugins.append(Plugin(point.name, point.load()))
        except Exception as error:  # noqa: BLE001 - a plugin's module may raise anything while it is imported
            problems.append(_not_importable(point, error))
    return tuple(plugins), tuple(problems)


def _named_twice(point: EntryPoint) -> Problem:
    return Problem(
        plugin_id=point.name,
        kind=ProblemKind.NAMED_TWICE,
        message=f"Two installed distributions name a plugin {point.name}; neither is loaded. Remove one of them.",
        where=point.value,
    )


def _not_importable(point: EntryPoint, error: Exception) -> Problem:
    return Problem(
        plugin_id=point.name,
        kind=ProblemKind.NOT_IMPORTABLE,
        message=f"The module {point.value} could not be imported: {type(error).__name__}. Run `python -c 'import "
        f"{point.module}'` to see why.",
        where=location_of(error.__traceback__),
    )
