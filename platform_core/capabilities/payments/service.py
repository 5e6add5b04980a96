"""Taking payments: POST /v1/payments and further attempts (payments.md section 5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from platform_core.capabilities.payments.answers import encoded, json_text, payment_answer
from platform_core.capabilities.payments.books import Books
from platform_core.capabilities.payments.desk import Desk, current_fee
from platform_core.capabilities.payments.draft import ASK, EXPIRE, Draft
from platform_core.capabilities.payments.errors import (
    ATTEMPT_IN_FLIGHT,
    EXPIRES_IN_PAST,
    MERCHANT_SUSPENDED,
    NO_ROUTE,
    NOT_FOUND,
    OUT_TRADE_NO_TAKEN,
    OUTCOME_UNKNOWN,
    PAYABLE_CHANGED,
    STATE_CONFLICT,
    STORE_UNKNOWN,
    SUMS_DIFFER,
    TOO_MANY_ATTEMPTS,
)
from platform_core.capabilities.payments.models import ATTEMPTS, PAYMENTS, TRANSACTIONS, Payment, Transaction
from platform_core.capabilities.payments.outcomes import ATTEMPTS_MAX, ask_delay, terms_record
from platform_core.capabilities.payments.repository import MerchantTerms, PaymentFile
from platform_core.capabilities.payments.routing import Route, Wish, routes
from platform_core.capabilities.payments.schemas import AttemptCreate, PaymentCreate
from platform_core.contracts.payments import RETRY_RULES, ErrorClass, Outcome, ProviderResult
from platform_core.identity.directory import MerchantFacts
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Due, Duplicate, Event, Insert, Plan, PlanRefused
from platform_core.kernel.http.idempotency import IdempotentRequest

EXPIRY = {"merchant_scan": timedelta(minutes=5), "customer_scan": timedelta(hours=2), "local": timedelta(minutes=5)}
EXPIRY_DAYS_MAX = 30


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it goes out and is stored."""

    status: int
    body: str


