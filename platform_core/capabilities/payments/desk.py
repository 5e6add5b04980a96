"""What every act on a payment shares: reading, deciding under conflict, asking the provider, and putting its word
to the books.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from weakref import WeakValueDictionary
from zoneinfo import ZoneInfo

from platform_core.capabilities.payments import metrics, outcomes
from platform_core.capabilities.payments.answers import Row
from platform_core.capabilities.payments.draft import Draft, settle_due
from platform_core.capabilities.payments.errors import BUSY, NOT_FOUND
from platform_core.capabilities.payments.fees import FeeTerms
from platform_core.capabilities.payments.models import PAYMENTS, REFUNDS, Payment, Transaction
from platform_core.capabilities.payments.providers import Providers
from platform_core.capabilities.payments.repository import PaymentFile, PaymentRepository
from platform_core.capabilities.payments.route_success import BEGINNINGS, ENDS, RouteSuccess
from platform_core.capabilities.payments.screening import Plugins
from platform_core.capabilities.payments.splits.work import SplitWork
from platform_core.capabilities.payments.terms import Account, MerchantTerms
from platform_core.capabilities.payments.windows import finish_due
from platform_core.contracts import payments as contract
from platform_core.identity.directory import MerchantDirectory, MerchantFacts
from platform_core.identity.feed_cache import FeedCache
from platform_core.identity.limits import Limits
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer, Due, Plan, PlanRefused, VersionConflict
from platform_core.kernel.ids import Ids

DECISIONS_MAX = 3
DECIDED = (PAYMENTS.name, REFUNDS.name)  # whose versions a decision about a payment goes by
CONCLUSIONS_MAX = 20  # a provider's word is put to the books whatever else moves the payment at the same time
SCHEDULED_KEPT_MAX = 100_000
DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What bootstrap hands to payments."""

    committer: Committer
    repository: PaymentRepository
    providers: Providers
    directory: MerchantDirectory
    limits: Limits
    terms: FeedCache[MerchantTerms]
    clock: Clock
    ids: Ids
    public_origin: str
    plugins: Plugins | None = None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class KeyedLocks:
    """One lock a payment: acts of one process on one payment queue up instead of refusing each other's versions."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold the key's lock; never while a provider is asked."""
        lock = self._locks.get(key)
        if lock is None:
            self._locks[key] = lock = asyncio.Lock()
        async with lock:
            yield


