"""Links lead somewhere, and both languages lead to each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, broken_links, links, pages

pytestmark = pytest.mark.docs

ROOMS = ("tutorials", "how-to", "reference", "explanation")
TWINS = (("README.md", "README.zh.md"), ("docs/index.md", "docs/index.zh.md"))


def test_every_relative_link_and_anchor_resolves() -> None:
    assert broken_links() == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One place\n\n## Twice\n\n## Twice\n", encoding="utf-8")
    (tmp_path / "page.md").write_text(
        "[good](other.md#one-place) [also](other.md#twice-1)\n\n[gone](gone.md)\n\n[lost](other.md#twice-2)\n\n"
        '[out](../out.md) ![picture](none.svg)\n\n<img src="none.png">\n\n[plain](http://example.com/)\n',
        encoding="utf-8",
    )
    assert broken_links(tmp_path) == [
        "page.md:3: gone.md: no such file",
        "page.md:5: other.md#twice-2: no such heading",
        "page.md:7: ../out.md: no such file",
        "page.md:7: none.svg: no such file",
        "page.md:9: none.png: no such file",
        "page.md:11: http://example.com/: use https",
    ]


def test_the_index_leads_to_every_page_of_the_four_rooms() -> None:
    reached = _reached_from(ROOT / "docs" / "index.md")
    unreached = [path for room in ROOMS for path in pages(ROOT / "docs" / room) if path.resolve() not in reached]
    assert unreached == []


@pytest.mark.parametrize(("english", "chinese"), TWINS)
def test_languages_lead_to_each_other(english: str, chinese: str) -> None:
    assert (ROOT / chinese).resolve() in _targets(ROOT / english)
    assert (ROOT / english).resolve() in _targets(ROOT / chinese)


def _targets(page: Path) -> set[Path]:
    return {(page.parent / link.target.partition("#")[0]).resolve() for link in links(page) if ":" not in link.target}


def _reached_from(page: Path) -> set[Path]:
    reached: set[Path] = set()
    waiting = [page.resolve()]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            waiting += _targets(page)
    return reached
