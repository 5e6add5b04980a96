"""The generated pages say what the code says, and every declared thing has an entry."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from platform_core.kernel.settings import Settings, variable_of
from tests.docs.markdown import ROOT, anchors, slug_of

pytestmark = pytest.mark.docs

GENERATOR = ROOT / "docs" / "generate.py"
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """docs/generate.py as a module; docs/ is no package."""
    spec = importlib.util.spec_from_file_location("docs_generate", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_no_generated_page_is_stale(generator: ModuleType) -> None:
    assert generator.stale_pages() == []


def test_a_stale_and_a_missing_page_are_found(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "REFERENCE", tmp_path)
    producible = [page for page in generator.PAGES if generator.is_producible(page)]
    first, *others = producible
    first.path.write_text("what it said last year\n", encoding="utf-8")
    assert generator.stale_pages() == [
        f"{first.name} is stale. Run: make docs",
        *[f"{page.name} is missing. Run: make docs" for page in others],
    ]


def test_a_page_of_something_gone_is_found(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "REFERENCE", tmp_path)
    orphan = generator.Page("orphan.md", "platform_core.no_such_thing", lambda: "")
    monkeypatch.setattr(generator, "PAGES", (orphan,))
    orphan.path.write_text("left behind\n", encoding="utf-8")
    assert generator.stale_pages() == [
        "orphan.md describes platform_core.no_such_thing, which is gone. Remove the page and its row."
    ]


def test_no_page_says_it_is_generated_when_nothing_writes_it(generator: ModuleType) -> None:
    notice = generator.NOTICE.partition("{")[0]
    claiming = {path.name for path in REFERENCE.glob("*.md") if notice in path.read_text(encoding="utf-8")}
    assert claiming == {page.name for page in generator.PAGES if page.path.exists() and page.path.suffix == ".md"}


def test_every_error_code_has_an_entry(generator: ModuleType) -> None:
    offered = anchors(REFERENCE / "errors.md")
    assert [code for code in generator.declared_errors() if slug_of(code) not in offered] == []


def test_every_setting_has_an_entry() -> None:
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    assert [name for name in Settings.model_fields if f"`{variable_of(name)}`" not in page] == []


def test_a_page_that_would_break_callers_is_not_written(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "REFERENCE", tmp_path)
    promised = json.loads((REFERENCE / "openapi.json").read_text(encoding="utf-8"))
    promised["components"]["schemas"]["StoreRead"]["properties"]["phone"] = {"type": "string"}
    before = json.dumps(promised)
    (tmp_path / "openapi.json").write_text(before, encoding="utf-8")
    assert generator.main([]) == 1
    assert "stores.get: 200/phone is gone" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["openapi.json"]
    assert (tmp_path / "openapi.json").read_text(encoding="utf-8") == before
    assert generator.main(["--check"]) == 1
    assert "openapi.json breaks callers: stores.get: 200/phone is gone" in capsys.readouterr().out
    assert generator.main(["--accept-breaking"]) == 0
    assert generator.main(["--check"]) == 0
