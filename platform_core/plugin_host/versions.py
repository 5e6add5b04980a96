"""SemVer, as far as releases are ordered by it (semver.org 2.0.0 section 11, read 2026-11-22)."""

from __future__ import annotations

from collections.abc import Iterable

from platform_core.plugin_host.repository import Record

Precedence = tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]


def precedence(version: str) -> Precedence:
    """What orders versions: a pre-release comes before its release; numbers come before words."""
    core, _, before = version.partition("-")
    major, minor, patch = (int(part) for part in core.split("."))
    identifiers = tuple(
        (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in before.split(".") if before
    )
    return (major, minor, patch), not before, identifiers


def newest(rows: Iterable[Record], *, version: str | None = None) -> Record | None:
    """The highest version among releases, published ones before others; with `version` just that one."""
    found = [row for row in rows if version is None or row.version == version]
    return max(found, key=lambda row: (row.state == "published", precedence(row.version)), default=None)
