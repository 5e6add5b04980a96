"""The lines that a manifest's findings name."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from platform_core.contracts.manifest_lines import Path, lines_of

pytestmark = pytest.mark.unit

TEXT = '''# a comment with [brackets] and "quotes"
title = "a # no comment, no ] end"
config = { schema = "x.json", deep.er = [1, 2] }
hooks = [
  { name = "one", fields = ["a", "b"] },  # why
  # [[not]] a table
  { name = "two" },
  # more
  [[1], [2, 3]],
]
long = """
[not.a.table]
key = "1"
"""
raw = \'\'\'
it's ]
\'\'\'
"quoted key" = 1979-05-27T07:32:00Z

[plugin]
id = "x"
name = { zh = "名", en = "n" }

[[egress]]
host = "a"

[[egress]]
host = "b"
[egress.inner]
deep = true
'''


def leaves(value: Any, path: Path = ()) -> list[Path]:  # Any: what TOML holds
    """Every path of a TOML document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(leaf for key, part in inner for leaf in leaves(part, (*path, key)))]


def test_every_value_has_the_line_on_which_it_stands() -> None:
    lines = lines_of(TEXT)
    assert {path: lines[path] for path in sorted(lines, key=str) if path and path[0] in {"hooks", "egress"}} == {
        ("egress",): 24,
        ("egress", 0): 24,
        ("egress", 0, "host"): 25,
        ("egress", 1): 27,
        ("egress", 1, "host"): 28,
        ("egress", 1, "inner"): 29,
        ("egress", 1, "inner", "deep"): 30,
        ("hooks",): 4,
        ("hooks", 0): 5,
        ("hooks", 0, "fields"): 5,
        ("hooks", 0, "fields", 0): 5,
        ("hooks", 0, "fields", 1): 5,
        ("hooks", 0, "name"): 5,
        ("hooks", 1): 7,
        ("hooks", 1, "name"): 7,
        ("hooks", 2): 9,
        ("hooks", 2, 0): 9,
        ("hooks", 2, 0, 0): 9,
        ("hooks", 2, 1): 9,
        ("hooks", 2, 1, 0): 9,
        ("hooks", 2, 1, 1): 9,
    }
    assert (lines[("quoted key",)], lines[("plugin", "name", "en")]) == (18, 22)


def test_no_value_is_missed_and_none_invented() -> None:
    assert set(lines_of(TEXT)) == set(leaves(tomllib.loads(TEXT)))


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "a=1", "a = 1\r\nb = 2\r\n", "a.b.c = {}\nd = []"])
def test_small_texts_are_read_to_their_end(text: str) -> None:
    assert set(lines_of(text)) == set(leaves(tomllib.loads(text)))
