"""The contract every payment provider must pass, ours and third parties' alike.

Subclass `ProviderSuite` (or `RemoteProviderSuite` for a provider with a network) as a `Test...` class and give it a
fixture `harness`:

    class TestVouchers(ProviderSuite):
        @pytest.fixture
        def harness(self) -> Harness: ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Literal, Protocol, get_args

import pytest

from platform_core.contracts.payments import (
    AMOUNT_DIFFERS,
    CUSTOMER_PAYING,
    NOT_FOUND,
    NOT_SUPPORTED,
    BillRequest,
    ChannelAccount,
    ErrorClass,
    Feature,
    Form,
    Notice,
    NoticeOutcome,
    NoticeRefused,
    Original,
    Outcome,
    PaymentProvider,
    ProviderCall,
    ProviderResult,
    ReceiverShare,
    ShowQr,
    SplitProvider,
    TransactionKind,
)
from platform_core.contracts.plugin import PluginContext

Fault = Literal[
    "lost_after", "lost_before", "declined", "customer_paying", "unknown_then_success", "other_amount", "broken_body"
]
"""What a harness can make of the next call: the answer is lost after or before money moved, and so on."""
AMOUNT_MINOR = 12_000
_numbers = count(1)


class Harness(Protocol):
    """How the suite reaches one provider and its outside."""

    @property
    def provider(self) -> PaymentProvider: ...
    @property
    def account(self) -> ChannelAccount: ...
    @property
    def ctx(self) -> PluginContext: ...
    @property
    def now(self) -> datetime: ...
    @property
    def notify_url(self) -> str | None: ...


class RemoteHarness(Harness, Protocol):
    """What is needed besides where there is a network."""

    def script(self, operation: str, fault: Fault) -> None:
        """Let the next call of this method of the provider meet the fault."""
        ...

    def auth_code(self) -> str:
        """A fresh one-use code that the wallet accepts."""
        ...

    def moved(self, key: str) -> int:
        """How often money has moved under an idempotency key, by the provider's own book."""
        ...


class ShownCodeHarness(RemoteHarness, Protocol):
    """What is needed besides for `customer_scan`."""

    def scan(self, code: str) -> None:
        """The customer scans a shown QR code and pays."""
        ...


class NoticeHarness(RemoteHarness, Protocol):
    """What is needed besides for notices."""

    async def notice(self, key: str) -> Notice:
        """A genuine notice about the transaction, as it came in; waits for it."""
        ...


@dataclass(frozen=True, slots=True)
class Calls:
    """Builds the calls of one test."""

    harness: Harness
    form: Form

    def order(self, kind: TransactionKind = "sale", *, amount_minor: int = AMOUNT_MINOR) -> ProviderCall:
        """A new order, with a fresh key and code."""
        number = next(_numbers)
        auth_code = getattr(self.harness, "auth_code", None)
        return ProviderCall(
            idempotency_key=f"txn_{self.harness.now:%H%M%S%f}{number:08d}",
            kind=kind,
            payment_id=f"pay_{number:08d}",
            attempt_id=f"att_{number:08d}",
            amount_minor=amount_minor,
            currency="CNY",
            form=self.form,
            channel_account=self.harness.account,
            deadline_s=5.0,
            now=self.harness.now,
            ctx=self.harness.ctx,
            out_trade_no=f"T{number:08d}",
            subject="Two bowls of noodles",
            auth_code=auth_code() if auth_code is not None else None,
            expires_at=self.harness.now + timedelta(hours=2),
            notify_url=self.harness.notify_url,
        )

    def follow_up(
        self, kind: TransactionKind, original: ProviderCall, *, amount_minor: int | None = None, is_final: bool = True
    ) -> ProviderCall:
        """A call about an earlier one, with a key of its own."""
        about = Original(idempotency_key=original.idempotency_key, amount_minor=original.amount_minor)
        asked = original.amount_minor if amount_minor is None else amount_minor
        new = self.order(kind, amount_minor=asked)
        return replace(new, original=about, auth_code=None, is_final=is_final, payment_id=original.payment_id)


