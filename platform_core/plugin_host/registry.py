"""The registry: one immutable generation of loaded plugins, and what they registered.

Installing, removing, suspending or re-ordering builds a new generation and swaps one reference; nothing is changed in
place, and calls under way finish on the generation that began them.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

import pluggy

from platform_core.contracts.hooks import PROJECT, HookSpec, hookimpl
from platform_core.contracts.payments import PaymentProvider, register_payment_provider
from platform_core.plugin_host.admission import problems_of
from platform_core.plugin_host.discovery import Plugin, catalogue, discover, load
from platform_core.plugin_host.inspection import Implementation, fault_of_object, implementations
from platform_core.plugin_host.members import Key, Member, Proxies
from platform_core.plugin_host.problems import Problem, ProblemKind, location_of

T = TypeVar("T")
_PREFIX: Final = "register_"
CALLERS_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Registered:
    """An object that one plugin handed over through a `register_` hook."""

    plugin_id: str
    object_id: str
    value: object


@dataclass(frozen=True, slots=True)
class _Made:
    """What a proxy of a `register_` hook gives pluggy: never None, never an exception."""

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
    _members: Mapping[Key, Member] = field(repr=False)
    _proxies: Mapping[Key, Proxies] = field(repr=False)
    _callers: OrderedDict[tuple[str, str], Any] = field(  # Any: pluggy's callers are untyped
        repr=False, compare=False, default_factory=OrderedDict
    )
    """By hook and digest. They belong to this generation: a subset names who is out, so that a plugin registered later
    would be in."""

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

    def member(self, key: Key) -> Member | None:
        """A release of this generation."""
        return self._members.get(key)

    @property
    def keys(self) -> tuple[Key, ...]:
        """All releases of this generation, in the operator's order."""
        return tuple(self._members)

    def caller(self, hook: str, *, digest: str, keys: Collection[Key]) -> Any:  # Any: pluggy's callers are untyped
        """pluggy's caller of a hook for these releases alone; `digest` names the set that they come from."""
        kept = self._callers.get((hook, digest))
        if kept is not None:
            self._callers.move_to_end((hook, digest))
            return kept
        made = self._subset(hook, keys)
        self._callers[hook, digest] = made
        if len(self._callers) > CALLERS_MAX:
            self._callers.popitem(last=False)
        return made

    def single_caller(self, hook: str, key: Key) -> Any:  # Any: pluggy's callers are untyped
        """pluggy's caller of one release alone, for kinds that ask one after another."""
        return self.caller(hook, digest=f"only {key[0]} {key[1]}", keys=(key,))

    def _subset(self, hook: str, keys: Collection[Key]) -> Any:  # Any: pluggy's callers are untyped
        out = [proxies for key, proxies in self._proxies.items() if key not in keys]
        return self.manager.subset_hook_caller(hook, remove_plugins=out)


def build(plugins: Sequence[Plugin]) -> Registry:
    """A generation from plugins in the operator's order. A plugin at fault is left out, with its problems."""
    hooks = catalogue()
    problems: list[Problem] = []
    admitted: list[_Candidate] = []
    for plugin in plugins:
        candidate, faults = _candidate(plugin, hooks)
        problems.extend(faults)
        if candidate is not None:
            admitted.append(candidate)
    manager, admitted, refused = _registered(admitted, hooks)
    problems.extend(refused)
    objects: dict[str, Mapping[str, Registered]] = {}
    for hook in hooks.values():
        if hook.kind == "register":
            objects[hook.name], faults = _collect(manager, hook)
            problems.extend(faults)
    with_release = [(candidate, candidate.member) for candidate in admitted if candidate.member is not None]
    return Registry(
        manager,
        tuple(dict.fromkeys(candidate.plugin.id for candidate in admitted)),
        tuple(problems),
        MappingProxyType(objects),
        MappingProxyType({member.key: member for _, member in with_release}),
        MappingProxyType({member.key: candidate.proxies for candidate, member in with_release}),
    )


def load_installed(points: Sequence[EntryPoint] | None = None) -> Registry:
    """A generation from plugins of the environment, ordered by id: those of `points`, else all that there are.

    Imports them: hand in what the allow-list admits.
    """
    plugins, unloadable = load(discover() if points is None else points)
    return with_problems(build(plugins), unloadable)


