"""Files and functions stay small enough to read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("platform_core", "plugins", "capability_packs", "sandbox", "tests", "benchmarks", "docs", "requirements")
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70


def test_no_file_and_no_function_is_too_long() -> None:
    assert [fault for path in sources() for fault in too_long(path)] == []


def test_a_long_file_and_a_long_function_are_found(tmp_path: Path) -> None:
    body = "    pass\n" * (FUNCTION_LINES_MAX - 1)
    path = tmp_path / "long.py"
    path.write_text(f"def fits():\n{body}\n\nasync def spills():\n{body}    pass\n" + "\n" * 500, encoding="utf-8")
    assert list(too_long(path)) == [f"{path}: 643 lines", f"{path}:73 spills: 71 lines"]


def sources() -> Iterator[Path]:
    """Every Python file of ours."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(part.startswith(".") or part == "node_modules" for part in path.relative_to(ROOT).parts):
                yield path


def too_long(path: Path) -> Iterator[str]:
    """What about a file is longer than we allow ourselves."""
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{path}: {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{path}:{node.lineno} {node.name}: {length} lines"