def is_success(result: ProviderResult, amount_minor: int) -> bool:
    """Whether the result is success for exactly this amount."""
    return result.checked(amount_minor=amount_minor).outcome is Outcome.SUCCESS


class ProviderSuite:
    """What holds for every provider."""

    form: Form = "local"

    @pytest.fixture
    def calls(self, harness: Harness) -> Calls:
        """A builder of calls."""
        return Calls(harness, self.form)

    def test_description_is_stable_and_within_the_contract(self, harness: Harness) -> None:
        described = harness.provider.describe()
        assert described == harness.provider.describe()
        assert described.forms
        assert described.forms <= set(get_args(Form))
        assert described.features <= set(get_args(Feature))
        assert self.form in described.forms
        assert ("merchant_scan" in described.forms) == (described.auth_code_pattern is not None)
        assert all(0 <= one.amount_minor_min <= one.amount_minor_max for one in described.limits)
        assert len(described.currencies) == len(described.limits)
        assert "CNY" in described.currencies
        assert described.is_local == (described.forms == {"local"})

    async def test_a_payment_names_the_amount_that_was_asked(self, harness: Harness, calls: Calls) -> None:
        paid = await harness.provider.pay(calls.order())
        assert is_success(paid, AMOUNT_MINOR)
        assert paid.provider_reference
        assert paid.occurred_at is not None
        assert abs(paid.occurred_at.astimezone(UTC) - harness.now) < timedelta(minutes=5)

    async def test_a_repeat_gets_the_first_answer(self, harness: Harness, calls: Calls) -> None:
        sale = calls.order()
        refund = calls.follow_up("refund", sale)
        assert await harness.provider.pay(sale) == await harness.provider.pay(sale)
        assert await harness.provider.refund(refund) == await harness.provider.refund(refund)

    async def test_a_refund_names_the_amount_that_went_back(self, harness: Harness, calls: Calls) -> None:
        sale = calls.order()
        await harness.provider.pay(sale)
        part = 5_000 if "partial_refund" in harness.provider.describe().features else AMOUNT_MINOR
        assert is_success(await harness.provider.refund(calls.follow_up("refund", sale, amount_minor=part)), part)

    async def test_what_is_not_declared_is_refused_and_not_tried(self, harness: Harness, calls: Calls) -> None:
        described = harness.provider.describe()
        sale = calls.order()
        undeclared: list[ProviderResult] = []
        if "preauth" not in described.forms:
            undeclared.append(await harness.provider.authorize(calls.order("authorize")))
            undeclared.append(await harness.provider.capture(calls.follow_up("capture", sale)))
            undeclared.append(await harness.provider.void(calls.follow_up("void", sale)))
        if described.forms <= {"local", "merchant_scan", "preauth"}:
            undeclared.append(await harness.provider.create(calls.order()))
        if "cancel" not in described.features:
            undeclared.append(await harness.provider.cancel(calls.follow_up("cancel", sale)))
        if not undeclared and "bill" in described.features:
            pytest.skip("this provider declares everything that the suite knows")
        for result in undeclared:
            assert (result.outcome, result.error and result.error.code) == (Outcome.FAILED, NOT_SUPPORTED)
        if "bill" not in described.features:
            request = BillRequest(
                day=harness.now.date(),
                channel_account=harness.account,
                deadline_s=5.0,
                now=harness.now,
                ctx=harness.ctx,
            )
            with pytest.raises(LookupError):
                await harness.provider.fetch_bill(request)

    async def test_a_notice_without_a_signature_is_refused(self, harness: Harness) -> None:
        with pytest.raises(NoticeRefused) as refused:
            await harness.provider.parse_notice(made_up_notice(harness))
        assert refused.value.code in {"bad_signature", "not_supported"}


