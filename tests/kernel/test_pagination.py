"""Cursors and pages: complete walks, and refusal of every other cursor."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.kernel.errors import PlatformError
from platform_core.kernel.pagination import Cursors, Position

KEY = b"k" * 32
CURSORS = Cursors(KEY)
LIST = {"list": "payments", "merchant_id": "mer_1", "order": "desc", "state": "captured"}
AT = datetime(2026, 11, 22, 8, 0, 0, 123_457, tzinfo=UTC)
GOOD = CURSORS.write(Position(AT, "pay_1"), bound_to=LIST)


@pytest.mark.property
@given(at=st.datetimes(timezones=st.just(UTC)), id_=st.text(max_size=40))
def test_a_cursor_gives_back_its_position_to_the_microsecond(at: datetime, id_: str) -> None:
    assert CURSORS.read(CURSORS.write(Position(at, id_), bound_to=LIST), bound_to=LIST) == Position(at, id_)


@pytest.mark.unit
@pytest.mark.parametrize(
    "cursor", ["", "x", "é", "=" * 8, GOOD[:-1], GOOD + "A", "A" * 600, GOOD.swapcase(), "!!!!", "\x00"]
)
def test_a_damaged_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(PlatformError) as caught:
        CURSORS.read(cursor, bound_to=LIST)
    assert (caught.value.code, caught.value.status, caught.value.param) == (
        "kernel.cursor_invalid",
        400,
        "/query/cursor",
    )
    assert caught.value.detail("zh") == "游标已损坏，或属于筛选条件、排序不同的列表。"
    assert caught.value.detail("en").startswith("The cursor is damaged")


@pytest.mark.unit
def test_every_flipped_bit_is_seen() -> None:
    raw = urlsafe_b64decode(GOOD + "=" * (-len(GOOD) % 4))
    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PlatformError):
            CURSORS.read(urlsafe_b64encode(flipped).decode(), bound_to=LIST)


@pytest.mark.unit
@pytest.mark.parametrize(
    "other", [{"merchant_id": "mer_2"}, {"order": "asc"}, {"state": "closed"}, {"list": "refunds"}, {"form": "qr"}]
)
def test_a_cursor_of_another_list_is_refused(other: dict[str, str]) -> None:
    assert CURSORS.read(GOOD, bound_to=dict(reversed(LIST.items()))) == Position(AT, "pay_1")
    with pytest.raises(PlatformError, match=r"kernel\.cursor_invalid"):
        CURSORS.read(GOOD, bound_to={**LIST, **other})
    with pytest.raises(PlatformError, match=r"kernel\.cursor_invalid"):
        Cursors(b"q" * 32).read(GOOD, bound_to=LIST)


@pytest.mark.unit
def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes, not 31"):
        Cursors(b"k" * 31)


@pytest.mark.unit
@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_a_walk_meets_every_row_once(count: int) -> None:
    rows = [Position(AT + timedelta(microseconds=number // 2), f"pay_{number}") for number in range(count)]
    seen: list[str] = []
    after: Position | None = None
    for _ in range(count + 1):
        left = [row for row in rows if after is None or (row.created_at, row.id) > (after.created_at, after.id)]
        page = CURSORS.page(left[:4], limit=3, bound_to=LIST, position_of=lambda row: row, show=lambda row: row.id)
        seen += page.data
        if page.next_cursor is None:
            break
        after = CURSORS.read(page.next_cursor, bound_to=LIST)
    assert seen == [row.id for row in rows]
