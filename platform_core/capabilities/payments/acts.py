"""Acts on a payment that exists: capture, void, refund, cancel, close.

Intent is committed before the provider is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from platform_core.capabilities.payments.answers import (
    capturable,
    encoded,
    json_text,
    payment_answer,
    refund_answer,
)
from platform_core.capabilities.payments.barred import never_seen
from platform_core.capabilities.payments.books import Books
from platform_core.capabilities.payments.desk import Desk, fee_terms
from platform_core.capabilities.payments.draft import Draft
from platform_core.capabilities.payments.errors import (
    CANCEL_WINDOW_OVER,
    CAPTURE_EXCEEDS,
    NOT_FOUND,
    OUT_REQUEST_NO_TAKEN,
    OUTCOME_UNKNOWN,
)
from platform_core.capabilities.payments.intents import Intent, authorization_of, begin, close_intent, latest_of, wants
from platform_core.capabilities.payments.leftovers import forsaken_unless_written
from platform_core.capabilities.payments.models import PAYMENTS, Payment, Refund, Transaction
from platform_core.capabilities.payments.outcomes import books_of
from platform_core.capabilities.payments.questions import Questions
from platform_core.capabilities.payments.refund_screening import RefundJudged, judge
from platform_core.capabilities.payments.refunding import fee_part, paid_by, refund_amount
from platform_core.capabilities.payments.refusals import conflict, exceeds, lacks_money, unfunded
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.rows import new_transaction
from platform_core.capabilities.payments.schemas import CaptureCreate, RefundCreate, VoidCreate
from platform_core.capabilities.payments.service import Reply
from platform_core.capabilities.payments.splits.answers import returns_answer
from platform_core.capabilities.payments.splits.returns import Refunded, Returns, Standing, everything, take_back
from platform_core.capabilities.payments.splits.work import SplitWork
from platform_core.identity.limits import Meter
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Duplicate, Event, Insert, Plan, PlanRefused
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.ledger.accounts import Account, GuardRefused

CANCEL_HOURS = 24


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a refund's money comes from, how its payment's shares stand, and what plugins left for the plan."""

    is_settled: bool
    standing: Standing | None
    parts: list[object]


