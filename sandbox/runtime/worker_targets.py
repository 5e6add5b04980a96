"""What a worker can be called for: hooks, and methods of the objects that `register_` hooks handed over."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from platform_core.contracts import blobs as beside
from platform_core.contracts.fields import as_sent
from platform_core.contracts.hooks import HookSpec, promised_methods
from platform_core.contracts.plugin import HookContext, PluginContext
from sandbox.runtime.frames import Frame, Id, Name

Blobs = tuple[bytes, ...]
_CONTEXT: Final = "ctx"
_NO_ARGUMENT: Final[Any] = dict[str, Any]


class ValueRefused(Exception):
    """The plugin returned what the result's model does not take."""


class CallFacts(Frame):
    """The part of a `HookContext` that differs from call to call."""

    call_id: str
    hook: str
    contract: str
    store_id: str | None
    now: datetime
    deadline_ms: int
    idempotency_key: str


class CallBegun(Frame):
    """A `call` frame; a subclass for each type of `args` reads it.

    Its strings are not cached: pydantic's cache is a table of 256 KiB in which every new string falls on another page.
    """

    model_config = ConfigDict(cache_strings="none")

    t: Literal["call"]
    target: Name
    version: int
    id: Id
    handle: Id
    deadline_ms: int
    ctx: CallFacts
    args: Any  # Any: of the target's payload type in the subclasses
    blobs: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One function of the plugin with what goes in and comes out."""

    name: str
    invoke: Callable[[HookContext, Any], object]
    """Takes the context and the arguments as read; returns what the plugin returned."""
    reader: TypeAdapter[Any]  # Any: of CallBegun with `args` of the target's payload type
    result: TypeAdapter[Any]
    is_async: bool
    has_blobs: bool

    def dump(self, value: object) -> tuple[bytes, Blobs]:
        """The value as JSON with its blobs. Raises ValueRefused when the model refuses it."""
        try:
            checked = self.result.validate_python(value, strict=True)
            if self.has_blobs:
                return beside.dump(self.result, checked)
            return self.result.dump_json(checked), ()
        except ValidationError as error:
            if inspect.isawaitable(value):
                getattr(value, "close", lambda: None)()
                raise ValueRefused("an awaitable came back; a hook returns its answer at once") from None
            wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in wrong["loc"]) or "value"
            raise ValueRefused(f"{type(value).__name__} came back; {where}: {wrong['msg']}") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What goes in and comes out of one hook or method; the same for every plugin, made before any is loaded."""

    reader: TypeAdapter[Any]
    result: TypeAdapter[Any]


@cache
def hook_shape(hook: HookSpec) -> Shape:
    """Of a hook with a payload."""
    assert hook.payload is not None, hook.name
    payload: Any = as_sent(hook.payload)  # Any: mypy does not see that a type is hashable
    return Shape(_reader(payload), TypeAdapter(hook.result))


@cache
def promised(hook: HookSpec) -> Mapping[str, tuple[Any, TypeAdapter[Any]]]:
    """The methods of the object that a `register_` hook hands over: type of the argument, and the result."""
    methods: dict[str, tuple[Any, TypeAdapter[Any]]] = {}
    for name, function in promised_methods(hook).items():
        hints = get_type_hints(function)
        result = hints.pop("return")
        argument = next(iter(hints.values()), None)
        _reader(_NO_ARGUMENT if argument is None else parts_of(argument))
        methods[name] = (argument, TypeAdapter(result))
    return methods


def hook_target(hook: HookSpec, function: Callable[..., object]) -> Target:
    """A hook's implementation; it is given the arguments it names."""
    shape = hook_shape(hook)
    return Target(
        name=hook.name,
        invoke=_as_named(function, takes=tuple(inspect.signature(function).parameters), known=hook.arguments),
        reader=shape.reader,
        result=shape.result,
        is_async=False,
        has_blobs=hook.kind == "render",
    )


def _as_named(
    function: Callable[..., object], *, takes: tuple[str, ...], known: tuple[str, ...]
) -> Callable[[HookContext, Any], object]:
    """Calls an implementation with the arguments it names, which may be fewer and in another order."""
    context_name, payload_name = known
    if takes == (context_name, payload_name):
        return function
    if takes == (payload_name, context_name):
        return lambda ctx, args: function(args, ctx)
    if takes == (payload_name,):
        return lambda ctx, args: function(args)
    if takes == (context_name,):
        return lambda ctx, args: function(ctx)
    return lambda ctx, args: function()


def provider_targets(hook: HookSpec, object_id: str, made: object) -> dict[str, Target]:
    """Every method of an object that a `register_` hook handed over, by its target's name."""
    targets: dict[str, Target] = {}
    for method, (argument, result) in promised(hook).items():
        name = f"{hook.name}/{object_id}.{method}"
        bound = getattr(made, method, None)
        if bound is None:
            continue  # one that it need not have
        targets[name] = Target(
            name=name,
            invoke=_without_argument(bound) if argument is None else _with_argument(bound, argument),
            reader=_reader(_NO_ARGUMENT if argument is None else parts_of(argument)),
            result=result,
            is_async=inspect.iscoroutinefunction(bound),
            has_blobs=True,
        )
    return targets


def _without_argument(bound: Callable[..., object]) -> Callable[[HookContext, Any], object]:
    return lambda ctx, args: bound()


def _with_argument(bound: Callable[..., object], argument: Any) -> Callable[[HookContext, Any], object]:
    """The method's one argument is a dataclass of the contract whose `ctx` does not travel: the worker puts it in."""
    names = tuple(parts_of(argument).model_fields)

    def invoke(ctx: HookContext, args: Any) -> object:  # Any: a model of `parts_of`
        values = {name: getattr(args, name) for name in names}
        return bound(argument(**values, ctx=ctx))

    return invoke


@cache
def parts_of(argument: Any) -> type[BaseModel]:
    """A model of a dataclass's fields without `ctx`; unknown keys are tolerated."""
    hints = get_type_hints(
        argument, localns={"PluginContext": PluginContext, "HookContext": HookContext}, include_extras=True
    )
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(argument):
        if field.name != _CONTEXT:
            fields[field.name] = (hints[field.name], _default_of(field))
    return create_model(argument.__name__, __config__=ConfigDict(frozen=True, extra="ignore"), **fields)


def _default_of(field: dataclasses.Field[Any]) -> Any:  # Any: what create_model takes
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return Field(default_factory=field.default_factory)
    return ...


@cache
def _reader(args: Any) -> TypeAdapter[Any]:  # Any: a type
    return TypeAdapter(create_model("Call", __base__=CallBegun, args=(args, ...)))
