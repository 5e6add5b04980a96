"""All hookspecs of the contract, whichever capability owns them."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Final

from platform_core import contracts
from platform_core.contracts.hooks import CATALOGUE, HookSpec

_NO_HOOKS: Final = re.compile(r"(scopes|rar|testing|versions|manifest|catalogue|inspection)(_[a-z]+)?")
"""Modules that declare none, and are not for a worker to load."""


@cache
def _load() -> None:
    pending = [(list(contracts.__path__), f"{contracts.__name__}.")]
    while pending:
        path, prefix = pending.pop()
        for module in pkgutil.iter_modules(path, prefix):
            if _NO_HOOKS.fullmatch(module.name.removeprefix(f"{contracts.__name__}.")):
                continue
            found = import_module(module.name)
            if module.ispkg:
                pending.append((list(found.__path__), f"{module.name}."))


def hooks() -> Mapping[str, HookSpec]:
    """Every hookspec by name: imports all modules of the contract that may declare one."""
    _load()
    return CATALOGUE
