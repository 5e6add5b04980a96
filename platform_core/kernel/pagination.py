"""Lists by keyset: pages of (created_at, id) with an opaque, signed cursor; no offsets and no totals.

A cursor is bound to what the caller asked for (filters, order, tenant): another list's cursor, or one that was
tampered with, is refused.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Generic, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100
CURSOR_LENGTH_MAX: Final = 512
_MAC_BYTES: Final = 16
_KEY_BYTES_MIN: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

CURSOR_INVALID: Final = declare(
    "kernel.cursor_invalid",
    status=400,
    title=Text(en="The cursor is not valid", zh="游标无效"),
    detail=Text(
        en="The cursor is damaged, or belongs to a list with other filters or another order.",
        zh="游标已损坏，或属于筛选条件、排序不同的列表。",
    ),
    hint=Text(
        en="Pass next_cursor unchanged with the same filters, or start again without a cursor.",
        zh="请在相同筛选条件下原样传入 next_cursor，或不带游标重新开始。",
    ),
)

PageLimit = Annotated[int, Field(ge=1, le=LIMIT_MAX, description="How many to return at most.")]
"""The query parameter `limit`: 1 to 100; a route gives it the default `LIMIT_DEFAULT`."""

Row = TypeVar("Row")
Shown = TypeVar("Shown")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: the sort key of its last row."""

    created_at: datetime
    """Aware; kept to the microsecond, as PostgreSQL does."""
    id: str


class Page(BaseModel, Generic[Shown]):
    """One page of a list as it is answered."""

    model_config = ConfigDict(frozen=True)

    data: list[Shown]
    next_cursor: str | None = Field(description="Give it back as cursor for the next page; null on the last one.")


class _Payload(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    created_us: int
    id: str


_DECODER: Final = msgspec.msgpack.Decoder(_Payload)


class Cursors:
    """Writes and reads cursors. All processes of a platform share one key."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """`key`: at least 32 secret bytes. Raises ValueError for fewer."""
        if len(key) < _KEY_BYTES_MIN:
            raise ValueError(f"a cursor key has at least {_KEY_BYTES_MIN} bytes, not {len(key)}")
        self._key = hashlib.sha256(b"arsenal list cursor\x00" + key).digest()

    def write(self, position: Position, *, bound_to: Mapping[str, object]) -> str:
        """The cursor behind a position. `bound_to`: list name, tenant, filters and order, as JSON can hold them."""
        created_us = (position.created_at - _EPOCH) // _MICROSECOND
        payload = msgspec.msgpack.encode(_Payload(created_us, position.id))
        return urlsafe_b64encode(self._mac(payload, bound_to) + payload).rstrip(b"=").decode()

    def read(self, cursor: str, *, bound_to: Mapping[str, object]) -> Position:
        """The position behind a cursor.

        Raises `kernel.cursor_invalid` (400) unless it was written for the same list.
        """
        refusal = CURSOR_INVALID.error(param="/query/cursor")
        if len(cursor) > CURSOR_LENGTH_MAX:
            raise refusal
        try:
            raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except (UnicodeEncodeError, Base64Error):
            raise refusal from None
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload, bound_to)):
            raise refusal
        # Only what this platform wrote has a right signature, so the payload is ours and well formed.
        position = _DECODER.decode(payload)
        return Position(_EPOCH + position.created_us * _MICROSECOND, position.id)

    def _mac(self, payload: bytes, bound_to: Mapping[str, object]) -> bytes:
        context = msgspec.json.encode(bound_to, order="sorted")
        message = len(context).to_bytes(4, "big") + context + payload
        return hmac.digest(self._key, message, "sha256")[:_MAC_BYTES]

    def page(
        self,
        rows: Sequence[Row],
        *,
        limit: int,
        bound_to: Mapping[str, object],
        position_of: Callable[[Row], Position],
        show: Callable[[Row], Shown],
    ) -> Page[Shown]:
        """One page out of rows that were read with `LIMIT limit + 1`: the extra row only says that there is more."""
        kept = rows[:limit]
        has_more = len(rows) > limit
        cursor = self.write(position_of(kept[-1]), bound_to=bound_to) if has_more else None
        return Page(data=[show(row) for row in kept], next_cursor=cursor)
