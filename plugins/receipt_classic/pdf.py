"""A small PDF: text and squares on one page, Chinese included, by nothing but the standard library.

ISO 32000-1:2008 (read 2026-11-22): file structure 7.5, Type 0 fonts 9.7.6, predefined CMaps and character collections
9.7.5.2 (`UniGB-UTF16-H`, Adobe-GB1). The font is named and not embedded: readers bring their own for STSong-Light, so
that a receipt has 3 KiB instead of several MiB, and its shapes differ a little between readers.
"""

from __future__ import annotations

from typing import Final

MARGIN: Final = 24.0
WIDTH: Final = 298.0
"""Points; A6 is 298 x 420, and the page grows with its lines."""
_LATIN: Final = (
    "207 270 342 467 462 797 710 239 374 374 423 605 238 375 238 334 462 462 462 462 462 462 462 462 "
    "462 462 238 238 605 605 605 344 748 684 560 695 739 563 511 729 793 318 312 666 526 896 758 772 "
    "544 772 628 465 607 753 711 972 647 620 607 374 333 374 606 500 239 417 503 427 529 415 264 444 "
    "518 241 230 495 228 793 527 524 524 504 338 336 277 517 450 652 466 452 407 370 258 370 605"
)
"""Widths of U+0020 to U+007E, which are CIDs 1 to 95 of Adobe-GB1, in thousandths of the size."""
_WIDTHS: Final = tuple(int(width) for width in _LATIN.split())


def width_of(text: str, size: float) -> float:
    """How wide a text is, points."""
    return sum(_WIDTHS[ord(sign) - 32] if " " <= sign <= "~" else 1000 for sign in text) * size / 1000


def fitted(text: str, size: float, room: float) -> str:
    """The text, cut with an ellipsis where it is wider than the room."""
    if width_of(text, size) <= room:
        return text
    kept = text
    while kept and width_of(f"{kept}…", size) > room:
        kept = kept[:-1]
    return f"{kept}…"


class Sheet:
    """One page, filled from top to bottom."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, str]] = []
        self._down = MARGIN

    def space(self, points: float) -> None:
        """Leave room."""
        self._down += points

    def text(self, text: str, *, size: float, right: str = "") -> None:
        """One line, and what stands at its right end; the left side gives way."""
        self._down += size * 1.4
        room = WIDTH - 2 * MARGIN - (width_of(right, size) + size if right else 0)
        self._write(fitted(text, size, room), size=size, at=MARGIN)
        if right:
            self._write(right, size=size, at=WIDTH - MARGIN - width_of(right, size))

    def rule(self) -> None:
        """A thin line across."""
        self._down += 6
        self._marks.append((self._down, f"0.5 w {MARGIN:g} {{y}} m {WIDTH - MARGIN:g} {{y}} l S"))

    def squares(self, rows: list[list[bool]], *, side: float) -> None:
        """A matrix of dark and light squares, centred."""
        left = (WIDTH - side * max((len(row) for row in rows), default=0)) / 2
        for row in rows:
            self._down += side
            dark = [
                f"{left + place * side:.2f} {{y}} {side:g} {side:g} re" for place, is_dark in enumerate(row) if is_dark
            ]
            if dark:
                self._marks.append((self._down, f"{' '.join(dark)} f"))

    def document(self, *, title: str, language: str) -> bytes:
        """The file. The same sheet gives the same bytes."""
        height = self._down + MARGIN
        drawn = "\n".join(mark.replace("{y}", f"{height - down:.2f}") for down, mark in self._marks).encode()
        collection = "<< /Registry (Adobe) /Ordering (GB1) /Supplement 4 >>"
        objects = [
            f"<< /Type /Catalog /Pages 2 0 R /Lang ({language}) "
            f"/ViewerPreferences << /DisplayDocTitle true >> >>".encode(),
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDTH:g} {height:.2f}] /Contents 4 0 R "
            f"/Resources << /Font << /F1 5 0 R >> >> >>".encode(),
            b"<< /Length %d >>\nstream\n%b\nendstream" % (len(drawn), drawn),
            b"<< /Type /Font /Subtype /Type0 /BaseFont /STSong-Light-UniGB-UTF16-H /Encoding /UniGB-UTF16-H "
            b"/DescendantFonts [6 0 R] >>",
            f"<< /Type /Font /Subtype /CIDFontType0 /BaseFont /STSong-Light /CIDSystemInfo {collection} /DW 1000 "
            f"/W [1 [{_LATIN}]] /FontDescriptor 7 0 R >>".encode(),
            b"<< /Type /FontDescriptor /FontName /STSong-Light /Flags 6 /FontBBox [-25 -254 1000 880] /ItalicAngle 0 "
            b"/Ascent 880 /Descent -120 /CapHeight 880 /StemV 93 >>",
            f"<< /Title <{_utf16(title, mark=True)}> >>".encode(),
        ]
        return _file(objects)

    def _write(self, text: str, *, size: float, at: float) -> None:
        self._marks.append((self._down, f"BT /F1 {size:g} Tf {at:.2f} {{y}} Td <{_utf16(text)}> Tj ET"))


def _utf16(text: str, *, mark: bool = False) -> str:
    """Hexadecimal UTF-16BE; what cannot be shown in one line becomes a space."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return (b"\xfe\xff" if mark else b"").hex() + shown.encode("utf-16-be", "replace").hex()


def _file(objects: list[bytes]) -> bytes:
    """Header, objects, cross-reference table and trailer; the last object is the information dictionary."""
    body = bytearray(b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    start = len(body)
    body += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    body += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    body += b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\n" % (len(objects) + 1, len(objects))
    body += b"startxref\n%d\n%%%%EOF\n" % start
    return bytes(body)
