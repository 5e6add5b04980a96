"""Disputes: words heard from providers and operators, the merchant's answer, and the questions of the janitor."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog

from platform_core.capabilities.payments import metrics
from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.desk import CONCLUSIONS_MAX, Desk
from platform_core.capabilities.payments.disputes.answers import with_evidence
from platform_core.capabilities.payments.disputes.asking import Answered, Asking
from platform_core.capabilities.payments.disputes.books import DisputeBooks, Purse
from platform_core.capabilities.payments.disputes.documents import DOCUMENTS_MAX, Document
from platform_core.capabilities.payments.disputes.errors import DISPUTE_OVER, EVIDENCE_FULL, EVIDENCE_LATE
from platform_core.capabilities.payments.disputes.models import DISPUTE_DOCUMENTS, DISPUTES, Dispute
from platform_core.capabilities.payments.disputes.repository import DisputeRepository
from platform_core.capabilities.payments.disputes.words import OPEN, DisputeCase, DisputeDraft, apply, withdraw
from platform_core.capabilities.payments.draft import Draft
from platform_core.capabilities.payments.errors import BUSY, NOT_FOUND
from platform_core.capabilities.payments.models import Transaction
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.service import Reply, may_see, quoted
from platform_core.contracts.payments import DisputeWord, EvidenceFile
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Change, Due, DueDone, Duplicate, Insert, Plan, PlanRefused
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.ledger.accounts import GuardRefused
from platform_core.ledger.records import AccountKey
from platform_core.ledger.service import LedgerService

DISPUTE: Final = "payments.dispute"  # due: hand over what the merchant answered, else ask how a dispute stands
DISPUTE_ID: Final = re.compile(r"dsp_[0-9a-z]{26}")
TRIES_MAX: Final = 20
ASK_AFTER: Final = timedelta(days=1)
TELL_AFTER: Final = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6))
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a word did."""

    dispute_id: str
    events: Sequence[str]


