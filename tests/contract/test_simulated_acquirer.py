"""The simulated acquirer's provider against the contract, and what its own protocol adds."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from platform_core.contracts.payments import BillRequest, ErrorClass, Outcome
from plugins.simulated_acquirer.codes import CLASS_OF
from sandbox.testbed.context import LocalContext
from sandbox.testbed.provider_suite import (
    AMOUNT_MINOR,
    Calls,
    FrozenMoneySuite,
    NoticeSuite,
    RemoteProviderSuite,
    ShownCodeSuite,
    SplitSuite,
    is_success,
)
from tests.contract.conftest import AcquirerHarness

pytestmark = pytest.mark.contract


class TestSimulatedAcquirer(RemoteProviderSuite, NoticeSuite, ShownCodeSuite, FrozenMoneySuite, SplitSuite):
    """The whole contract; the fixture stands in conftest."""


@pytest.fixture
def calls(harness: AcquirerHarness) -> Calls:
    return Calls(harness, "merchant_scan")


@pytest.mark.parametrize(
    ("scenario", "outcome", "error_class"),
    [
        ("decline_balance", Outcome.FAILED, ErrorClass.DECLINED_FINAL),
        ("decline_blocked", Outcome.FAILED, ErrorClass.DECLINED_FINAL),
        ("decline_code", Outcome.FAILED, ErrorClass.DECLINED_FINAL),
        ("decline_limit", Outcome.FAILED, ErrorClass.DECLINED_TRY_OTHER),
        ("decline_channel", Outcome.FAILED, ErrorClass.DECLINED_TRY_OTHER),
        ("invalid", Outcome.FAILED, ErrorClass.INVALID_REQUEST),
        ("misconfigured", Outcome.FAILED, ErrorClass.CONFIGURATION),
        ("busy", Outcome.FAILED, ErrorClass.BUSY),
        ("unlisted", Outcome.UNKNOWN, ErrorClass.UNKNOWN),
        ("forged_answer", Outcome.UNKNOWN, ErrorClass.UNKNOWN),
    ],
)
async def test_each_scenario_has_its_class(
    harness: AcquirerHarness, calls: Calls, scenario: str, outcome: Outcome, error_class: ErrorClass
) -> None:
    sale = replace(calls.order(), auth_code=f"sim:{scenario}:{harness.auth_code()}")
    result = await harness.provider.pay(sale)
    assert (result.outcome, result.error and result.error.error_class) == (outcome, error_class)


def test_no_listed_code_is_unknown() -> None:
    assert ErrorClass.UNKNOWN not in CLASS_OF.values()


async def test_a_wrong_key_is_unknown_and_moves_nothing(harness: AcquirerHarness, calls: Calls) -> None:
    sale = replace(calls.order(), ctx=LocalContext({"sec_acquirer": (b"another key of thirty-two bytes.",)}))
    result = await harness.provider.pay(sale)
    assert (result.outcome, result.error and result.error.code) == (Outcome.UNKNOWN, "answer_unsigned")
    assert harness.moved(sale.idempotency_key) == 0


async def test_a_clock_far_off_is_a_matter_of_configuration(harness: AcquirerHarness, calls: Calls) -> None:
    sale = calls.order()
    result = await harness.provider.pay(replace(sale, now=sale.now + timedelta(hours=1)))
    assert (result.outcome, result.error and result.error.code) == (Outcome.FAILED, "TIMESTAMP_STALE")
    assert harness.moved(sale.idempotency_key) == 0


async def test_a_slow_answer_past_the_deadline_is_unknown_and_resolves(harness: AcquirerHarness, calls: Calls) -> None:
    harness.scenario("pay", "slow-1500")
    sale = replace(calls.order(), deadline_s=0.3)
    late = await harness.provider.pay(sale)
    assert (late.outcome, late.error and late.error.code) == (Outcome.UNKNOWN, "timeout")
    assert is_success(await harness.provider.query(replace(sale, deadline_s=5.0)), AMOUNT_MINOR)


async def test_a_used_code_pays_no_second_order(harness: AcquirerHarness, calls: Calls) -> None:
    first = calls.order()
    second = replace(calls.order(), auth_code=first.auth_code)
    await harness.provider.pay(first)
    refused = await harness.provider.pay(second)
    assert (refused.outcome, refused.error and refused.error.code) == (Outcome.FAILED, "AUTH_CODE_INVALID")
    assert harness.moved(second.idempotency_key) == 0


async def test_a_key_with_another_body_moves_nothing(harness: AcquirerHarness, calls: Calls) -> None:
    sale = calls.order()
    await harness.provider.pay(sale)
    other = await harness.provider.pay(replace(sale, amount_minor=AMOUNT_MINOR + 1))
    assert (other.outcome, other.error and other.error.error_class) == (Outcome.UNKNOWN, ErrorClass.DUPLICATE)
    assert harness.moved(sale.idempotency_key) == 1


async def test_fifty_equal_calls_at_once_move_money_once(harness: AcquirerHarness, calls: Calls) -> None:
    sale = calls.order()
    results = await asyncio.gather(*(harness.provider.pay(sale) for _ in range(50)))
    assert set(results) == {results[0]}
    assert is_success(results[0], AMOUNT_MINOR)
    assert harness.moved(sale.idempotency_key) == 1


@pytest.mark.parametrize(
    ("scenario", "outcomes"),
    [
        ("refund_failed", [Outcome.FAILED, Outcome.FAILED]),
        ("unknown", [Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.SUCCESS]),
        ("unknown_failed", [Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.FAILED]),
    ],
)
async def test_refunds_fail_and_waver_as_scripted(
    harness: AcquirerHarness, calls: Calls, scenario: str, outcomes: list[Outcome]
) -> None:
    sale = calls.order()
    await harness.provider.pay(sale)
    harness.scenario("refund", scenario)
    refund = calls.follow_up("refund", sale, amount_minor=4_000)
    seen = [(await harness.provider.refund(refund)).outcome]
    seen += [(await harness.provider.query_refund(refund)).outcome for _ in outcomes[1:]]
    assert seen == outcomes
    assert harness.moved(refund.idempotency_key) == (outcomes[-1] is Outcome.SUCCESS)


async def test_a_bounced_refund_says_so_by_query_and_notice(harness: AcquirerHarness, calls: Calls) -> None:
    sale = calls.order()
    await harness.provider.pay(sale)
    harness.scenario("refund", "refund_bounced")
    refund = calls.follow_up("refund", sale, amount_minor=4_000)
    await harness.provider.refund(refund)
    asked = await harness.provider.query_refund(refund)
    assert is_success(asked, 4_000)
    assert asked.bounce is not None
    assert asked.bounce.amount_minor == 4_000
    kinds = {}
    while len(kinds) < 2:
        said = await harness.provider.parse_notice(await harness.notice(refund.idempotency_key))
        kinds[said.kind] = said
    assert set(kinds) == {"refund", "refund_bounce"}
    assert kinds["refund_bounce"].result.provider_reference == asked.bounce.provider_reference
    assert kinds["refund_bounce"].notice_id != kinds["refund"].notice_id


async def test_a_duplicate_callback_has_one_id_and_other_signatures(harness: AcquirerHarness, calls: Calls) -> None:
    sale = replace(calls.order(), auth_code=f"sim:duplicate_callback:{harness.auth_code()}")
    await harness.provider.pay(sale)
    arrived = [harness.desk.next() for _ in range(3)]
    said = [await harness.provider.parse_notice(harness.notice_of(one)) for one in arrived]
    assert {one.notice_id for one in said} == {said[0].notice_id}
    assert len({one.headers["x-acquirer-nonce"] for one in arrived}) == 3


async def test_a_stale_word_after_success_is_a_notice_of_its_own(harness: AcquirerHarness, calls: Calls) -> None:
    sale = replace(calls.order(), auth_code=f"sim:unordered_callback:{harness.auth_code()}")
    await harness.provider.pay(sale)
    said = [await harness.provider.parse_notice(await harness.notice(sale.idempotency_key)) for _ in range(2)]
    assert {one.result.outcome for one in said} == {Outcome.SUCCESS, Outcome.UNKNOWN}
    assert len({one.notice_id for one in said}) == 2


async def test_a_notice_is_repeated_until_it_is_acknowledged(harness: AcquirerHarness, calls: Calls) -> None:
    harness.desk.refusals = 2
    sale = calls.order()
    await harness.provider.pay(sale)
    notices = [json.loads(harness.desk.next().body) for _ in range(3)]
    assert notices[0]["key"] == sale.idempotency_key
    assert notices == [notices[0]] * 3


async def test_there_is_no_bill_of_a_day_that_is_not_over(harness: AcquirerHarness) -> None:
    request = BillRequest(
        day=harness.now.date() + timedelta(days=1),
        channel_account=harness.account,
        deadline_s=5.0,
        now=harness.now,
        ctx=harness.ctx,
    )
    with pytest.raises(LookupError):
        await harness.provider.fetch_bill(request)
