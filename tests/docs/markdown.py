"""Reads our Markdown the way the tests need it: links, anchors and fenced examples with their line numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent.parent
NOT_OURS = ("node_modules", "build", "dist")
_HTML_TARGET = re.compile(r"""<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=["']([^"']+)["']""", re.IGNORECASE)
_HTML_ANCHOR = re.compile(r"""<a\b[^>]*?\b(?:id|name)=["']([^"']+)["']""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Link:
    """A link or picture: where it stands and what it names, as written."""

    page: Path
    line: int
    target: str


@dataclass(frozen=True, slots=True)
class Example:
    """A fenced block: its language, what follows the language, and its text."""

    page: Path
    line: int
    language: str
    mark: str
    text: str


def pages(root: Path = ROOT) -> list[Path]:
    """Every Markdown file of the project, sorted."""
    found = root.rglob("*.md")
    return sorted(path for path in found if is_ours(path.relative_to(root)))


def is_ours(path: Path) -> bool:
    """Whether a path below the root belongs to the project: not hidden, not installed, not built."""
    return not any(part.startswith(".") or part in NOT_OURS for part in path.parts)


def links(page: Path) -> Iterator[Link]:
    """All links and pictures of a page, written as Markdown or as HTML."""
    for token in tokens(page):
        for part in (token, *(token.children or ())):
            line = (token.map or [0])[0] + 1
            if part.type == "link_open":
                yield Link(page, line, str(part.attrs["href"]))
            elif part.type == "image":
                yield Link(page, line, str(part.attrs["src"]))
            elif part.type in ("html_block", "html_inline"):
                for target in _HTML_TARGET.findall(part.content):
                    yield Link(page, line, target)


def examples(page: Path) -> Iterator[Example]:
    """All fenced blocks of a page."""
    for token in tokens(page):
        if token.type == "fence":
            language, _, mark = token.info.strip().partition(" ")
            yield Example(page, (token.map or [0])[0] + 1, language, mark.strip(), token.content)


def anchors(page: Path) -> set[str]:
    """The fragments that a page offers: its headings as GitHub spells them, and explicit HTML anchors."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    stream = tokens(page)
    for token, following in zip(stream, [*stream[1:], None], strict=True):
        if token.type == "heading_open" and following is not None:
            slug = slug_of("".join(part.content for part in following.children or ()))
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        for part in (token, *(token.children or ())):
            if part.type in ("html_block", "html_inline"):
                found.update(_HTML_ANCHOR.findall(part.content))
    return found


def slug_of(heading: str) -> str:
    """A heading's fragment as GitHub makes it: lower case, punctuation dropped, blanks to hyphens."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def broken_links(root: Path = ROOT) -> list[str]:
    """One sentence for each relative link below `root` that leads nowhere; other hosts are not asked."""
    faults = []
    for page in pages(root):
        for link in links(page):
            fault = fault_of(link, root=root)
            if fault:
                faults.append(f"{page.relative_to(root)}:{link.line}: {link.target}: {fault}")
    return faults


def fault_of(link: Link, *, root: Path) -> str | None:
    """Why a link leads nowhere, or None."""
    address = urlsplit(link.target)
    if address.scheme or address.netloc:
        local = address.hostname in ("127.0.0.1", "localhost")
        return None if address.scheme == "https" or local or address.scheme == "mailto" else "use https"
    target = (link.page.parent / unquote(address.path)).resolve() if address.path else link.page
    if not target.exists():
        return "no such file"
    if not target.is_relative_to(root):
        return "leaves the project"
    if address.fragment and target.suffix == ".md" and unquote(address.fragment) not in anchors(target):
        return "no such heading"
    return None


def tokens(page: Path) -> list[Token]:
    """The page parsed as CommonMark with tables."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
