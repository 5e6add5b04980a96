"""Money as integer minor units with a currency. Never a float, not even for display."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from babel import Locale
from babel.numbers import NumberPattern
from pydantic import AfterValidator, Field

from platform_core.kernel.errors import declare
from platform_core.kernel.fields import field_error
from platform_core.kernel.i18n import BABEL_LOCALES, Language, Text

AMOUNT_MINOR_MAX: Final = 10_000_000_000
"""The largest amount one request may name (payments.md section 7)."""
BASIS_POINTS: Final = 10_000
_LETTER_BEFORE_DIGIT: Final = re.compile(r"([A-Za-z])(?=[0-9])", re.ASCII)
_PLAIN: Final = re.compile(r"(-?)(0|[1-9][0-9]{0,17})(?:\.([0-9]{1,4}))?", re.ASCII)


class CurrencyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of currencies.json: exponents by code, with their source."""

    source: str
    as_of: str
    read: str
    left_out: str
    without_minor_unit: list[str]
    exponents: dict[str, int]


CURRENCIES: Final = msgspec.json.decode(
    files("platform_core.kernel").joinpath("currencies.json").read_bytes(), type=CurrencyTable
)
EXPONENTS: Final[Mapping[str, int]] = MappingProxyType(CURRENCIES.exponents)
"""Decimal digits of the minor unit, by ISO 4217 code; source and date stand in currencies.json."""

CURRENCY_UNKNOWN: Final = declare(
    "kernel.currency_unknown",
    status=422,
    title=Text(en="Unknown currency", zh="未知币种"),
    detail=Text(
        en="The currency is not a code of ISO 4217 that has a minor unit.",
        zh="币种不是 ISO 4217 中具有最小单位的代码。",
    ),
    hint=Text(en="Use three capital letters such as CNY.", zh="请使用三位大写字母，例如 CNY。"),
)
AMOUNT_UNREADABLE: Final = declare(
    "kernel.amount_unreadable",
    status=422,
    title=Text(en="Unreadable amount", zh="无法识别的金额"),
    detail=Text(
        en="An amount in {currency} is a plain decimal with at most {digits} digits after the point.",
        zh="{currency} 金额应为普通小数，小数点后至多 {digits} 位。",
    ),
    hint=Text(
        en="Write it without signs of grouping or currency, such as 120 or 0.",
        zh="请勿使用千分位或货币符号，例如 120 或 0。",
    ),
)


class MixedCurrencies(ValueError):
    """Two currencies met in one calculation: a bug in the caller."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units (fen, cents, yen) of one currency; it may be negative."""

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        """Raise TypeError unless the amount is an int (bool is none), `kernel.currency_unknown` for a wrong code."""
        if type(self.amount_minor) is not int:
            raise TypeError(f"an amount is an int of minor units, not {type(self.amount_minor).__name__}")
        exponent_of(self.currency)

    def __add__(self, other: Money) -> Money:
        return Money(self.amount_minor + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount_minor - self._same(other), self.currency)

    def __mul__(self, times: int) -> Money:
        if type(times) is not int:
            raise TypeError("money is multiplied by a whole number; for shares use allocate or round_half_up_bp")
        return Money(self.amount_minor * times, self.currency)

    __rmul__ = __mul__

    def __neg__(self) -> Money:
        return Money(-self.amount_minor, self.currency)

    def __bool__(self) -> bool:
        return self.amount_minor != 0

    def __lt__(self, other: Money) -> bool:
        return self.amount_minor < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.amount_minor <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.amount_minor > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.amount_minor >= self._same(other)

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise MixedCurrencies(f"{self.currency} and {other.currency} do not mix")
        return other.amount_minor

    def plain(self) -> str:
        """The decimal without grouping or currency, every digit of the minor unit shown: `120.00`, `-3`, `0.005`."""
        digits = exponent_of(self.currency)
        if digits == 0:
            return str(self.amount_minor)
        whole, fraction = divmod(abs(self.amount_minor), 10**digits)
        return f"{'-' if self.amount_minor < 0 else ''}{whole}.{fraction:0{digits}d}"

    def __str__(self) -> str:
        """For messages, bills and logs: `120.00 CNY`."""
        return f"{self.plain()} {self.currency}"

    def format(self, language: Language) -> str:
        """For people, as CLDR writes it: `CN¥1,234.50` in en, `¥1,234.50` in zh; digits by ISO 4217, not by CLDR."""
        locale, pattern = _currency_pattern(language, exponent_of(self.currency))
        shown: str = pattern.apply(
            Decimal(self.plain()),
            locale,
            currency=self.currency,
            currency_digits=False,
        )
        # CLDR wants a space between a code of letters and a digit; Babel does not put it in (currencySpacing, UTS 35).
        return _LETTER_BEFORE_DIGIT.sub("\\1\u00a0", shown)