class PaymentService:
    """Creates payments and tries them at providers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def create(self, principal: Principal, request: PaymentCreate, idempotent: IdempotentRequest) -> Reply:
        """Take an order and try to get it paid.

        Writes the payment, its attempt and transaction, the transfers and events, and the answer under the Idempotency-Key: in one
        commit with a local provider, else intent before and outcome after the provider's call. Emits `payment.created` and what
        follows from the outcome. Raises 403 merchant_suspended; 409 no_route, out_trade_no_taken, payable_changed; 422 store_unknown,
        sums_differ, expires_in_past; `PlanRefused(Replayed)` for a key that was used.
        """
        desk = self._desk
        merchant_id = str(principal.merchant_id)
        facts = await desk.facts(merchant_id)
        terms = await desk.terms(merchant_id)
        now = desk.now
        order_minor = _check(principal, request, facts, now)
        wish = Wish(
            form=request.form,
            currency=request.currency,
            amount_minor=order_minor,
            is_capture=request.is_capture,
            store_id=request.store_id,
            channel=request.channel,
            auth_code=request.auth_code,
        )
        route = self._routes(wish, terms)[0]
        row = self._payment_row(merchant_id, request, idempotent, order_minor=order_minor, now=now)
        try:
            if route.description.is_local:
                return await self._take_locally(row, route, facts, terms, idempotent)
            return await self._take(row, route, request.auth_code, idempotent)
        except PlanRefused as refused:
            if isinstance(refused.refusal, Duplicate) and refused.refusal.table == PAYMENTS.name:
                return await self._existing(merchant_id, refused.refusal.existing_id, request, idempotent)
            raise

    def _routes(self, wish: Wish, terms: MerchantTerms) -> list[Route]:
        found = routes(wish, terms, self._desk.tools.providers)
        if not found:
            needs_code = wish.form == "merchant_scan" and wish.auth_code is None
            why = " (merchant_scan needs auth_code)" if needs_code else ""
            raise NO_ROUTE.error({"form": wish.form, "currency": wish.currency, "why": why})
        return found

    def _payment_row(
        self, merchant_id: str, request: PaymentCreate, idempotent: IdempotentRequest, *, order_minor: int, now: datetime
    ) -> dict[str, Any]:
        return {
            "id": self._desk.tools.ids.mint("pay"),
            "merchant_id": merchant_id,
            "out_trade_no": request.out_trade_no,
            "fingerprint": idempotent.fingerprint,
            "subject": request.subject,
            "form": request.form,
            "channel": request.channel,
            "is_capture": request.is_capture,
            "state": "processing",
            "closed_reason": None,
            "version": 1,
            "sequence": 1,
            "currency": request.currency,
            "order_minor": order_minor,
            "payable_minor": order_minor,
            "authorized_minor": 0,
            "voided_minor": 0,
            "capturing_minor": 0,
            "captured_minor": 0,
            "refunding_minor": 0,
            "refunded_minor": 0,
            "fee_minor": 0,
            "fee_returned_minor": 0,
            "fee_plan": None,
            "authorization_id": None,
            "booking_day": None,
            "store_id": request.store_id,
            "terminal_id": request.terminal_id,
            "operator_id": request.operator_id,
            "customer": None if request.customer is None else request.customer.model_dump(exclude_none=True),
            "basket": None if request.basket is None else request.basket.model_dump(exclude_none=True),
            "labels": request.metadata,
            "return_url": request.return_url,
            "next_action": None,
            "last_error": None,
            "attempts": 1,
            "created_at": now,
            "updated_at": now,
            "expires_at": request.expires_at or now + EXPIRY[request.form],
            "captured_at": None,
            "canceled_at": None,
        }

    def _attempt_rows(self, payment: dict[str, Any], route: Route) -> tuple[dict[str, Any], dict[str, Any]]:
        """The attempt and its first transaction."""
        ids, now = self._desk.tools.ids, payment["updated_at"]
        attempt = {
            "id": ids.mint("att"),
            "merchant_id": payment["merchant_id"],
            "payment_id": payment["id"],
            "number": payment["attempts"],
            "provider_id": route.description.id,
            "channel_account_id": route.account.id,
            "form": payment["form"],
            "state": "started",
            "route": None,
            "error": None,
            "created_at": now,
            "ended_at": None,
        }
        transaction = {
            "id": ids.mint("txn"),
            "merchant_id": payment["merchant_id"],
            "payment_id": payment["id"],
            "attempt_id": attempt["id"],
            "kind": "sale" if payment["is_capture"] else "authorize",
            "request_key": attempt["id"],
            "original_id": None,
            "state": "pending",
            "amount_minor": payment["payable_minor"],
            "released_minor": 0,
            "is_final": True,
            "provider_id": route.description.id,
            "channel_account_id": route.account.id,
            "provider_reference": None,
            "holds": [],
            "fee_minor": 0,
            "reason": "",
            "error": None,
            "created_at": now,
            "finished_at": None,
        }
        return attempt, transaction

    async def _take_locally(
        self, row: dict[str, Any], route: Route, facts: MerchantFacts, terms: MerchantTerms, idempotent: IdempotentRequest
    ) -> Reply:
        """No network: intent and outcome are one plan."""
        desk, now = self._desk, row["created_at"]
        attempt, transaction = self._attempt_rows(row, route)
        call = desk.call(row, transaction, route.account)
        result = await desk.tools.providers.call(route.description.id, "pay", call)
        if result.outcome is not Outcome.SUCCESS:
            raise NO_ROUTE.error({"form": row["form"], "currency": row["currency"], "why": ""})
        fee_plan = current_fee(terms, row["form"], row["currency"])
        amount = row["payable_minor"]
        fee = fee_plan.fee(amount)
        row |= {
            "state": "captured",
            "sequence": 2,
            "captured_minor": amount,
            "fee_minor": fee,
            "fee_plan": terms_record(fee_plan),
            "captured_at": now,
        }
        attempt |= {"state": "succeeded", "ended_at": now}
        transaction |= {
            "state": "succeeded",
            "finished_at": now,
            "provider_reference": result.provider_reference,
            "fee_minor": 0,
        }
        books = Books(row["merchant_id"], row["currency"], route.account.id, transaction["id"], desk.tools.ids)
        answer = json_text(payment_answer(row))
        plan = Plan(row["merchant_id"], answer=Reply(201, answer))
        plan.add(
            idempotent.claim(object_id=row["id"], created_at=now, status=201, body=answer),
            Insert(PAYMENTS, encoded(row)),
            Insert(ATTEMPTS, encoded(attempt)),
            Insert(TRANSACTIONS, encoded(transaction)),
            *books.sale(amount, fee, books.till()),
            Event(desk.tools.ids.mint("evt"), "payment.created", row["id"], 1, now, answer),
            Event(desk.tools.ids.mint("evt"), "payment.captured", row["id"], 2, now, answer),
        )
        reply: Reply = await desk.tools.committer.commit(plan)
        return reply

    async def _take(self, row: dict[str, Any], route: Route, auth_code: str | None, idempotent: IdempotentRequest) -> Reply:
        desk, now = self._desk, row["created_at"]
        attempt, transaction = self._attempt_rows(row, route)
        plan = Plan(row["merchant_id"])
        plan.add(
            idempotent.claim(object_id=row["id"], created_at=now),
            Insert(PAYMENTS, encoded(row)),
            Insert(ATTEMPTS, encoded(attempt)),
            Insert(TRANSACTIONS, encoded(transaction)),
            Due(ASK, transaction["id"], now + ask_delay(0)),
            Due(EXPIRE, row["id"], row["expires_at"]),
            Event(desk.tools.ids.mint("evt"), "payment.created", row["id"], 1, now, json_text(payment_answer(row))),
        )
        await desk.tools.committer.commit(plan)
        return await self._try(Payment(**row), Transaction(**transaction), route, auth_code, idempotent, status=201)

    async def _try(
        self,
        payment: Payment,
        transaction: Transaction,
        route: Route,
        auth_code: str | None,
        idempotent: IdempotentRequest,
        *,
        status: int,
    ) -> Reply:
        """Call the provider and put its word to the books, with the answer under the client's key."""
        desk = self._desk
        method = "create" if payment.form == "customer_scan" else ("pay" if payment.is_capture else "authorize")
        result = await self._call_patiently(payment, transaction, route, auth_code, method)
        reply: list[Reply] = []

        def finish(file: PaymentFile, draft: Draft, plan: Plan) -> None:
            body = json_text(plan.answer)
            plan.add(idempotent.answer(status=status, body=body))
            reply[:] = [Reply(status, body)]

        await desk.conclude(payment.merchant_id, payment.id, transaction.id, result, finish)
        return reply[0]

    async def _call_patiently(
        self, payment: Payment, transaction: Transaction, route: Route, auth_code: str | None, method: str
    ) -> ProviderResult:
        """Ask; repeat at the same provider, under the same key, where the class of the failure allows it."""
        desk = self._desk
        call = desk.call(payment.model_dump(), transaction.model_dump(), route.account, auth_code=auth_code)
        result = await desk.tools.providers.call(route.description.id, method, call)
        waits = iter(RETRY_RULES[result.error.error_class].same_after_s if result.error else ())
        for wait_s in waits:
            if result.outcome is not Outcome.FAILED or result.error is None:
                break
            if result.error.error_class not in (ErrorClass.NOT_SENT, ErrorClass.BUSY):
                break
            await desk.tools.sleep(wait_s)
            result = await desk.tools.providers.call(route.description.id, method, call)
        return result

    async def _existing(
        self, merchant_id: str, payment_id: str, request: PaymentCreate, idempotent: IdempotentRequest
    ) -> Reply:
        """The same number again: the same body gets the payment as it is, another body a conflict."""
        payment = await self._desk.tools.repository.payment(merchant_id, payment_id)
        assert payment is not None, "a duplicate exists"
        if payment.fingerprint != idempotent.fingerprint:
            raise OUT_TRADE_NO_TAKEN.error({"out_trade_no": request.out_trade_no, "payment_id": payment_id})
        return Reply(200, json_text(payment_answer(payment.model_dump())))

    async def attempt(
        self, principal: Principal, payment_id: str, request: AttemptCreate, idempotent: IdempotentRequest
    ) -> Reply:
        """Another try at a payment in state created. Raises 409 attempt_in_flight, outcome_unknown, state_conflict, no_route."""
        desk = self._desk
        merchant_id = str(principal.merchant_id)
        terms = await desk.terms(merchant_id)
        chosen: list[tuple[Payment, Transaction, Route]] = []

        def decide(file: PaymentFile, draft: Draft) -> Plan:
            payment = file.payment
            _check_may_try(payment)
            wish = Wish(
                form=request.form,
                currency=payment.currency,
                amount_minor=payment.payable_minor,
                is_capture=payment.is_capture,
                store_id=payment.store_id,
                channel=request.channel,
                auth_code=request.auth_code,
            )
            route = self._untried(self._routes(wish, terms), file)
            draft.set(
                state="processing", attempts=payment.attempts + 1, form=request.form, channel=request.channel, next_action=None
            )
            attempt, transaction = self._attempt_rows({**draft.row, "updated_at": draft.now}, route)
            draft.insert_attempt(attempt)
            draft.insert_transaction(transaction)
            draft.ask_at(transaction["id"], draft.now + ask_delay(0))
            chosen[:] = [(Payment(**draft.row), Transaction(**transaction), route)]
            return draft.plan().add(idempotent.claim(object_id=payment.id, created_at=draft.now))

        await desk.decide(merchant_id, payment_id, decide)
        payment, transaction, route = chosen[0]
        return await self._try(payment, transaction, route, request.auth_code, idempotent, status=201)

    def _untried(self, found: list[Route], file: PaymentFile) -> Route:
        """A provider that has not failed yet on this payment, if there is one."""
        tried = {attempt.channel_account_id for attempt in file.attempts}
        return next((route for route in found if route.account.id not in tried), found[0])

    async def read(self, principal: Principal, payment_id: str) -> Payment:
        """One payment, by id or `out_trade_no:<value>`. Raises 404 `payments.not_found`, for foreign ones too."""
        payment = await self._desk.tools.repository.payment(
            str(principal.merchant_id), await self.resolve(principal, payment_id)
        )
        if payment is None:
            raise NOT_FOUND.error({"kind": "payment", "id": payment_id})
        return payment

    async def resolve(self, principal: Principal, payment_id: str) -> str:
        """The id that `out_trade_no:<value>` stands for."""
        if not payment_id.startswith("out_trade_no:"):
            return payment_id
        found = await self._desk.tools.repository.payment_id(
            str(principal.merchant_id), payment_id.removeprefix("out_trade_no:")
        )
        if found is None:
            raise NOT_FOUND.error({"kind": "payment", "id": payment_id})
        return found


