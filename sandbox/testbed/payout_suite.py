"""The contract of a payment provider that declares the feature `payout`; mix it into a suite of `provider_suite`."""

from __future__ import annotations

from itertools import count

import pytest

from platform_core.contracts.payments import (
    NOT_FOUND,
    PAYOUT_SENT,
    Outcome,
    Payee,
    PayoutCall,
    PayoutProvider,
)
from sandbox.testbed.provider_suite import AMOUNT_MINOR, Harness, RemoteHarness, is_success

_numbers = count(1)


class PayoutSuite:
    """What holds for the feature `payout`: mix into a suite of a provider that declares it."""

    @pytest.fixture
    def paying_out(self, harness: RemoteHarness) -> PayoutProvider:
        """The provider, which has the methods besides."""
        assert "payout" in harness.provider.describe().features
        assert isinstance(harness.provider, PayoutProvider)
        return harness.provider

    async def test_a_payout_leaves_once_for_its_key(self, harness: RemoteHarness, paying_out: PayoutProvider) -> None:
        payout = payout_of(harness)
        first = await paying_out.payout(payout)
        assert is_success(first, AMOUNT_MINOR)
        assert first.provider_reference
        assert await paying_out.payout(payout) == first
        assert is_success(await paying_out.query_payout(payout), AMOUNT_MINOR)
        assert harness.moved(payout.idempotency_key) == 1

    async def test_a_lost_payout_is_unknown_and_its_query_tells_the_truth(
        self, harness: RemoteHarness, paying_out: PayoutProvider
    ) -> None:
        landed, lost = payout_of(harness), payout_of(harness)
        harness.script("payout", "lost_after")
        assert (await paying_out.payout(landed)).outcome is Outcome.UNKNOWN
        harness.script("payout", "lost_before")
        assert (await paying_out.payout(lost)).outcome is Outcome.UNKNOWN
        assert is_success(await paying_out.query_payout(landed), AMOUNT_MINOR)
        asked = await paying_out.query_payout(lost)
        assert (asked.outcome, asked.error and asked.error.code) == (Outcome.UNKNOWN, NOT_FOUND)
        assert is_success(await paying_out.payout(lost), AMOUNT_MINOR)
        assert [harness.moved(call.idempotency_key) for call in (landed, lost)] == [1, 1]

    async def test_a_payout_that_the_bank_has_not_answered_is_on_its_way(
        self, harness: RemoteHarness, paying_out: PayoutProvider
    ) -> None:
        harness.script("payout", "customer_paying")
        payout = payout_of(harness)
        waiting = await paying_out.payout(payout)
        assert (waiting.outcome, waiting.error and waiting.error.code) == (Outcome.UNKNOWN, PAYOUT_SENT)
        for _ in range(10):
            result = await paying_out.query_payout(payout)
            if result.outcome is not Outcome.UNKNOWN:
                break
        assert is_success(result, AMOUNT_MINOR)
        assert harness.moved(payout.idempotency_key) == 1

    async def test_a_refused_payout_is_failed_and_leaves_never(
        self, harness: RemoteHarness, paying_out: PayoutProvider
    ) -> None:
        harness.script("payout", "declined")
        payout = payout_of(harness)
        assert (await paying_out.payout(payout)).outcome is Outcome.FAILED
        assert (await paying_out.payout(payout)).outcome is Outcome.FAILED
        assert harness.moved(payout.idempotency_key) == 0


def payout_of(harness: Harness, *, amount_minor: int = AMOUNT_MINOR) -> PayoutCall:
    """A new payout, with a fresh key."""
    number = next(_numbers)
    return PayoutCall(
        idempotency_key=f"pyo_{harness.now:%H%M%S%f}{number:08d}",
        out_payout_no=f"P{number:08d}",
        amount_minor=amount_minor,
        currency="CNY",
        channel_account=harness.account,
        deadline_s=5.0,
        now=harness.now,
        ctx=harness.ctx,
        payee=Payee(holder="Hutong Coffee", bank="ICBC", account="6222021234567890"),
        note="November",
    )
