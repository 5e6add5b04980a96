"""Rows as files: JSON Lines or CSV, gzip; the same rows are the same bytes."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from platform_core.capabilities.payments.bills.rows import encoded, guarded

Format = Literal["csv", "jsonl"]
LEVEL: Final = 6
SUFFIXES: Final = {"csv": "csv.gz", "jsonl": "jsonl.gz"}
_LINES: Final = msgspec.json.Encoder()


class FileWriter:
    """One file. Memory: what it takes when compressed, and one page of rows."""

    def __init__(self, form: Format, columns: Sequence[str]) -> None:
        self._form = form
        self._columns = columns
        self._buffer = _Buffer()
        self._gzip = gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=self._buffer, mtime=0)
        self.rows = 0
        if form == "csv":
            self._gzip.write(encoded([columns]))

    def write(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Rows more."""
        self.rows += len(objects)
        if self._form == "csv":
            self._gzip.write(encoded([cell_of(each, column) for column in self._columns] for each in objects))
        else:
            self._gzip.write(_LINES.encode_lines(objects))

    def content(self) -> bytes:
        """The file; the object is used up."""
        self._gzip.close()
        return bytes(self._buffer.content)


class _Buffer:
    """What GzipFile writes to."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, content: bytes) -> int:
        self.content += content
        return len(content)

    def flush(self) -> None:
        """Nothing waits."""


def cell_of(shown: Mapping[str, Any], column: str) -> str:
    """A cell: `amounts.fee_minor` is found inside; None is empty, lists and objects are JSON."""
    value: Any = shown
    for name in column.split("."):
        value = None if value is None else value[name]
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return guarded(value)
        case int():
            return str(value)
        case datetime():
            return value.isoformat()
        case _:
            return _LINES.encode(value).decode()