class RemoteProviderSuite(ProviderSuite):
    """What holds besides where an answer can be lost."""

    form: Form = "merchant_scan"

    def test_codes_are_matched_whole(self, harness: RemoteHarness) -> None:
        pattern = harness.provider.describe().auth_code_pattern
        assert pattern is not None
        assert re.fullmatch(pattern, harness.auth_code())
        assert not re.fullmatch(pattern, f"x{harness.auth_code()}")

    async def test_a_lost_answer_is_unknown_and_the_query_tells_the_truth(
        self, harness: RemoteHarness, calls: Calls
    ) -> None:
        harness.script("pay", "lost_after")
        sale = calls.order()
        lost = await harness.provider.pay(sale)
        assert (lost.outcome, lost.error and lost.error.error_class) == (Outcome.UNKNOWN, ErrorClass.UNKNOWN)
        assert is_success(await harness.provider.query(sale), AMOUNT_MINOR)
        assert is_success(await harness.provider.pay(sale), AMOUNT_MINOR)
        assert harness.moved(sale.idempotency_key) == 1

    async def test_a_lost_request_is_unknown_and_the_query_declares_nothing(
        self, harness: RemoteHarness, calls: Calls
    ) -> None:
        harness.script("pay", "lost_before")
        sale = calls.order()
        assert (await harness.provider.pay(sale)).outcome is Outcome.UNKNOWN
        asked = await harness.provider.query(sale)
        assert (asked.outcome, asked.error and asked.error.code) == (Outcome.UNKNOWN, NOT_FOUND)
        assert harness.moved(sale.idempotency_key) == 0

    async def test_cancel_bars_an_order_that_never_arrived(self, harness: RemoteHarness, calls: Calls) -> None:
        sale = calls.order()
        assert is_success(await harness.provider.cancel(calls.follow_up("cancel", sale)), 0)
        late = await harness.provider.pay(sale)
        assert late.outcome is Outcome.FAILED
        assert harness.moved(sale.idempotency_key) == 0

    async def test_cancel_returns_what_was_paid_once(self, harness: RemoteHarness, calls: Calls) -> None:
        harness.script("pay", "lost_after")
        sale = calls.order()
        await harness.provider.pay(sale)
        cancel = calls.follow_up("cancel", sale)
        assert is_success(await harness.provider.cancel(cancel), AMOUNT_MINOR)
        assert is_success(await harness.provider.cancel(cancel), AMOUNT_MINOR)
        assert (await harness.provider.query(sale)).outcome is Outcome.FAILED
        assert harness.moved(cancel.idempotency_key) == 1

    async def test_a_decline_is_failed_with_its_class(self, harness: RemoteHarness, calls: Calls) -> None:
        harness.script("pay", "declined")
        sale = calls.order()
        declined = await harness.provider.pay(sale)
        assert declined.outcome is Outcome.FAILED
        assert declined.error is not None
        assert declined.error.error_class in {ErrorClass.DECLINED_FINAL, ErrorClass.DECLINED_TRY_OTHER}
        assert await harness.provider.pay(sale) == declined
        assert harness.moved(sale.idempotency_key) == 0

    async def test_a_customer_who_is_paying_is_unknown_until_done(self, harness: RemoteHarness, calls: Calls) -> None:
        harness.script("pay", "customer_paying")
        sale = calls.order()
        waiting = await harness.provider.pay(sale)
        assert (waiting.outcome, waiting.error and waiting.error.code) == (Outcome.UNKNOWN, CUSTOMER_PAYING)
        assert waiting.poll_after_s is not None
        for _ in range(10):
            result = await harness.provider.query(sale)
            if result.outcome is not Outcome.UNKNOWN:
                break
        assert is_success(result, AMOUNT_MINOR)
        assert harness.moved(sale.idempotency_key) == 1

    async def test_an_unsure_provider_stays_unknown_until_it_is_sure(
        self, harness: RemoteHarness, calls: Calls
    ) -> None:
        harness.script("pay", "unknown_then_success")
        sale = calls.order()
        assert (await harness.provider.pay(sale)).outcome is Outcome.UNKNOWN
        assert (await harness.provider.query(sale)).outcome is Outcome.UNKNOWN
        assert is_success(await harness.provider.query(sale), AMOUNT_MINOR)

    async def test_another_amount_is_never_taken_for_this_one(self, harness: RemoteHarness, calls: Calls) -> None:
        harness.script("pay", "other_amount")
        checked = (await harness.provider.pay(calls.order())).checked(amount_minor=AMOUNT_MINOR)
        assert (checked.outcome, checked.error and checked.error.code) == (Outcome.UNKNOWN, AMOUNT_DIFFERS)

    async def test_a_broken_answer_is_unknown(self, harness: RemoteHarness, calls: Calls) -> None:
        harness.script("pay", "broken_body")
        sale = calls.order()
        assert (await harness.provider.pay(sale)).outcome is Outcome.UNKNOWN
        assert is_success(await harness.provider.query(sale), AMOUNT_MINOR)

    async def test_refunds_stay_within_the_amount(self, harness: RemoteHarness, calls: Calls) -> None:
        sale = calls.order()
        await harness.provider.pay(sale)
        first = calls.follow_up("refund", sale, amount_minor=7_000)
        too_much = calls.follow_up("refund", sale, amount_minor=5_001)
        rest = calls.follow_up("refund", sale, amount_minor=5_000)
        assert is_success(await harness.provider.refund(first), 7_000)
        assert (await harness.provider.refund(too_much)).outcome is Outcome.FAILED
        assert is_success(await harness.provider.refund(rest), 5_000)
        assert [harness.moved(call.idempotency_key) for call in (first, too_much, rest)] == [1, 0, 1]

    async def test_a_lost_refund_is_unknown_and_returns_money_once(self, harness: RemoteHarness, calls: Calls) -> None:
        sale = calls.order()
        await harness.provider.pay(sale)
        harness.script("refund", "lost_after")
        refund = calls.follow_up("refund", sale, amount_minor=4_000)
        assert (await harness.provider.refund(refund)).outcome is Outcome.UNKNOWN
        assert is_success(await harness.provider.query_refund(refund), 4_000)
        assert is_success(await harness.provider.refund(refund), 4_000)
        assert harness.moved(refund.idempotency_key) == 1

    async def test_an_unreachable_provider_was_not_sent_to(self, harness: RemoteHarness, calls: Calls) -> None:
        sale = calls.order()
        nowhere = replace(harness.account, settings={**harness.account.settings, "gateway_url": "http://127.0.0.1:1"})
        result = await harness.provider.pay(replace(sale, channel_account=nowhere))
        assert (result.outcome, result.error and result.error.error_class) == (Outcome.FAILED, ErrorClass.NOT_SENT)


