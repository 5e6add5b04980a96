"""The arithmetic of splits, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_core.capabilities.payments.splits.amounts import (
    SHARE_CAP_BP,
    Wanted,
    bounds_of,
    cap_of,
    judge,
    pro_rata,
    split_state,
)
from platform_core.capabilities.payments.splits.models import Split, SplitPolicy, SplitShare

NOW = datetime(2026, 11, 22, tzinfo=UTC)
BOUND = "rcv_1"


def payment(**figures: int) -> dict[str, Any]:
    blank = dict.fromkeys(
        (
            "captured_minor",
            "refunded_minor",
            "refunding_minor",
            "disputed_minor",
            "fee_minor",
            "fee_returned_minor",
            "split_minor",
            "splitting_minor",
        ),
        0,
    )
    return {"id": "pay_1", "currency": "CNY", **blank, **figures}


def made(number: int = 1, split_id: str = "spl_1", **figures: Any) -> SplitShare:
    blank = {"frozen_minor": 0, "settled_minor": 0, "returned_minor": 0, "given_back_minor": 0, "state": "settled"}
    return SplitShare(
        id=f"shr_{split_id}_{number}",
        merchant_id="mer_1",
        payment_id="pay_1",
        split_id=split_id,
        number=number,
        receiver_id=f"rcv_{number}",
        note="",
        created_at=NOW,
        **{**blank, **figures},
    )


def one_split(refunded_before: int = 0) -> Split:
    return Split(
        id="spl_1",
        merchant_id="mer_1",
        payment_id="pay_1",
        out_request_no="s1",
        fingerprint=b"",
        mode="partial",
        state="settled",
        currency="CNY",
        refunded_before_minor=refunded_before,
        version=1,
        created_at=NOW,
        updated_at=NOW,
    )


def test_the_cap_is_the_platforms_unless_the_merchants_policy_says_otherwise() -> None:
    policy = SplitPolicy(id="mer_1", merchant_id="mer_1", share_cap_bp=None, receivers_bound=0, version=1)
    assert cap_of(None) == cap_of(policy) == SHARE_CAP_BP == 3_000
    policy.share_cap_bp = 5_000
    assert cap_of(policy) == 5_000


def test_percents_are_floored_and_shares_fit_under_the_cap_in_their_order() -> None:
    bounds = bounds_of(payment(captured_minor=9_999, fee_minor=60), [], cap_bp=3_000)
    assert (bounds.under_cap_minor, bounds.unspent_minor) == (2_999, 9_939)
    wanted = [Wanted("rcv_1", None, 1_500, ""), Wanted("rcv_2", None, 1_500, ""), Wanted("rcv_3", 2, None, "")]
    judged = judge(wanted, bounds, is_bound=lambda id_: True)
    assert [each.amount_minor for each in judged] == [1_499, 1_499, 2]
    assert [each.error and each.error.code for each in judged] == [None, None, "payments.split_limit_exceeded"]
    assert judged[2].error is not None
    assert judged[2].error.detail("en") == (
        "A split of 0.02 CNY exceeds 0.01 CNY still possible on pay_1 (cap_bp 3000)."
    )


def test_what_came_back_by_a_refund_does_not_widen_the_cap_and_what_nobody_got_does() -> None:
    shares = [
        made(1, amount_minor=1_000, returned_minor=1_000, state="returned"),
        made(2, amount_minor=700, given_back_minor=700, state="returned"),
        made(3, amount_minor=900, state="failed"),
        made(4, amount_minor=500, state="pending"),
    ]
    bounds = bounds_of(payment(captured_minor=10_000), shares, cap_bp=3_000)
    assert bounds.under_cap_minor == 3_000 - 1_000 - 500


def test_a_share_of_nothing_or_for_a_stranger_is_refused() -> None:
    bounds = bounds_of(payment(captured_minor=50), [], cap_bp=10_000)
    wanted = [Wanted("rcv_1", None, 100, ""), Wanted("rcv_9", 1, None, "")]
    judged = judge(wanted, bounds, is_bound=BOUND.__eq__)
    assert [each.error and each.error.code for each in judged] == [
        "payments.split_share_empty",
        "payments.receiver_not_bound",
    ]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["pending", "failed"], "pending"),
        (["unknown", "failed"], "unknown"),
        (["settled", "frozen"], "frozen"),
        (["returned", "settled"], "settled"),
        (["returned", "failed"], "returned"),
        (["failed"], "failed"),
    ],
)
def test_a_split_stands_where_its_shares_put_it(states: list[str], expected: str) -> None:
    assert split_state([{"state": state} for state in states]) == expected


def test_shares_settled_after_a_refund_come_back_by_what_goes_back_after_it() -> None:
    share = made(1, amount_minor=1_000, settled_minor=1_000)
    back = pro_rata([one_split(5_000)], {"spl_1": [share]}, captured_minor=10_000, gone_minor=6_000, most_minor=1_000)
    assert [(piece.amount_minor, piece.is_frozen) for piece in back] == [(200, False)]


def test_what_is_frozen_comes_back_before_what_a_receiver_has() -> None:
    share = made(1, amount_minor=1_000, frozen_minor=300, settled_minor=700, state="frozen")
    back = pro_rata([one_split()], {"spl_1": [share]}, captured_minor=2_000, gone_minor=1_000, most_minor=1_000)
    assert [(piece.amount_minor, piece.is_frozen) for piece in back] == [(300, True), (200, False)]


@settings(max_examples=300, deadline=None)
@given(
    amounts=st.lists(st.integers(1, 5_000), min_size=1, max_size=6),
    extra=st.integers(0, 20_000),
    before=st.integers(0, 5_000),
    cuts=st.lists(st.integers(1, 20_000), max_size=8),
)
def test_partial_refunds_return_shares_that_add_up_exactly(
    amounts: list[int], extra: int, before: int, cuts: list[int]
) -> None:
    """P13: whatever the steps, after each the split's part is the floor of the whole, and the last brings all back."""
    captured = sum(amounts) + extra + before
    shares = [made(n, amount_minor=a, settled_minor=a) for n, a in enumerate(amounts, start=1)]
    gone, whole = before, captured - before
    for cut in [*cuts, captured]:
        step = min(cut, captured - gone)
        if step == 0:
            continue
        gone += step
        back = pro_rata(
            [one_split(before)], {"spl_1": shares}, captured_minor=captured, gone_minor=gone, most_minor=10**9
        )
        for piece in back:
            assert piece.amount_minor > 0
            piece.share.settled_minor -= piece.amount_minor
            piece.share.returned_minor += piece.amount_minor
        assert all(share.settled_minor >= 0 for share in shares)
        assert sum(share.returned_minor for share in shares) == sum(amounts) * (gone - before) // whole
    assert [share.returned_minor for share in shares] == amounts