def exponent_of(currency: str) -> int:
    """Decimal digits of a currency's minor unit. Raises `kernel.currency_unknown`."""
    try:
        return EXPONENTS[currency]
    except (KeyError, TypeError):
        raise CURRENCY_UNKNOWN.error(param="/currency") from None


def parse(text: str, currency: str) -> Money:
    """Read a plain decimal such as `120.00` or `-3`. Raises `kernel.amount_unreadable`, `kernel.currency_unknown`.

    Fewer digits than the minor unit has are filled up, more are refused, even zeros: nothing is ever rounded here.
    """
    digits = exponent_of(currency)
    match = _PLAIN.fullmatch(text)
    if match is None or len(match[3] or "") > digits:
        raise AMOUNT_UNREADABLE.error({"currency": currency, "digits": digits})
    minor = int(match[2] + (match[3] or "").ljust(digits, "0"))
    return Money(-minor if match[1] else minor, currency)


def allocate(total_minor: int, weights: Sequence[int]) -> list[int]:
    """Split a total in proportion to the weights so that the parts add up to it exactly, by largest remainder.

    Equal remainders go to the earlier part. A weight of zero gets nothing. A negative total is split like its
    positive twin, so that a return mirrors the charge. Raises ValueError for no weights, a negative weight or only
    zeros.
    """
    if any(weight < 0 for weight in weights):
        raise ValueError("a weight is not negative")
    whole = sum(weights)
    if whole <= 0:
        raise ValueError("at least one weight is above zero")
    sign, rest = (-1, -total_minor) if total_minor < 0 else (1, total_minor)
    shares = [divmod(rest * weight, whole) for weight in weights]
    parts = [share for share, _ in shares]
    by_remainder = sorted(range(len(parts)), key=lambda index: -shares[index][1])
    for index in by_remainder[: rest - sum(parts)]:
        parts[index] += 1
    assert sum(parts) == rest
    return [sign * part for part in parts]


def round_half_up_bp(amount_minor: int, rate_bp: int) -> int:
    """`rate_bp` basis points of an amount, rounded to a whole minor unit, halves away from zero.

    So the share of a negative amount is the negative share, and a fee returned equals the fee taken.
    """
    product = amount_minor * rate_bp
    share = (2 * abs(product) + BASIS_POINTS) // (2 * BASIS_POINTS)
    return -share if product < 0 else share


@lru_cache(maxsize=32)
def _currency_pattern(language: Language, digits: int) -> tuple[Locale, NumberPattern]:
    locale = Locale.parse(BABEL_LOCALES[language])
    pattern = copy(locale.currency_formats["standard"])
    pattern.frac_prec = (digits, digits)
    return locale, pattern


def _known_currency(code: str) -> str:
    if code not in EXPONENTS:
        raise field_error(CURRENCY_UNKNOWN)
    return code


CurrencyCode = Annotated[str, AfterValidator(_known_currency), Field(json_schema_extra={"pattern": "^[A-Z]{3}$"})]
"""A field that holds an ISO 4217 code; refused with `kernel.currency_unknown`."""
AmountMinor = Annotated[int, Field(strict=True, ge=1, le=AMOUNT_MINOR_MAX)]
"""An amount in minor units where money moves: 1 to 10^10."""
AmountMinorOrZero = Annotated[int, Field(strict=True, ge=0, le=AMOUNT_MINOR_MAX)]
"""An amount in minor units that may be zero, up to 10^10."""
