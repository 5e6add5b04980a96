"""What happens without a client: the janitor's questions, expiry, and providers' notices. Nothing is ever declared by guessing."""

from __future__ import annotations

from datetime import timedelta

from platform_core.capabilities.payments.acts import Intent, close_intent
from platform_core.capabilities.payments.desk import Desk, contract_account
from platform_core.capabilities.payments.draft import ASK, EXPIRE, Draft
from platform_core.capabilities.payments.errors import NOT_FOUND, NOTICE_REFUSED
from platform_core.capabilities.payments.models import NOTICES, Transaction
from platform_core.capabilities.payments.outcomes import PAYING_S, POLL_S, ask_delay, new_transaction
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.contracts.payments import (
    CUSTOMER_PAYING,
    NOT_FOUND as NOT_SEEN,
    Notice,
    NoticeAnswer,
    NoticeRefused,
    Outcome,
    ProviderResult,
)
from platform_core.kernel.commit import Due, DueDone, Duplicate, Insert, Plan, PlanRefused
from platform_core.kernel.commit.due import DueWork

REPEATED = ("late_return", "close", "cancel", "capture", "void", "refund")  # asked again under their own key when pending
NOT_SEEN_TRIES = 2  # after so many questions about a sale that nobody there has seen, the attempt is canceled there


