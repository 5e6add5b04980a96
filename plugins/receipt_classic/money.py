"""Amounts as people read them."""

from __future__ import annotations

from typing import Final

from platform_core.contracts.fields import Money

_NO_DECIMALS: Final = frozenset(
    "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split()  # noqa: SIM905 - reads as the list
)
_THREE_DECIMALS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
"""ISO 4217, list one, minor units; read 2026-11-22. All others that a till meets have two."""


def decimals_of(currency: str) -> int:
    """How many decimals a currency has."""
    if currency in _NO_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2


def amount(minor: int, currency: str) -> str:
    """`1,234.50` without the currency, for columns."""
    places = decimals_of(currency)
    whole, rest = divmod(abs(minor), 10**places)
    sign = "-" if minor < 0 else ""
    return f"{sign}{whole:,}" + (f".{rest:0{places}d}" if places else "")


def with_currency(money: Money) -> str:
    """`CNY 1,234.50`: the code is the same in both languages and means one currency only."""
    return f"{money.currency} {amount(money.amount_minor, money.currency)}"