class PaymentActs:
    """Follow-ups. Every act may be repeated under its Idempotency-Key or its out_request_no without doing it twice."""

    def __init__(self, desk: Desk, questions: Questions, returns: Returns) -> None:
        self._desk = desk
        self._questions = questions
        self._returns = returns

    async def capture(
        self, principal: Principal, payment_id: str, request: CaptureCreate, idempotent: IdempotentRequest
    ) -> Reply:
        """Take authorised money.

        Raises 409 capture_exceeds_authorized, state_conflict, outcome_unknown, out_request_no_taken.
        """

        def intend(file: PaymentFile, draft: Draft, intent: Intent) -> None:
            payment = file.payment
            wants(payment, "capture", "authorized")
            left = capturable(draft.row)
            amount = request.amount_minor or left
            if amount > left or left == 0:
                raise exceeds(CAPTURE_EXCEEDS, payment, asked=amount or payment.authorized_minor, left=left)
            released = left - amount if request.is_final else 0
            if amount < payment.authorized_minor:
                self._declares(authorization_of(file), "partial_capture", payment, "partial capture")
            row = new_transaction(
                draft,
                authorization_of(file),
                kind="capture",
                amount_minor=amount,
                request_key=_request_key(file, "capture", request.out_request_no),
                is_final=request.is_final,
                released_minor=released,
            )
            draft.set(capturing_minor=payment.capturing_minor + amount + released)
            begin(draft, row, intent, "capture")

        return await self._act(
            principal, payment_id, idempotent, intend, named=("capture", request.out_request_no, request.amount_minor)
        )

    async def void(
        self, principal: Principal, payment_id: str, request: VoidCreate, idempotent: IdempotentRequest
    ) -> Reply:
        """Let authorised money go.

        Raises 409 capture_exceeds_authorized, state_conflict, outcome_unknown, out_request_no_taken.
        """

        def intend(file: PaymentFile, draft: Draft, intent: Intent) -> None:
            payment = file.payment
            wants(payment, "void", "authorized")
            left = capturable(draft.row)
            amount = request.amount_minor or left
            if amount > left or left == 0:
                raise exceeds(CAPTURE_EXCEEDS, payment, asked=amount or payment.authorized_minor, left=left)
            row = new_transaction(
                draft,
                authorization_of(file),
                kind="void",
                amount_minor=amount,
                request_key=_request_key(file, "void", request.out_request_no),
            )
            draft.set(capturing_minor=payment.capturing_minor + amount)
            begin(draft, row, intent, "void")

        return await self._act(
            principal, payment_id, idempotent, intend, named=("void", request.out_request_no, request.amount_minor)
        )

    async def close(self, principal: Principal, payment_id: str, idempotent: IdempotentRequest) -> Reply:
        """End what is unpaid. Raises 409 state_conflict for a paid one, outcome_unknown."""
        return await self._act(principal, payment_id, idempotent, close_intent("merchant"))

    async def cancel(self, principal: Principal, payment_id: str, idempotent: IdempotentRequest) -> Reply:
        """Undo a payment, whatever became of it, within 24 hours. Raises 409 cancel_window_over, state_conflict."""

        def intend(file: PaymentFile, draft: Draft, intent: Intent) -> None:
            payment = file.payment
            if payment.state in ("canceled", "closed"):
                return
            if draft.now > payment.created_at + timedelta(hours=CANCEL_HOURS):
                raise CANCEL_WINDOW_OVER.error({"payment_id": payment.id, "hours": CANCEL_HOURS})
            open_cancel = file.open_one("cancel")
            if open_cancel is not None:
                if not open_cancel.is_final:
                    draft.change_transaction(open_cancel.id, is_final=True)
                intent.transaction_id, intent.method = open_cancel.id, "cancel"
                return
            if payment.capturing_minor:
                raise OUTCOME_UNKNOWN.error({"payment_id": payment.id}, retry_after_s=5)
            is_going_back = payment.refunded_minor or payment.refunding_minor or payment.disputed_minor
            if is_going_back or _is_captured_authorization(file):
                raise conflict(
                    payment, "cancel", "a sale without refunds and disputes, authorized, processing, created"
                )
            if payment.state in ("created", "in_review"):
                draft.set(state="canceled", canceled_at=draft.now, next_action=None)
                draft.unexpire()
                draft.emit("payment.canceled")
                return
            self._begin_cancel(file, draft, intent, is_settled=is_settled, standing=standing)

        is_settled = False
        merchant_id = str(principal.merchant_id)
        standing = await self._returns.standing(merchant_id, payment_id, merchant_covers=False)
        try:
            return await self._act(principal, payment_id, idempotent, intend)
        except PlanRefused as refused:
            if not isinstance(refused.refusal, GuardRefused):
                raise
            is_settled = True  # the day was settled, or its other money is gone: what is available may carry it
            standing = await self._returns.standing(merchant_id, payment_id, merchant_covers=False)
        try:
            return await self._act(principal, payment_id, idempotent, intend)
        except PlanRefused as refused:
            payment = (await self._desk.file(merchant_id, payment_id)).payment
            raise unfunded(refused, payment.currency) from refused

    async def cancel_by_number(self, principal: Principal, out_trade_no: str, idempotent: IdempotentRequest) -> Reply:
        """Cancel by the merchant's number.

        One never seen becomes a canceled payment, so that a late create is refused.
        """
        desk = self._desk
        merchant_id = str(principal.merchant_id)
        payment_id = await desk.tools.repository.payment_id(merchant_id, out_trade_no)
        if payment_id is None:
            row = never_seen(desk, merchant_id, out_trade_no, idempotent)
            body = json_text(payment_answer(row))
            event = Event(desk.tools.ids.mint("evt"), "payment.canceled", row["id"], 1, row["created_at"], body)
            claim = idempotent.claim(object_id=row["id"], created_at=row["created_at"], status=200, body=body)
            try:
                reply: Reply = await desk.tools.committer.commit(
                    Plan(merchant_id, [claim, Insert(PAYMENTS, encoded(row)), event], Reply(200, body))
                )
            except PlanRefused as refused:
                if not isinstance(refused.refusal, Duplicate):
                    raise
                payment_id = refused.refusal.existing_id  # it arrived in this very moment
            else:
                return reply
        return await self.cancel(principal, payment_id, idempotent)

    def _declares(self, transaction: Transaction, feature: str, payment: Payment, act: str) -> None:
        """Raise 409 `payments.state_conflict` for what the provider has not declared: it is never asked for it."""
        description = self._desk.tools.providers.describe(transaction.provider_id)
        if description is None or feature not in description.features:
            raise conflict(payment, act, f"a provider with {feature}, which {transaction.provider_id} is not")

    def _begin_cancel(
        self, file: PaymentFile, draft: Draft, intent: Intent, *, is_settled: bool, standing: Standing | None
    ) -> None:
        payment = file.payment
        original = latest_of(file, ("sale", "authorize"))
        self._declares(original, "cancel", payment, "cancel")
        holds: list[str] = []
        returned: list[dict[str, Any]] = []
        if payment.captured_minor:
            books = books_of(draft, original.channel_account_id, original.id)
            receipt = receipt_of(original, books, is_settled=is_settled)
            work = SplitWork(draft, file.splits, file.shares)
            returned = take_back(work, file, standing, everything(file), target=receipt)
            transfers = books.hold_refund(payment.captured_minor, payment.fee_minor, receipt)
            draft.add(*transfers)
            work.finish()
            holds = [transfer.id for transfer in transfers]
            draft.set(refunding_minor=payment.captured_minor, fee_returned_minor=payment.fee_minor)
        count = sum(transaction.kind == "cancel" for transaction in file.transactions)
        row = new_transaction(
            draft,
            original,
            kind="cancel",
            amount_minor=original.amount_minor,
            request_key=f"{original.id}.{count}",
            holds=holds,
            reason=original.kind,
        )
        row["split_parts"] = returned or None
        begin(draft, row, intent, "cancel")

    async def refund(
        self, principal: Principal, payment_id: str, request: RefundCreate, idempotent: IdempotentRequest
    ) -> Reply:
        """Give money back. The merchant's part is held before the provider is asked, so that 50 refunds at once
        cannot exceed it.

        Raises 403 `identity.limit_exceeded`, refund_denied; 409 refund_needs_review, refund_exceeds_refundable,
        refund_insufficient_balance, refund_window_over, state_conflict, outcome_unknown, out_request_no_taken.
        """
        desk = self._desk
        merchant_id = str(principal.merchant_id)
        payment = await desk.tools.repository.payment(merchant_id, payment_id)
        if payment is None:
            raise NOT_FOUND.error({"kind": "payment", "id": payment_id})
        zone = (await desk.facts(merchant_id)).time_zone
        judged = await judge(desk, principal, payment, request)

        async def act(meter: Meter | None) -> Reply:
            return await self._refund_from_either(principal, payment, request, idempotent, meter=meter, judged=judged)

        limits = desk.tools.limits
        with forsaken_unless_written(desk.tools.plugins, judged.parts):
            return await limits.spend(principal, kind="payment_refund", action="create", zone=zone, act=act)

    async def _refund_from_either(
        self,
        principal: Principal,
        payment: Payment,
        request: RefundCreate,
        idempotent: IdempotentRequest,
        *,
        meter: Meter | None,
        judged: RefundJudged,
    ) -> Reply:
        """From the day's money while it is not settled, else from what is available."""

        async def act(*, is_settled: bool) -> Reply:
            covers = request.merchant_covers_splits
            standing = await self._returns.standing(payment.merchant_id, payment.id, merchant_covers=covers)
            source = _Source(is_settled, standing, judged.parts)
            return await self._refund(principal, payment.id, request, idempotent, meter=meter, source=source)

        if not await self._desk.is_settled(payment.merchant_id, payment.booking_day, payment.currency):
            try:
                return await act(is_settled=False)
            except PlanRefused as refused:
                if not lacks_money(refused):
                    raise
                # The day was settled in between, or its other money is gone: what is available may carry it.
        try:
            return await act(is_settled=True)
        except PlanRefused as refused:
            raise unfunded(refused, payment.currency) from refused

    async def _refund(
        self,
        principal: Principal,
        payment_id: str,
        request: RefundCreate,
        idempotent: IdempotentRequest,
        *,
        meter: Meter | None,
        source: _Source,
    ) -> Reply:
        desk, parts = self._desk, source.parts
        terms = await desk.terms(str(principal.merchant_id))

        def intend(file: PaymentFile, draft: Draft, intent: Intent) -> None:
            payment = file.payment
            earlier = next((r for r in file.refunds if r.out_request_no == request.out_request_no), None)
            if earlier is not None and _is_refunded(earlier, idempotent):
                intent.reply = Reply(200, json_text(refund_answer(earlier.model_dump())))
                return
            amount = refund_amount(payment, draft, request, earlier)
            fee_back = fee_part(payment, fee_terms(payment, terms), amount)
            original = paid_by(file, amount)
            if amount < original.amount_minor:
                self._declares(original, "partial_refund", payment, "partial refund")
            books = books_of(draft, original.channel_account_id, original.id)
            receipt = receipt_of(original, books, is_settled=source.is_settled)
            transfers = books.hold_refund(amount, fee_back, receipt)
            tries = 1 if earlier is None else earlier.tries + 1
            row = new_transaction(
                draft,
                original,
                kind="refund",
                amount_minor=amount,
                request_key=request.out_request_no if tries == 1 else f"{request.out_request_no}.{tries}",
                holds=[transfer.id for transfer in transfers],
                fee_minor=fee_back,
                reason=request.reason,
            )
            if meter is not None:
                _charge(meter, draft, row)
            work = SplitWork(draft, file.splits, file.shares)
            gone = payment.refunded_minor + payment.refunding_minor + amount
            refunded = Refunded(amount, fee_back, gone, request.split_returns)
            returned = take_back(work, file, source.standing, refunded, target=receipt)
            row["split_parts"] = returned or None
            draft.add(*transfers, *parts)
            intent.left = parts
            draft.set(
                refunding_minor=payment.refunding_minor + amount,
                fee_returned_minor=payment.fee_returned_minor + fee_back,
            )
            begin(draft, row, intent, "refund")
            intent.object_id = self._write_refund(
                draft,
                payment=payment,
                earlier=earlier,
                row=row,
                request=request,
                idempotent=idempotent,
                tries=tries,
            )
            work.finish()

        answer = _refund_reply(request.out_request_no)
        return await self._act(principal, payment_id, idempotent, intend, answer=answer, status=201)

    def _write_refund(
        self,
        draft: Draft,
        *,
        payment: Payment,
        earlier: Refund | None,
        row: dict[str, Any],
        request: RefundCreate,
        idempotent: IdempotentRequest,
        tries: int,
    ) -> str:
        """The refund's row, new or tried again; returns its id."""
        if earlier is not None:
            draft.change_refund(
                earlier,
                "refund.created",
                state="pending",
                transaction_id=row["id"],
                tries=tries,
                fee_returned_minor=row["fee_minor"],
                split_returns=returns_answer(row["split_parts"] or ()),
                last_error=None,
            )
            return earlier.id
        refund = {
            "id": draft.ids.mint("ref"),
            "merchant_id": payment.merchant_id,
            "payment_id": payment.id,
            "transaction_id": row["id"],
            "out_request_no": request.out_request_no,
            "fingerprint": idempotent.fingerprint,
            "state": "pending",
            "amount_minor": row["amount_minor"],
            "currency": payment.currency,
            "fee_returned_minor": row["fee_minor"],
            "reason": request.reason,
            "tries": tries,
            "last_error": None,
            "split_returns": returns_answer(row["split_parts"] or ()),
            "version": 1,
            "created_at": draft.now,
            "updated_at": draft.now,
        }
        draft.insert_refund(refund)
        return str(refund["id"])

    async def _act(
        self,
        principal: Principal,
        payment_id: str,
        idempotent: IdempotentRequest,
        intend: Callable[[PaymentFile, Draft, Intent], None],
        *,
        named: tuple[str, str, int | None] | None = None,
        answer: Callable[[PaymentFile, Draft], str] | None = None,
        status: int = 200,
    ) -> Reply:
        """Intent, call, outcome.

        `named`: kind, out_request_no and amount of an act that repeats itself by its number.
        """
        desk = self._desk
        merchant_id = str(principal.merchant_id)
        intent = Intent()

        def decide(file: PaymentFile, draft: Draft) -> Plan:
            intent.transaction_id, intent.reply, intent.object_id, intent.left = None, None, payment_id, []
            if named is not None and _is_repeat(file, named):
                intent.reply = Reply(200, json_text(payment_answer(file.payment.model_dump())))
            else:
                intend(file, draft, intent)
            if intent.reply is not None:  # done before, under another key: this key now stands for the same answer
                plan = Plan(merchant_id)
            else:
                plan = draft.plan()
                if intent.transaction_id is None:
                    intent.reply = Reply(status, json_text(plan.answer))
            done = intent.reply
            return plan.add(
                idempotent.claim(
                    object_id=intent.object_id,
                    created_at=draft.now,
                    status=None if done is None else done.status,
                    body=None if done is None else done.body,
                )
            )

        await self._questions.heal(merchant_id, payment_id)
        await desk.decide(merchant_id, payment_id, decide)
        intent.left.clear()
        if intent.reply is not None:
            return intent.reply
        assert intent.transaction_id is not None, "an intent is a transaction or an answer"
        file = await desk.file(merchant_id, payment_id)
        result = await desk.ask(file, file.transaction(intent.transaction_id), intent.method)
        reply: list[Reply] = []

        def finish(file: PaymentFile, draft: Draft, plan: Plan) -> None:
            body = json_text(plan.answer) if answer is None else answer(file, draft)
            plan.add(idempotent.answer(status=status, body=body))
            reply[:] = [Reply(status, body)]

        await desk.conclude(merchant_id, payment_id, intent.transaction_id, result, finish=finish)
        return reply[0]


