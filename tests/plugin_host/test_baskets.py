"""What plugins may take off a basket: totals are recomputed, and a bound that breaks leaves the answer out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_core.contracts.fields import Money
from platform_core.contracts.results import BasketOperation, Discount, RefuseBenefit
from platform_core.contracts.runtime import Fault
from platform_core.plugin_host.baskets import Amended, amended, net_minor
from tests.plugin_host.stage import basket

pytestmark = [pytest.mark.unit, pytest.mark.property]


def off(amount_minor: int, line_id: str | None = None, *, funder: str = "merchant") -> Discount:
    return Discount(amount_minor=amount_minor, line_id=line_id, funder=funder, rule_id="r", label="off")


def apply(so_far: Amended, *operations: BasketOperation, max_bp: int = 10_000) -> Amended | Fault:
    return amended(so_far, operations, plugin_id="a.b.c", version="1.0.0", discount_max_bp=max_bp)


lines = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1_000)), min_size=1, max_size=3)
operation = st.builds(off, st.integers(1, 1_500), st.sampled_from([None, "l0", "l1", "l2", "l9"]))
answers = st.lists(st.lists(operation, max_size=4), max_size=4)


@settings(deadline=None)
@given(lines, answers, st.integers(0, 10_000))
def test_whatever_plugins_answer_the_basket_stays_within_its_bounds(
    given_lines: list[tuple[int, int]], given_answers: list[list[Discount]], max_bp: int
) -> None:
    first = Amended.untouched(basket(*given_lines))
    so_far = first
    for answer in given_answers:
        after = apply(so_far, *answer, max_bp=max_bp)
        if isinstance(after, Fault):
            continue
        assert after.basket.operations == (*so_far.basket.operations, *answer)
        so_far = after
    made = so_far.basket
    taken = sum(one.operation.amount_minor for one in so_far.operations if isinstance(one.operation, Discount))
    off_order = sum(one.amount_minor for one in made.operations if isinstance(one, Discount) and one.line_id is None)
    assert made.total.amount_minor == first.basket.total.amount_minor - taken >= 0
    assert made.total.amount_minor == sum(map(net_minor, made.lines)) - off_order
    assert all(net_minor(line) >= 0 for line in made.lines)
    assert taken * 10_000 <= first.gross_minor * max_bp


@pytest.mark.parametrize(
    ("operations", "why"),
    [
        ((off(1, "l7"),), "operation 1: there is no such line"),
        ((off(300, "l0"), off(1, "l0")), "operation 2: 1 is more than the 0 that are left of the line"),
        ((off(1_000),), "operation 1: 1000 is more than the 700 that are left of the total"),
        ((off(1, funder="platform"),), "operation 1: another funder than the merchant needs an authorisation"),
        ((off(200), off(151)), "all discounts together come to 351; 350 is the most"),
        (
            (Discount.model_construct(amount_minor=-5, line_id=None, funder="merchant"),),
            "operation 1: a discount is above zero",
        ),
        ((RefuseBenefit(reference="cpn_9", code="expired"),), "operation 1: the basket asks for no such benefit"),
    ],
)
def test_one_operation_out_of_bounds_leaves_out_the_whole_answer(
    operations: tuple[BasketOperation, ...], why: str
) -> None:
    so_far = Amended.untouched(basket((3, 100), (1, 400), coupon_ids=("cpn_1",)))
    after = apply(so_far, *operations, max_bp=5_000 if why.startswith("all") else 10_000)
    assert isinstance(after, Fault)
    assert after.detail == why
    assert so_far.operations == ()
    assert so_far.basket.total == Money(amount_minor=700, currency="CNY")


def test_an_operation_in_bounds_before_one_out_of_bounds_does_not_count_either() -> None:
    so_far = Amended.untouched(basket((1, 400)))
    assert isinstance(apply(so_far, off(10), off(1, "l7")), Fault)
    after = apply(so_far, off(10))
    assert isinstance(after, Amended)
    assert after.basket.total.amount_minor == 390


def test_a_benefit_of_the_basket_is_refused_once() -> None:
    refusal = RefuseBenefit(reference="cpn_1", code="expired")
    after = apply(Amended.untouched(basket((1, 400), coupon_ids=("cpn_1",))), refusal)
    assert isinstance(after, Amended)
    assert [one.operation for one in after.operations] == [refusal]
    assert isinstance(apply(after, refusal), Fault)


def test_the_bound_of_all_discounts_counts_what_plugins_before_took() -> None:
    first = apply(Amended.untouched(basket((1, 1_000))), off(300), max_bp=5_000)
    assert isinstance(first, Amended)
    assert isinstance(apply(first, off(201), max_bp=5_000), Fault)
    second = apply(first, off(200), max_bp=5_000)
    assert isinstance(second, Amended)
    assert (second.gross_minor, second.basket.total.amount_minor) == (1_000, 500)


def test_a_basket_that_contradicts_itself_is_not_offered_to_anybody() -> None:
    wrong = basket((1, 400)).model_copy(update={"total": Money(amount_minor=399, currency="CNY")})
    with pytest.raises(ValueError, match="do not come to its total"):
        Amended.untouched(wrong)
