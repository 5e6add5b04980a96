"""Where time comes from. Everything below the edge is handed a clock, so that a test can turn it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """The moment, aware and in UTC. It may step back when the operating system corrects itself."""
        ...

    def unix_ms(self) -> int:
        """`now` as whole milliseconds since 1970, cut; cheaper where nothing else is wanted."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start, never stepping back; for deadlines and durations within one process."""
        ...


class SystemClock:
    """The operating system's time."""

    __slots__ = ()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def unix_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is moved: for tests, the testbed and replays."""

    __slots__ = ("_monotonic_s", "_now")

    def __init__(self, start: datetime) -> None:
        """`start` must be aware. Raises ValueError otherwise."""
        self._now = _as_utc(start)
        self._monotonic_s = 0.0

    def now(self) -> datetime:
        return self._now

    def unix_ms(self) -> int:
        return (self._now - _EPOCH) // _MS

    def monotonic(self) -> float:
        return self._monotonic_s

    def advance(self, by: timedelta) -> datetime:
        """Move both times on and return the new moment. Raises ValueError for a negative step: see `set`."""
        if by < timedelta(0):
            raise ValueError(f"a clock advances by a positive step, not by {by}; set() moves the wall clock anywhere")
        self._now += by
        self._monotonic_s += by.total_seconds()
        return self._now

    def set(self, moment: datetime) -> None:
        """Put the wall clock to an aware moment, also backwards as an operating system may; monotonic time stays."""
        self._now = _as_utc(moment)


def _as_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"a clock needs an aware moment, not the naive {moment.isoformat()}")
    return moment.astimezone(UTC)
