"""No act is accounted for on trust: every kind of audit row that the source writes is named by a test of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def kinds_in(source: str) -> Iterator[str]:
    """The kinds that are written as constants."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Audit" and node.args:
            kind = node.args[0]
            if isinstance(kind, ast.Constant) and isinstance(kind.value, str):
                yield kind.value


def test_every_kind_of_audit_row_is_named_by_a_test() -> None:
    paths = (ROOT / "platform_core").rglob("*.py")
    written = {kind for path in paths for kind in kinds_in(path.read_text(encoding="utf-8"))}
    assert len(written) > 30, "the source was read"
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    assert sorted(kind for kind in written if f'"{kind}"' not in tests and f"'{kind}'" not in tests) == []