class Resolution:
    """Brings open transactions to an end, by the provider's own word."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def ask(self, work: DueWork) -> None:
        """One question about one open transaction (due kind `payments.ask`); sets the time of the next one itself."""
        desk = self._desk
        owner = await desk.tools.repository.owner_of_transaction(work.subject_id)
        if owner is None:
            return await self._forget(work)
        merchant_id, payment_id = owner
        file = await desk.file(merchant_id, payment_id)
        transaction = file.transaction(work.subject_id)
        if transaction.state in ("succeeded", "failed"):
            return await self._forget(work)
        result = await self._question(file, transaction)
        if result.outcome is Outcome.UNKNOWN:
            if self._is_given_up(file, transaction, result, work.tries):
                return await self._cancel_attempt(merchant_id, payment_id, transaction)
            await self._next_question(work, file, transaction, result)
        await desk.conclude(merchant_id, payment_id, transaction.id, result)
        return None

    async def _question(self, file: PaymentFile, transaction: Transaction) -> ProviderResult:
        """Ask what became of it; what was perhaps never sent is sent, under the same key, so that it happens once at most."""
        desk = self._desk
        if transaction.kind == "late_return":
            return await desk.ask(file, transaction, "cancel" if transaction.reason == "authorize" else "refund")
        result = await desk.ask(file, transaction, "query_refund" if transaction.kind == "refund" else "query")
        was_seen = result.error is None or result.error.code != NOT_SEEN
        if transaction.kind in REPEATED and not was_seen:
            return await desk.ask(file, transaction, transaction.kind)
        return result

    def _is_given_up(self, file: PaymentFile, transaction: Transaction, result: ProviderResult, tries: int) -> bool:
        """A customer who does not finish in time, or a sale that the provider has not seen, is canceled *there*."""
        assert result.error is not None
        if transaction.kind not in ("sale", "authorize") or file.payment.form == "customer_scan":
            return False
        if result.error.code == CUSTOMER_PAYING:
            return self._desk.now >= transaction.created_at + timedelta(seconds=PAYING_S)
        return result.error.code == NOT_SEEN and tries + 1 >= NOT_SEEN_TRIES

    async def _next_question(
        self, work: DueWork, file: PaymentFile, transaction: Transaction, result: ProviderResult
    ) -> None:
        assert result.error is not None
        is_paying = result.error.code == CUSTOMER_PAYING and file.payment.form == "merchant_scan"
        delay = timedelta(seconds=POLL_S) if is_paying else ask_delay(work.tries + 1)
        plan = Plan(file.payment.merchant_id, [Due(ASK, transaction.id, self._desk.now + delay, work.tries + 1)])
        await self._desk.tools.committer.commit(plan)

    async def _cancel_attempt(self, merchant_id: str, payment_id: str, transaction: Transaction) -> None:
        """Cancel at the provider; the payment may then be tried again."""
        desk = self._desk
        begun: list[str] = []

        def decide(file: PaymentFile, draft: Draft) -> Plan | None:
            begun.clear()
            current = file.transaction(transaction.id)
            if current.state in ("succeeded", "failed"):
                return None
            opened = [t for t in file.transactions if t.kind == "cancel" and t.state in ("pending", "unknown")]
            if opened:
                begun.append(opened[-1].id)
                return None
            count = sum(t.kind == "cancel" for t in file.transactions)
            row = new_transaction(
                draft,
                current,
                kind="cancel",
                amount_minor=current.amount_minor,
                request_key=f"{current.id}.{count}",
                is_final=False,
                reason=current.kind,
            )
            draft.insert_transaction(row)
            draft.ask_at(row["id"], draft.now + ask_delay(0))
            draft.asked(current.id)
            begun.append(row["id"])
            return draft.plan()

        await desk.decide(merchant_id, payment_id, decide)
        if begun:
            file = await desk.file(merchant_id, payment_id)
            result = await desk.ask(file, file.transaction(begun[0]), "cancel")
            await desk.conclude(merchant_id, payment_id, begun[0], result)

    async def expire(self, work: DueWork) -> None:
        """Close a payment whose time is over (due kind `payments.expire`): at the provider first; paid after all is an outcome too."""
        desk = self._desk
        merchant_id = await desk.tools.repository.owner_of_payment(work.subject_id)
        if merchant_id is None:
            return await self._forget(work)
        intent = Intent()

        def decide(file: PaymentFile, draft: Draft) -> Plan | None:
            intent.transaction_id = None
            if file.payment.state == "unknown":
                # In doubt is not unpaid: wait for the provider's word, then look again.
                return Plan(merchant_id, [Due(EXPIRE, work.subject_id, draft.now + ask_delay(1), work.tries + 1)])
            if file.payment.state not in ("created", "processing"):
                return Plan(merchant_id, [DueDone(EXPIRE, work.subject_id)])
            close_intent("expired")(file, draft, intent)
            if intent.transaction_id is not None:
                draft.add(Due(EXPIRE, work.subject_id, draft.now + ask_delay(2), work.tries + 1))
            return draft.plan()

        await desk.decide(merchant_id, work.subject_id, decide)
        if intent.transaction_id is not None:
            file = await desk.file(merchant_id, work.subject_id)
            result = await desk.ask(file, file.transaction(intent.transaction_id), "close")
            await desk.conclude(merchant_id, work.subject_id, intent.transaction_id, result)
        return None

    async def notice(
        self, *, provider_id: str, channel_account_id: str, method: str, path: str, query: str, headers: dict[str, str], body: bytes
    ) -> NoticeAnswer:
        """A provider's notice: verified first, stored by its id, then put to the books; the second delivery changes nothing.

        Raises 404 `payments.not_found` for an address that is not ours, 400 `payments.notice_refused` for one that is not genuine.
        """
        desk = self._desk
        account = await desk.tools.repository.channel_account(channel_account_id)
        provider = desk.tools.providers.get(provider_id)
        if account is None or provider is None or account.provider_id != provider_id:
            raise NOT_FOUND.error({"kind": "notice address", "id": channel_account_id})
        context = desk.tools.providers.contexts.context(merchant_id=account.merchant_id, secrets=account.secrets)
        notice = Notice(
            method=method,
            path=path,
            query=query,
            headers=headers,
            raw_body=body,
            channel_account=contract_account(account),
            now=desk.now,
            ctx=context,
        )
        try:
            said = await provider.parse_notice(notice)
        except NoticeRefused as refused:
            raise NOTICE_REFUSED.error({"reason": refused.code}) from refused
        if await desk.tools.repository.has_notice(channel_account_id, said.notice_id):
            return said.answer
        owner = await desk.tools.repository.owner_of_transaction(said.idempotency_key)
        if owner is None or owner[0] != account.merchant_id:
            raise NOTICE_REFUSED.error({"reason": "unknown transaction"})
        stored = Insert(
            NOTICES,
            {
                "id": desk.tools.ids.mint("ntc"),
                "merchant_id": account.merchant_id,
                "channel_account_id": channel_account_id,
                "notice_id": said.notice_id,
                "transaction_id": said.idempotency_key,
                "raw_body": body,
                "received_at": desk.now,
            },
        )
        merchant_id, payment_id = owner
        file = await desk.file(merchant_id, payment_id)
        result = _checked(said.result, file.transaction(said.idempotency_key))

        def finish(file: PaymentFile, draft: Draft, plan: Plan) -> None:
            plan.add(stored)

        try:
            await desk.conclude(merchant_id, payment_id, said.idempotency_key, result, finish)
        except PlanRefused as refused:
            if not (isinstance(refused.refusal, Duplicate) and refused.refusal.table == NOTICES.name):
                raise
        return said.answer

    async def _forget(self, work: DueWork) -> None:
        await self._desk.tools.committer.commit(Plan(work.merchant_id, [DueDone(work.kind, work.subject_id)]))


def _checked(result: ProviderResult, transaction: Transaction) -> ProviderResult:
    """Another amount than was asked is unknown, also in a notice."""
    return result if transaction.kind in ("cancel", "close") else result.checked(amount_minor=transaction.amount_minor)

