"""Merge rules: what several answers come to, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_core.contracts.fields import Money
from platform_core.contracts.results import Ranking, Reason, Rendered, Verdict
from platform_core.contracts.runtime import Fault, FaultKind
from platform_core.plugin_host.merging import (
    Wanted,
    fault_of_drawing,
    full_ranking,
    merged_verdict,
    verdict_of_fault,
)

pytestmark = [pytest.mark.unit, pytest.mark.property]
ORDER = ("allow", "review", "deny")

reasons = st.builds(
    Reason, rule_id=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,6}", fullmatch=True), text=st.text(min_size=1, max_size=9)
)
verdicts = st.builds(
    Verdict,
    decision=st.sampled_from(ORDER),
    score=st.integers(0, 100),
    reasons=st.lists(reasons, min_size=1, max_size=8).map(tuple),
) | st.builds(Verdict, decision=st.just("allow"), score=st.integers(0, 100))


@settings(deadline=None)
@given(st.lists(verdicts, max_size=5))
def test_the_most_severe_verdict_and_the_highest_score_stand(given_verdicts: list[Verdict]) -> None:
    merged = merged_verdict(given_verdicts)
    worst = max((ORDER.index(one.decision) for one in given_verdicts), default=0)
    assert merged.decision == ORDER[worst]
    assert merged.score == max((one.score for one in given_verdicts), default=0)


@settings(deadline=None)
@given(st.lists(verdicts, max_size=5))
def test_reasons_are_joined_in_order_and_the_mildest_go_first_where_there_are_too_many(
    given_verdicts: list[Verdict],
) -> None:
    said = [(one.decision, reason) for one in given_verdicts for reason in one.reasons]
    kept = list(merged_verdict(given_verdicts).reasons)
    assert len(kept) == min(len(said), 8)
    rest = iter([reason for _, reason in said])
    assert all(any(reason is other for other in rest) for reason in kept)  # a subsequence: the order is kept
    milder_left = [d for d, reason in said if any(reason is one for one in kept)]
    left_out = [d for d, reason in said if not any(reason is one for one in kept)]
    assert all(ORDER.index(out) <= ORDER.index(one) for out in left_out for one in milder_left)


def test_a_reason_of_the_denying_plugin_stays_behind_eight_of_others() -> None:
    loud = Verdict(decision="review", reasons=tuple(Reason(rule_id=f"r{n}", text="x") for n in range(8)))
    merged = merged_verdict([loud, Verdict.deny("stolen", "The card is stolen.")])
    assert merged.decision == "deny"
    assert [one.rule_id for one in merged.reasons] == ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "stolen"]


@pytest.mark.parametrize(
    ("amount_minor", "deny_above_minor", "decision"),
    [
        (499, 500, "review"),
        (500, 500, "deny"),
        (501, 500, "deny"),
        (10**12, None, "review"),
        (None, 0, "review"),
        (0, 0, "deny"),
    ],
)
def test_a_failing_plugin_counts_as_review_and_as_deny_from_the_merchants_amount_on(
    amount_minor: int | None, deny_above_minor: int | None, decision: str
) -> None:
    fault = Fault(FaultKind.TIMEOUT)
    verdict = verdict_of_fault("a.b.c", fault, amount_minor=amount_minor, deny_above_minor=deny_above_minor)
    assert (verdict.decision, verdict.reasons[0].rule_id) == (decision, "plugin.timeout")


def test_the_longest_plugin_id_fits_a_reason() -> None:
    for kind in FaultKind:
        verdict_of_fault("p" * 120, Fault(kind), amount_minor=None, deny_above_minor=None)


ids = st.lists(st.sampled_from("abcdefgh"), unique=True)


@settings(deadline=None)
@given(ids, ids)
def test_a_ranking_is_a_permutation_of_what_was_offered_or_refused(ranked: list[str], offered: list[str]) -> None:
    full = full_ranking(Ranking.of(ranked), offered)
    if set(ranked) <= set(offered):
        assert isinstance(full, Ranking)
        assert sorted(full.ids) == sorted(offered)
        assert list(full.ids[: len(ranked)]) == ranked
        assert list(full.ids[len(ranked) :]) == [one for one in offered if one not in ranked]
    else:
        assert full == Fault(
            FaultKind.BAD_RESULT, f"{len(set(ranked) - set(offered))} of the ranked ids were not offered"
        )


CNY = Money(amount_minor=1_200, currency="CNY")
WANTED = Wanted(media_type="text/html", total=CNY, number="N1", bytes_max=4)
GOOD = Rendered(media_type="text/html; charset=utf-8", blob=b"page", total=CNY, number="N1")


def test_a_document_that_is_what_was_asked_for_is_taken() -> None:
    assert fault_of_drawing(GOOD, WANTED) is None


@pytest.mark.parametrize(
    "change",
    [
        {"media_type": "application/pdf"},
        {"total": Money(amount_minor=1_201, currency="CNY")},
        {"total": Money(amount_minor=1_200, currency="USD")},
        {"total": None},
        {"number": "N2"},
        {"number": None},
        {"blob": b""},
        {"blob": b"pages"},
    ],
)
def test_a_document_that_differs_in_anything_is_not(change: dict[str, object]) -> None:
    fault = fault_of_drawing(GOOD.model_copy(update=change), WANTED)
    assert fault is not None
    assert fault.kind is FaultKind.BAD_RESULT
