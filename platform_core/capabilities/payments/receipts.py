"""Receipts: wished for by a request, drawn by a worker, by the merchant's plugin or the built-in template."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from platform_core.capabilities.payments.answers import encoded, json_text, receipt_answer
from platform_core.capabilities.payments.desk import DECISIONS_MAX, Desk
from platform_core.capabilities.payments.errors import (
    BUSY,
    NOT_FOUND,
    OUTCOME_UNKNOWN,
    RECEIPT_GONE,
    RECEIPT_PENDING,
)
from platform_core.capabilities.payments.models import RECEIPT_BLOBS, RECEIPTS, Payment, Receipt
from platform_core.capabilities.payments.receipt_drawing import Drawing, draw
from platform_core.capabilities.payments.receipt_facts import Booked, MediaType, ReceiptFacts, booked, facts_of
from platform_core.capabilities.payments.receipt_retention import KEPT
from platform_core.capabilities.payments.refusals import conflict
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.schemas import ReceiptCreate
from platform_core.capabilities.payments.service import Reply, may_see, quoted
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import (
    Change,
    Due,
    DueDone,
    Duplicate,
    Event,
    Insert,
    Plan,
    PlanRefused,
    VersionConflict,
)
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.i18n import Language
from platform_core.ledger.service import LedgerService

DRAW: Final = "payments.receipt"  # due: draw a receipt that is pending
RECEIPT_ID: Final = re.compile(r"rec_[0-9a-z]{26}")
SHOWN_STATES: Final = ("captured", "finished")
READS_MAX: Final = 3
PENDING_RETRY_S: Final = 2
UNKNOWN_RETRY_S: Final = 5


class ReceiptContradicted(RuntimeError):
    """A payment's own figures are not the ledger's: nothing is drawn by either, and somebody must look."""


@dataclass(frozen=True, slots=True)
class Content:
    """A document as it is served."""

    receipt_id: str
    payment_id: str
    media_type: str
    content: bytes


class Receipts:
    """The service."""

    def __init__(self, desk: Desk, ledger: LedgerService) -> None:
        self._desk = desk
        self._ledger = ledger

    async def request(
        self, principal: Principal, payment_id: str, request: ReceiptCreate, idempotent: IdempotentRequest
    ) -> Reply:
        """Have a receipt drawn: 202 with the pending one, or 200 with the one that is there.

        There is one for each payment, media type and language. It is drawn anew, under its id, when more was captured
        or refunded since, or when its document is no longer kept. Writes the receipt, the due row of its drawing and
        the key. Raises 404 not_found; 409 state_conflict, outcome_unknown; 503 busy.
        """
        merchant_id = str(principal.merchant_id)
        for _ in range(DECISIONS_MAX):
            payment = await self._payment(principal, payment_id)
            _check_shown(payment)
            found = await self._desk.tools.repository.receipt_as(
                merchant_id, payment_id, media_type=request.media_type, locale=request.locale
            )
            plan, reply = self._wished(payment, found, request, idempotent)
            try:
                await self._desk.tools.committer.commit(plan)
            except PlanRefused as refused:
                if not isinstance(refused.refusal, Duplicate | VersionConflict):
                    raise
                continue  # another request for the same receipt was quicker, or the worker was
            return reply
        raise BUSY.error({"payment_id": payment_id}, retry_after_s=1)

    async def read(self, principal: Principal, receipt_id: str) -> Receipt:
        """One receipt. Raises 404 `payments.not_found`, also for one of a store that the token does not cover."""
        merchant_id, repository = str(principal.merchant_id), self._desk.tools.repository
        found = await repository.receipt(merchant_id, receipt_id) if RECEIPT_ID.fullmatch(receipt_id) else None
        payment = None if found is None else await repository.payment(merchant_id, found.payment_id)
        if found is None or payment is None or not may_see(principal, payment):
            raise NOT_FOUND.error({"kind": "receipt", "id": quoted(receipt_id)})
        return found

    async def content(self, principal: Principal, receipt_id: str) -> Content:
        """The document, to be served as a stranger's. Raises 404 not_found; 409 receipt_pending; 410 receipt_gone."""
        receipt = await self.read(principal, receipt_id)
        if receipt.blob_id is None or receipt.rendered_media_type is None:
            raise RECEIPT_PENDING.error({"receipt_id": receipt.id}, retry_after_s=PENDING_RETRY_S)
        found = None
        if self._is_kept(receipt):
            found = await self._desk.tools.repository.receipt_content(receipt.merchant_id, receipt.blob_id)
        if found is None:
            raise RECEIPT_GONE.error({"receipt_id": receipt.id, "payment_id": receipt.payment_id})
        return Content(receipt.id, receipt.payment_id, receipt.rendered_media_type, found)

    async def draw(self, work: DueWork) -> Plan | None:
        """Due: draw a pending receipt, with nothing open in the database, then commit the document with what tells of
        it and `receipt.ready`. Whoever dies before that leaves the row due; of two who draw, one is seen.

        Raises ReceiptContradicted, and the row comes again later, where the payment and the ledger disagree.
        """
        merchant_id = str(work.merchant_id)
        receipt = await self._desk.tools.repository.receipt(merchant_id, work.subject_id)
        if receipt is None or receipt.state != "pending":
            return Plan(work.merchant_id, [DueDone(DRAW, work.subject_id)])
        facts = await self._facts(receipt)
        drawing = await self._draw(receipt, facts)
        try:
            await self._desk.tools.committer.commit(self._drawn(receipt, facts, drawing))
        except PlanRefused as refused:
            if not isinstance(refused.refusal, VersionConflict):
                raise  # another worker drew it, and ended the row
        return None

    async def _payment(self, principal: Principal, payment_id: str) -> Payment:
        payment = await self._desk.tools.repository.payment(str(principal.merchant_id), payment_id)
        if payment is None or not may_see(principal, payment):
            raise NOT_FOUND.error({"kind": "payment", "id": quoted(payment_id)})
        return payment

    def _wished(
        self, payment: Payment, found: Receipt | None, request: ReceiptCreate, idempotent: IdempotentRequest
    ) -> tuple[Plan, Reply]:
        """What a wish writes besides its key: a new receipt, the old one to be drawn anew, or nothing."""
        now, plan = self._desk.now, Plan(payment.merchant_id)
        if found is None:
            row = _pending_row(self._desk.tools.ids.mint("rec"), payment, request) | {"created_at": now}
            row["updated_at"] = now
            plan.add(Insert(RECEIPTS, encoded(row)), Due(DRAW, row["id"], now))
        else:
            row = found.model_dump()
            if found.state == "ready" and not self._is_current(found, payment):
                changed = {**_UNDRAWN, "updated_at": now}
                plan.add(Change(RECEIPTS, found.id, changed, expected=found.version), Due(DRAW, found.id, now))
                row |= changed
        reply = Reply(200 if row["state"] == "ready" else 202, json_text(receipt_answer(row, kept=KEPT)))
        claim = idempotent.claim(object_id=row["id"], created_at=now, status=reply.status, body=reply.body)
        return plan.add(claim), reply

    def _is_kept(self, receipt: Receipt) -> bool:
        return receipt.ready_at is not None and self._desk.now < receipt.ready_at + KEPT

    def _is_current(self, receipt: Receipt, payment: Payment) -> bool:
        """Whether a document still says what the payment does, and is there."""
        figures = (receipt.total_minor, receipt.refunded_minor)
        return self._is_kept(receipt) and figures == (payment.captured_minor, payment.refunded_minor)

    async def _facts(self, receipt: Receipt) -> ReceiptFacts:
        directory = self._desk.tools.directory
        file, figures = await self._figures(receipt.merchant_id, receipt.payment_id)
        names = await directory.trade_names(receipt.merchant_id, store_id=file.payment.store_id)
        merchant = await self._desk.facts(receipt.merchant_id)
        return facts_of(receipt.id, file, figures, names=names, merchant=merchant)

    async def _figures(self, merchant_id: str, payment_id: str) -> tuple[PaymentFile, Booked]:
        """The payment and what the ledger says of it, of one moment: both are read again while the payment moves."""
        for _ in range(READS_MAX):
            file = await self._desk.file(merchant_id, payment_id)
            references = [transaction.id for transaction in file.transactions]
            figures = booked(await self._ledger.transfers_about(merchant_id, references))
            if figures.agrees_with(file.payment):
                return file, figures
            now = await self._desk.tools.repository.payment(merchant_id, payment_id)
            if now is not None and now.version == file.payment.version:
                break
        raise ReceiptContradicted(
            f"{payment_id}: captured {file.payment.captured_minor}, refunded {file.payment.refunded_minor}; "
            f"by the ledger {figures.captured_minor}, {figures.refunded_minor}"
        )

    async def _draw(self, receipt: Receipt, facts: ReceiptFacts) -> Drawing:
        tools, plugins = self._desk.tools, None
        if tools.plugins is not None:
            key = f"{receipt.id}.{receipt.sequence + 1}"
            plugins = await tools.plugins.of(receipt.merchant_id, store_id=facts.store_id, idempotency_key=key)
        media_type, language = cast("MediaType", receipt.media_type), cast("Language", receipt.locale)
        return await draw(plugins, facts, media_type=media_type, language=language)

    def _drawn(self, receipt: Receipt, facts: ReceiptFacts, drawing: Drawing) -> Plan:
        """The document, what tells of it, the news, the end of the work."""
        ids, now = self._desk.tools.ids, self._desk.now
        blob = {
            "id": ids.mint("blb"),
            "merchant_id": receipt.merchant_id,
            "receipt_id": receipt.id,
            "content": drawing.content,
            "created_at": now,
        }
        changed = {
            "state": "ready",
            "rendered_media_type": drawing.media_type,
            "total_minor": facts.booked.captured_minor,
            "refunded_minor": facts.booked.refunded_minor,
            "blob_id": blob["id"],
            "size_bytes": len(drawing.content),
            "sha256": hashlib.sha256(drawing.content).hexdigest(),
            "plugin_id": drawing.plugin_id,
            "plugin_version": drawing.plugin_version,
            "degraded": [dict(one) for one in drawing.degraded] or None,
            "sequence": receipt.sequence + 1,
            "updated_at": now,
            "ready_at": now,
        }
        answer = json_text(receipt_answer({**receipt.model_dump(), **changed}, kept=KEPT))
        return Plan(
            receipt.merchant_id,
            [
                Change(RECEIPTS, receipt.id, encoded(changed), expected=receipt.version),
                Insert(RECEIPT_BLOBS, blob),
                Event(ids.mint("evt"), "receipt.ready", receipt.id, receipt.sequence + 1, now, answer),
                DueDone(DRAW, receipt.id),
                *drawing.parts,
            ],
        )


