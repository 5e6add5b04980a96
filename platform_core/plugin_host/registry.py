"""The registry: one immutable generation of loaded plugins, and what they registered.

Installing, removing or re-ordering builds a new generation and swaps one reference; nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final, TypeVar, cast

import pluggy

from platform_core.contracts.hooks import PROJECT, HookSpec, hookimpl
from platform_core.contracts.payments import PaymentProvider, register_payment_provider
from platform_core.plugin_host.discovery import Plugin, catalogue, discover, load
from platform_core.plugin_host.inspection import Implementation, fault_of_object, implementations
from platform_core.plugin_host.problems import Problem, ProblemKind, location_of

T = TypeVar("T")
_PREFIX: Final = "register_"


@dataclass(frozen=True, slots=True)
class Registered:
    """An object that one plugin handed over through a `register_` hook."""

    plugin_id: str
    object_id: str
    value: object


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a proxy gives pluggy: never None, never an exception."""

    plugin_id: str
    object_id: str = ""
    value: object = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Registry:
    """One generation."""

    manager: pluggy.PluginManager
    plugin_ids: tuple[str, ...]
    """In the operator's order, those left out not among them."""
    problems: tuple[Problem, ...]
    _objects: Mapping[str, Mapping[str, Registered]] = field(repr=False)

    def registered(self, hook: Callable[[], T]) -> Mapping[str, T]:
        """What was handed over for a `register_` hookspec, by id, in the operator's order."""
        found = self._objects.get(hook.__name__, {})
        return MappingProxyType({name: cast(T, entry.value) for name, entry in found.items()})

    def owner_of(self, hook: Callable[[], object], object_id: str) -> str:
        """The id of the plugin that handed an object over. KeyError when none did."""
        return self._objects[hook.__name__][object_id].plugin_id

    def payment_providers(self) -> Mapping[str, PaymentProvider]:
        """Payment providers by id."""
        return self.registered(register_payment_provider)


def build(plugins: Sequence[Plugin]) -> Registry:
    """A generation from loaded plugins in the operator's order. A plugin at fault is left out, with its problems."""
    hooks = catalogue()
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(type("Hookspecs", (), {hook.name: staticmethod(hook.function) for hook in hooks.values()}))
    problems: list[Problem] = []
    admitted: list[str] = []
    for plugin in reversed(plugins):  # pluggy calls the last registered first
        found, faults = implementations(plugin, hooks)
        problems.extend(faults)
        if not faults:
            proxies = {name: hookimpl(_proxy(plugin, hooks[name], found[name])) for name in found}
            manager.register(SimpleNamespace(**proxies), name=plugin.id)
            admitted.append(plugin.id)
    manager.check_pending()
    objects: dict[str, Mapping[str, Registered]] = {}
    for hook in hooks.values():
        if hook.kind == "register":
            objects[hook.name], faults = _collect(manager, hook)
            problems.extend(faults)
    return Registry(manager, tuple(reversed(admitted)), tuple(problems), MappingProxyType(objects))


def load_installed() -> Registry:
    """A generation from every plugin that the environment's entry points name, ordered by id."""
    plugins, unloadable = load(discover())
    built = build(plugins)
    return Registry(built.manager, built.plugin_ids, unloadable + built.problems, built._objects)


def _proxy(plugin: Plugin, hook: HookSpec, implementation: Implementation) -> Callable[[], _Answer]:
    """What pluggy gets to see instead of the plugin's function: it never raises and never answers None."""
    assert not hook.arguments, f"{hook.name}: hooks with a payload come with their own dispatch"

    def refused(kind: ProblemKind, message: str, where: str) -> _Answer:
        return _Answer(
            plugin.id,
            problem=Problem(plugin_id=plugin.id, kind=kind, message=message, hook=hook.name, where=where),
        )

    def proxy() -> _Answer:
        try:
            made: Any = implementation()  # Any: what it is, fault_of_object finds out
            fault = fault_of_object(made, hook)
            object_id = "" if fault is not None else made.describe().id
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is kept as that plugin's problem
            message = f"{hook.name} raised {type(error).__name__}; nothing of it is in use."
            return refused(ProblemKind.RAISED, message, location_of(error.__traceback__))
        if fault is not None:
            return refused(ProblemKind.BAD_RESULT, fault, location_of(implementation))
        return _Answer(plugin.id, object_id, made)

    return proxy


def _collect(manager: pluggy.PluginManager, hook: HookSpec) -> tuple[Mapping[str, Registered], tuple[Problem, ...]]:
    """All objects of a `register_` hook by id; the first in order keeps an id that two claim."""
    assert hook.name.startswith(_PREFIX), hook.name
    objects: dict[str, Registered] = {}
    problems: list[Problem] = []
    caller: Any = getattr(manager.hook, hook.name)  # Any: pluggy's callers are untyped
    answers: list[_Answer] = caller()
    for answer in answers:
        if answer.problem is not None:
            problems.append(answer.problem)
            continue
        object_id = answer.object_id
        if object_id in objects:
            message = f"{object_id} is already registered by {objects[object_id].plugin_id}. Give it an id of its own."
            problems.append(
                Problem(plugin_id=answer.plugin_id, kind=ProblemKind.ID_TAKEN, message=message, hook=hook.name)
            )
            continue
        objects[object_id] = Registered(answer.plugin_id, object_id, answer.value)
    return MappingProxyType(objects), tuple(problems)