def with_problems(registry: Registry, problems: Iterable[Problem]) -> Registry:
    """The same generation with problems that were found before it was built, ahead of its own."""
    made = registry
    return Registry(
        made.manager,
        made.plugin_ids,
        (*problems, *made.problems),
        made._objects,
        made._members,
        made._proxies,
        made._callers,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A plugin that may go to pluggy."""

    plugin: Plugin
    name: str
    proxies: Proxies
    member: Member | None


def _candidate(plugin: Plugin, hooks: Mapping[str, HookSpec]) -> tuple[_Candidate | None, tuple[Problem, ...]]:
    """The plugin's proxies, or what keeps it out. Calls nothing of it."""
    found, faults = implementations(plugin, hooks)
    faults += problems_of(plugin, found, hooks)
    if faults:
        return None, faults
    release = plugin.release
    key = (plugin.id, "") if release is None else release.key
    proxies = Proxies(key)
    for name, function in found.items():
        if hooks[name].kind == "register":
            setattr(proxies, name, hookimpl(_proxy(plugin, hooks[name], function)))
    asked = () if release is None else [use.name for use in release.manifest.hooks]
    for name in asked:
        if name in hooks and hooks[name].kind != "register":
            proxies.add(hooks[name])
    member = None if release is None else Member(release=release, implementations=MappingProxyType(found))
    return _Candidate(plugin, " ".join(key).strip(), proxies, member), ()


def _registered(
    candidates: list[_Candidate], hooks: Mapping[str, HookSpec]
) -> tuple[pluggy.PluginManager, list[_Candidate], list[Problem]]:
    """A manager that took all of them, without those that pluggy refuses.

    pluggy may keep a plugin whose registration raised, so a manager with a culprit is thrown away as a whole.
    """
    problems: list[Problem] = []
    while True:
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(type("Hookspecs", (), {one.name: staticmethod(one.function) for one in hooks.values()}))
        culprit = _first_refused(manager, candidates)
        if culprit is None:
            return manager, candidates, problems
        candidate, error = culprit
        message = f"pluggy refuses it ({type(error).__name__}); a plugin of that version may be there already."
        problems.append(Problem(plugin_id=candidate.plugin.id, kind=ProblemKind.REFUSED, message=message))
        candidates = [one for one in candidates if one is not candidate]


def _first_refused(
    manager: pluggy.PluginManager, candidates: Sequence[_Candidate]
) -> tuple[_Candidate, Exception] | None:
    for candidate in reversed(candidates):  # pluggy calls the last registered first
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of deprecated hookspecs: shown by plugin check
                manager.register(candidate.proxies, name=candidate.name)
            manager.check_pending()
        except Exception as error:  # noqa: BLE001 - whatever pluggy finds, it is that plugin's
            return candidate, error
    return None


def _proxy(plugin: Plugin, hook: HookSpec, implementation: Implementation) -> Callable[[], _Made]:
    """What pluggy gets to see instead of a plugin's `register_` function: it never raises and never answers None."""

    def refused(kind: ProblemKind, message: str, where: str) -> _Made:
        return _Made(
            plugin.id,
            problem=Problem(plugin_id=plugin.id, kind=kind, message=message, hook=hook.name, where=where),
        )

    def proxy() -> _Made:
        try:
            made: Any = implementation()  # Any: what it is, fault_of_object finds out
            fault = fault_of_object(made, hook)
            object_id = "" if fault is not None else made.describe().id
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is kept as that plugin's problem
            message = f"{hook.name} raised {type(error).__name__}; nothing of it is in use."
            return refused(ProblemKind.RAISED, message, location_of(error.__traceback__))
        if fault is not None:
            return refused(ProblemKind.BAD_RESULT, fault, location_of(implementation))
        return _Made(plugin.id, object_id, made)

    return proxy


def _collect(manager: pluggy.PluginManager, hook: HookSpec) -> tuple[Mapping[str, Registered], tuple[Problem, ...]]:
    """All objects of a `register_` hook by id; the first in order keeps an id that two claim."""
    assert hook.name.startswith(_PREFIX), hook.name
    objects: dict[str, Registered] = {}
    problems: list[Problem] = []
    caller: Any = getattr(manager.hook, hook.name)  # Any: pluggy's callers are untyped
    answers: list[_Made] = caller()
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
