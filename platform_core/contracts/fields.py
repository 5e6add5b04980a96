"""The shapes of hooks: payloads whose fields carry the scope they need, results, and what both are made of.

A payload is built once, and cut for each plugin to the fields that its manifest asks for and its scopes cover. What the
manifest does not ask for is not sent, and touching it raises `FieldNotSent` with the next step; what it asks for and
the merchant did not grant is None and named in `withheld`.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar, cast, get_args, get_origin

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo

V = TypeVar("V", bound="View")
P = TypeVar("P", bound="Payload")
M = TypeVar("M", bound=BaseModel)

_set_attribute: Final = object.__setattr__  # of models that are frozen
UNKNOWN: Final = "unknown"
"""What a payload's enum shows for a value that this contract does not know."""


class FieldNotSent(AttributeError):
    """A plugin touched a field that its manifest does not ask for."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Marks a payload's field with the scope that covers it, beside the base scope of its hook."""

    scope: str


class _Unsent:
    """Stands for a field that did not come; never seen outside this module."""


_UNSENT: Final = _Unsent()


class View(BaseModel):
    """Part of a payload. Unknown fields are tolerated, so that a newer host may send more."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    _may_be_absent: ClassVar[frozenset[str]] = frozenset()
    """Fields of a twin (`as_sent`) that need not have come."""

    @model_validator(mode="after")
    def _leave_out_what_did_not_come(self) -> Self:
        values = self.__dict__
        for name in self._may_be_absent - self.__pydantic_fields_set__:
            if values[name] is _UNSENT:
                del values[name]
        return self

    def __getattr__(self, name: str) -> Any:  # Any: pydantic's own signature
        """Say what to do about a field that was not sent."""
        if name in type(self).model_fields:
            raise FieldNotSent(
                f"{type(self).__name__}.{name} was not sent: the manifest does not ask for it. Add it to the hook's "
                f"`fields` in plugin.toml, with the scope that covers it."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class Payload(View):
    """What a hook is told."""

    withheld: tuple[str, ...] = ()
    """Paths that the manifest asks for and the merchant's grant does not cover; they are None."""


class Result(BaseModel):
    """What a hook answers. An unknown key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def tolerant(*known: str) -> BeforeValidator:
    """Reads a value outside `known` as `unknown`: enums of payloads grow in minor versions."""
    values = frozenset(known)
    return BeforeValidator(lambda value: UNKNOWN if isinstance(value, str) and value not in values else value)


def frozen_json(value: Any) -> Any:  # Any: JSON
    """JSON that nobody can change: objects as read-only mappings, arrays as tuples. Pure."""
    if isinstance(value, Mapping):
        return types.MappingProxyType({name: frozen_json(inner) for name, inner in value.items()})
    return tuple(frozen_json(inner) for inner in value) if isinstance(value, list | tuple) else value


def thawed_json(value: Any) -> Any:  # Any: JSON
    """The same as dicts and lists, new ones all through. Pure."""
    if isinstance(value, Mapping):
        return {name: thawed_json(inner) for name, inner in value.items()}
    return [thawed_json(inner) for inner in value] if isinstance(value, list | tuple) else value


JsonObject = Annotated[dict[str, Any], AfterValidator(frozen_json), PlainSerializer(thawed_json)]  # Any: JSON
"""JSON of somebody else's making. One payload is shown to several plugins, so that none may change it."""
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""ISO 4217."""
Id = Annotated[str, Field(min_length=1, max_length=64)]
RuleId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""A plugin's own name of a rule, shown to merchants beside its reason."""
Label = Annotated[str, Field(min_length=1, max_length=80)]
Moment = AwareDatetime
"""Aware, UTC."""


