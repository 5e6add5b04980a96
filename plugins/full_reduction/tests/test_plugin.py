"""Spend and save: tiers, what takes part, and who carries the cent that is left."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.contracts.fields import Money
from platform_core.contracts.payments import Basket, BasketLine
from platform_core.contracts.results import BasketOperations, Discount
from platform_core.contracts.testing import FakeHost, load_plugin
from plugins.full_reduction import amend_basket
from plugins.full_reduction.settings import Settings, Tier
from plugins.full_reduction.shares import shares

pytestmark = pytest.mark.unit

MANIFEST = load_plugin("plugins.full_reduction").manifest
TWO_TIERS = [{"threshold_minor": 10_000, "off_minor": 1_000}, {"threshold_minor": 20_000, "off_minor": 3_000}]


def line(line_id: str, net_minor: int, *, category: str = "food") -> BasketLine:
    return BasketLine(
        line_id=line_id,
        sku=line_id,
        name=line_id,
        category=category,
        quantity=1,
        unit_minor=net_minor,
        discount_minor=0,
    )


def amended(*lines: BasketLine, locale: str = "zh", currency: str = "CNY", **config: Any) -> BasketOperations:
    total = sum(each.quantity * each.unit_minor - each.discount_minor for each in lines)
    basket = Basket(basket_id="bsk_1", store_id=None, lines=lines, total=Money(amount_minor=total, currency=currency))
    return amend_basket(FakeHost(MANIFEST, config=config).context("amend_basket", locale=locale), basket)


def off(answer: BasketOperations) -> dict[str | None, int]:
    return {each.line_id: each.amount_minor for each in answer.operations if isinstance(each, Discount)}


@pytest.mark.parametrize(
    ("total", "taken"), [(9_999, 0), (10_000, 1_000), (19_999, 1_000), (20_000, 3_000), (60_000, 3_000)]
)
def test_the_tier_that_saves_most_counts_once(total: int, taken: int) -> None:
    assert sum(off(amended(line("a", total), tiers=TWO_TIERS)).values()) == taken


def test_a_repeated_tier_counts_for_every_such_amount() -> None:
    tiers = [{"threshold_minor": 10_000, "off_minor": 1_000, "is_repeated": True}]
    assert sum(off(amended(line("a", 35_000), tiers=tiers)).values()) == 3_000


def test_a_discount_is_divided_by_what_the_lines_cost() -> None:
    answer = amended(line("a", 3_333), line("b", 3_333), line("c", 3_334), tiers=TWO_TIERS)
    assert off(answer) == {"a": 333, "b": 333, "c": 334}


def test_categories_left_out_neither_count_nor_are_cut() -> None:
    card = line("card", 50_000, category="gift_card")
    assert off(amended(line("a", 9_999), card, tiers=TWO_TIERS)) == {}
    assert off(amended(line("a", 10_000), card, tiers=TWO_TIERS)) == {"a": 1_000}


def test_what_others_took_off_is_gone() -> None:
    cut = line("a", 10_500).model_copy(update={"discount_minor": 501})
    assert off(amended(cut, tiers=TWO_TIERS)) == {}


def test_many_lines_get_one_discount_on_the_order() -> None:
    many = [line(str(number), 1_000) for number in range(21)]
    assert off(amended(*many, tiers=TWO_TIERS)) == {None: 3_000}


def test_another_currency_and_no_tiers_change_nothing() -> None:
    assert amended(line("a", 60_000), tiers=TWO_TIERS, currency="USD") == BasketOperations()
    assert amended(line("a", 60_000)) == BasketOperations()


def test_the_label_is_in_the_language_of_the_reader() -> None:
    tiers = [TWO_TIERS[0] | {"label_zh": "满100减10", "label_en": "10 off 100"}]
    for locale, label in (("zh", "满100减10"), ("en", "10 off 100")):
        [one] = amended(line("a", 10_000), locale=locale, tiers=tiers).operations
        assert isinstance(one, Discount)
        assert (one.label, one.rule_id, one.funder) == (label, "full-reduction", "merchant")


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20), st.data())
def test_shares_add_up_and_none_exceeds_its_line(weights: list[int], data: st.DataObject) -> None:
    whole = {str(place): weight for place, weight in enumerate(weights)}
    amount = data.draw(st.integers(0, sum(weights)))
    parts = shares(amount, whole)
    assert sum(parts.values()) == amount
    assert all(0 <= part <= whole[name] for name, part in parts.items())


def test_a_tier_never_takes_more_than_there_is() -> None:
    assert Tier(threshold_minor=100, off_minor=150).off(120) == 120


def test_the_defaults_are_those_of_the_schema() -> None:
    schema = json.loads(files("plugins.full_reduction").joinpath("config.schema.json").read_bytes())
    defaults = {name: one["default"] for name, one in schema["properties"].items()}
    assert Settings.of(defaults) == Settings()
    items = schema["properties"]["tiers"]["items"]["properties"]
    tier = {name: one["default"] for name, one in items.items() if "default" in one}
    assert Tier.model_validate({"threshold_minor": 1, "off_minor": 1} | tier) == Tier(threshold_minor=1, off_minor=1)
