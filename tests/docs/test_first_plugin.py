"""docs/tutorials/first-plugin.md, word by word: its blocks are what is run, in one shell beside a real demo.

A block in Python or TOML that names its file on its first line is that file; a block in bash is typed; a block of text
shows lines of what the commands before it printed, in order, `...` for whatever is left out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.docs.demo_beside import a_demo
from tests.docs.markdown import ROOT, Example, examples

PAGE = ROOT / "docs" / "tutorials" / "first-plugin.md"
MARK = "by=tests/docs/test_first_plugin.py"
PROMISED_S = 15 * 60

pytestmark = [pytest.mark.docs, pytest.mark.timeout(PROMISED_S)]


@dataclass
class Step:
    """What is typed at once, and the lines that must be seen afterwards."""

    block: Example
    shown: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def beside_the_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, in place of the checkout, with `.arsenal/demo.env` of a demo that runs."""
    folder = tmp_path_factory.mktemp("afternoon") / "checkout"
    folder.mkdir()
    with a_demo(folder):
        yield folder


def steps_of(page: Path) -> list[Step]:
    """The page's blocks in order; those that only `make` runs are the fixture's."""
    found: list[Step] = []
    for block in examples(page):
        if block.language == "text":
            found[-1].shown += block.text.splitlines()
        elif block.mark == MARK or block.language == "toml":
            found.append(Step(block))
    return found


def typed(block: Example) -> str:
    """A block as shell text."""
    if block.language == "bash":
        return block.text
    name = block.text.partition("\n")[0].removeprefix("# ")
    assert re.fullmatch(r"[a-z_]+/[a-z_]+\.(py|toml)", name), f"{block.line}: no file is named"
    assert name.endswith(".toml") or block.language == "python"
    return f"test -f {name}\ncat > {name} <<'END OF FILE'\n{block.text}END OF FILE\n"


def missing(shown: list[str], printed: str) -> list[str]:
    """The shown lines that were not printed in this order."""
    lines = iter(printed.splitlines())
    patterns = [".*".join(map(re.escape, line.split("..."))) for line in shown]
    return [
        line
        for line, pattern in zip(shown, patterns, strict=True)
        if not any(re.fullmatch(pattern, each) for each in lines)
    ]


def test_the_tutorial_leads_to_a_refused_payment(
    beside_the_demo: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    steps = steps_of(PAGE)
    marker = "=== step"
    script = "".join(f"{typed(step.block)}\necho; echo {shlex.quote(marker)} $EPOCHREALTIME\n" for step in steps)
    others = {name: value for name, value in os.environ.items() if not name.startswith("ARSENAL_")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"echo {shlex.quote(marker)} $EPOCHREALTIME\n{script}"],
        cwd=beside_the_demo,
        env={**others, "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PROMISED_S - 60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    first, *printed = re.split(rf"^{marker} ([0-9.]+)$\n?", done.stdout, flags=re.MULTILINE)
    assert first == ""
    moments, outputs = [float(each) for each in printed[::2]], printed[1::2][: len(steps)]
    assert len(outputs) == len(steps) == len(moments) - 1
    for step, output in zip(steps, outputs, strict=True):
        assert missing(step.shown, output) == [], f"{PAGE.name}:{step.block.line}\n{output}"
    with capsys.disabled():
        for step, began, ended in zip(steps, moments, moments[1:], strict=False):
            first_line = step.block.text.partition("\n")[0]
            print(f"{ended - began:7.1f} s  {PAGE.name}:{step.block.line}  {first_line}")  # noqa: T201
        print(f"{moments[-1] - moments[0]:7.1f} s  all commands of the tutorial")  # noqa: T201


def test_every_command_of_the_page_shows_something() -> None:
    """The end of the page is reached, and no refusal on it is only told."""
    shown = "\n".join(line for step in steps_of(PAGE) for line in step.shown)
    told = ("gift-card.large", "Gift cards above 200.00", "payments.denied_by_risk", "IndexError", "back at", "PLG-001")
    assert [words for words in told if words not in shown] == []


def test_a_line_that_was_not_printed_is_found() -> None:
    printed = "one 1\ntwo 2\nthree 3\n"
    assert missing(["one ...", "th...3"], printed) == []
    assert missing(["two 2", "one 1"], printed) == ["one 1"]
    assert missing(["tw"], printed) == ["tw"]
