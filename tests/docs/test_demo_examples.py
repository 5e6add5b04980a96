"""The shell examples of README.md, README.zh.md and docs/tutorials/first-payment.md, typed beside a running demo."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.demo_beside import a_demo
from tests.docs.markdown import ROOT, examples

MARK = "by=tests/docs/test_demo_examples.py"
CAPTURED_REFUNDED_REFUNDABLE = {
    "README.md": (1250, 0, 1250),
    "README.zh.md": (1250, 0, 1250),
    "docs/tutorials/first-payment.md": (1250, 500, 750),
}

pytestmark = [
    pytest.mark.docs,
    pytest.mark.skipif(
        not (ROOT / "platform_core" / "bootstrap" / "demo.py").exists(),
        reason="the demo is not part of this tree yet",
    ),
]


@pytest.fixture(scope="module")
def beside_the_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `.arsenal/demo.env` of a demo that runs until the tests are over."""
    folder = tmp_path_factory.mktemp("demo")
    with a_demo(folder):
        yield folder


@pytest.mark.parametrize("page", CAPTURED_REFUNDED_REFUNDABLE)
def test_the_page_leads_to_a_captured_payment(beside_the_demo: Path, page: str) -> None:
    blocks = [example.text for example in examples(ROOT / page) if example.mark == MARK]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=beside_the_demo,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    payment = _last_object(done.stdout)
    amounts = payment["amounts"]
    assert payment["state"] == "captured"
    seen = (amounts["captured_minor"], amounts["refunded_minor"], amounts["refundable_minor"])
    assert seen == CAPTURED_REFUNDED_REFUNDABLE[page]


def _last_object(text: str) -> dict[str, Any]:  # Any: JSON
    """The last of several JSON objects and words printed one after another."""
    decoder = json.JSONDecoder()
    last: dict[str, Any] = {}
    place = 0
    while (place := text.find("{", place)) >= 0:
        last, place = decoder.raw_decode(text, place)
    return last
