"""Payloads: cut to what manifest and grant cover, read tolerantly, changed by nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from platform_core.contracts.fields import Cut, FieldNotSent, MemberView, Money, as_sent, paths_of
from platform_core.contracts.payments import PaymentToCheck, RefundToCheck

pytestmark = pytest.mark.unit

NOON = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
ALL = (
    "payments:read",
    "payments.payer:read",
    "payments.device:read",
    "baskets:read",
    "members:read",
    "members.contact:read",
    "coupons:read",
)


def payment(**changed: Any) -> PaymentToCheck:
    """A payment with everything in it."""
    member = MemberView(
        member_id="mem_1", level="gold", points=120, joined_at=NOON - timedelta(days=30), phone="+8613800000000"
    )
    told: dict[str, Any] = {
        "payment_id": "pay_1",
        "out_trade_no": "T1",
        "subject": "Noodles",
        "form": "merchant_scan",
        "channel": None,
        "amount": Money(amount_minor=1_200, currency="CNY"),
        "store_id": "sto_1",
        "terminal_id": None,
        "operator_id": None,
        "attempt": 1,
        "created_at": NOON,
        "payer_ref": "payer-7",
        "risk_context": {"cart": {"age_s": 12}, "tags": ["new", "night"]},
        "member": member,
        "coupon_ids": ("cpn_1",),
    }
    return PaymentToCheck(**(told | changed))


def cut(*fields: str, granted: tuple[str, ...] = ALL) -> Cut:
    """What a plugin gets that asks for these fields."""
    return Cut(PaymentToCheck, fields=fields, base="payments:read", granted=granted)


def crossed(told: PaymentToCheck) -> PaymentToCheck:
    """The same on the other side of a wire."""
    return as_sent(PaymentToCheck).model_validate_json(told.model_dump_json())


def test_only_what_the_manifest_asks_for_is_sent() -> None:
    told = cut("amount", "form").apply(payment())
    assert told.model_dump() == {
        "amount": {"amount_minor": 1_200, "currency": "CNY"},
        "form": "merchant_scan",
        "withheld": (),
    }
    assert isinstance(told, PaymentToCheck)


def test_touching_a_field_that_was_not_asked_for_says_what_to_do() -> None:
    for told in (cut("amount").apply(payment()), crossed(cut("amount").apply(payment()))):
        with pytest.raises(FieldNotSent, match=r"PaymentToCheck.payer_ref was not sent.*`fields` in plugin.toml"):
            _ = told.payer_ref
        with pytest.raises(AttributeError, match="has no attribute 'payer'"):
            _ = told.payer  # type: ignore[attr-defined]  # that is the point


def test_what_the_grant_does_not_cover_is_none_and_named() -> None:
    told = cut("amount", "payer_ref", "coupon_ids", granted=("payments:read", "coupons:read")).apply(payment())
    assert (told.amount.amount_minor, told.payer_ref, told.coupon_ids) == (1_200, None, ("cpn_1",))
    assert told.withheld == ("payer_ref",)


def test_without_the_base_scope_nothing_comes() -> None:
    told = cut("amount", "member.level", granted=("members:read",)).apply(payment())
    assert (told.amount, told.member, told.withheld) == (None, None, ("amount", "member.level"))


def test_a_part_of_a_view_comes_alone() -> None:
    told = cut("member.level").apply(payment())
    assert told.member is not None
    assert told.member.level == "gold"
    with pytest.raises(FieldNotSent, match=r"MemberView.points"):
        _ = told.member.points


def test_a_whole_view_comes_without_the_fields_that_need_a_scope_of_their_own() -> None:
    told = cut("member").apply(payment())
    assert told.member is not None
    assert told.member.points == 120
    with pytest.raises(FieldNotSent, match=r"MemberView.phone"):
        _ = told.member.phone


def test_a_part_whose_own_scope_is_missing_is_withheld_alone() -> None:
    granted = tuple(scope for scope in ALL if scope != "members.contact:read")
    told = cut("member", "member.phone", granted=granted).apply(payment())
    assert told.member is not None
    assert (told.member.level, told.member.phone) == ("gold", None)
    assert told.withheld == ("member.phone",)


def test_a_view_whose_scope_is_missing_is_none_even_if_only_a_part_was_asked_for() -> None:
    told = cut("member.level", "member.phone", granted=("payments:read", "members.contact:read")).apply(payment())
    assert (told.member, told.withheld) == (None, ("member.level", "member.phone"))


def test_an_absent_view_stays_none() -> None:
    assert cut("member.level").apply(payment(member=None)).member is None


@pytest.mark.parametrize("granted", [ALL, ("payments:read",), ()], ids=["all", "base", "none"])
def test_what_was_cut_reads_the_same_on_the_other_side(granted: tuple[str, ...]) -> None:
    told = cut("amount", "form", "member.level", "member.phone", "risk_context", "created_at", granted=granted)
    sent = told.apply(payment())
    assert crossed(sent) == sent
    assert crossed(sent).model_dump() == sent.model_dump()


def test_a_path_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"PaymentToCheck has no amount.minor, payer; it has payment_id"):
        cut("amount.minor", "payer")


def test_every_path_knows_its_scopes() -> None:
    paths = paths_of(PaymentToCheck)
    assert paths["amount"] == frozenset()
    assert paths["device_ref"] == {"payments.device:read"}
    assert paths["member.phone"] == {"members:read", "members.contact:read"}
    assert "withheld" not in paths
    assert "lines.sku" not in paths  # the items of a tuple come whole
    assert paths_of(RefundToCheck)["refunds_30d.count"] == {"payments:read"}


def test_fields_of_a_newer_host_are_tolerated() -> None:
    raw = '{"amount": {"amount_minor": 1, "currency": "CNY"}, "weather": "rain", "member": {"level": "x", "shoe": 43}}'
    told = as_sent(PaymentToCheck).model_validate_json(raw)
    assert told.amount == Money(amount_minor=1, currency="CNY")
    assert told.member is not None
    assert told.model_dump(exclude={"withheld"}) == {
        "amount": {"amount_minor": 1, "currency": "CNY"},
        "member": {"level": "x"},
    }


def test_a_value_of_a_newer_host_reads_unknown_and_a_broken_one_is_refused() -> None:
    assert payment(form="palm").form == "unknown"
    assert as_sent(PaymentToCheck).model_validate_json('{"form": "palm"}').form == "unknown"
    for broken in (7, ["palm"]):
        with pytest.raises(ValidationError):
            payment(form=broken)


def test_a_sent_field_of_another_type_is_refused() -> None:
    with pytest.raises(ValidationError, match="amount_minor"):
        as_sent(PaymentToCheck).model_validate_json('{"amount": {"amount_minor": 1.5, "currency": "CNY"}}')
    with pytest.raises(ValidationError, match="created_at"):
        as_sent(PaymentToCheck).model_validate_json('{"created_at": "2026-11-22T12:00:00"}')


def test_nobody_changes_what_others_are_shown() -> None:
    whole = payment()
    told = cut("amount", "risk_context", "member.level").apply(whole)
    with pytest.raises(ValidationError, match="frozen"):
        told.amount = Money(amount_minor=1, currency="CNY")
    with pytest.raises(ValidationError, match="frozen"):
        told.amount.amount_minor = 1
    assert told.risk_context is not None
    with pytest.raises(TypeError, match="does not support item assignment"):
        told.risk_context["cart"]["age_s"] = 0
    assert told.risk_context["tags"] == ("new", "night")
    assert whole.model_dump()["risk_context"] == {"cart": {"age_s": 12}, "tags": ["new", "night"]}


def test_a_cut_is_applied_again_and_again() -> None:
    made = cut("amount", "member.level")
    first, second = made.apply(payment()), made.apply(payment(amount=Money(amount_minor=5, currency="CNY")))
    assert (first.amount.amount_minor, second.amount.amount_minor) == (1_200, 5)
    assert first == made.apply(payment())
