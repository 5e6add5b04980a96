"""Arrays of scalars on their way to the database, without asyncpg's search for arrays within them.

Before it encodes an array, asyncpg 0.32 walks it once and asks of every element, by two or more abstract base classes,
whether it is an array itself: five sixths of what a text costs (213 against 35 ns). A column of rows holds scalars
only, so it shows that first walk nothing. Were a later asyncpg to walk once only, the database would refuse the array,
whose head says how many elements follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Column(list[Any]):
    """A list of scalars and None that is empty every other time it is walked, beginning with the first."""

    __slots__ = ("_is_shown",)

    def __init__(self, values: list[Any]) -> None:
        super().__init__(values)
        self._is_shown = True

    def __iter__(self) -> Iterator[Any]:
        self._is_shown = not self._is_shown
        return super().__iter__() if self._is_shown else iter(())


def columnar(value: object) -> object:
    """A statement's argument as it is sent: lists as columns."""
    return Column(value) if type(value) is list else value
