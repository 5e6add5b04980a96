"""Bytes in payloads and results: beside the JSON, never inside it.

A field annotated `Blob` is plain bytes to plugin and host. Between processes its place in the JSON holds the indexes of
the blobs that make it up, such as `[0, 1]`; the blobs themselves follow the JSON. `dump` and `load` do both halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar

from pydantic import BeforeValidator, PlainSerializer, SerializationInfo, TypeAdapter, ValidationInfo

T = TypeVar("T")
BLOB_BYTES_MAX: Final = 256 * 1024
"""Of one blob; longer bytes are cut into several."""


def dump(adapter: TypeAdapter[T], value: T) -> tuple[bytes, tuple[bytes, ...]]:
    """A value as JSON, and the blobs that belong to it."""
    blobs: list[bytes] = []
    return adapter.dump_json(value, context={"blobs": blobs}), tuple(blobs)


def load(adapter: TypeAdapter[T], json: bytes, blobs: Sequence[bytes]) -> T:
    """The value back; unknown keys and loose types are refused. Raises pydantic's ValidationError."""
    return adapter.validate_json(json, strict=True, extra="forbid", context={"blobs": blobs})


def _read(value: Any, info: ValidationInfo) -> Any:  # Any: whatever stood there; `bytes` judges what is returned
    if info.mode != "json" or not isinstance(value, list):
        return value
    blobs: Sequence[bytes] = (info.context or {}).get("blobs", ())
    if not all(type(index) is int and 0 <= index < len(blobs) for index in value):
        raise ValueError("names a blob that did not come")
    return b"".join(blobs[index] for index in value)


def _write(value: bytes, info: SerializationInfo) -> Any:  # Any: indexes, or text where nothing carries blobs
    blobs: list[bytes] | None = (info.context or {}).get("blobs")
    if blobs is None:
        return value.decode()
    first = len(blobs)
    blobs.extend(value[start : start + BLOB_BYTES_MAX] for start in range(0, len(value), BLOB_BYTES_MAX))
    return list(range(first, len(blobs)))


Blob = Annotated[bytes, BeforeValidator(_read), PlainSerializer(_write, when_used="json")]
"""Bytes that travel beside the JSON, at most 2 MiB in all."""
