"""Details as requests carry them and as grants keep them: read strictly, compared, merged, bounded."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.contracts.rar import Detail
from platform_core.identity.limit_policy import shipped_policy
from platform_core.identity.rar import (
    DetailsRefused,
    GrantedDetail,
    are_within,
    granted_of,
    is_detail_within,
    lowered,
    merged,
    narrowed,
    read_details,
    replaced,
)

STORES = [f"sto_{n:026}" for n in range(3)]


def refund(*limits: tuple[str, int], **more: object) -> Detail:
    """`("day", 500)`: at most 500 fen a day."""
    found = [{"per": per, "amount_minor": value, "currency": "CNY"} for per, value in limits]
    return Detail.model_validate({"type": "payment_refund", "limits": found, **more})


def ids() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"det_{next(numbers)}"


@pytest.mark.unit
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "[1]",
        "[" * 60_000,
        '[{"type":"payment_refund","type":"payment_refund"}]',
        '[{"type":"payment_refund","limits":[{"per":"day","quantity":NaN}]}]',
        '[{"type":"payment_refund","limits":[{"per":"day","quantity":1e2}]}]',
        '[{"type":"payment_refund","limits":[{"per":"day","quantity":"1"}]}]',
        '[{"type":"payment_refund","limits":[{"per":"day","quantity":9007199254740993}]}]',
        '[{"type":"payment_\\u0000"}]',
        '[{"type":"payment_\\ud800"}]',
        '[{"type":"\ud800"}]',
        json.dumps([{"type": "payment_refund"}] * 21),
        json.dumps([{"type": "payment_refund", "stores": [f"sto_{n:026}" for n in range(300)]}]),
    ],
)
def test_f21_what_is_no_strict_detail_is_refused_and_never_raises_otherwise(text: str) -> None:
    with pytest.raises(DetailsRefused) as refused:
        read_details(text)
    assert str(refused.value).isascii()


@pytest.mark.unit
def test_a_detail_survives_the_grants_row() -> None:
    present = replaced((), [refund(("day", 5), stores=STORES[:1], actions=["create"])], new_id=ids())
    assert granted_of(json.loads(json.dumps([one.record() for one in present]))) == present


@pytest.mark.unit
def test_a17_two_details_do_not_hide_behind_one() -> None:
    one = refund(("day", 100))
    assert are_within([one], [one])
    assert not are_within([one, one], [one])
    assert are_within([refund(("day", 50)), refund(("day", 90))], [one, refund(("day", 60))])  # 50 < 60, 90 < 100
    assert not are_within([refund(("day", 90)), refund(("day", 90))], [one, refund(("day", 60))])


@pytest.mark.unit
@pytest.mark.parametrize(
    ("inner", "is_within"),
    [
        (refund(("day", 100)), True),
        (refund(("day", 99), ("request", 1)), True),
        (refund(("day", 101)), False),
        (refund(("week", 100)), False),
        (refund(), False),
        (refund(("day", 100), stores=STORES[:1]), True),
        (Detail.model_validate({"type": "payment_create", "limits": []}), False),
    ],
)
def test_within_means_nothing_more_in_any_respect(inner: Detail, is_within: bool) -> None:
    assert is_detail_within(inner, refund(("day", 100))) is is_within
    assert is_detail_within(refund(("day", 100)), refund(("day", 100), stores=STORES[:1])) is False


@pytest.mark.unit
def test_consenting_again_gives_back_nothing_that_was_used() -> None:
    present = replaced((), [refund(("day", 100)), refund(("day", 10), stores=STORES[:1])], new_id=ids())
    again = replaced(present, [refund(("day", 70), stores=STORES[:1]), refund(("day", 300))], new_id=ids())
    assert [one.id for one in again] == ["det_2", "det_1"]
    smaller = replaced(present[:1], [refund(("day", 5), stores=STORES[:2])], new_id=lambda: "det_9")
    assert [one.id for one in smaller] == ["det_1"]  # it lies within the one that was there
    assert [one.id for one in narrowed(present, [refund(("day", 9), stores=STORES[:1])])] == ["det_1"]


@pytest.mark.unit
def test_merging_lifts_no_bound() -> None:
    present = replaced((), [refund(("day", 100), ("request", 9))], new_id=ids())
    [both] = merged(present, [refund(("day", 200), ("month", 900))], new_id=ids())
    assert both.id == "det_1"
    assert {(limit.per, limit.value) for limit in both.detail.limits} == {("request", 9), ("day", 200), ("month", 900)}
    assert merged(present, [refund(("day", 1), ("request", 1), stores=STORES[:1])], new_id=ids()) == present


@pytest.mark.unit
@pytest.mark.parametrize("value", [0, -1, 101, 10**14])
def test_a17_lowering_never_raises(value: int) -> None:
    assert lowered([refund(("day", 100))], {(0, 0): 40}) == (refund(("day", 40)),)
    with pytest.raises(DetailsRefused):
        lowered([refund(("day", 100))], {(0, 0): value})
    with pytest.raises(DetailsRefused):
        narrowed((GrantedDetail("det_1", refund(("day", 100))),), [refund(("day", 101))])


@pytest.mark.unit
def test_the_policy_completes_and_bounds() -> None:
    policy = shipped_policy()
    [completed] = policy.complete({"refunds:write"}, [refund(("request", 5))])
    assert {(limit.per, limit.value) for limit in completed.limits} == {("request", 5), ("day", 100_000_000_000)}
    assert {one.type for one in policy.complete({"payments:write", "refunds:write", "openid"}, [])} == {
        "payment_create",
        "payment_refund",
    }
    for scopes, wanted in (
        ({"refunds:write"}, [refund(("day", 100_000_000_001))]),
        ({"refunds:write"}, [refund(("day", 60_000_000_000)), refund(("day", 60_000_000_000), stores=STORES)]),
        ({"refunds:read"}, [refund(("day", 1))]),
        (
            {"refunds:write"},
            [
                Detail.model_validate(
                    {"type": "payment_refund", "limits": [{"per": "day", "amount_minor": 1, "currency": "USD"}]}
                )
            ],
        ),
    ):
        with pytest.raises(DetailsRefused):
            policy.complete(scopes, wanted)


@st.composite
def refunds(draw: st.DrawFn) -> Detail:
    values = draw(st.dictionaries(st.sampled_from(["request", "day", "month"]), st.integers(1, 9), max_size=3))
    stores = draw(st.none() | st.sets(st.sampled_from(STORES), min_size=1))
    more = {} if stores is None else {"stores": sorted(stores)}
    return refund(*values.items(), **more)


def allows(detail: Detail, amount: int, store: str, spent: int) -> bool:
    """Whether an act of this amount passes after so much was spent today and this month."""
    if not GrantedDetail("det_1", detail).fits(action="create", store_id=store):
        return False
    return all(amount + (0 if limit.per == "request" else spent) <= limit.value for limit in detail.limits)


@pytest.mark.property
@given(refunds(), refunds(), st.integers(1, 10), st.sampled_from(STORES), st.integers(0, 10))
def test_what_lies_within_allows_no_act_that_the_outer_one_refuses(
    inner: Detail, outer: Detail, amount: int, store: str, spent: int
) -> None:
    if is_detail_within(inner, outer) and allows(inner, amount, store, spent):
        assert allows(outer, amount, store, spent)
