"""Scopes: what an app may be allowed to do, in the words that its consent page shows. One file per capability.

A file of this package declares `SCOPES`, a tuple of `Scope`. `catalogue()` finds the files by itself, so a new
capability adds its file and edits nothing here.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

from platform_core.kernel.i18n import Text

MARKS: Final = "MSPITO"
_NAME: Final = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*)?(:[a-z]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scope:
    """One permission. `name` reads `<resource>[.<part>]:<verb>` and is never changed once released.

    `marks`: M metered by limits, S needs a fresh second factor, P personal data, I used without acting for a merchant,
    T test mode only, O held by people and never by an app.
    """

    name: str
    text: Text
    marks: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for a name or a mark that does not exist."""
        if _NAME.fullmatch(self.name) is None:
            raise ValueError(f"a scope reads resource[.part]:verb, not {self.name!r}")
        if set(self.marks) - set(MARKS):
            raise ValueError(f"{self.name}: marks are out of {MARKS}, not {self.marks!r}")

    @property
    def is_metered(self) -> bool:
        """Whether a grant of it carries limits."""
        return "M" in self.marks

    @property
    def needs_step_up(self) -> bool:
        """Whether giving it needs a fresh second factor."""
        return "S" in self.marks

    @property
    def is_personal(self) -> bool:
        """Whether it shows or changes personal data."""
        return "P" in self.marks

    @property
    def is_for_app_alone(self) -> bool:
        """Whether an app may use it without acting for a merchant."""
        return self.is_for_apps and not self.needs_merchant

    @property
    def needs_merchant(self) -> bool:
        """Whether whoever uses it acts for a merchant."""
        return "I" not in self.marks

    @property
    def is_test_only(self) -> bool:
        """Whether it exists in test mode alone."""
        return "T" in self.marks

    @property
    def is_for_apps(self) -> bool:
        """Whether an app can be given it at all."""
        return "O" not in self.marks


@cache
def catalogue() -> Mapping[str, Scope]:
    """Every declared scope by its name, sorted. Raises ValueError when two files declare one name."""
    found: dict[str, Scope] = {}
    for module in pkgutil.iter_modules(__path__):
        for scope in importlib.import_module(f"{__name__}.{module.name}").SCOPES:
            if found.setdefault(scope.name, scope) is not scope:
                raise ValueError(f"the scope {scope.name} is declared twice")
    return MappingProxyType(dict(sorted(found.items())))
