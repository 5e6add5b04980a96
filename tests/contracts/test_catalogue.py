"""The catalogue of hooks: each has its page, its fixtures, a starter, and a real plugin that uses it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from platform_core.bootstrap.commands.plugin_author_starters import STARTERS
from platform_core.contracts import catalogue
from platform_core.contracts.manifest_rules import read
from platform_core.contracts.testing import fixtures_of
from tests.docs.markdown import ROOT, anchors

pytestmark = pytest.mark.unit

MANIFESTS = {path.parent.name: path for path in sorted((ROOT / "plugins").glob("*/plugin.toml"))}


@pytest.mark.parametrize("name", sorted(catalogue.hooks()))
def test_every_hook_has_a_page_a_test_and_a_real_plugin(name: str) -> None:
    assert name in anchors(ROOT / "docs" / "reference" / "hooks.md")
    assert fixtures_of(catalogue.hooks()[name])
    assert name in STARTERS
    users = [
        plugin
        for plugin, path in MANIFESTS.items()
        if name in {use.name for use in read(path.read_text(encoding="utf-8")).hooks}
    ]
    tested = [plugin for plugin in users if _names(ROOT / "plugins" / plugin / "tests", "PluginSuite")]
    assert tested, f"{name} is used by {users}, none of which runs the contract kit"


def _names(folder: Path, word: str) -> bool:
    return any(word in path.read_text(encoding="utf-8") for path in folder.glob("test_*.py"))


def test_no_starter_is_for_a_hook_that_is_gone() -> None:
    assert STARTERS.keys() == catalogue.hooks().keys()


def test_finding_all_hooks_loads_nothing_heavy() -> None:
    code = (
        "import sys, json; from platform_core.contracts import catalogue; catalogue.hooks();"
        "print(json.dumps([m for m in ('babel', 'packaging', 'sqlalchemy', 'httpx', 'fastapi', 'pytest')"
        " if m in sys.modules]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == []
