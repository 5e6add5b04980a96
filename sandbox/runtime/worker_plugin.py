"""Loading a plugin in its worker: import, checks, registration with a real pluggy manager."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pluggy

from platform_core.contracts.hooks import CATALOGUE, PROJECT
from platform_core.contracts.inspection import Implementation, fault_of_object, marked_functions
from sandbox.runtime.frames import DETAIL_MAX
from sandbox.runtime.release import WorkerRelease
from sandbox.runtime.sources import import_contract
from sandbox.runtime.worker_targets import Target, hook_shape, hook_target, promised, provider_targets


class NotLoadable(Exception):
    """The plugin cannot be used; nothing of it is called."""

    def __init__(self, error_type: str, detail: str) -> None:
        """`detail` names file and line where they are known."""
        super().__init__(detail)
        self.error_type = error_type
        self.detail = detail[:DETAIL_MAX]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin that is ready to be called."""

    release: WorkerRelease
    manager: pluggy.PluginManager
    targets: Mapping[str, Target]
    hooks: tuple[str, ...]
    providers: tuple[str, ...]

    def where(self, error: BaseException) -> str:
        """What was raised, and the last line of the plugin's own that it came through."""
        return f"{_words(error)}{_place(error, self.release.folder)}"


@cache
def prepare() -> None:
    """Import the contract and make what is the same for every plugin. The zygote calls it once, before any fork.

    A worker that did it again would touch, and so keep for itself, a page for each hook of the contract.
    """
    _manager()
    for hook in CATALOGUE.values():
        if hook.payload is not None:
            hook_shape(hook)
        else:
            promised(hook)


@cache
def _manager() -> pluggy.PluginManager:
    """A manager with every hookspec of the contract; a worker registers its one plugin with it."""
    import_contract()
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(
        type("Hookspecs", (), {hook.name: staticmethod(hook.function) for hook in CATALOGUE.values()})
    )
    return manager


def load(release: WorkerRelease) -> Loaded:
    """Import and register a plugin. Raises NotLoadable, whatever the plugin does short of leaving the process."""
    prepare()
    sys.dont_write_bytecode = True
    sys.path.append(str(release.folder))
    return register(_import(release), release)


def register(namespace: object, release: WorkerRelease) -> Loaded:
    """Check and register what was imported. Raises NotLoadable."""
    found, findings = marked_functions(namespace, CATALOGUE)
    if findings:
        first = findings[0]
        raise NotLoadable(first.kind, f"{first.message}{_line_of(first.function, release.folder)}")
    manager = _registered(namespace, release)
    targets: dict[str, Target] = {}
    providers: list[str] = []
    for name in sorted(found):
        hook = CATALOGUE[name]
        if hook.payload is not None:
            targets[name] = hook_target(hook, found[name])
            continue
        object_id, made = _handed_over(name, found[name], release)
        providers.append(f"{name}/{object_id}")
        targets |= provider_targets(hook, object_id, made)
    return Loaded(
        release=release,
        manager=manager,
        targets=targets,
        hooks=tuple(sorted(found)),
        providers=tuple(providers),
    )


def leave(namespace: object) -> None:
    """Undo `register`."""
    _manager().unregister(namespace)


def _import(release: WorkerRelease) -> object:
    module, _, attribute = release.module.partition(":")
    try:
        namespace: object = importlib.import_module(module)
        return getattr(namespace, attribute) if attribute else namespace
    except BaseException as error:  # noqa: BLE001 - a plugin's module may raise anything while it is imported
        detail = f"importing {release.module}: {_words(error)}{_place(error, release.folder)}"
        raise NotLoadable(type(error).__name__, detail) from None


def _registered(namespace: object, release: WorkerRelease) -> pluggy.PluginManager:
    """pluggy's own checks, by the manager that the plugin's author knows."""
    manager = _manager()
    try:
        manager.register(namespace, name=release.plugin_id)
        manager.check_pending()
    except Exception as error:  # noqa: BLE001 - pluggy inspects the plugin's objects, which may raise anything
        raise NotLoadable(type(error).__name__, f"{_words(error)}{_place(error, release.folder)}") from None
    return manager


def _handed_over(name: str, function: Implementation, release: WorkerRelease) -> tuple[str, Any]:
    """The object of a `register_` hook, with its id."""
    try:
        made: Any = function()  # Any: what it is, fault_of_object finds out
        fault = fault_of_object(made, CATALOGUE[name])
        object_id = "" if fault is not None else str(made.describe().id)
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
        raise NotLoadable(type(error).__name__, f"{name}: {_words(error)}{_place(error, release.folder)}") from None
    if fault is not None:
        raise NotLoadable("bad_result", f"{name}: {fault}{_line_of(function, release.folder)}")
    return object_id, made


def _words(error: BaseException) -> str:
    """The error's text, after its code where it has one, as `NoticeRefused` does."""
    try:
        text, code = str(error)[:DETAIL_MAX], getattr(error, "code", None)
        return f"{code}: {text}" if isinstance(code, str) and not text.startswith(code) else text
    except BaseException:  # noqa: BLE001 - `__str__` of a plugin's exception may raise anything too
        return "(its text could not be had)"


def _place(error: BaseException, folder: Path) -> str:
    """` (file:line in function)` of the last frame in the plugin's folder; empty when there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({_below(error.filename, folder)}:{error.lineno})"
    for frame in reversed(traceback.extract_tb(error.__traceback__, limit=-50)):
        if Path(frame.filename).is_relative_to(folder):
            return f" ({_below(frame.filename, folder)}:{frame.lineno} in {frame.name})"
    return ""


def _line_of(function: Implementation, folder: Path) -> str:
    code = getattr(function, "__code__", None)
    return "" if code is None else f" ({_below(code.co_filename, folder)}:{code.co_firstlineno})"


def _below(filename: str, folder: Path) -> str:
    path = Path(filename)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
