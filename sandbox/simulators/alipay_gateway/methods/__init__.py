"""All methods by name. A method is a row in the table `METHODS` of its family's module; a family is a module here."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any

from sandbox.simulators.alipay_gateway.calls import Method
from sandbox.simulators.alipay_gateway.protocol import METHOD_NAME


@cache
def catalogue() -> Mapping[str, Method[Any]]:
    """Every row by its name. ValueError for a name that the clients cannot read, or one in two tables."""
    found: dict[str, Method[Any]] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        for row in getattr(import_module(f"{__name__}.{module.name}"), "METHODS", ()):
            if METHOD_NAME.fullmatch(row.name) is None:
                raise ValueError(f"{row.name}: three to six words of small letters, with points between")
            if row.name in found:
                raise ValueError(f"{row.name} stands in two tables")
            if (row.translate is None) != bool(row.waits_for) or (row.translate is None) != (row.asks is None):
                raise ValueError(f"{row.name}: a row has fields and a translator, or says what it waits for")
            found[row.name] = row
    return MappingProxyType(found)
