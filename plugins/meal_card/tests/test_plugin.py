"""Meal cards: what the contract does not try."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from platform_core.contracts.payments import ALREADY_PAID, ErrorClass, Outcome
from plugins.meal_card.codes import CLASS_OF
from plugins.meal_card.tests.conftest import NetworkHarness
from sandbox.testbed.provider_suite import AMOUNT_MINOR, Calls


@pytest.fixture
def calls(harness: NetworkHarness) -> Calls:
    return Calls(harness, "merchant_scan")


async def test_a_paid_charge_is_not_closed_and_an_unpaid_one_is(harness: NetworkHarness, calls: Calls) -> None:
    paid, open_one = calls.order(), calls.order()
    await harness.provider.pay(paid)
    refused = await harness.provider.close(calls.follow_up("close", paid))
    assert (refused.outcome, refused.error and refused.error.code) == (Outcome.FAILED, ALREADY_PAID)
    harness.fault("charges", "customer_paying")
    await harness.provider.pay(open_one)
    closed = await harness.provider.close(calls.follow_up("close", open_one))
    assert (closed.outcome, closed.amount_minor) == (Outcome.SUCCESS, 0)
    assert (await harness.provider.query(open_one)).outcome is Outcome.FAILED
    assert harness.moved(open_one.idempotency_key) == 0


async def test_a_busy_network_is_busy_and_a_busy_query_is_unknown(harness: NetworkHarness, calls: Calls) -> None:
    sale = calls.order()
    harness.fault("charges", "busy")
    busy = await harness.provider.pay(sale)
    assert (busy.outcome, busy.error and busy.error.error_class) == (Outcome.FAILED, ErrorClass.BUSY)
    harness.fault("lookups", "busy")
    assert (await harness.provider.query(sale)).outcome is Outcome.UNKNOWN
    assert harness.moved(sale.idempotency_key) == 0


async def test_a_wrong_key_or_clock_is_a_matter_of_configuration(harness: NetworkHarness, calls: Calls) -> None:
    late = replace(calls.order(), now=harness.now - timedelta(hours=1))
    found = await harness.provider.pay(late)
    assert (found.outcome, found.error and found.error.error_class) == (Outcome.FAILED, ErrorClass.CONFIGURATION)
    harness.network.key = b"other"
    assert (await harness.provider.pay(calls.order())).outcome is Outcome.UNKNOWN  # nor can the answer be verified
    assert harness.network.moved == {}


async def test_a_key_for_another_amount_is_unknown_and_charges_nothing(harness: NetworkHarness, calls: Calls) -> None:
    sale = calls.order()
    await harness.provider.pay(sale)
    found = await harness.provider.pay(replace(sale, amount_minor=AMOUNT_MINOR - 1))
    assert (found.outcome, found.error and found.error.error_class) == (Outcome.UNKNOWN, ErrorClass.DUPLICATE)
    assert harness.moved(sale.idempotency_key) == 1


async def test_a_code_that_is_not_listed_is_unknown(harness: NetworkHarness, calls: Calls) -> None:
    assert "SOMETHING_NEW" not in CLASS_OF
    sale = calls.order()
    harness.fault("charges", "declined")
    await harness.provider.pay(sale)
    harness.network.entries[sale.idempotency_key].code = "SOMETHING_NEW"
    assert (await harness.provider.query(sale)).outcome is Outcome.UNKNOWN