class DisputeService:
    """The service. Every change of a dispute expects and raises its payment's version."""

    def __init__(self, desk: Desk, ledger: LedgerService, repository: DisputeRepository) -> None:
        self._desk = desk
        self._ledger = ledger
        self._repository = repository
        self._asking = Asking(desk)

    async def hear(self, merchant_id: str, payment_id: str, word: DisputeWord, *, parts: Sequence[object] = ()) -> str:
        """Put a word on a dispute to the books; `parts` are written with it. Returns the dispute's id.

        Takes and gives what row 15 says, out of what the merchant's accounts hold in that moment. A word that was heard
        before changes nothing. Emits `dispute.*`, `payment.outcome_contradicted`. Raises 404 for a transaction that is
        not on the payment, 503 `payments.busy` where the merchant's accounts do not come to rest.
        """
        for _ in range(TRIES_MAX):
            heard = await self._heard(merchant_id, payment_id, word, parts=parts)
            if heard is not None:
                metrics.count_events(heard.events)
                return heard.dispute_id
        raise BUSY.error({"payment_id": payment_id}, retry_after_s=1)

    async def _heard(
        self, merchant_id: str, payment_id: str, word: DisputeWord, *, parts: Sequence[object]
    ) -> _Heard | None:
        """One try; None if the accounts moved in between, or another process opened the dispute."""
        file = await self._desk.file(merchant_id, payment_id)
        purse = await self._purse(file, _transaction(file, word.idempotency_key))
        heard: list[_Heard] = []

        def decide(file: PaymentFile, draft: Draft) -> Plan | None:
            case = DisputeCase(file, draft, _transaction(file, word.idempotency_key), purse)
            told = apply(case, word)
            heard[:] = [_Heard(told["id"], draft.announced)]
            if not told.is_changed and not draft.announced:
                return Plan(merchant_id, list(parts)) if parts else None
            draft.add(*parts, *self._next_step(told))
            return draft.plan()

        try:
            await self._desk.decide(merchant_id, payment_id, decide, decisions_max=CONCLUSIONS_MAX)
        except PlanRefused as refused:
            is_race = isinstance(refused.refusal, GuardRefused) or (
                isinstance(refused.refusal, Duplicate) and refused.refusal.table == DISPUTES.name
            )
            if not is_race:
                raise
            return None
        return heard[0]

    async def _purse(self, file: PaymentFile, transaction: Transaction) -> Purse:
        """What could be taken now, in the order of row 15, and what the merchant owes."""
        payment = file.payment
        merchant_id, currency, day = payment.merchant_id, payment.currency, transaction.booking_day
        books = DisputeBooks(merchant_id, currency, transaction.channel_account_id, "", self._desk.tools.ids)
        accounts = [books.available, books.reserve]
        if day is not None and not await self._desk.is_settled(merchant_id, day, currency):
            accounts.insert(0, books.pending(day))
        keys = [AccountKey(*account.key) for account in (*accounts, books.debt)]
        found = await self._ledger.accounts(merchant_id, keys)
        *sources, debt = [found.get(key) for key in keys]
        free = [
            (account, 0 if record is None else record.available or 0)
            for account, record in zip(accounts, sources, strict=True)
        ]
        return Purse(free, 0 if debt is None else -debt.posted)

    def _next_step(self, told: DisputeDraft) -> list[object]:
        """The due row of the janitor: daily while the dispute is open, where the provider can be asked."""
        is_open = told["state"] in OPEN or (told["state"] == "accepted" and not told["is_withdrawn"])
        if is_open and self._asking.can_ask(told["provider_id"]):
            return [Due(DISPUTE, told["id"], told.draft.now + ASK_AFTER)] if told.before is None else []
        return [] if told.before is None else [DueDone(DISPUTE, told["id"])]

    async def read(self, principal: Principal, dispute_id: str) -> tuple[Dispute, list[dict[str, Any]]]:
        """A dispute and its documents. Raises 404 `payments.not_found`, also for those of stores that the token does
        not cover.
        """
        dispute = await self.seen(principal, dispute_id)
        return dispute, await self._repository.documents(dispute.merchant_id, dispute.id)

    async def seen(self, principal: Principal, dispute_id: str) -> Dispute:
        """A dispute alone. Raises as `read` does."""
        merchant_id = str(principal.merchant_id)
        found = await self._repository.dispute(merchant_id, dispute_id) if DISPUTE_ID.fullmatch(dispute_id) else None
        payment = None
        if found is not None:
            payment = await self._desk.tools.repository.payment(merchant_id, found.payment_id)
        if found is None or payment is None or not may_see(principal, payment):
            raise NOT_FOUND.error({"kind": "dispute", "id": quoted(dispute_id)})
        return found

    async def submit(
        self, principal: Principal, dispute_id: str, documents: Sequence[Document], idempotent: IdempotentRequest
    ) -> Reply:
        """Keep the merchant's documents and have them handed over. A document that is there already is not kept twice.

        Writes them, the due row of their way to the provider, and the event `dispute.evidence_sent` once. Raises 404
        not_found; 409 dispute_over, evidence_late, evidence_full; 503 busy.
        """
        seen = await self.seen(principal, dispute_id)
        takes = self._asking.can_ask(seen.provider_id)
        before = await self._repository.documents(seen.merchant_id, seen.id)
        known = {document["sha256"] for document in before}
        fresh = [document for document in documents if document.sha256 not in known]

        def answer(draft: Draft, told: DisputeDraft) -> tuple[list[object], dict[str, Any]]:
            _check_open(told, "evidence")
            due_at = told["due_at"]
            if due_at is not None and draft.now > due_at:
                raise EVIDENCE_LATE.error({"dispute_id": told["id"], "due_at": due_at.isoformat(timespec="seconds")})
            count = told["documents"] + len(fresh)
            if count > DOCUMENTS_MAX:
                facts = {"dispute_id": told["id"], "count": told["documents"], "more": len(fresh)}
                raise EVIDENCE_FULL.error({**facts, "max": DOCUMENTS_MAX})
            state = "pending" if takes else "kept"
            rows = [document.row(draft, told["id"], state=state) for document in fresh]
            if rows:
                is_first = told["state"] == "opened"
                told.set(state="evidence_sent", documents=count, updated_at=draft.now)
                if is_first:
                    told.emit("dispute.evidence_sent")
            parts: list[object] = [Insert(DISPUTE_DOCUMENTS, row) for row in rows]
            if rows and takes:
                parts.append(Due(DISPUTE, told["id"], draft.now))
            return parts, with_evidence(told.row, [*before, *rows])

        return await self._answer(seen, idempotent, answer)

    async def accept(self, principal: Principal, dispute_id: str, idempotent: IdempotentRequest) -> Reply:
        """Give in: the money goes to the customer as soon as the provider says so, at once where it cannot be told.

        Writes the state, its event, and the due row of the provider's telling. Raises 404 not_found; 409 dispute_over.
        """
        seen = await self.seen(principal, dispute_id)
        documents = await self._repository.documents(seen.merchant_id, seen.id)
        is_told = self._asking.can_ask(seen.provider_id)

        def answer(draft: Draft, told: DisputeDraft) -> tuple[list[object], dict[str, Any]]:
            _check_open(told, "acceptance")
            told.set(state="accepted")
            told.emit("dispute.accepted")
            if not is_told:
                withdraw(told)
            return [Due(DISPUTE, told["id"], draft.now)] if is_told else [], with_evidence(told.row, documents)

        return await self._answer(seen, idempotent, answer)

    async def _answer(
        self,
        seen: Dispute,
        idempotent: IdempotentRequest,
        decide_on: Callable[[Draft, DisputeDraft], tuple[list[object], dict[str, Any]]],
    ) -> Reply:
        """One commit: what the merchant wants, and the answer under its key."""
        replies: list[Reply] = []
        announced: list[str] = []

        def decide(file: PaymentFile, draft: Draft) -> Plan:
            before = next(dispute for dispute in file.disputes if dispute.id == seen.id)
            told = DisputeDraft(draft, before.model_dump(), before=before)
            parts, shown = decide_on(draft, told)
            told.write()
            replies[:] = [Reply(200, json_text(shown))]
            announced[:] = draft.announced
            claim = idempotent.claim(object_id=seen.id, created_at=draft.now, status=200, body=replies[0].body)
            plan = draft.plan() if told.is_changed else Plan(seen.merchant_id)
            return plan.add(claim, *parts)

        await self._desk.decide(seen.merchant_id, seen.payment_id, decide)
        metrics.count_events(announced)
        return replies[0]

    async def work(self, work: DueWork) -> Plan | None:
        """Due: hand over what waits, tell an acceptance, else ask how the dispute stands; daily while it is open.

        The next step stands before this one is made, so that whoever dies in it leaves the row due.
        """
        dispute = await self._repository.of_worker(work.subject_id)
        if dispute is None or not self._is_open(dispute):
            return Plan(work.merchant_id, [DueDone(DISPUTE, work.subject_id)])
        documents = await self._repository.documents(dispute.merchant_id, dispute.id)
        waiting = [document for document in documents if document["state"] == "pending"]
        is_telling = bool(waiting) or dispute.state == "accepted"
        delay = TELL_AFTER[work.tries] if is_telling and work.tries < len(TELL_AFTER) else ASK_AFTER
        following = Due(DISPUTE, dispute.id, self._desk.now + delay, work.tries + 1 if is_telling else 0)
        await self._desk.tools.committer.commit(Plan(dispute.merchant_id, [following]))
        if dispute.state == "accepted":
            await self._conclude(dispute, await self._asking.accept(dispute))
            return None
        for document in waiting:
            await self._hand_over(dispute, document)
        if not waiting:
            await self._conclude(dispute, await self._asking.query(dispute))
        return None

    def _is_open(self, dispute: Dispute) -> bool:
        return dispute.state in OPEN or (dispute.state == "accepted" and not dispute.is_withdrawn)

    async def _hand_over(self, dispute: Dispute, document: Mapping[str, Any]) -> None:
        """One document, and where it stands then; once all are through, the daily question comes next."""
        evidence = EvidenceFile(
            name=document["name"],
            media_type=document["media_type"],
            sha256=document["sha256"],
            content=await self._repository.content(dispute.merchant_id, document["id"]),
        )
        answered = await self._asking.submit(dispute, document["id"], evidence)
        if answered.is_open:
            return
        changed: dict[str, Any] = {"state": "sent" if answered.word is not None else "refused"}
        if answered.error is not None:
            changed["error"] = json_text(answered.error)
        after = Due(DISPUTE, dispute.id, self._desk.now + ASK_AFTER)
        parts = [Change(DISPUTE_DOCUMENTS, document["id"], changed), after]
        if answered.word is None:
            await self._desk.tools.committer.commit(Plan(dispute.merchant_id, parts))
            return
        await self.hear(dispute.merchant_id, dispute.payment_id, answered.word, parts=parts)

    async def _conclude(self, dispute: Dispute, answered: Answered) -> None:
        """Put the answer to the books. A refusal says that somebody must look; the dispute stays as it is."""
        if answered.word is not None:
            await self.hear(dispute.merchant_id, dispute.payment_id, answered.word)
        elif not answered.is_open:
            log.error("payments.dispute_refused", dispute_id=dispute.id, **answered.error or {})

    async def of_operator(self, dispute_id: str) -> Dispute:
        """A dispute of any merchant, for the operator. Raises 404 `payments.not_found`."""
        found = await self._repository.of_worker(dispute_id) if DISPUTE_ID.fullmatch(dispute_id) else None
        if found is None:
            raise NOT_FOUND.error({"kind": "dispute", "id": quoted(dispute_id)})
        return found

    async def state(self, word: DisputeWord, *, parts: Callable[[str], Sequence[object]]) -> Dispute:
        """An operator's word on a dispute, on behalf of a provider that cannot say it itself.

        `parts` makes what is written with it, for the merchant. Raises 404 `payments.not_found`, also for a
        transaction of a till: money that the merchant took in himself is disputed at no acquirer.
        """
        repository = self._desk.tools.repository
        owner = await repository.owner_of_transaction(word.idempotency_key)
        if owner is None:
            raise NOT_FOUND.error({"kind": "transaction", "id": quoted(word.idempotency_key)})
        merchant_id, payment_id = owner
        return await self.of_operator(await self.hear(merchant_id, payment_id, word, parts=parts(merchant_id)))


def _transaction(file: PaymentFile, transaction_id: str) -> Transaction:
    """The sale or capture that is disputed. Raises 404 for what is none of the payment's."""
    for transaction in file.transactions:
        is_till = transaction.kind == "sale" and transaction.state == "succeeded" and transaction.booking_day is None
        if transaction.id == transaction_id and transaction.kind in ("sale", "capture") and not is_till:
            return transaction
    raise NOT_FOUND.error({"kind": "disputed transaction", "id": quoted(transaction_id)})


def _check_open(told: DisputeDraft, act: str) -> None:
    if told["state"] not in OPEN:
        raise DISPUTE_OVER.error({"dispute_id": told["id"], "state": told["state"], "act": act})
