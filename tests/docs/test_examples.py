"""Every shell and Python example is run, here or where its mark says.

The word after the language is its mark:
    run         run here, from the top of the checkout, the blocks of a page in order, each in a shell of its own
    make        make targets only; that they exist is checked here, and `.ci/run` or the named test runs them
    by=<test>   run by that test, which must name the page
    of=<file>   an excerpt that must stand in that file word for word
Other languages (json, text, mermaid, ...) are to be read. A transcript (console, sh, shell) is refused: nobody runs it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, Example, examples, pages

pytestmark = pytest.mark.docs

RUNNABLE = ("bash", "python")
REFUSED = ("console", "sh", "shell", "zsh", "shell-session", "py")
MAKE_LINE = re.compile(r"make(?: [A-Z_]+=\S+)* (?P<target>[a-z][a-z-]*)(?: [A-Z_]+=\S+)*(?:\s+#.*)?")
TARGET_LINE = re.compile(r"^(?P<target>[a-z][a-z-]*):", re.MULTILINE)
RUN_HERE = [example for page in pages() for example in examples(page) if example.mark == "run"]


def test_every_example_is_run_somewhere() -> None:
    assert [fault for page in pages() for example in examples(page) for fault in _faults(example, root=ROOT)] == []


@pytest.mark.parametrize("example", RUN_HERE, ids=lambda example: f"{example.page.relative_to(ROOT)}:{example.line}")
def test_example_runs(example: Example) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c"] if example.language == "bash" else [sys.executable, "-c"]
    done = subprocess.run(
        [*command, example.text],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_example_that_nobody_runs_is_found(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("test:\n\ttrue\n", encoding="utf-8")
    (tmp_path / "code.py").write_text("there = 1\n", encoding="utf-8")
    (tmp_path / "test_other.py").write_text("# runs another.md\n", encoding="utf-8")
    page = tmp_path / "page.md"
    blocks = [
        ("bash", "ls"),
        ("console", "$ ls"),
        ("bash make", "make test\nmake tset"),
        ("bash make", "rm -rf ."),
        ("bash by=test_gone.py", "ls"),
        ("bash by=test_other.py", "ls"),
        ("python of=code.py", "there = 1"),
        ("python of=code.py", "elsewhere = 1"),
        ("bash later", "ls"),
        ("json", "{}"),
    ]
    page.write_text("".join(f"```{info}\n{text}\n```\n" for info, text in blocks), encoding="utf-8")
    assert [fault.partition(": ")[2] for example in examples(page) for fault in _faults(example, root=tmp_path)] == [
        "no mark says who runs it",
        "a transcript is run by nobody; write bash with a mark",
        "make tset: no such target",
        "rm -rf .: not a make command",
        "test_gone.py does not exist",
        "test_other.py does not name page.md",
        "not in code.py",
        "no mark says who runs it",
    ]


def _faults(example: Example, *, root: Path) -> list[str]:
    place = f"{example.page.relative_to(root)}:{example.line}"
    if example.language in REFUSED:
        return [f"{place}: a transcript is run by nobody; write bash with a mark"]
    if example.language not in RUNNABLE or example.mark == "run":
        return []
    kind, _, name = example.mark.partition("=")
    if kind == "make":
        return [f"{place}: {fault}" for fault in _make_faults(example, root=root)]
    if kind == "by":
        return [f"{place}: {fault}" for fault in _by_faults(example, test=root / name, root=root)]
    if kind == "of":
        there = (root / name).exists() and example.text.strip() in (root / name).read_text(encoding="utf-8")
        return [] if there else [f"{place}: not in {name}"]
    return [f"{place}: no mark says who runs it"]


def _make_faults(example: Example, *, root: Path) -> list[str]:
    targets = set(TARGET_LINE.findall((root / "Makefile").read_text(encoding="utf-8")))
    faults = []
    for line in filter(None, (line.strip() for line in example.text.splitlines())):
        command = MAKE_LINE.fullmatch(line)
        if command is None:
            faults.append(f"{line}: not a make command")
        elif command["target"] not in targets:
            faults.append(f"{line}: no such target")
    return faults


def _by_faults(example: Example, *, test: Path, root: Path) -> list[str]:
    if not test.exists():
        return [f"{test.relative_to(root)} does not exist"]
    page = example.page.relative_to(root).as_posix()
    named = page in test.read_text(encoding="utf-8")
    return [] if named else [f"{test.relative_to(root)} does not name {page}"]
