"""What calls of plugins leave behind rides in the order's own plan; when there is no such plan, their account stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from platform_core.capabilities.payments.screening import Plugins
from platform_core.kernel.commit import PlanRefused
from platform_core.kernel.commit.errors import COMMIT_UNKNOWN
from platform_core.kernel.errors import PlatformError


@contextmanager
def forsaken_unless_written(plugins: Plugins | None, parts: list[object]) -> Iterator[None]:
    """A block that commits `parts` within a plan, and clears the list when it has.

    What is left in the list at the end never was in a plan, or its plan was refused: audit rows among it are kept, the
    rest vanishes. Where nobody knows what became of the plan nothing is done: the rows may be in.
    """
    try:
        yield
    except (PlanRefused, PlatformError) as error:
        if not (isinstance(error, PlatformError) and error.declared is COMMIT_UNKNOWN):
            _forsake(plugins, parts)
        raise
    _forsake(plugins, parts)


def _forsake(plugins: Plugins | None, parts: list[object]) -> None:
    if plugins is not None and parts:
        plugins.forsake(parts)
        parts.clear()
