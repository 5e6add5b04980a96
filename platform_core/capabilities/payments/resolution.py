"""What happens without a client: the janitor's questions, expiry, and providers' notices.

Nothing is ever declared by guessing.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import structlog

from platform_core.capabilities.payments import metrics
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.disputes.service import DisputeService
from platform_core.capabilities.payments.draft import ASK, EXPIRE, Draft
from platform_core.capabilities.payments.errors import NOT_FOUND, NOTICE_REFUSED
from platform_core.capabilities.payments.forms import is_by_code
from platform_core.capabilities.payments.intents import Intent, close_intent, thaw
from platform_core.capabilities.payments.models import NOTICES, Transaction
from platform_core.capabilities.payments.outcomes import ASK_AFTER_S, POLL_S, ask_delay
from platform_core.capabilities.payments.questions import Questions
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.contracts.payments import (
    DisputeNotice,
    Notice,
    NoticeAnswer,
    NoticeOutcome,
    NoticeRefused,
    Outcome,
    ProviderResult,
    RefundBounce,
)
from platform_core.kernel.commit import Due, DueDone, Duplicate, Insert, Plan, PlanRefused
from platform_core.kernel.commit.due import DueWork

ACCOUNT_ID = re.compile(r"cha_[0-9a-z]{26}")
log = structlog.get_logger(__name__)


class Resolution:
    """Brings open transactions to an end, by the provider's own word."""

    def __init__(self, desk: Desk, questions: Questions, disputes: DisputeService) -> None:
        self._desk = desk
        self._questions = questions
        self._disputes = disputes

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
        metrics.JANITOR_LAG.record(max(0.0, (desk.now - work.due_at).total_seconds()))
        self._tell_operator(work, transaction)
        # The next question stands before this one is asked: whatever happens to this process, somebody asks again.
        payment = file.payment
        is_polled = is_by_code(payment.form, payment.freeze_by) and payment.state == "processing"
        delay = timedelta(seconds=POLL_S) if is_polled else ask_delay(work.tries + 1)
        following = Due(ASK, transaction.id, desk.now + delay, work.tries + 1)
        await desk.tools.committer.commit(Plan(merchant_id, [following]))
        await self._questions.ask(file, transaction, tries=work.tries)
        return None

    def _tell_operator(self, work: DueWork, transaction: Transaction) -> None:
        """After the daily questions a person must look; the weekly ones go on meanwhile."""
        if work.tries < len(ASK_AFTER_S):
            return
        metrics.JANITOR_STUCK.add(1, {"provider": transaction.provider_id, "kind": transaction.kind})
        log.error(
            "payments.outcome_still_unknown",
            transaction_id=transaction.id,
            payment_id=transaction.payment_id,
            kind=transaction.kind,
            provider=transaction.provider_id,
            asked=work.tries,
            open_since=transaction.created_at.isoformat(),
        )

    async def expire(self, work: DueWork) -> None:
        """End a payment whose time is over (due kind `payments.expire`): at the provider first; paid after all is
        an outcome too. What is unpaid is closed; money that is still frozen is let go.
        """
        desk = self._desk
        merchant_id = await desk.tools.repository.owner_of_payment(work.subject_id)
        if merchant_id is None:
            return await self._forget(work)
        intent = Intent()

        def decide(file: PaymentFile, draft: Draft) -> Plan | None:
            intent.transaction_id = None
            if file.payment.state == "unknown":
                # In doubt is not unpaid: wait for the provider's word, then look again.
                return Plan(
                    merchant_id, [Due(EXPIRE, work.subject_id, draft.now + ask_delay(work.tries + 1), work.tries + 1)]
                )
            if file.payment.state not in ("created", "in_review", "processing", "authorized"):
                return Plan(merchant_id, [DueDone(EXPIRE, work.subject_id)])
            (thaw if file.payment.state == "authorized" else close_intent("expired"))(file, draft, intent)
            if intent.transaction_id is not None:
                draft.add(Due(EXPIRE, work.subject_id, draft.now + ask_delay(work.tries + 2), work.tries + 1))
            return draft.plan()

        await desk.decide(merchant_id, work.subject_id, decide)
        if intent.transaction_id is not None:
            file = await desk.file(merchant_id, work.subject_id)
            result = await desk.ask(file, file.transaction(intent.transaction_id), intent.method)
            await desk.conclude(merchant_id, work.subject_id, intent.transaction_id, result)
        return None

    async def notice(
        self,
        *,
        provider_id: str,
        channel_account_id: str,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        body: bytes,
    ) -> NoticeAnswer:
        """A provider's notice: verified first, stored by its id, then put to the books; the second delivery changes
        nothing.

        Raises 404 `payments.not_found` for an address that is not ours, 400 `payments.notice_refused` for one that is
        not genuine.
        """
        desk = self._desk
        account = None
        if ACCOUNT_ID.fullmatch(channel_account_id) is not None:
            account = await desk.tools.repository.channel_account(channel_account_id)
        provider = desk.tools.providers.get(provider_id)
        if account is None or provider is None or account.provider_id != provider_id:
            raise NOT_FOUND.error({"kind": "notice address", "id": ""})
        context = desk.tools.providers.contexts.context(merchant_id=account.merchant_id, secrets=account.secrets)
        notice = Notice(
            method=method,
            path=path,
            query=query,
            headers=headers,
            raw_body=body,
            channel_account=account.contract,
            now=desk.now,
            ctx=context,
        )
        try:
            said = await provider.parse_notice(notice)
        except NoticeRefused as refused:
            raise NOTICE_REFUSED.error({"reason": refused.code}) from refused
        if await desk.tools.repository.has_notice(channel_account_id, said.notice_id):
            return said.answer
        transaction_id = said.word.idempotency_key if isinstance(said, DisputeNotice) else said.idempotency_key
        owner = await desk.tools.repository.owner_of_transaction(transaction_id)
        if owner is None or owner[0] != account.merchant_id:
            raise NOTICE_REFUSED.error({"reason": "unknown transaction"})
        stored = Insert(
            NOTICES,
            {
                "id": desk.tools.ids.mint("ntc"),
                "merchant_id": account.merchant_id,
                "channel_account_id": channel_account_id,
                "notice_id": said.notice_id,
                "transaction_id": transaction_id,
                "raw_body": body,
                "received_at": desk.now,
            },
        )
        try:
            await self._believe(said, owner, stored)
        except PlanRefused as refused:
            if not (isinstance(refused.refusal, Duplicate) and refused.refusal.table == NOTICES.name):
                raise
        return said.answer

    async def _believe(self, said: NoticeOutcome | DisputeNotice, owner: tuple[str, str], stored: Insert) -> None:
        """Put a genuine notice to the books, and keep it, in one commit."""
        desk, (merchant_id, payment_id) = self._desk, owner
        if isinstance(said, DisputeNotice):
            await self._disputes.hear(merchant_id, payment_id, said.word, parts=[stored])
            return
        file = await desk.file(merchant_id, payment_id)
        result = _checked(said, file.transaction(said.idempotency_key))

        def finish(file: PaymentFile, draft: Draft, plan: Plan) -> None:
            plan.add(stored)

        await desk.conclude(merchant_id, payment_id, said.idempotency_key, result, finish=finish)

    async def _forget(self, work: DueWork) -> None:
        await self._desk.tools.committer.commit(Plan(work.merchant_id, [DueDone(work.kind, work.subject_id)]))


def _checked(said: NoticeOutcome, transaction: Transaction) -> ProviderResult:
    """Another amount than was asked is unknown, also in a notice.

    A bounce tells that the refund went out and came back.
    """
    result = said.result
    if transaction.kind in ("cancel", "close"):
        return result
    result = result.checked(amount_minor=transaction.amount_minor)
    if said.kind != "refund_bounce" or result.outcome is not Outcome.SUCCESS:
        return result
    assert result.amount_minor is not None, "a success names it"
    assert result.occurred_at is not None, "a success names it"
    bounce = RefundBounce(
        provider_reference=result.provider_reference or said.notice_id,
        amount_minor=result.amount_minor,
        occurred_at=result.occurred_at,
    )
    return replace(result, provider_reference=transaction.provider_reference, bounce=bounce)
