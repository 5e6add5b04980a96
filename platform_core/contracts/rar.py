"""Rich authorization details (RFC 9396): what an app may do, up to how much, as strict models and in words.

A capability declares its types beside its scopes, as `DETAIL_TYPES` of `contracts/scopes/<capability>.py`; this module
finds them by itself. Amounts are minor units of their currency; nothing here knows how a limit is metered.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from platform_core.contracts import scopes
from platform_core.kernel.i18n import Language, Text
from platform_core.kernel.money import CurrencyCode, Money

DETAILS_MAX: Final = 20
LIMITS_MAX: Final = 12
AMOUNT_MAX: Final = 10**13  # of a limit: a month's sum may pass what one payment may be

Period = Literal["request", "day", "week", "month", "grant"]
"""What a limit is counted over. Weeks begin on Monday; all run in the merchant's time zone; `grant`: its whole life."""
Measure = Literal["amount", "quantity", "points", "face_amount", "receivers"]
"""What is counted; the amounts have a currency."""

PERIODS: Final[tuple[Period, ...]] = get_args(Period)
_NAME: Final = re.compile(r"[a-z][a-z_]{1,40}", re.ASCII)
_PERIOD_WORDS: Final[Mapping[Period, Text]] = {
    "request": Text(en="{what} at a time", zh="每次不超过 {what}"),
    "day": Text(en="{what} a day", zh="每日不超过 {what}"),
    "week": Text(en="{what} a week", zh="每周不超过 {what}"),
    "month": Text(en="{what} a month", zh="每月不超过 {what}"),
    "grant": Text(en="{what} in all", zh="累计不超过 {what}"),
}
_POINTS: Final = Text(en="{count} points", zh="{count} 积分")
_RECEIVERS: Final = Text(en="{count} receivers", zh="{count} 个接收方")
_FACE: Final = Text(en="{amount} of face value", zh="面值 {amount}")
_SENTENCE: Final = Text(en="{act}: up to {limits}{where}.", zh="{act}：{limits}{where}。")
_UNLIMITED: Final = Text(en="{act}{where}.", zh="{act}{where}。")
_STORES: Final = Text(en=", in {count} chosen store(s)", zh="，仅限 {count} 家指定门店")