def receipt_of(original: Transaction, books: Books, *, is_settled: bool) -> Account:
    """Where the merchant's share of a sale or capture stands now."""
    if original.booking_day is None:
        return books.till()
    return books.available if is_settled else books.pending(original.booking_day)


def _is_captured_authorization(file: PaymentFile) -> bool:
    """Captures are returned by refunds, each through its own; a provider cancels only what is one piece."""
    return any(t.kind == "capture" and t.state == "succeeded" for t in file.transactions)


def _charge(meter: Meter, draft: Draft, row: dict[str, Any]) -> None:
    """Take the refund's part of the limits of the grant that it is asked under."""
    charge = meter.charge(
        reference=row["id"],
        store_id=draft["store_id"],
        currency=draft["currency"],
        uses={"amount": row["amount_minor"], "quantity": 1},
    )
    row["charge"] = charge.record()
    draft.add(*charge.held())


def _is_refunded(earlier: Refund, idempotent: IdempotentRequest) -> bool:
    """Whether a refund of this number stands; a failed one is tried again. Raises 409 `out_request_no_taken`."""
    if earlier.fingerprint != idempotent.fingerprint:
        values = {"out_request_no": earlier.out_request_no, "payment_id": earlier.payment_id}
        raise OUT_REQUEST_NO_TAKEN.error(values)
    return earlier.state != "failed"