class NoticeSuite:
    """What holds where the provider sends notices: mix into a suite of one that does."""

    async def test_a_genuine_notice_is_read_and_read_again_with_one_id(
        self, harness: NoticeHarness, calls: Calls
    ) -> None:
        sale = calls.order()
        await harness.provider.pay(sale)
        notice = await harness.notice(sale.idempotency_key)
        said = await harness.provider.parse_notice(notice)
        assert isinstance(said, NoticeOutcome)
        assert (said.idempotency_key, said.kind) == (sale.idempotency_key, "sale")
        assert is_success(said.result, AMOUNT_MINOR)
        assert said.answer.status == 200
        assert await harness.provider.parse_notice(notice) == said

    async def test_an_altered_or_replayed_notice_is_refused(self, harness: NoticeHarness, calls: Calls) -> None:
        sale = calls.order()
        await harness.provider.pay(sale)
        notice = await harness.notice(sale.idempotency_key)
        amount = str(AMOUNT_MINOR).encode()
        assert amount in notice.raw_body
        altered = replace(notice, raw_body=notice.raw_body.replace(amount, b"12001"))
        elsewhere = replace(notice, path=f"{notice.path}x")
        unsigned = replace(notice, headers={})
        for forged in (altered, elsewhere, unsigned, made_up_notice(harness)):
            with pytest.raises(NoticeRefused, match="signature"):
                await harness.provider.parse_notice(forged)
        for shift in (timedelta(hours=1), timedelta(hours=-1)):
            with pytest.raises(NoticeRefused) as refused:
                await harness.provider.parse_notice(replace(notice, now=notice.now + shift))
            assert refused.value.code == "stale"


