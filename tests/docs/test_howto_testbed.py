"""docs/how-to/testbed.md: its commands, typed one after another beside a sandbox of their own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.docs.demo_beside import a_demo
from tests.docs.markdown import ROOT, examples

pytestmark = [pytest.mark.docs, pytest.mark.timeout(240)]
MARK = "by=tests/docs/test_howto_testbed.py"


def test_the_commands_run_in_order(tmp_path: Path) -> None:
    blocks = [example.text for example in examples(ROOT / "docs/how-to/testbed.md") if example.mark == MARK]
    with a_demo(tmp_path, "--no-orders", until="Serving on"):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    heard = [json.loads(line) for line in (tmp_path / "heard.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [each.get("type", "secret") for each in heard] == ["secret", "payment.created", "payment.captured"]
    assert "2 d 0" in done.stdout
    assert "drop_after" in done.stdout
    assert "2 exchanges, every answer as it was." in done.stdout
