"""Columns of rows travel whole and cheaply, however asyncpg walks them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import asyncpg
import pytest

from platform_core.kernel.commit.columns import Column, columnar, send_moments_once

MOMENT = datetime(2026, 11, 22, 5, 30, tzinfo=UTC)


@pytest.mark.database
@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("text", ["a", None, "", 'comma, "quote", {brace}, \\', "钱"]),
        ("bigint", [1, None, -(2**62)]),
        ("timestamptz", [MOMENT, None]),
        ("bytea", [b"\x00\xff", None]),
        ("boolean", [True, False, None]),
        ("text", []),
    ],
)
async def test_a_column_arrives_whole_and_again(database_url: str, type_: str, values: list[object]) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        column = Column(values)
        for _ in range(3):
            assert await connection.fetchval(f"SELECT $1::{type_}[]", column) == values
    finally:
        await connection.close()


@pytest.mark.database
async def test_the_driver_walks_an_array_twice(database_url: str) -> None:
    """The fact that `Column` rests on; it also says when a new asyncpg makes it needless."""
    walks: list[int] = []

    class Counting(list[str]):
        def __iter__(self) -> Iterator[str]:
            walks.append(len(self))
            return super().__iter__()

    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT $1::text[]", Counting(["a", "b"])) == ["a", "b"]
    finally:
        await connection.close()
    assert walks == [2, 2]


def test_only_lists_become_columns() -> None:
    assert isinstance(columnar(["a"]), Column)
    for value in ("text", b"bytes", 7, None, MOMENT, ("a",)):
        assert columnar(value) is value


@pytest.mark.database
async def test_moments_travel_to_the_microsecond_in_any_zone(database_url: str) -> None:
    shanghai = timezone(timedelta(hours=8))
    moments = [
        MOMENT,
        datetime(2026, 11, 22, 13, 30, 0, 999_999, tzinfo=shanghai),
        datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ]
    connection = await asyncpg.connect(database_url)
    try:
        await send_moments_once(connection)
        for _ in range(2):
            found = await connection.fetch("SELECT v, v::text FROM unnest($1::timestamptz[]) AS v", Column([*moments]))
            assert [row[0] for row in found] == moments
        assert found[1][1] == "2026-11-22 05:30:00.999999+00"
        with pytest.raises(asyncpg.DataError):
            await connection.fetch("SELECT $1::timestamptz", datetime(2026, 11, 22))  # noqa: DTZ001 - the fault
    finally:
        await connection.close()