class Desk:
    """Shared by the services of payments."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self.success = RouteSuccess(tools.clock)
        self._locks = KeyedLocks()
        self._scheduled: set[tuple[str, str, date]] = set()  # booking days whose settlement is a due row for certain
        self._finished: set[tuple[str, date]] = set()  # days whose payments' end is a due row for certain

    @property
    def now(self) -> datetime:
        """The moment, UTC."""
        return self.tools.clock.now()

    async def facts(self, merchant_id: str) -> MerchantFacts:
        """The merchant, at most a second old."""
        return await self.tools.directory.get(merchant_id)

    async def terms(self, merchant_id: str) -> MerchantTerms:
        """Channel accounts, routing and fees: those of this moment, changes at most a second late."""
        terms = await self.tools.terms.get(merchant_id)
        if not terms.hold_at(self.now):
            self.tools.terms.forget(merchant_id)
            terms = await self.tools.terms.get(merchant_id)
        return terms

    async def file(self, merchant_id: str, payment_id: str) -> PaymentFile:
        """The payment with everything on it. Raises 404 `payments.not_found`."""
        file = await self.tools.repository.file(merchant_id, payment_id)
        if file is None:
            raise NOT_FOUND.error({"kind": "payment", "id": payment_id})
        return file

    async def decide(
        self,
        merchant_id: str,
        payment_id: str,
        decide: Callable[[PaymentFile, Draft], Plan | None],
        *,
        decisions_max: int = DECISIONS_MAX,
    ) -> Any:  # whatever the plan answers
        """Read, decide and commit; anew if the payment has moved meanwhile, 503 `payments.busy` after three times.

        `decide` returns None when there is nothing to write. Returns the plan's answer.
        """
        async with self._locks.hold(payment_id):
            for _ in range(decisions_max):
                file = await self.file(merchant_id, payment_id)
                plan = decide(file, Draft(file.payment, ids=self.tools.ids, now=self.now))
                if plan is None:
                    return None
                try:
                    return await self.tools.committer.commit(plan)
                except PlanRefused as refused:
                    if not isinstance(refused.refusal, VersionConflict) or refused.refusal.table not in DECIDED:
                        raise
        raise BUSY.error({"payment_id": payment_id}, retry_after_s=1)

    async def ask(self, file: PaymentFile, transaction: Transaction, method: str) -> contract.ProviderResult:
        """Call the provider about a transaction, with nothing open in the database."""
        payment = file.payment
        terms = await self.terms(payment.merchant_id)
        account = terms.channel_accounts.get(transaction.channel_account_id)
        if account is None:
            return contract.ProviderResult.unknown("account_missing", "The channel account is gone.")
        call = self.call(
            payment.model_dump(),
            transaction.model_dump(),
            account,
            original=_original(file, transaction),
            shares=_shares(file, transaction),
        )
        return await self.tools.providers.call(transaction.provider_id, method, call)

    async def is_settled(self, merchant_id: str, day: date | None, currency: str) -> bool:
        """Whether the money of a booking day has moved to available; that of a till never does."""
        return day is not None and await self.tools.repository.is_settled(merchant_id, day, currency)

    def finish_due(self, merchant_id: str, day: date, time_zone: str) -> Due | None:
        """The due row that finishes what is captured on a day; None when it stands for certain."""
        is_known = (merchant_id, day) in self._finished
        return None if is_known else finish_due(merchant_id, day, time_zone)

    def is_scheduled(self, due: Due | None) -> None:
        """What `finish_due` gave was committed."""
        if due is not None:
            if len(self._finished) >= SCHEDULED_KEPT_MAX:
                self._finished.clear()
            merchant_id, day = due.subject_id.split("/")
            self._finished.add((merchant_id, date.fromisoformat(day)))

    def call(
        self,
        payment: Row,
        transaction: Row,
        account: Account,
        *,
        original: Transaction | None = None,
        auth_code: str | None = None,
        shares: tuple[contract.ReceiverShare, ...] = (),
    ) -> contract.ProviderCall:
        """The question as the provider gets it, from the rows of a payment and of one transaction on it."""
        tools = self.tools
        return contract.ProviderCall(
            idempotency_key=transaction["id"],
            kind="refund" if transaction["kind"] == "late_return" else transaction["kind"],
            payment_id=payment["id"],
            attempt_id=transaction["attempt_id"],
            amount_minor=transaction["amount_minor"],
            currency=payment["currency"],
            form=payment["form"],
            channel_account=account.contract,
            deadline_s=DEADLINE_S,
            now=self.now,
            ctx=tools.providers.contexts.context(merchant_id=payment["merchant_id"], secrets=account.secrets),
            original=None if original is None else _as_original(original),
            provider_reference=transaction["provider_reference"],
            out_trade_no=payment["out_trade_no"],
            subject=payment["subject"],
            auth_code=auth_code,
            expires_at=payment["expires_at"],
            notify_url=f"{tools.public_origin}/v1/notices/{account.provider_id}/{account.id}",
            return_url=payment["return_url"],
            reason=transaction["reason"] if transaction["kind"] == "refund" else "",
            is_final=transaction["is_final"],
            store_id=payment["store_id"],
            terminal_id=payment["terminal_id"],
            operator_id=payment["operator_id"],
            shares=shares,
        )

    async def conclude(
        self,
        merchant_id: str,
        payment_id: str,
        transaction_id: str,
        result: contract.ProviderResult,
        *,
        finish: Callable[[PaymentFile, Draft, Plan], None] = lambda file, draft, plan: None,
    ) -> Any:
        """The second commit: put a provider's word to the books.

        `finish` may add to the plan, such as the stored answer.
        """
        facts = await self.facts(merchant_id)
        terms = await self.terms(merchant_id)

        days: list[tuple[str, str, date]] = []
        finishes: list[Due] = []
        announced: list[str] = []
        ended: list[str] = []

        def decide(file: PaymentFile, draft: Draft) -> Plan:
            case = self.case(file, draft, transaction_id, facts=facts, terms=terms)
            outcomes.apply(case, result)
            plan = draft.plan()
            announced[:] = draft.announced
            is_end = case.transaction.kind in BEGINNINGS and not ENDS.isdisjoint(announced)
            ended[:] = [case.transaction.channel_account_id] if is_end else []
            if case.settle in plan.parts:
                days[:] = [(merchant_id, file.payment.currency, case.booking_day)]
            finishes[:] = [case.finish] if case.finish is not None and case.finish in plan.parts else []
            finish(file, draft, plan)
            return plan

        answer = await self.decide(merchant_id, payment_id, decide, decisions_max=CONCLUSIONS_MAX)
        if len(self._scheduled) >= SCHEDULED_KEPT_MAX:
            self._scheduled.clear()
        self._scheduled.update(days)
        for due in finishes:
            self.is_scheduled(due)
        metrics.count_events(announced)
        for account_id in ended:
            self.success.ended(account_id, result)
        return answer

    def case(
        self, file: PaymentFile, draft: Draft, transaction_id: str, *, facts: MerchantFacts, terms: MerchantTerms
    ) -> outcomes.Case:
        """Everything that a word on this transaction is about."""
        transaction = file.transaction(transaction_id)
        day = (file.payment.merchant_id, file.payment.currency, local_day(draft.now, facts.time_zone))
        description = self.tools.providers.describe(transaction.provider_id)
        return outcomes.Case(
            draft=draft,
            attempt=file.attempt(transaction.attempt_id),
            transaction=transaction,
            terms=fee_terms(file.payment, terms),
            work=SplitWork(draft, file.splits, file.shares),
            booking_day=day[2],
            is_till=description is not None and description.is_local,
            time_zone=facts.time_zone,
            tells_splits=description is not None and "split" in description.features,
            bound=frozenset(id_ for id_, receiver in file.receivers.items() if receiver.bound_as is not None),
            settle=None if day in self._scheduled else settle_due(*day, facts.time_zone),
            finish=self.finish_due(file.payment.merchant_id, day[2], facts.time_zone),
            refund=next((refund for refund in file.refunds if refund.transaction_id == transaction_id), None),
            open_cancel=file.open_one("cancel"),
            is_doubted_elsewhere=any(
                other.state == "unknown" and other.kind in ("capture", "void")
                for other in file.transactions
                if other.id != transaction_id
            ),
        )


def local_day(moment: datetime, time_zone: str) -> date:
    """The calendar day of a moment where the merchant is."""
    return moment.astimezone(ZoneInfo(time_zone)).date()


def fee_terms(payment: Payment, terms: MerchantTerms) -> FeeTerms:
    """The fee plan copied at the first capture, before that the merchant's plan for this form and currency."""
    if payment.fee_plan is not None:
        return FeeTerms(**payment.fee_plan)
    return terms.fee(payment.form, payment.currency)


def _original(file: PaymentFile, transaction: Transaction) -> Transaction | None:
    return None if transaction.original_id is None else file.transaction(transaction.original_id)


def _shares(file: PaymentFile, transaction: Transaction) -> tuple[contract.ReceiverShare, ...]:
    """What a `settle` is about: the shares that it settles, as the provider gets them."""
    if transaction.kind != "settle":
        return ()
    shares = {share.id: share for share in file.shares}
    return tuple(
        contract.ReceiverShare(
            receiver_id=(share := shares[part["share_id"]]).receiver_id,
            receiver_type=file.receivers[share.receiver_id].type,
            account=file.receivers[share.receiver_id].account,
            name=file.receivers[share.receiver_id].name,
            amount_minor=part["amount"],
            note=share.note,
        )
        for part in transaction.split_parts
    )


def _as_original(transaction: Transaction) -> contract.Original:
    return contract.Original(
        idempotency_key=transaction.id,
        amount_minor=transaction.amount_minor,
        provider_reference=transaction.provider_reference,
    )
