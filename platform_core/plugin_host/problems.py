"""What is wrong with a plugin, as the host keeps it: the plugin is left out, and the rest runs on."""

from __future__ import annotations

import inspect
import traceback
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType


class ProblemKind(StrEnum):
    """Why a plugin, or one of its implementations, is not in use."""

    NOT_IMPORTABLE = "not_importable"
    NAMED_TWICE = "named_twice"
    UNKNOWN_HOOK = "unknown_hook"
    COROUTINE = "coroutine"
    HOOK_OPTION = "hook_option"
    ARGUMENTS = "arguments"
    RAISED = "raised"
    BAD_RESULT = "bad_result"
    ID_TAKEN = "id_taken"
    CONTRACT = "contract"
    """Made for another version of the contract."""
    MANIFEST = "manifest"
    """Manifest and code say different things."""
    REFUSED = "refused"
    """pluggy would not take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault of one plugin."""

    plugin_id: str
    kind: ProblemKind
    message: str
    """What happened, what was expected, the next step; English, for the publisher and the operator."""
    hook: str | None = None
    where: str = ""
    """File and line, or the entry point."""


def location_of(place: object) -> str:
    """`file:line` of a function, or of the last frame of a traceback; empty where there is none."""
    if isinstance(place, TracebackType):
        frame = traceback.extract_tb(place)[-1]
        return f"{frame.filename}:{frame.lineno}"
    code = getattr(inspect.unwrap(place) if callable(place) else place, "__code__", None)
    return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"