def _refund_reply(out_request_no: str) -> Callable[[PaymentFile, Draft], str]:
    def answer(file: PaymentFile, draft: Draft) -> str:
        refund = next(refund for refund in file.refunds if refund.out_request_no == out_request_no)
        return json_text(draft.refund_as_it_will_be(refund))

    return answer


def _is_repeat(file: PaymentFile, named: tuple[str, str, int | None]) -> bool:
    """Whether this act was asked before under its number. Raises 409 `out_request_no_taken` if it was another act."""
    kind, number, amount_minor = named
    asked = _asked_as(file, kind, number)
    if not asked:
        return False
    if amount_minor not in (None, asked[-1].amount_minor):
        raise OUT_REQUEST_NO_TAKEN.error({"out_request_no": number, "payment_id": file.payment.id})
    return asked[-1].state != "failed"


def _asked_as(file: PaymentFile, kind: str, number: str) -> list[Transaction]:
    """What was asked for under an out_request_no: a failed act is repeated under its number as `<number>.2`."""
    return [t for t in file.transactions if t.kind == kind and t.request_key.partition(".")[0] == number]


def _request_key(file: PaymentFile, kind: str, number: str) -> str:
    tries = len(_asked_as(file, kind, number))
    return number if tries == 0 else f"{number}.{tries + 1}"
