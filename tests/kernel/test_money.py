"""Money: exact sums, refusals, and the arithmetic of shares against what must hold for any split."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.kernel.errors import PlatformError
from platform_core.kernel.money import (
    CURRENCIES,
    EXPONENTS,
    MixedCurrencies,
    Money,
    allocate,
    parse,
    round_half_up_bp,
)

amounts = st.integers(-(10**18), 10**18)
currencies = st.sampled_from(sorted(EXPONENTS))


@pytest.mark.unit
def test_the_table_holds_the_active_codes_of_iso_4217() -> None:
    expected = {
        "CNY": 2,
        "USD": 2,
        "JPY": 0,
        "KRW": 0,
        "VND": 0,
        "BHD": 3,
        "TND": 3,
        "IQD": 3,
        "CLF": 4,
        "UYW": 4,
        "XCG": 2,
        "ZWG": 2,
    }
    assert {code: EXPONENTS[code] for code in expected} == expected
    assert len(EXPONENTS) == 165
    assert not {"BGN", "HRK", "ANG", "CUC", "SLL", "DEM"} & EXPONENTS.keys()
    assert not set(CURRENCIES.without_minor_unit) & EXPONENTS.keys()


@pytest.mark.unit
def test_arithmetic_stays_within_one_currency() -> None:
    ten, two = Money(1000, "CNY"), Money(200, "CNY")
    assert (ten + two, ten - two, two - ten, -two, two * 3, 3 * two) == (
        Money(1200, "CNY"),
        Money(800, "CNY"),
        Money(-800, "CNY"),
        Money(-200, "CNY"),
        Money(600, "CNY"),
        Money(600, "CNY"),
    )
    assert (
        two < ten,
        two <= Money(200, "CNY"),
        ten > two,
        ten >= Money(1000, "CNY"),
        ten == Money(1000, "CNY"),
        ten == Money(1000, "USD"),
    ) == (
        True,
        True,
        True,
        True,
        True,
        False,
    )
    assert (bool(ten), bool(Money(0, "CNY"))) == (True, False)
    dollar = Money(1, "USD")
    for mixing in (lambda: ten + dollar, lambda: ten - dollar, lambda: ten < dollar, lambda: ten >= dollar):
        with pytest.raises(MixedCurrencies, match="CNY and USD do not mix"):
            mixing()


@pytest.mark.unit
@pytest.mark.parametrize("amount", [1.0, True, "1", None])
def test_only_an_int_is_an_amount(amount: object) -> None:
    with pytest.raises(TypeError, match="an int of minor units"):
        Money(amount, "CNY")  # type: ignore[arg-type]  # the refusal is what is tested
    with pytest.raises(TypeError, match="whole number"):
        Money(1, "CNY") * 1.5  # type: ignore[operator]  # likewise


@pytest.mark.unit
@pytest.mark.parametrize("code", ["cny", "XXX", "XAU", "BGN", "", "CNYY"])
def test_an_unknown_currency_is_refused_in_both_languages(code: str) -> None:
    with pytest.raises(PlatformError) as caught:
        Money(1, code)
    assert (caught.value.code, caught.value.status, caught.value.param) == ("kernel.currency_unknown", 422, "/currency")
    assert caught.value.detail("zh") == "币种不是 ISO 4217 中具有最小单位的代码。"


@pytest.mark.unit
def test_amounts_are_written_for_people_and_for_records() -> None:
    assert [str(Money(*pair)) for pair in ((12000, "CNY"), (-5, "CNY"), (1200, "JPY"), (-5, "BHD"), (1, "CLF"))] == [
        "120.00 CNY",
        "-0.05 CNY",
        "1200 JPY",
        "-0.005 BHD",
        "0.0001 CLF",
    ]
    assert [Money(123450, "CNY").format(language) for language in ("en", "zh")] == ["CN¥1,234.50", "¥1,234.50"]
    assert Money(-123450, "USD").format("en") == "-$1,234.50"
    assert Money(1200, "JPY").format("en") == "¥1,200"
    # CLDR shows no digits for the Iraqi dinar; ISO 4217 has three, and nothing may be hidden.
    assert Money(1001, "IQD").format("en") == "IQD\xa01.001"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [("120.00", "CNY", 12000), ("120", "CNY", 12000), ("-1.2", "CNY", -120), ("0.005", "KWD", 5), ("7", "JPY", 7)],
)
def test_a_plain_decimal_is_read(text: str, currency: str, minor: int) -> None:
    assert parse(text, currency) == Money(minor, currency)


@pytest.mark.unit
@pytest.mark.parametrize(
    "text", ["", "1.", ".5", "1.234", "1.200", "1,000", "01", "+1", "1e3", "¥1", " 1", "١", "1\n", "9" * 19]
)
def test_any_other_text_is_no_amount(text: str) -> None:
    with pytest.raises(PlatformError) as caught:
        parse(text, "CNY")
    assert caught.value.code == "kernel.amount_unreadable"
    assert caught.value.detail("en") == "An amount in CNY is a plain decimal with at most 2 digits after the point."
    assert caught.value.detail("zh") == "CNY 金额应为普通小数，小数点后至多 2 位。"


@pytest.mark.property
@given(minor=st.integers(-(10**17), 10**17), currency=currencies)
def test_what_is_written_is_read_back(minor: int, currency: str) -> None:
    assert parse(Money(minor, currency).plain(), currency) == Money(minor, currency)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (-100, [1, 1, 1], [-34, -33, -33]),
        (5, [3, 7], [2, 3]),
        (10, [0, 5, 0], [0, 10, 0]),
        (2, [1, 1, 1, 1], [1, 1, 0, 0]),
        (0, [1, 2], [0, 0]),
        (1000, [333, 333, 334], [333, 333, 334]),
    ],
)
def test_a_total_is_split_by_largest_remainder_the_earlier_part_first(
    total: int, weights: list[int], parts: list[int]
) -> None:
    assert allocate(total, weights) == parts


@pytest.mark.property
@given(total=amounts, weights=st.lists(st.integers(0, 10**10), min_size=1, max_size=30).filter(any))
def test_a_split_is_exact_fair_and_mirrored(total: int, weights: list[int]) -> None:
    parts = allocate(total, weights)
    assert sum(parts) == total
    assert all(
        abs(part - Fraction(total * weight, sum(weights))) < 1 for part, weight in zip(parts, weights, strict=True)
    )
    assert all(part == 0 for part, weight in zip(parts, weights, strict=True) if weight == 0)
    assert allocate(-total, weights) == [-part for part in parts]


@pytest.mark.unit
@pytest.mark.parametrize("weights", [[], [0], [0, 0]])
def test_a_split_needs_some_weight(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="at least one weight is above zero"):
        allocate(100, weights)
    with pytest.raises(ValueError, match="not negative"):
        allocate(100, [*weights, 5, -1])


@pytest.mark.unit
@pytest.mark.parametrize(
    ("amount", "rate", "share"),
    [
        (12000, 60, 72),
        (50, 100, 1),
        (49, 100, 0),
        (-50, 100, -1),
        (150, 100, 2),
        (1, 5000, 1),
        (1, 4999, 0),
        (7, 10_000, 7),
        (7, 0, 0),
    ],
)
def test_basis_points_round_halves_away_from_zero(amount: int, rate: int, share: int) -> None:
    assert round_half_up_bp(amount, rate) == share


@pytest.mark.property
@given(amount=amounts, rate=st.integers(0, 20_000))
def test_a_rounded_share_is_nearest_and_odd(amount: int, rate: int) -> None:
    share = round_half_up_bp(amount, rate)
    assert abs(share - Fraction(amount * rate, 10_000)) <= Fraction(1, 2)
    assert round_half_up_bp(-amount, rate) == -share
