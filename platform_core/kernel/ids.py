"""Public ids: a prefix that names the kind, `_`, and 26 characters that sort by time of birth.

The 26 characters are 128 bits in Crockford's base 32, lower case (crockford.com/base32.html, read 2026-11-22): 48
bits of Unix milliseconds, then 80 random ones. In the database they sort the same way under collation "C".
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from struct import iter_unpack
from threading import Lock
from typing import Final
from weakref import WeakSet

from pydantic import StringConstraints

from platform_core.kernel.clock import Clock
from platform_core.kernel.entropy import entropy as process_entropy

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
BODY_LENGTH: Final = 26
_RANDOM_BITS: Final = 80
_CHANCE_MAX: Final = (1 << _RANDOM_BITS) - 1
_STEPS: Final = 64  # of four random bytes, fetched together
_LOW_BITS: Final = 35  # the last seven characters; a step changes what stands before them one time in sixteen
_LOW_MASK: Final = (1 << _LOW_BITS) - 1
_PAIRS: Final = tuple(high + low for high in ALPHABET for low in ALPHABET)
_BODY: Final = "[0-7][0-9a-hjkmnp-tv-z]{25}"
_PREFIX: Final = "[a-z][a-z0-9]{1,11}"
_ANY_ID: Final = re.compile(f"({_PREFIX})_{_BODY}", re.ASCII)


class Ids:
    """Mints ids that strictly increase within this object, whatever the clock does. Safe to share between threads.

    Inside one millisecond, and while the clock stands behind the last id, the next id is the last one plus a random
    step of up to 2**32, so that neighbours cannot be guessed by counting.
    """

    __slots__ = ("__weakref__", "_born_ms", "_chance", "_clock", "_entropy", "_head", "_high", "_lock", "_steps")

    def __init__(self, clock: Clock, entropy: Callable[[int], bytes] = process_entropy) -> None:
        """`entropy(n)` returns n random bytes; a test hands in its own."""
        self._clock = clock
        self._entropy = entropy
        self._born_ms = -1
        self._chance = 0
        self._high = -1
        self._head = ""
        self._steps: Iterator[tuple[int]] = iter(())
        self._lock = Lock()
        _living.add(self)

    def mint(self, prefix: str) -> str:
        """A new id, `prefix_` and 26 characters. `prefix` is a constant of the caller and is not checked here."""
        born_ms = self._clock.unix_ms()
        with self._lock:
            if born_ms > self._born_ms:
                self._begin(born_ms, int.from_bytes(self._entropy(10), "big"))
            else:
                step = next(self._steps, None) or self._fetched()
                self._chance = chance = self._chance + 1 + step[0]
                if chance >> _LOW_BITS != self._high:
                    self._carry()
            low, head = self._chance & _LOW_MASK, self._head
        pairs = _PAIRS
        return f"{prefix}_{head}{pairs[low >> 25]}{pairs[low >> 15 & 1023]}{pairs[low >> 5 & 1023]}{ALPHABET[low & 31]}"

    def forget(self) -> None:
        """Throw away the random steps that were fetched ahead, as a forked child must: its parent goes on with them."""
        self._lock = Lock()
        self._steps = iter(())

    def _fetched(self) -> tuple[int]:
        """The first of the next random steps."""
        self._steps = iter_unpack(">I", self._entropy(4 * _STEPS))
        return next(self._steps)

    def _begin(self, born_ms: int, chance: int) -> None:
        """A new millisecond."""
        self._born_ms, self._chance = born_ms, chance
        self._carry()

    def _carry(self) -> None:
        """All characters but the last seven, which many ids of a millisecond share."""
        if self._chance > _CHANCE_MAX:
            self._born_ms, self._chance = self._born_ms + 1, self._chance - _CHANCE_MAX - 1
        self._high = high = self._chance >> _LOW_BITS
        value = self._born_ms << _RANDOM_BITS - _LOW_BITS | high
        self._head = "".join(_PAIRS[value >> shift & 1023] for shift in range(85, 0, -10)) + ALPHABET[value & 31]


_living: Final[WeakSet[Ids]] = WeakSet()


def _forget_all() -> None:
    for ids in list(_living):
        ids.forget()


os.register_at_fork(after_in_child=_forget_all)


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
