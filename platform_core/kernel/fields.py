"""How a validator of a field refuses a value: with a declared error, so that the answer speaks both languages."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_core import PydanticCustomError

from platform_core.kernel.errors import ErrorCode


def field_error(declared: ErrorCode, values: Mapping[str, object] | None = None) -> PydanticCustomError:
    """What a pydantic validator raises: `raise field_error(CURRENCY_UNKNOWN)`. ValueError unless the values are those
    of the texts.

    A plain ValueError would only reach the caller as `kernel.field_invalid`, without words of its own.
    """
    fault = declared.fault("", values or {})
    words = fault.detail("en").replace("{", "{{").replace("}", "}}")
    context = dict(fault.values)
    return PydanticCustomError(declared.code, words, context)
