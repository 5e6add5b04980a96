"""What a provider's word makes of a payout: no database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.capabilities.payments.payouts.verdicts import ENDS, Step, Verdict, step_of, verdict_of
from platform_core.contracts.payments import NOT_FOUND, PAYOUT_RETURNED, PAYOUT_SENT, ErrorClass, ProviderResult

pytestmark = pytest.mark.unit
SUCCESS = ProviderResult.success(amount_minor=1, occurred_at=datetime(2026, 11, 22, tzinfo=UTC))
VERDICTS: tuple[Verdict, ...] = ("paid", "sent", "failed", "returned", "unseen", "unknown", "silent")
BECOMES: dict[Step, str] = {"pay": "paid", "send": "sent", "doubt": "unknown", "take_back": "returned"}


def failed(error_class: ErrorClass, code: str = "X") -> ProviderResult:
    return ProviderResult.failed(error_class, code, "words")


@pytest.mark.parametrize(
    ("result", "of_call", "of_question"),
    [
        (SUCCESS, "paid", "paid"),
        (ProviderResult.unknown(PAYOUT_SENT, ""), "sent", "sent"),
        (ProviderResult.unknown(NOT_FOUND, ""), "unseen", "unseen"),
        (ProviderResult.unknown("timeout", ""), "unknown", "unknown"),
        (failed(ErrorClass.DECLINED_FINAL, PAYOUT_RETURNED), "returned", "returned"),
        (failed(ErrorClass.DECLINED_FINAL), "failed", "failed"),
        (failed(ErrorClass.DECLINED_TRY_OTHER), "failed", "failed"),
        (failed(ErrorClass.INVALID_REQUEST), "failed", "silent"),
        (failed(ErrorClass.DUPLICATE), "unknown", "unknown"),
        (failed(ErrorClass.NOT_SENT), "silent", "silent"),
        (failed(ErrorClass.BUSY), "silent", "silent"),
        (failed(ErrorClass.CONFIGURATION), "silent", "silent"),
    ],
)
def test_each_answer_has_its_verdict(result: ProviderResult, of_call: Verdict, of_question: Verdict) -> None:
    assert verdict_of(result, is_question=False) == of_call
    assert verdict_of(result, is_question=True) == of_question


@pytest.mark.parametrize(
    ("state", "verdict", "step"),
    [
        ("created", "paid", "pay"),
        ("created", "sent", "send"),
        ("created", "unknown", "doubt"),
        ("created", "silent", "nothing"),
        ("created", "unseen", "nothing"),
        ("created", "failed", "give_back"),
        ("sent", "unknown", "nothing"),
        ("sent", "returned", "give_back"),
        ("unknown", "sent", "send"),
        ("unknown", "paid", "pay"),
        ("unknown", "silent", "nothing"),
        ("paid", "paid", "nothing"),
        ("paid", "returned", "take_back"),
        ("paid", "failed", "contradict"),
        ("failed", "paid", "contradict"),
        ("failed", "returned", "nothing"),
        ("returned", "failed", "nothing"),
        ("returned", "returned", "nothing"),
        ("returned", "paid", "contradict"),
    ],
)
def test_a_word_moves_a_payout_from_where_it_stands(state: str, verdict: Verdict, step: Step) -> None:
    assert step_of(state, verdict) == step


@given(st.lists(st.sampled_from(VERDICTS), max_size=12))
def test_whatever_is_said_money_leaves_and_returns_once_at_most(words: list[Verdict]) -> None:
    state, set_aside, at_bank, back = "created", 1, 0, 0
    for word in words:
        step = step_of(state, word)
        if step == "pay":
            set_aside, at_bank = set_aside - 1, at_bank + 1
        elif step == "give_back":
            set_aside, back = set_aside - 1, back + 1
        elif step == "take_back":
            at_bank, back = at_bank - 1, back + 1
        state = word if step == "give_back" else BECOMES.get(step, state)
        assert min(set_aside, at_bank, back) >= 0
        assert (set_aside, at_bank, back).count(1) == 1
        assert (state in ENDS) == (set_aside == 0)
