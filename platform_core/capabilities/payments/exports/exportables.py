"""What can be exported: a table by noun.

A folder of payments adds its own with a file `exportable.py` that declares `EXPORTABLES`, a tuple of `Exportable`;
`catalogue()` finds it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import BaseModel

from platform_core.capabilities import payments
from platform_core.kernel.money import AMOUNT_MINOR_MAX

_FILE: Final = "exportable"
TEXT_LENGTH_MAX: Final = 128
Row = Mapping[str, Any]  # a row's columns by name, of the column types
Kind = Literal["text", "moment", "amount"]
_CASTS: Final = {"text": "text", "moment": "timestamptz", "amount": "bigint"}


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition of SQL with `{}` where its value stands, such as `state = {}`."""

    condition: str
    kind: Kind = "text"

    def value(self, given: object) -> object:
        """The value as the driver wants it. ValueError for what it cannot be."""
        if self.kind == "moment":
            moment = datetime.fromisoformat(given) if isinstance(given, str) else None
            if moment is None or moment.tzinfo is None:
                raise ValueError("a moment has an offset")
            return moment
        if self.kind == "amount":
            if type(given) is not int or not 0 <= given <= AMOUNT_MINOR_MAX:
                raise ValueError("an amount is an integer of minor units")
            return given
        if not isinstance(given, str) or not 0 < len(given) <= TEXT_LENGTH_MAX:
            raise ValueError("a text has at least one character")
        return given

    def sql(self, number: int) -> str:
        """The condition on the parameter of this number."""
        return self.condition.format(f"${number}::{_CASTS[self.kind]}")


def created(column: str) -> dict[str, Filter]:
    """`created_from` (with) and `created_to` (without)."""
    return between("created", column)


def between(name: str, column: str) -> dict[str, Filter]:
    """`<name>_from` (with) and `<name>_to` (without)."""
    return {
        f"{name}_from": Filter(f"{column} >= {{}}", "moment"),
        f"{name}_to": Filter(f"{column} < {{}}", "moment"),
    }


def equal(*columns: str, table: str = "t") -> dict[str, Filter]:
    """Columns that equal a text."""
    return {column: Filter(f"{table}.{column} = {{}}") for column in columns}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exportable:
    """One noun. SQL speaks of the noun's table as `t`, whatever it joins.

    `created_at` and `id` are unique together and say the order; `id` has the PostgreSQL type `id_type`. `show` makes
    the object out of a row as its own route shows it, `personal` what is added for those who may see personal fields.
    `columns` are the CSV's: names of `show`'s answer, with dots for what stands inside. `of_stores`: a condition with
    `{}` for the stores of a token that covers some; None: such a token exports nothing of it. `types_by_scope`: for a
    noun of which each row has a `type` with a scope of its own.
    """

    noun: str
    scope: str
    source: str
    select: str
    show: Callable[[Row], dict[str, Any]]
    columns: tuple[str, ...]
    filters: Mapping[str, Filter]
    created_at: str = "t.created_at"
    id: str = "t.id"
    id_type: str = "text"
    merchant: str = "t.merchant_id"
    of_stores: str | None = None
    personal: Callable[[Row], dict[str, Any]] | None = None
    personal_columns: tuple[str, ...] = ()
    types_by_scope: Mapping[str, str] = field(default_factory=dict)


def columns_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The columns of an answer: an object inside has one for each of its fields, a list is one."""
    for name, each in model.model_fields.items():
        inner = each.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from columns_of(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@cache
def catalogue() -> Mapping[str, Exportable]:
    """Every noun by its name. ValueError when two declare one."""
    found: dict[str, Exportable] = {}
    for folder in pkgutil.iter_modules(payments.__path__):
        if not folder.ispkg:
            continue
        package = importlib.import_module(f"{payments.__name__}.{folder.name}")
        if any(module.name == _FILE for module in pkgutil.iter_modules(package.__path__)):
            for one in importlib.import_module(f"{package.__name__}.{_FILE}").EXPORTABLES:
                if found.setdefault(one.noun, one) is not one:
                    raise ValueError(f"exports of {one.noun} are declared twice")
    return MappingProxyType(dict(sorted(found.items())))
