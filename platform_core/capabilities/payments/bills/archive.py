"""The bill as a ZIP, written without ever holding it: APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16 and
4.5.3 (pkware.com, read 2026-11-22).

The detail is one raw deflate stream (RFC 1951) in pieces. A piece that is not the last ends in a full flush, so the
next one starts afresh in any process: the pieces one behind the other are the stream.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

_RAW: Final = -zlib.MAX_WBITS
_LEVEL: Final = 6
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64: Final = struct.Struct("<4sIQI")
_END: Final = struct.Struct("<4s4H2IH")
_EXTRA64: Final = struct.Struct("<2H2Q")
_EXTRA64_CENTRAL: Final = struct.Struct("<2H3Q")
_VERSION64: Final = 45
_DEFLATED: Final = 8
_UTF8: Final = 0x0800
_FULL32: Final = 0xFFFFFFFF
_FULL16: Final = 0xFFFF


class Deflater:
    """Compresses one piece."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW)
        self._pieces: list[bytes] = []

    def add(self, content: bytes) -> None:
        """More of the piece."""
        self._pieces.append(self._stream.compress(content))

    def piece(self, *, is_last: bool) -> bytes:
        """All of it; the object is used up."""
        self._pieces.append(self._stream.flush(zlib.Z_FINISH if is_last else zlib.Z_FULL_FLUSH))
        return b"".join(self._pieces)


def deflated(content: bytes) -> bytes:
    """A whole file as one piece."""
    deflater = Deflater()
    deflater.add(content)
    return deflater.piece(is_last=True)


class Inflater:
    """Decompresses pieces that come one behind the other."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_RAW)

    def text_of(self, piece: bytes) -> bytes:
        """What the piece holds. zlib.error for what is no deflate stream."""
        return self._stream.decompress(piece)


async def inflated(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The content of a stream of pieces."""
    inflater = Inflater()
    async for piece in pieces:
        yield inflater.text_of(piece)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive, as its headers tell of it."""

    name: str
    crc32: int
    size_bytes: int
    packed_bytes: int

    @staticmethod
    def whole(name: str, content: bytes, packed: bytes) -> Member:
        """Of a file that is in memory."""
        return Member(name, zlib.crc32(content), len(content), len(packed))


def header(member: Member, *, day: date) -> bytes:
    """What stands before a file. `day` dates it: the same bill is the same bytes, whenever it is made."""
    name = member.name.encode()
    extra = _EXTRA64.pack(1, 16, member.size_bytes, member.packed_bytes)
    fields = (_VERSION64, _UTF8, _DEFLATED, 0, _dos(day), member.crc32, _FULL32, _FULL32, len(name), len(extra))
    return _LOCAL.pack(b"PK\x03\x04", *fields) + name + extra


def directory(members: Iterable[Member], *, day: date) -> bytes:
    """What stands behind all files, which stand one behind the other from the archive's first byte."""
    entries, offset, count = bytearray(), 0, 0
    for member in members:
        name = member.name.encode()
        extra = _EXTRA64_CENTRAL.pack(1, 24, member.size_bytes, member.packed_bytes, offset)
        made = (_VERSION64, _VERSION64, _UTF8, _DEFLATED, 0, _dos(day), member.crc32, _FULL32, _FULL32)
        entries += _CENTRAL.pack(b"PK\x01\x02", *made, len(name), len(extra), 0, 0, 0, 0, _FULL32) + name + extra
        offset += len(header(member, day=day)) + member.packed_bytes
        count += 1
    end64 = (44, _VERSION64, _VERSION64, 0, 0, count, count, len(entries), offset)
    locator = _LOCATOR64.pack(b"PK\x06\x07", 0, offset + len(entries), 1)
    end = _END.pack(b"PK\x05\x06", _FULL16, _FULL16, _FULL16, _FULL16, _FULL32, _FULL32, 0)
    return bytes(entries) + _END64.pack(b"PK\x06\x06", *end64) + locator + end


def framed(detail: Member, others: Iterable[tuple[Member, bytes]], *, day: date) -> tuple[bytes, bytes]:
    """What stands before the detail's pieces, and behind them. `others`: members with their packed content."""
    others = list(others)
    behind = b"".join(header(member, day=day) + packed for member, packed in others)
    return header(detail, day=day), behind + directory([detail, *(member for member, _ in others)], day=day)


def _dos(day: date) -> int:
    """A date as archives keep it; the time of day is a field of its own, and is midnight."""
    return (day.year - 1980) << 9 | day.month << 5 | day.day
