"""Velocity checks: limits, windows, and what is not counted."""

from __future__ import annotations

import json
from datetime import timedelta
from importlib.resources import files
from typing import Any

import pytest

from platform_core.contracts.fields import CountAndSum, Money
from platform_core.contracts.payments import PaymentToCheck, RefundToCheck
from platform_core.contracts.results import Verdict
from platform_core.contracts.testing import FakeHost, load_plugin
from plugins.risk_velocity import check_payment, check_refund
from plugins.risk_velocity.settings import Settings

pytestmark = pytest.mark.unit

LOADED = load_plugin("plugins.risk_velocity")


def host(**config: int) -> FakeHost:
    return FakeHost(LOADED.manifest, config=config)


def pay(of: FakeHost, **changed: Any) -> Verdict:  # Any: fields of several types
    told = {
        "payment_id": "pay_1",
        "out_trade_no": "T1",
        "subject": "",
        "form": "merchant_scan",
        "channel": None,
        "amount": Money(amount_minor=1_000, currency="CNY"),
        "store_id": "sto_1",
        "terminal_id": None,
        "operator_id": None,
        "attempt": 1,
        "created_at": of.now,
        "payer_ref": "payer-7",
        "device_ref": None,
    }
    return check_payment(of.context("check_payment"), PaymentToCheck(**(told | changed)))


def refund(of: FakeHost, **changed: Any) -> Verdict:  # Any: fields of several types
    told = {
        "refund_id": "ref_1",
        "payment_id": "pay_1",
        "out_request_no": "R1",
        "amount": Money(amount_minor=1_000, currency="CNY"),
        "refundable_minor": 1_000,
        "reason_code": "customer_request",
        "requested_by": "opr_1",
        "payment_age_s": 60,
        "refunds_30d": None,
    }
    return check_refund(of.context("check_refund"), RefundToCheck(**(told | changed)))


def test_the_limit_is_the_last_that_passes_and_twice_the_limit_is_refused() -> None:
    of = host(payer_payments_max=3)
    decisions = [pay(of).decision for _ in range(7)]
    assert decisions == ["allow", "allow", "allow", "review", "review", "deny", "deny"]
    assert pay(of, payer_ref="payer-8").decision == "allow"


def test_a_reason_names_its_rule_and_what_was_counted() -> None:
    of = host(payer_payments_max=1)
    pay(of)
    found = pay(of)
    assert [(reason.rule_id, reason.text) for reason in found.reasons] == [
        ("velocity.payer", "2 payments of this payer in 10 minutes; 1 are usual.")
    ]
    assert (found.decision, found.score) == ("deny", 100)


def test_amounts_add_up_by_currency() -> None:
    of = host(payer_amount_max_minor=2_500, payer_payments_max=100)
    assert [pay(of).decision for _ in range(3)] == ["allow", "allow", "review"]
    assert pay(of, amount=Money(amount_minor=2_500, currency="USD")).decision == "allow"
    assert [reason.rule_id for reason in pay(of).reasons] == ["velocity.payer_amount"]


def test_a_window_ends() -> None:
    of = host(payer_payments_max=1, window_minutes=2)
    assert [pay(of).decision for _ in range(2)] == ["allow", "deny"]
    of.wait(timedelta(minutes=2).total_seconds())
    assert pay(of).decision == "allow"


def test_devices_and_stores_are_counted_apart() -> None:
    of = host(device_payments_max=1, store_payments_max=3, payer_payments_max=100)
    assert pay(of, device_ref="d-1").decision == "allow"
    assert [reason.rule_id for reason in pay(of, device_ref="d-1").reasons] == ["velocity.device"]
    pay(of)
    assert [reason.rule_id for reason in pay(of).reasons] == ["velocity.store"]
    assert pay(of, store_id="sto_2").decision == "allow"


def test_the_store_holds_no_payer_and_no_device() -> None:
    of = host()
    pay(of, payer_ref="alice@example.com", device_ref="imei-490154203237518")
    kept = json.dumps(dict(of.state.contents()))
    assert len(of.state.contents()) == 4
    assert "alice" not in kept
    assert "490154" not in kept


def test_what_the_merchant_declined_is_not_counted() -> None:
    of = host(payer_payments_max=1)
    assert [pay(of, payer_ref=None, store_id=None).decision for _ in range(3)] == ["allow"] * 3
    assert of.state.contents() == {}


def test_refunds_of_one_operator_are_shown_to_a_person_and_never_refused() -> None:
    of = host(operator_refunds_max=1)
    assert [refund(of).decision for _ in range(4)] == ["allow", "review", "review", "review"]
    assert refund(of, requested_by="opr_2").decision == "allow"
    of.wait(3_600)
    assert refund(of).decision == "allow"


def test_old_payments_and_busy_months_are_looked_at() -> None:
    of = host(refund_age_days_max=90, month_refunds_max=10)
    month = CountAndSum(count=10, sum=Money(amount_minor=1, currency="CNY"))
    assert [reason.rule_id for reason in refund(of, payment_age_s=91 * 86_400).reasons] == ["age.payment"]
    assert refund(of, payment_age_s=91 * 86_400 - 1).decision == "allow"
    assert [reason.rule_id for reason in refund(of, refunds_30d=month).reasons] == ["velocity.month"]


def test_the_defaults_are_those_of_the_schema() -> None:
    schema = json.loads(files("plugins.risk_velocity").joinpath("config.schema.json").read_bytes())
    assert Settings().model_dump() == {name: one["default"] for name, one in schema["properties"].items()}