def _check(principal: Principal, request: PaymentCreate, facts: MerchantFacts, now: datetime) -> int:
    """What the order amounts to, if it may be taken at all."""
    if facts.standing != "active":
        raise MERCHANT_SUSPENDED.error({"standing": facts.standing})
    if request.store_id is not None and not (
        request.store_id in facts.store_ids and principal.may_use_store(request.store_id)
    ):
        raise STORE_UNKNOWN.error({"store_id": request.store_id}, param="/store_id")
    if request.expires_at is not None and not now < request.expires_at <= now + timedelta(days=EXPIRY_DAYS_MAX):
        raise EXPIRES_IN_PAST.error({"days": EXPIRY_DAYS_MAX}, param="/expires_at")
    order_minor = request.order_total_minor
    if request.basket is not None and request.order_minor is not None and request.basket.total_minor != order_minor:
        raise SUMS_DIFFER.error(
            {"lines_minor": request.basket.total_minor, "order_minor": order_minor}, param="/order_minor"
        )
    if request.expected_payable_minor not in (None, order_minor):
        raise PAYABLE_CHANGED.error({"payable_minor": order_minor, "expected_minor": request.expected_payable_minor})
    return order_minor


def _check_may_try(payment: Payment) -> None:
    if payment.state == "unknown":
        raise OUTCOME_UNKNOWN.error({"payment_id": payment.id}, retry_after_s=5)
    if payment.state == "processing":
        raise ATTEMPT_IN_FLIGHT.error({"payment_id": payment.id}, retry_after_s=5)
    if payment.state != "created":
        raise STATE_CONFLICT.error(
            {"payment_id": payment.id, "state": payment.state, "act": "attempt", "wanted": "created"}
        )
    if payment.attempts >= ATTEMPTS_MAX:
        raise TOO_MANY_ATTEMPTS.error({"payment_id": payment.id, "attempts": payment.attempts})

