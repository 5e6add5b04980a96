"""Versions of the API: dates, each breaking change a file of its own, services that know the newest shape only.

A request of an older version is upgraded before it is validated, its answer downgraded on the way out, and an event
downgraded to the version that its webhook endpoint was registered with. Dates and changes stand in
`contracts.versions`; `Deprecation` is RFC 9745, `Sunset` RFC 8594 (both read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from itertools import pairwise
from typing import Any, Final, Protocol

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

VERSION: Final = "2026-11-22"
"""The newest version of the API."""

VERSION_UNKNOWN: Final = declare(
    "kernel.version_unknown",
    status=400,
    title=Text(en="Unknown API version", zh="未知的 API 版本"),
    detail=Text(en="Arsenal-Version names no version of this API.", zh="Arsenal-Version 不是本 API 的有效版本。"),
    hint=Text(en="Use one of: {versions}.", zh="请使用以下版本之一：{versions}。"),
)

Json = Any  # one JSON value
Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Version:
    """One version that is served. Both moments are aware; a version without them is not on its way out."""

    date: str
    deprecated_at: datetime | None = None
    sunset_at: datetime | None = None


class BreakingChange(Protocol):
    """One breaking change; a module of `contracts.versions` is one.

    Each function gets one JSON value and returns it in the other shape; it may change the value in place, must leave
    what it does not know alone, and must not fail on a request that lacks what it looks for.
    """

    version: str
    """The first version that has the new shape."""
    covers: frozenset[str]
    """The differences that it explains, in the words of `bootstrap.openapi_difference`."""

    def upgrade_request(self, operation: str, document: Json) -> Json:
        """A request's body in the old shape, as the new one wants it. `operation` is an operationId."""
        ...

    def downgrade_answer(self, operation: str, document: Json) -> Json:
        """An answer in the new shape, as the old one knew it."""
        ...

    def downgrade_event(self, event_type: str, data: Json) -> Json:
        """An event's object in the new shape, as the old one knew it."""
        ...


class Versions:
    """All versions that are served, oldest first, and the changes between them."""

    __slots__ = ("_after", "_headers", "names", "newest")

    def __init__(self, living: Sequence[Version], changes: Sequence[BreakingChange] = ()) -> None:
        """Raise ValueError for versions out of order, and for a change whose version is not one that follows another.

        A change made in the oldest version has nobody left to serve: its file is to be removed.
        """
        names = tuple(version.date for version in living)
        if not names or any(earlier >= later for earlier, later in pairwise(names)):
            raise ValueError(f"versions are listed oldest first, each once: {names}")
        for change in changes:
            if change.version not in names[1:]:
                raise ValueError(f"a change of {change.version} has no older version to serve: remove its file")
        ordered = sorted(changes, key=lambda change: change.version)
        self.names = names
        self.newest = names[-1]
        self._after = {name: tuple(change for change in ordered if change.version > name) for name in names}
        self._headers = {version.date: _headers_of(version) for version in living}

    def settle(self, named: str | None, pinned: str) -> str:
        """The version to answer in: the one that the request names, else the caller's pinned one.

        A pinned one that is no longer served counts as the oldest that is. Raises 400 `kernel.version_unknown`.
        """
        if named is None:
            return pinned if pinned in self._after else self.names[0]
        if named not in self._after:
            raise VERSION_UNKNOWN.error({"versions": ", ".join(self.names)}, param="/header/Arsenal-Version")
        return named

    def headers(self, version: str) -> Headers:
        """`Deprecation` and `Sunset` of a version that is on its way out."""
        return self._headers[version]

    def differs(self, version: str) -> bool:
        """Whether something broke after this version, so that requests and answers are transformed."""
        return bool(self._after[version])

    def upgrade_request(self, operation: str, document: Json, *, version: str) -> Json:
        """A body of `version` in the newest shape: through every change since, the oldest first."""
        for change in self._after[version]:
            document = change.upgrade_request(operation, document)
        return document

    def downgrade_answer(self, operation: str, document: Json, *, version: str) -> Json:
        """An answer in the shape of `version`: back through every change since, the newest first."""
        for change in reversed(self._after[version]):
            document = change.downgrade_answer(operation, document)
        return document

    def downgrade_event(self, event_type: str, data: Json, *, version: str) -> Json:
        """An event's object in the shape of `version`; as `settle` does, one no longer served is the oldest."""
        for change in reversed(self._after[self.settle(None, version)]):
            data = change.downgrade_event(event_type, data)
        return data


def _headers_of(version: Version) -> Headers:
    headers = []
    if version.deprecated_at is not None:
        headers.append((b"deprecation", b"@%d" % int(version.deprecated_at.timestamp())))
    if version.sunset_at is not None:
        headers.append((b"sunset", format_datetime(version.sunset_at, usegmt=True).encode()))
    return tuple(headers)


ONE_VERSION: Final = Versions((Version(VERSION),))
"""The newest version alone: for an application that serves no other."""
