"""What is checked about a plugin's marked functions before pluggy sees them, and about an object it hands over.

The same checks run in the host for trusted plugins and in the worker for confined ones. No plugin needs this module.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_type_hints

from platform_core.contracts.hooks import PROJECT, HookSpec, promised_methods

_MARK: Final = f"{PROJECT}_impl"
_REFUSED_OPTIONS: Final = ("wrapper", "hookwrapper", "tryfirst", "trylast", "specname")
_PROVIDER_ID: Final = re.compile(r"[a-z][a-z0-9_]{1,39}", re.ASCII)

Implementation = Callable[..., object]
FindingKind = Literal["hook_option", "unknown_hook", "coroutine", "arguments"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one marked function."""

    kind: FindingKind
    hook: str
    function: Implementation
    message: str
    """What happened, what was expected, the next step; English."""


def marked_functions(
    namespace: object, hooks: Mapping[str, HookSpec]
) -> tuple[dict[str, Implementation], tuple[Finding, ...]]:
    """The marked functions of a module or object by hook, and what is wrong with them. Calls none of them.

    With any finding the whole plugin is to be left out: half a plugin behaves like none that was reviewed.
    """
    found: dict[str, Implementation] = {}
    findings: list[Finding] = []
    for name in dir(namespace):
        function = getattr(namespace, name, None)
        options = getattr(function, _MARK, None)
        if not callable(function) or not isinstance(options, dict):
            continue
        if name not in hooks and options.get("optionalhook"):
            continue
        finding = _finding_about(function, hook=name, options=options, hooks=hooks)
        if finding is None:
            found[name] = function
        else:
            findings.append(finding)
    return found, tuple(findings)


def _finding_about(
    function: Implementation, *, hook: str, options: Mapping[str, object], hooks: Mapping[str, HookSpec]
) -> Finding | None:
    used = [option for option in _REFUSED_OPTIONS if options.get(option)]
    if used:
        what = f"{hook} is marked with {', '.join(used)}; the operator's order decides. Use plain @hookimpl."
        return Finding("hook_option", hook, function, what)
    if hook not in hooks:
        what = f"There is no hook {hook} in this contract. Known are {', '.join(sorted(hooks))}."
        return Finding("unknown_hook", hook, function, what)
    if _never_returns_a_value(function):
        what = (
            f"{hook} is a coroutine or generator function, which would never be awaited or run. Make it a plain "
            f"function; network work belongs to the methods of a provider."
        )
        return Finding("coroutine", hook, function, what)
    wrong = _wrong_arguments(function, hooks[hook].arguments)
    return None if wrong is None else Finding("arguments", hook, function, f"{hook} {wrong}")


def _never_returns_a_value(function: Implementation) -> bool:
    """Whether a call yields a coroutine or generator, also behind `__wrapped__`, a partial or `__call__`."""
    seen: object = function
    for _ in range(32):
        method = seen if inspect.isroutine(seen) or isinstance(seen, functools.partial) else type(seen).__call__
        for candidate in (seen, method):
            if (
                inspect.iscoroutinefunction(candidate)
                or inspect.isasyncgenfunction(candidate)
                or inspect.isgeneratorfunction(candidate)
            ):
                return True
        inner = seen.func if isinstance(seen, functools.partial) else getattr(seen, "__wrapped__", None)
        if inner is None:
            return False
        seen = inner
    return True


def _wrong_arguments(function: Implementation, known: tuple[str, ...]) -> str | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return "has no readable signature. Write it as a plain function."
    extra = [p.name for p in parameters if p.name not in known or p.kind is not p.POSITIONAL_OR_KEYWORD]
    if extra:
        takes = f"({', '.join(known)})" if known else "no arguments"
        return f"takes {', '.join(extra)}; the hook has {takes}, each plain and by its name, and fewer will do."
    return None


def fault_of_object(made: object, hook: HookSpec) -> str | None:
    """What keeps an object from being what the hookspec's return annotation promises; None when it is.

    The object must have every method of that Protocol, async where the Protocol's is, callable with as many
    arguments, and so must be what it has of the methods besides; its `describe()` must give the promised type with an
    `id` of lower-case letters, digits and `_`.
    """
    promised = get_type_hints(hook.function)["return"]
    if inspect.isawaitable(made):
        if inspect.iscoroutine(made):
            made.close()
        return "an awaitable came back; a hook returns its object at once."
    for name, wanted in inspect.getmembers(promised, inspect.isfunction):
        if not name.startswith("_"):
            fault = _fault_of_method(getattr(made, name, None), wanted)
            if fault is not None:
                return f"{type(made).__name__}.{name} {fault}"
    for name, perhaps in promised_methods(hook).items():
        fault = _fault_of_method(getattr(made, name), perhaps) if hasattr(made, name) else None
        if fault is not None:
            return f"{type(made).__name__}.{name} {fault}"
    return _fault_of_description(made, promised)


def _fault_of_method(method: object, wanted: Callable[..., object]) -> str | None:
    if not callable(method):
        return "is missing; the Protocol has it."
    if inspect.iscoroutinefunction(wanted) != inspect.iscoroutinefunction(method):
        return "must be async." if inspect.iscoroutinefunction(wanted) else "must not be async."
    arguments = [None] * (len(inspect.signature(wanted).parameters) - 1)
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError:
        return f"must take {len(arguments)} argument(s)."
    return None


def _fault_of_description(made: Any, promised: type) -> str | None:  # Any: its describe() has just been found callable
    description = made.describe()
    wanted = get_type_hints(promised.__dict__["describe"])["return"]
    if not isinstance(description, wanted):
        return f"describe() gave {type(description).__name__}; {wanted.__name__} is expected."
    provider_id = description.id
    if not isinstance(provider_id, str) or _PROVIDER_ID.fullmatch(provider_id) is None:
        return "the id is 2 to 40 lower-case letters, digits or underscores, a letter first."
    return None
