"""What hooks may answer, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from platform_core.contracts.results import (
    DONE,
    OPERATIONS_MAX,
    REASONS_MAX,
    RENDERED_BYTES_MAX,
    Acknowledged,
    Acknowledgement,
    BasketOperations,
    Discount,
    Ranking,
    Reason,
    RefuseBenefit,
    Rendered,
    RetryLater,
    Verdict,
)

pytestmark = pytest.mark.unit

OFF = Discount(amount_minor=100, rule_id="ten-off", label="10 off")


def test_the_short_forms_say_what_they_mean() -> None:
    assert Verdict.allow() == Verdict(decision="allow", score=0, reasons=())
    assert Verdict.review("velocity", "Too many.") == Verdict(
        decision="review", score=50, reasons=(Reason(rule_id="velocity", text="Too many."),)
    )
    assert Verdict.deny("listed", "On the list.").score == 100
    assert Ranking.of(["b", "a"]).ids == ("b", "a")
    assert Acknowledgement() == DONE


@pytest.mark.parametrize(
    "result",
    [
        Verdict.deny("listed", "On the list."),
        BasketOperations(operations=(OFF, RefuseBenefit(reference="cpn_1", code="not_with_sale"))),
        Ranking.of(["rt_1"]),
    ],
)
def test_a_result_reads_the_same_on_the_other_side(result: Any) -> None:  # Any: several types
    assert type(result).model_validate_json(result.model_dump_json()) == result


def test_an_acknowledgement_is_told_from_a_delay_by_its_type() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Acknowledged)
    assert adapter.validate_json('{"type": "done"}') == DONE
    later = RetryLater(after_s=30, reason="The CRM is busy.")
    assert adapter.validate_json(adapter.dump_json(later)) == later


REFUSED: list[tuple[type[Any], dict[str, Any], str]] = [
    (Verdict, {"decision": "allow", "note": "x"}, "Extra inputs"),
    (Verdict, {"decision": "perhaps"}, "'allow', 'review' or 'deny'"),
    (Verdict, {"decision": "deny"}, "names at least one reason"),
    (Verdict, {"decision": "allow", "score": 101}, "less than or equal to 100"),
    (Verdict, {"decision": "allow", "score": "7"}, "valid integer"),
    (Verdict, {"decision": "deny", "reasons": [{"rule_id": "A b", "text": "t"}]}, "should match pattern"),
    (
        Verdict,
        {"decision": "deny", "reasons": [{"rule_id": "a", "text": "t"}] * (REASONS_MAX + 1)},
        f"at most {REASONS_MAX} items",
    ),
    (Discount, {"amount_minor": 0, "rule_id": "a", "label": "b"}, "greater than 0"),
    (Discount, {"amount_minor": 1.0, "rule_id": "a", "label": "b"}, "valid integer"),
    (BasketOperations, {"operations": [{"type": "gift"}]}, "does not match any of the expected tags"),
    (
        BasketOperations,
        {"operations": [OFF.model_dump()] * (OPERATIONS_MAX + 1)},
        f"at most {OPERATIONS_MAX} items",
    ),
    (Ranking, {"ids": ["a", "a"]}, "names no id twice"),
    (RetryLater, {"after_s": 3601, "reason": "x"}, "less than or equal to 3600"),
    (RetryLater, {"after_s": 0, "reason": "x"}, "greater than or equal to 1"),
    (Rendered, {"media_type": "html", "blob": ""}, "should match pattern"),
]


@pytest.mark.parametrize(("shape", "told", "said"), REFUSED)
def test_what_the_contract_does_not_know_is_refused(shape: type[Any], told: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(shape).validate_json(TypeAdapter(dict[str, Any]).dump_json(told))


def test_a_blob_has_a_largest_size() -> None:
    largest = Rendered(media_type="application/pdf", blob=b"%" * RENDERED_BYTES_MAX)
    assert len(largest.blob) == RENDERED_BYTES_MAX
    with pytest.raises(ValidationError, match="at most 2097152 items"):
        Rendered(media_type="application/pdf", blob=b"%" * (RENDERED_BYTES_MAX + 1))
