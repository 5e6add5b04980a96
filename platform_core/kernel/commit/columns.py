"""Arrays of scalars on their way to the database, without asyncpg's search for arrays within them.

A plan names the same moment many times, so a moment is made into PostgreSQL's microseconds once (475 against 150 ns).

Before it encodes an array, asyncpg 0.32 walks it once and asks of every element, by two or more abstract base classes,
whether it is an array itself: five sixths of what a text costs (213 against 35 ns). A column of rows holds scalars
only, so it shows that first walk nothing. Were a later asyncpg to walk once only, the database would refuse the array,
whose head says how many elements follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import asyncpg

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's, of timestamps in binary form
_MICROSECOND: Final = timedelta(microseconds=1)


class Column(list[Any]):
    """A list of scalars and None that is empty every other time it is walked, beginning with the first."""

    __slots__ = ("_is_shown",)

    def __init__(self, values: list[Any]) -> None:
        super().__init__(values)
        self._is_shown = True

    def __iter__(self) -> Iterator[Any]:
        self._is_shown = not self._is_shown
        return super().__iter__() if self._is_shown else iter(())


async def send_moments_once(connection: asyncpg.Connection) -> None:
    """Let this connection make each aware moment into its binary form once. A naive one is refused by the driver."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_sent, decoder=_received, format="tuple"
    )


@lru_cache(1024)
def _sent(moment: datetime) -> tuple[int]:
    return ((moment - _EPOCH) // _MICROSECOND,)


def _received(sent: tuple[int]) -> datetime:
    return _EPOCH + timedelta(microseconds=sent[0])


def columnar(value: object) -> object:
    """A statement's argument as it is sent: lists as columns."""
    return Column(value) if type(value) is list else value