class Money(BaseModel):
    """Minor units (fen, cents, yen) of one currency, never a float."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    amount_minor: int
    currency: Currency

    def __str__(self) -> str:
        """For logs; people are shown what the platform formats."""
        return f"{self.amount_minor} {self.currency} minor"


def built(shape: type[M], values: dict[str, Any]) -> M:  # Any: fields of any type
    """A model of values that are known to be right, one for each field; they are the model's own from then on.

    As `model_construct`, which looks for aliases and defaults of every field each time. Validates nothing.
    """
    made = object.__new__(shape)
    _set_attribute(made, "__dict__", values)
    _set_attribute(made, "__pydantic_fields_set__", set(values))
    _set_attribute(made, "__pydantic_extra__", None)
    _set_attribute(made, "__pydantic_private__", None)
    return made


class CountAndSum(View):
    """How many, and how much in all."""

    count: int
    sum: Money


class MemberView(View):
    """The payer as a member."""

    member_id: Id
    level: str
    points: int
    joined_at: Moment
    phone: Annotated[str | None, Needs("members.contact:read")] = None
    name: Annotated[str | None, Needs("members.contact:read")] = None


@cache
def paths_of(shape: type[View]) -> Mapping[str, frozenset[str]]:
    """Every path that a manifest may list for a payload, with the scopes it needs beside the hook's base scope.

    A path is a field, or `field.field` for the fields of a single nested view; the items of a tuple come whole. A view
    that is asked for whole brings the fields that need no scope of their own; the others are asked for by their paths.
    """
    found: dict[str, frozenset[str]] = {}
    for name, info in shape.model_fields.items():
        if name == "withheld":
            continue
        scopes = _scopes(info)
        found[name] = scopes
        nested = _view_in(info)
        if nested is not None:
            found |= {f"{name}.{inner}": scopes | needed for inner, needed in paths_of(nested).items()}
    return types.MappingProxyType(found)


def _scopes(info: FieldInfo) -> frozenset[str]:
    return frozenset(mark.scope for mark in info.metadata if isinstance(mark, Needs))


def _view_in(info: FieldInfo) -> type[View] | None:
    """The view that a field holds, alone or as `View | None`."""
    for part in (info.annotation, *get_args(info.annotation)) if get_origin(info.annotation) is not tuple else ():
        if isinstance(part, type) and issubclass(part, View):
            return part
    return None


def _plain(view: type[View]) -> set[str]:
    """What comes with a view that is asked for whole: the fields that need no scope of their own."""
    return {name for name, scopes in paths_of(view).items() if not scopes and "." not in name}


@cache
def as_sent(shape: type[V]) -> type[V]:
    """A twin of a payload's type that validates whatever part of it came, and knows what did not.

    What it makes is an instance of `shape`, in which fields that did not come are absent.
    """
    fields: dict[str, Any] = {}  # Any: what create_model takes
    for name, info in shape.model_fields.items():
        if name == "withheld":
            continue
        nested = _view_in(info)
        shown = info.annotation if nested is None else as_sent(nested)
        marked = Annotated[(shown, *info.metadata)] if info.metadata else shown
        fields[name] = (marked | None, Field(default=_UNSENT))  # type: ignore[operator]  # None: withheld
    twin = create_model(shape.__name__, __base__=shape, __module__=shape.__module__, **fields)
    twin._may_be_absent = frozenset(fields)
    return twin


class Cut:
    """What one plugin gets of one payload: made once for each manifest and grant, applied to every call."""

    __slots__ = ("_absent", "_kept", "_nested", "_twin", "withheld")

    def __init__(
        self, shape: type[Payload], *, fields: Iterable[str], base: str | None, granted: Iterable[str]
    ) -> None:
        """`fields` as the manifest lists them; `base` is the hook's scope. ValueError for a path that is not there."""
        known, have = paths_of(shape), frozenset(granted)
        asked = tuple(fields)
        if wrong := [path for path in asked if path not in known]:
            raise ValueError(f"{shape.__name__} has no {', '.join(wrong)}; it has {', '.join(known)}")
        covered = base is None or base in have
        missing = frozenset(path for path in asked if not (covered and known[path] <= have))
        heads = {path.partition(".")[0] for path in missing}
        closed = frozenset(head for head in heads if not (covered and known[head] <= have))
        self._set(shape, asked=asked, missing=missing, closed=closed)

    def _set(self, shape: type[View], *, asked: Iterable[str], missing: frozenset[str], closed: frozenset[str]) -> None:
        """What of a view is kept, what is None, and what is cut in its turn."""
        whole = {path for path in asked if "." not in path}
        parts: dict[str, set[str]] = {}
        for path in asked:
            head, _, rest = path.partition(".")
            if rest:
                parts.setdefault(head, set()).add(rest)
        self.withheld = tuple(sorted(missing))
        self._twin = as_sent(shape)
        self._absent = tuple(sorted({head for head in whole if head in missing} | closed))
        self._nested: dict[str, Cut] = {}
        for head in (whole | parts.keys()) - set(self._absent):
            view = _view_in(shape.model_fields[head])
            if view is not None:
                inner = parts.get(head, set()) | (_plain(view) if head in whole else set())
                lost = frozenset(p.removeprefix(f"{head}.") for p in missing if p.startswith(f"{head}."))
                cut = Cut.__new__(Cut)
                cut._set(view, asked=inner, missing=lost, closed=frozenset())
                self._nested[head] = cut
        self._kept = tuple(sorted((whole | parts.keys()) - set(self._absent) - self._nested.keys()))

    def apply(self, payload: P) -> P:
        """The payload with nothing else in it. Pure; validates nothing."""
        trimmed = self._apply(payload)
        trimmed.__dict__["withheld"] = self.withheld
        return cast("P", trimmed)

    def _apply(self, view: View) -> View:
        values = view.__dict__
        kept: dict[str, Any] = {name: values[name] for name in self._kept}  # Any: fields of any type
        for name in self._absent:
            kept[name] = None
        for name, cut in self._nested.items():
            inner = values[name]
            kept[name] = None if inner is None else cut._apply(inner)
        made: View = built(self._twin, kept)
        return made