_UNDRAWN: Final[Mapping[str, Any]] = {
    "state": "pending",
    "rendered_media_type": None,
    "total_minor": None,
    "refunded_minor": None,
    "blob_id": None,
    "size_bytes": None,
    "sha256": None,
    "plugin_id": None,
    "plugin_version": None,
    "degraded": None,
    "ready_at": None,
}


def _pending_row(id_: str, payment: Payment, request: ReceiptCreate) -> dict[str, Any]:
    return {
        "id": id_,
        "merchant_id": payment.merchant_id,
        "payment_id": payment.id,
        "media_type": request.media_type,
        "locale": request.locale,
        "currency": payment.currency,
        **_UNDRAWN,
        "sequence": 0,
        "version": 1,
    }


def _check_shown(payment: Payment) -> None:
    """Whether there is anything to show. Raises 409 `payments.outcome_unknown`, `payments.state_conflict`."""
    if payment.state == "unknown":
        raise OUTCOME_UNKNOWN.error({"payment_id": payment.id}, retry_after_s=UNKNOWN_RETRY_S)
    is_partly_captured = payment.state == "authorized" and payment.captured_minor > 0
    if payment.state not in SHOWN_STATES and not is_partly_captured:
        raise conflict(payment, "receipt", "captured, authorized in part captured")
