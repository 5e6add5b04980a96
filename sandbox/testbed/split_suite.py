"""The contract of a payment provider that declares the feature `split`; mix it into a suite of `provider_suite`."""

from __future__ import annotations

from dataclasses import replace

from platform_core.contracts.payments import NOT_FOUND, Outcome, ProviderCall, ReceiverShare, SplitProvider
from sandbox.testbed.provider_suite import Calls, Harness, RemoteHarness, is_success


class SplitSuite:
    """What holds for the feature `split`: mix into a suite of a provider that declares it."""

    async def test_shares_are_given_once_and_stay_within_what_was_taken(self, harness: RemoteHarness) -> None:
        calls = Calls(harness, "merchant_scan")
        sale = calls.order()
        await harness.provider.pay(sale)
        first, too_much, rest = (shared(calls, sale, *amounts) for amounts in ((2_000, 1_000), (9_001,), (9_000,)))
        provider = splitting(harness)
        assert is_success(await provider.settle(first), 3_000)
        assert is_success(await provider.settle(first), 3_000)
        assert (await provider.settle(too_much)).outcome is Outcome.FAILED
        assert is_success(await provider.settle(rest), 9_000)
        assert [harness.moved(call.idempotency_key) for call in (first, too_much, rest)] == [1, 0, 1]

    async def test_a_lost_settle_is_unknown_and_gives_shares_once(self, harness: RemoteHarness) -> None:
        calls = Calls(harness, "merchant_scan")
        sale = calls.order()
        await harness.provider.pay(sale)
        harness.script("settle", "lost_after")
        settle, provider = shared(calls, sale, 4_000), splitting(harness)
        assert (await provider.settle(settle)).outcome is Outcome.UNKNOWN
        assert is_success(await harness.provider.query(settle), 4_000)
        assert is_success(await provider.settle(settle), 4_000)
        assert harness.moved(settle.idempotency_key) == 1

    async def test_a_settle_that_was_never_sent_is_not_declared_anything(self, harness: RemoteHarness) -> None:
        calls = Calls(harness, "merchant_scan")
        sale = calls.order()
        await harness.provider.pay(sale)
        asked = await harness.provider.query(shared(calls, sale, 4_000))
        assert (asked.outcome, asked.error and asked.error.code) == (Outcome.UNKNOWN, NOT_FOUND)


def splitting(harness: Harness) -> SplitProvider:
    """The provider, which declares that it splits."""
    provider = harness.provider
    assert "split" in provider.describe().features
    assert isinstance(provider, SplitProvider)
    return provider


def shared(calls: Calls, sale: ProviderCall, *amounts: int) -> ProviderCall:
    """A `settle` of these amounts, each for a receiver of its own."""
    shares = tuple(
        ReceiverShare(
            receiver_id=f"rcv_{number:026d}",
            receiver_type="channel_merchant",
            account=f"2088{number:012d}",
            name="A franchise",
            amount_minor=amount,
        )
        for number, amount in enumerate(amounts, start=1)
    )
    return replace(calls.follow_up("settle", sale, amount_minor=sum(amounts)), shares=shares)
