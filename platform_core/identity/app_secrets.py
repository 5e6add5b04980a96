"""The form of a client secret: `ask_test_` or `ask_live_`, 43 base62 characters, 6 of check sum.

The check sum (CRC-32 in base 62) lets scanners of source code, and us, tell a mistyped secret without a look-up. The
alphabet survives every way in which clients encode HTTP Basic.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Final

from platform_core.identity.models import Mode

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM: Final = re.compile(r"(ask_(?:test|live)_[0-9A-Za-z]{43})([0-9A-Za-z]{6})", re.ASCII)


def make_secret(mode: Mode, entropy: Callable[[int], bytes]) -> str:
    """A new secret of 256 random bits."""
    body = f"ask_{mode}_{_base62(int.from_bytes(entropy(32), 'big'), length=43)}"
    return body + _check_sum(body)


def is_well_formed(secret: str) -> bool:
    """Whether the text can be a secret at all: form and check sum."""
    match = _FORM.fullmatch(secret)
    return match is not None and _check_sum(match[1]) == match[2]


def _check_sum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), length=6)


def _base62(number: int, *, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    assert number == 0, "the number has more digits than the form has places"
    return "".join(reversed(digits))
