"""What a customer types as an amount, read exactly: digits and one point, never through a float."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from platform_core.capabilities.payments.stickers.errors import STICKER_AMOUNT
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.money import AMOUNT_MINOR_MAX, Money, exponent_of

LENGTH_MAX: Final = 32
# Both languages of the pages write a point before the fraction and commas between thousands (CLDR 48, numbers of en
# and zh, read 2026-11-22). The full stop of Chinese keyboards stands for the point: nothing else could be meant.
_TYPED: Final = re.compile(
    r"(?:CN)?[¥元]? ?(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,12})(?:[.。](?P<fraction>[0-9]{0,4}))? ?元?", re.ASCII
)


def read_amount(typed: str, *, currency: str) -> Money:
    """The amount, above zero. Raises 422 `payments.sticker_amount` for whatever may be read in two ways, or not at all.

    Full-width digits count as digits. More digits than the currency has are refused, even zeros: nothing is rounded.
    """
    digits = exponent_of(currency)
    text = unicodedata.normalize("NFKC", typed[: LENGTH_MAX + 1]).strip()
    match = _TYPED.fullmatch(text) if len(typed) <= LENGTH_MAX else None
    fraction = "" if match is None else match["fraction"] or ""
    if match is None or len(fraction) > digits:
        raise unreadable(currency)
    amount = int(match["whole"].replace(",", "") + fraction.ljust(digits, "0"))
    if not 1 <= amount <= AMOUNT_MINOR_MAX:
        raise unreadable(currency)
    return Money(amount, currency)


def example_of(currency: str) -> str:
    """An amount as it may be typed."""
    digits = exponent_of(currency)
    return Money(12 * 10**digits + (5 * 10 ** (digits - 1) if digits else 0), currency).plain()


def unreadable(currency: str) -> PlatformError:
    """422 `payments.sticker_amount`."""
    return STICKER_AMOUNT.error({"digits": exponent_of(currency), "example": example_of(currency)})
