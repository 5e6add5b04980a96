"""On which line of a TOML text each value stands, which `tomllib` does not tell.

Reads only texts that `tomllib` has accepted, so nothing is checked twice; strings are skipped, not unescaped. The
grammar is TOML 1.0.0 (toml.io/en/v1.0.0, read 2026-11-22).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Final

Path = tuple[str | int, ...]
"""Keys and positions from the top, such as `("hooks", 0, "fields")`."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL)
_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SCALAR: Final = re.compile(r"[^,\]}#\r\n]+")


def lines_of(text: str) -> Mapping[Path, int]:
    """The line, counted from 1, of every table, key and array item of a valid TOML text."""
    return _Scan(text).run()


class _Scan:
    """One pass over a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._found: dict[Path, int] = {(): 1}
        self._counts: dict[Path, int] = {}

    def run(self) -> Mapping[Path, int]:
        """Go through all tables and keys."""
        table: Path = ()
        self._blank()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._blank()
        return self._found

    def _header(self) -> Path:
        """`[a.b]` or `[[a.b]]`; a part that is an array of tables means its last one."""
        line = self._line()
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        keys = self._keys()
        self._at += 2 if is_array else 1
        path: Path = ()
        for place, key in enumerate(keys):
            path = (*path, key)
            is_last = place == len(keys) - 1
            if is_last and is_array:
                self._counts[path] = self._counts.get(path, -1) + 1
            self._found.setdefault(path, line)
            if path in self._counts:
                path = (*path, self._counts[path])
                self._found.setdefault(path, line)
        return path

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for key in self._keys():
            path = (*path, key)
            self._found.setdefault(path, line)
        self._at += 1  # the sign of equality
        self._value(path)

    def _keys(self) -> list[str]:
        """A dotted key; ends before `=` or `]`."""
        keys = [self._key()]
        while self._spaced().startswith(".", self._at):
            self._at += 1
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        self._spaced()
        quoted = _STRING.match(self._text, self._at)
        if quoted is not None:
            self._at = quoted.end()
            value: str = tomllib.loads(f"key = {quoted[0]}")["key"]
            return value
        bare = _BARE.match(self._text, self._at)
        assert bare is not None, "tomllib has accepted the text"
        self._at = bare.end()
        return bare[0]

    def _value(self, path: Path) -> None:
        self._blank()
        head = self._text[self._at]
        if head in "\"'":
            quoted = _STRING.match(self._text, self._at)
            assert quoted is not None, "tomllib has accepted the text"
            self._at = quoted.end()
        elif head == "[":
            self._array(path)
        elif head == "{":
            self._inline(path)
        else:
            scalar = _SCALAR.match(self._text, self._at)
            assert scalar is not None, "tomllib has accepted the text"
            self._at = scalar.end()

    def _array(self, path: Path) -> None:
        self._at += 1
        place = 0
        while not self._is_at_end("]"):
            self._found.setdefault((*path, place), self._line())
            self._value((*path, place))
            place += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        while not self._is_at_end("}"):
            self._pair(path)

    def _is_at_end(self, end: str) -> bool:
        """Step over one separator, and over the end if it comes next."""
        self._blank()
        if self._text[self._at] == ",":
            self._at += 1
            self._blank()
        is_end = self._text[self._at] == end
        self._at += is_end
        return is_end

    def _blank(self) -> None:
        blank = _BLANK.match(self._text, self._at)
        self._at = self._at if blank is None else blank.end()

    def _spaced(self) -> str:
        while self._text[self._at] in " \t":
            self._at += 1
        return self._text

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1