@dataclass(frozen=True, slots=True)
class DetailType:
    """One type of authorization detail. `scopes`: those that it limits. `text`: the act; `counted`: what is counted."""

    name: str
    scopes: tuple[str, ...]
    measures: tuple[Measure, ...]
    actions: tuple[str, ...]
    text: Text
    counted: Text

    def __post_init__(self) -> None:
        """Raise ValueError for a name, measure or scope that cannot be."""
        if _NAME.fullmatch(self.name) is None or not self.scopes or not self.actions:
            raise ValueError(f"a detail type has a name in snake case, scopes and actions: {self!r}")
        if not self.measures or not set(self.measures) <= set(get_args(Measure)):
            raise ValueError(f"{self.name}: measures are some of {get_args(Measure)}, not {self.measures}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_Whole = Annotated[int, Field(ge=1, le=AMOUNT_MAX)]


class Limit(_Strict):
    """At most this much of one measure per period. Exactly one measure is named; amounts name their currency."""

    per: Period
    amount_minor: _Whole | None = None
    face_amount_minor: _Whole | None = None
    currency: CurrencyCode | None = None
    quantity: _Whole | None = None
    points: _Whole | None = None
    receivers: _Whole | None = None

    @model_validator(mode="after")
    def _names_one_measure(self) -> Self:
        given = [name for name in _FIELDS.values() if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("a limit names exactly one measure")
        if given[0].endswith("_minor") != (self.currency is not None):
            raise ValueError("a limit of an amount, and no other, names its currency")
        return self

    @property
    def measure(self) -> Measure:
        """What is counted."""
        return next(measure for measure, name in _FIELDS.items() if getattr(self, name) is not None)

    @property
    def value(self) -> int:
        """The most that is allowed; minor units for amounts."""
        value: int = getattr(self, _FIELDS[self.measure])
        return value

    @property
    def key(self) -> LimitKey:
        """What makes two limits the same one with perhaps another value."""
        return LimitKey(self.per, self.measure, self.currency)

    def with_value(self, value: int) -> Limit:
        """The same limit of another height. Raises ValueError below 1 or above what a limit may be."""
        return Limit.model_validate({**self.model_dump(exclude_none=True), _FIELDS[self.measure]: value})

    def say(self, language: Language, counted: Text) -> str:
        """`CN¥500.00 a day`."""
        return _PERIOD_WORDS[self.per].say(language, {"what": say_value(self, self.value, language, counted)})


_FIELDS: Final[Mapping[Measure, str]] = {
    "amount": "amount_minor",
    "face_amount": "face_amount_minor",
    "quantity": "quantity",
    "points": "points",
    "receivers": "receivers",
}


@dataclass(frozen=True, slots=True)
class LimitKey:
    """Period, measure and currency of a limit."""

    per: Period
    measure: Measure
    currency: str | None

    @property
    def unit(self) -> str:
        """The ledger's unit in which it is metered, apart from money."""
        if self.currency is not None:
            return f"limit:{self.currency}"
        return "limit:count" if self.measure == "quantity" else f"limit:{self.measure}"


def say_value(limit: Limit, value: int, language: Language, counted: Text) -> str:
    """A value of a limit in words: money by its currency, counts with what is counted."""
    if limit.currency is not None:
        amount = Money(value, limit.currency).format(language)
        return amount if limit.measure == "amount" else _FACE.say(language, {"amount": amount})
    if limit.measure == "points":
        return _POINTS.say(language, {"count": f"{value:,}"})
    if limit.measure == "receivers":
        return _RECEIVERS.say(language, {"count": f"{value:,}"})
    return f"{value:,} {counted.say(language)}"


_Store = Annotated[str, StringConstraints(pattern=r"^sto_[0-9a-z]{26}$")]
_Location = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]{1,200}$")]


class Detail(_Strict):
    """One element of `authorization_details`. A list left out means all; `stores` within those of the grant."""

    type: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{1,40}$")]
    actions: Annotated[tuple[str, ...], Field(min_length=1, max_length=8, strict=False)] | None = None
    locations: Annotated[tuple[_Location, ...], Field(min_length=1, max_length=4, strict=False)] | None = None
    stores: Annotated[tuple[_Store, ...], Field(min_length=1, max_length=200, strict=False)] | None = None
    limits: Annotated[tuple[Limit, ...], Field(max_length=LIMITS_MAX, strict=False)] = ()

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        known = detail_types().get(self.type)
        if known is None:
            raise ValueError("the type is not known")
        if self.actions is not None and not set(self.actions) <= set(known.actions):
            raise ValueError("an action is not one of the type's")
        keys = [limit.key for limit in self.limits]
        if len(set(keys)) != len(keys):
            raise ValueError("two limits count the same")
        if not {key.measure for key in keys} <= set(known.measures):
            raise ValueError("the type does not have a measure")
        for chosen in (self.actions, self.locations, self.stores):
            if chosen is not None and len(set(chosen)) != len(chosen):
                raise ValueError("a list names something twice")
        return self

    @property
    def kind(self) -> DetailType:
        """The declaration of its type."""
        return detail_types()[self.type]

    @property
    def shape(self) -> tuple[object, ...]:
        """What it is about, whatever its limits: two of one shape limit the same acts."""
        return (self.type, *(None if c is None else frozenset(c) for c in (self.actions, self.locations, self.stores)))

    def limit(self, key: LimitKey) -> Limit | None:
        """Its limit of that kind."""
        return next((limit for limit in self.limits if limit.key == key), None)

    def say(self, language: Language) -> str:
        """The detail in one sentence."""
        act = self.kind.text.say(language)
        where = "" if self.stores is None else _STORES.say(language, {"count": len(self.stores)})
        if not self.limits:
            return _UNLIMITED.say(language, {"act": act, "where": where})
        limits = ("，" if language == "zh" else ", ").join(
            limit.say(language, self.kind.counted) for limit in self.limits
        )
        return _SENTENCE.say(language, {"act": act, "limits": limits, "where": where})


@cache
def detail_types() -> Mapping[str, DetailType]:
    """Every declared type by its name, sorted. Raises ValueError when two files declare one name."""
    found: dict[str, DetailType] = {}
    for declared in _declared():
        if found.setdefault(declared.name, declared) is not declared:
            raise ValueError(f"the detail type {declared.name} is declared twice")
    return MappingProxyType(dict(sorted(found.items())))


@cache
def type_of_scope() -> Mapping[str, DetailType]:
    """The type that limits each metered scope."""
    return MappingProxyType({scope: kind for kind in detail_types().values() for scope in kind.scopes})


def _declared() -> Iterator[DetailType]:
    for module in pkgutil.iter_modules(scopes.__path__):
        yield from getattr(importlib.import_module(f"{scopes.__name__}.{module.name}"), "DETAIL_TYPES", ())


def check_catalogue() -> None:
    """What must hold of scopes and types before a process serves. Raises ValueError naming what is wrong.

    Each scope and type has its words in Chinese and in English; exactly the metered scopes have one type that limits
    them.
    """
    known = scopes.catalogue()
    for scope in known.values():
        _check_words(scope.name, scope.text)
    for kind in detail_types().values():
        _check_words(kind.name, kind.text)
        for name in kind.scopes:
            if name not in known or not known[name].is_metered:
                raise ValueError(f"{kind.name} limits {name}, which is no metered scope")
    limited = [name for kind in detail_types().values() for name in kind.scopes]
    for scope in known.values():
        if scope.is_metered and limited.count(scope.name) != 1:
            raise ValueError(f"the metered scope {scope.name} has {limited.count(scope.name)} types that limit it")


def _check_words(name: str, text: Text) -> None:
    if not text.en.isascii() or not any("\u4e00" <= letter <= "\u9fff" for letter in text.zh):
        raise ValueError(f"{name} wants its words in English and in Chinese")