class ShownCodeSuite:
    """What holds for `customer_scan`: mix into a suite of a provider that declares it."""

    async def test_a_shown_code_is_paid_by_its_scan(self, harness: ShownCodeHarness) -> None:
        order = Calls(harness, "customer_scan").order()
        created = await harness.provider.create(order)
        assert is_success(created, AMOUNT_MINOR)
        assert isinstance(created.action, ShowQr)
        asked = await harness.provider.query(order)
        assert (asked.outcome, asked.error and asked.error.code) == (Outcome.UNKNOWN, CUSTOMER_PAYING)
        assert harness.moved(order.idempotency_key) == 0
        harness.scan(created.action.code)
        assert is_success(await harness.provider.query(order), AMOUNT_MINOR)
        assert harness.moved(order.idempotency_key) == 1

    async def test_a_closed_code_takes_no_money_and_a_paid_one_is_not_closed(self, harness: ShownCodeHarness) -> None:
        calls = Calls(harness, "customer_scan")
        closed, paid = calls.order(), calls.order()
        for order in (closed, paid):
            created = await harness.provider.create(order)
            if order is closed:
                assert is_success(await harness.provider.close(calls.follow_up("close", closed)), 0)
            assert isinstance(created.action, ShowQr)
            harness.scan(created.action.code)
        refused = await harness.provider.close(calls.follow_up("close", paid))
        assert (refused.outcome, refused.error and refused.error.error_class) == (Outcome.FAILED, ErrorClass.DUPLICATE)
        assert [harness.moved(order.idempotency_key) for order in (closed, paid)] == [0, 1]


class FrozenMoneySuite:
    """What holds for `preauth`: mix into a suite of a provider that declares it."""

    async def test_captures_stay_within_what_is_frozen(self, harness: RemoteHarness) -> None:
        calls = Calls(harness, "preauth")
        frozen = calls.order("authorize")
        assert is_success(await harness.provider.authorize(frozen), AMOUNT_MINOR)
        first = calls.follow_up("capture", frozen, amount_minor=7_000, is_final=False)
        too_much = calls.follow_up("capture", frozen, amount_minor=5_001, is_final=False)
        void = calls.follow_up("void", frozen, amount_minor=2_000)
        last = calls.follow_up("capture", frozen, amount_minor=1_000)
        after = calls.follow_up("capture", frozen, amount_minor=1)
        assert is_success(await harness.provider.capture(first), 7_000)
        assert (await harness.provider.capture(too_much)).outcome is Outcome.FAILED
        assert is_success(await harness.provider.void(void), 2_000)
        assert is_success(await harness.provider.capture(last), 1_000)
        assert (await harness.provider.capture(after)).outcome is Outcome.FAILED
        moved = [harness.moved(call.idempotency_key) for call in (first, too_much, void, last, after)]
        assert moved == [1, 0, 1, 1, 0]


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


def made_up_notice(harness: Harness) -> Notice:
    """A notice that nobody sent."""
    return Notice(
        method="POST",
        path="/v1/notices/made/up",
        query="",
        headers={"content-type": "application/json"},
        raw_body=b'{"status":"SUCCESS"}',
        channel_account=harness.account,
        now=harness.now,
        ctx=harness.ctx,
    )
