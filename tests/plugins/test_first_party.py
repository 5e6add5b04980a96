"""Our own plugins keep the rules that we ask of others, and are packed the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_core.bootstrap.commands.plugin_author_check import RULES, check
from platform_core.bootstrap.commands.plugin_author_pack import pack
from platform_core.bootstrap.commands.plugin_author_project import find_project
from platform_core.bootstrap.terminal import CliFailure

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = (
    "crm_sync",
    "full_reduction",
    "meal_card",
    "receipt_classic",
    "risk_velocity",
    "smart_routing",
    "sms",
)
READING = frozenset(RULES) - {"REV-011", "REV-012", "REV-013", "REV-014", "REV-015"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_fails_no_rule_that_reads_it(name: str) -> None:
    found = check(find_project(ROOT / "plugins" / name), rules=READING)
    assert [each for each in found if each.outcome == "fail"] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_packed_to_the_same_bytes(name: str) -> None:
    project = find_project(ROOT / "plugins" / name)
    if project.requirements():
        with pytest.raises(CliFailure, match=r"segno.* is needed.*pip download --only-binary :all:"):
            pack(project)
        return
    first = pack(project)
    assert first.content == pack(project).content
    assert list(first.wheels) == [f"{name}-1.0.0-py3-none-any.whl"]


def test_every_plugin_is_an_example_or_of_the_first_two() -> None:
    there = {path.parent.name for path in (ROOT / "plugins").glob("*/plugin.toml")}
    assert there == {*EXAMPLES, "cash", "simulated_acquirer"}
