"""Public ids: a prefix that names the kind, `_`, and 26 characters that sort by time of birth.

The 26 characters are 128 bits in Crockford's base 32, lower case (crockford.com/base32.html, read 2026-11-22): 48
bits of Unix milliseconds, then 80 random ones. In the database they sort the same way under collation "C".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from typing import Final

from pydantic import StringConstraints

from platform_core.kernel.clock import Clock
from platform_core.kernel.entropy import entropy as process_entropy

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
BODY_LENGTH: Final = 26
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM_BITS: Final = 80
_PAIRS: Final = tuple(high + low for high in ALPHABET for low in ALPHABET)
_BODY: Final = "[0-7][0-9a-hjkmnp-tv-z]{25}"
_PREFIX: Final = "[a-z][a-z0-9]{1,11}"
_ANY_ID: Final = re.compile(f"({_PREFIX})_{_BODY}", re.ASCII)


class Ids:
    """Mints ids that strictly increase within this object, whatever the clock does. Safe to share between threads.

    Inside one millisecond, and while the clock stands behind the last id, the next id is the last one plus a random
    step of up to 2**32, so that neighbours cannot be guessed by counting.
    """

    __slots__ = ("_clock", "_entropy", "_last", "_lock")

    def __init__(self, clock: Clock, entropy: Callable[[int], bytes] = process_entropy) -> None:
        """`entropy(n)` returns n random bytes; a test hands in its own."""
        self._clock = clock
        self._entropy = entropy
        self._last = -1
        self._lock = Lock()

    def mint(self, prefix: str) -> str:
        """A new id, `prefix_` and 26 characters. `prefix` is a constant of the caller and is not checked here."""
        age = self._clock.now() - _EPOCH
        born_ms = age.days * 86_400_000 + age.seconds * 1000 + age.microseconds // 1000
        chance = int.from_bytes(self._entropy(10), "big")
        value = born_ms << _RANDOM_BITS | chance
        with self._lock:
            if value <= self._last or born_ms == self._last >> _RANDOM_BITS:
                value = self._last + 1 + (chance & 0xFFFFFFFF)
            self._last = value
        return f"{prefix}_{_encode(value)}"


def _encode(value: int) -> str:
    """128 bits as 26 characters, two for each look-up."""
    pairs = _PAIRS
    high = value >> 70
    low = value & 0x3FFFFFFFFFFFFFFFFF
    return (
        f"{pairs[high >> 50]}{pairs[high >> 40 & 1023]}{pairs[high >> 30 & 1023]}{pairs[high >> 20 & 1023]}"
        f"{pairs[high >> 10 & 1023]}{pairs[high & 1023]}"
        f"{pairs[low >> 60]}{pairs[low >> 50 & 1023]}{pairs[low >> 40 & 1023]}{pairs[low >> 30 & 1023]}"
        f"{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` is an id of this kind, by form alone."""
    match = _ANY_ID.fullmatch(text)
    return match is not None and match[1] == prefix


def id_born_at(text: str) -> datetime:
    """The millisecond an id was minted in, aware UTC (approximate after a clock stepped back).

    ValueError if it is no id.
    """
    if _ANY_ID.fullmatch(text) is None:
        raise ValueError("not an id of this platform")
    value = 0
    for character in text[-BODY_LENGTH:]:
        value = value << 5 | ALPHABET.index(character)
    born_ms = value >> _RANDOM_BITS
    return datetime.fromtimestamp(born_ms // 1000, tz=UTC).replace(microsecond=born_ms % 1000 * 1000)


def id_pattern(prefix: str) -> str:
    """The regular expression of an id of this kind, anchored, as JSON Schema and PostgreSQL read it too."""
    return f"^{prefix}_{_BODY}$"


def id_field(prefix: str) -> StringConstraints:
    """The constraint of a pydantic field: `PaymentId = Annotated[str, id_field("pay")]`."""
    return StringConstraints(strict=True, pattern=id_pattern(prefix))
