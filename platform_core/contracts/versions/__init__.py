"""The API's versions, and one file for each breaking change between them.

A file of this package is a `kernel.http.version.BreakingChange`: it declares `version` (the first one with the new
shape) and `covers` (the differences that it explains), and defines `upgrade_request`, `downgrade_answer` and
`downgrade_event`. It is found by itself. A version is served for 12 months at least after its `deprecated_at`.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Final, cast

from platform_core.kernel.http.version import VERSION, BreakingChange, Version, Versions

LIVING: Final = (Version(VERSION),)
"""Every version that is served, oldest first."""


def changes() -> tuple[BreakingChange, ...]:
    """The breaking changes, one a file, by the files' names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(cast("BreakingChange", importlib.import_module(f"{__name__}.{name}")) for name in names)


@cache
def versions() -> Versions:
    """Everything that this release serves. Raises ValueError for a change that nobody needs any more."""
    return Versions(LIVING, changes())
