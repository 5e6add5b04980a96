"""Taking payments: POST /v1/payments and further attempts (payments.md section 5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from platform_core.capabilities.payments import metrics
from platform_core.capabilities.payments.admission import admit, check_may_try, check_payable, check_standing, check_way
from platform_core.capabilities.payments.answers import (
    encoded,
    json_text,
    payment_answer,
    refund_answer,
)
from platform_core.capabilities.payments.books import Books
from platform_core.capabilities.payments.desk import Desk, local_day, local_hour
from platform_core.capabilities.payments.draft import ASK, EXPIRE, Draft
from platform_core.capabilities.payments.errors import (
    NO_ROUTE,
    NOT_FOUND,
    OUT_TRADE_NO_TAKEN,
)
from platform_core.capabilities.payments.fees import terms_record
from platform_core.capabilities.payments.forms import freeze_by, is_by_code, method_for, needs_page
from platform_core.capabilities.payments.leftovers import forsaken_unless_written
from platform_core.capabilities.payments.models import ATTEMPTS, PAYMENTS, TRANSACTIONS, Payment, Refund, Transaction
from platform_core.capabilities.payments.outcomes import ATTEMPTS_MAX, ask_delay
from platform_core.capabilities.payments.questions import Questions
from platform_core.capabilities.payments.refusals import denied, stopped
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.retrying import ask_patiently, may_try_other
from platform_core.capabilities.payments.routing import Route, Wish, as_ranked, routes, wish_for, wish_of
from platform_core.capabilities.payments.rows import attempt_rows, payer_url, payment_row
from platform_core.capabilities.payments.schemas import AttemptCreate, PaymentCreate
from platform_core.capabilities.payments.screening import Rechecked, Screening, Standing, Word, context_of
from platform_core.capabilities.payments.splits.wishes import Wishes
from platform_core.capabilities.payments.terms import MerchantTerms
from platform_core.contracts.payments import Outcome
from platform_core.identity.errors import LIMIT_EXCEEDED
from platform_core.identity.limits import Charge, Meter
from platform_core.identity.principal import Principal
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Due, Duplicate, Event, Insert, Plan, PlanRefused
from platform_core.kernel.commit.idempotency import Replayed
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.idempotency import IdempotentRequest

PAYMENT_ID = re.compile(r"pay_[0-9a-z]{26}")
REFUND_ID = re.compile(r"ref_[0-9a-z]{26}")
OUT_TRADE_NO = re.compile(r"out_trade_no:[A-Za-z0-9_]{1,64}")

_Try = tuple[Payment, Transaction, Route]  # an attempt that was begun, and where


class Reply(msgspec.Struct, frozen=True):
    """An answer as it goes out and is stored."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class _Order:
    """A new order on its way into the books."""

    row: dict[str, Any]
    idempotent: IdempotentRequest
    route: Route
    word: Word = "allow"
    parts: list[object] = field(default_factory=list)
    """What plugins' calls left behind for the plan; nothing once it was committed."""
    also: Sequence[object] = ()
    """What else belongs into the plan that writes the payment."""


class PaymentService:
    """Creates payments and tries them at providers."""

    def __init__(self, desk: Desk, questions: Questions, wishes: Wishes) -> None:
        self._desk = desk
        self._questions = questions
        self._wishes = wishes

    @property
    def clock(self) -> Clock:
        """The process's clock, by which a repeated request waits."""
        return self._desk.tools.clock

    async def create(
        self,
        principal: Principal,
        request: PaymentCreate,
        idempotent: IdempotentRequest,
        *,
        also: Sequence[object] = (),
    ) -> Reply:
        """Take an order and try to get it paid. `also`: what else belongs into the plan that writes the payment.

        Writes the payment, its attempt and transaction, the transfers and events, and the answer under the
        Idempotency-Key: in one commit with a local provider, else intent before and outcome after the provider's call.
        Plugins are asked before anything is written; a payment that they want looked at waits in_review, one that they
        deny is stored closed. Emits `payment.created` and what follows from the outcome.

        Raises 403 merchant_suspended, denied_by_risk; 409 no_route, out_trade_no_taken, payable_changed; 422
        store_unknown, sums_differ, expires_in_past; `PlanRefused(Replayed)` for a key that was used.
        """
        desk = self._desk
        merchant_id = str(principal.merchant_id)
        facts = await desk.facts(merchant_id)
        terms = await desk.terms(merchant_id)
        now = desk.now
        order_minor = admit(principal, request, facts, now)
        origin = desk.tools.public_origin
        row = payment_row(
            desk.tools.ids, merchant_id, request, idempotent, order_minor=order_minor, now=now, origin=origin
        )
        if request.splits is not None:
            row["split_wish"] = await self._wishes.of(principal, request)
        order = await self._screened(row, request, terms, idempotent, hour=local_hour(now, facts.time_zone))
        order = replace(order, also=also) if also else order
        with forsaken_unless_written(desk.tools.plugins, order.parts):
            if order.word == "deny":
                return await self._refuse(order, request)
            return await self._metered(principal, request, order, terms=terms, zone=facts.time_zone)

    async def _metered(
        self, principal: Principal, request: PaymentCreate, order: _Order, *, terms: MerchantTerms, zone: str
    ) -> Reply:
        """Take the order within the limits of its grant; one that was taken before is answered as it stands."""
        desk, row, idempotent = self._desk, order.row, order.idempotent
        merchant_id = row["merchant_id"]

        async def take(meter: Meter | None) -> Reply:
            charge = None if meter is None else _charge(meter, row)
            if order.word == "review":
                return await self._hold(order, charge=charge)
            if order.route.description.is_local:
                return await self._take_locally(order, terms, charge=charge, zone=zone)
            return await self._take(order, request.auth_code, charge=charge)

        limits = desk.tools.limits
        try:
            return await limits.spend(principal, kind="payment_create", action="create", zone=zone, act=take)
        except PlanRefused as refused:
            if isinstance(refused.refusal, Duplicate) and refused.refusal.table == PAYMENTS.name:
                return await self._existing(merchant_id, refused.refusal.existing_id, request, idempotent)
            raise
        except PlatformError as error:
            if error.declared is not LIMIT_EXCEEDED:
                raise
            taken = await desk.tools.repository.payment_id(merchant_id, request.out_trade_no)
            if taken is None:
                raise
            return await self._existing(merchant_id, taken, request, idempotent)  # nothing more is taken for it

    async def _screened(
        self,
        row: dict[str, Any],
        request: PaymentCreate,
        terms: MerchantTerms,
        idempotent: IdempotentRequest,
        *,
        hour: int,
    ) -> _Order:
        """The order as plugins left it: amended, judged, its routes ranked. Writes nothing."""
        screening = await self._screening(row)
        standing = await self._standing(row["merchant_id"])
        if screening is None:
            check_payable(request, row["payable_minor"])
            return _Order(row, idempotent, self._routes(wish_for(row, request, hour=hour), terms, standing)[0])
        try:
            await screening.amend(row)
            check_payable(request, row["payable_minor"])
            found = self._routes(wish_for(row, request, hour=hour), terms, standing)
            word = await screening.check(row, context_of(request))
            if word == "allow":
                found = await screening.rank(row, found, standing=standing, success=self._desk.success)
        except BaseException:
            screening.forsake(self._desk.tools.plugins)
            raise
        return _Order(row, idempotent, found[0], word, screening.parts)

    async def _standing(self, merchant_id: str) -> Standing:
        """Which providers may be offered a payment."""
        plugins = self._desk.tools.plugins
        return Standing() if plugins is None else await plugins.standing(merchant_id)

    async def _screening(self, row: dict[str, Any]) -> Screening | None:
        """Who is to be asked about a payment; None when the merchant has no plugin."""
        tools = self._desk.tools
        if tools.plugins is None:
            return None
        plugins = await tools.plugins.of(row["merchant_id"], store_id=row["store_id"], idempotency_key=row["id"])
        return None if plugins is None else Screening(plugins, degraded=row["degraded"] or ())

    async def _hour(self, merchant_id: str) -> int:
        """The hour of the merchant's day."""
        return local_hour(self._desk.now, (await self._desk.facts(merchant_id)).time_zone)

    def _routes(self, wish: Wish, terms: MerchantTerms, standing: Standing) -> list[Route]:
        found = routes(wish, terms, self._desk.tools.providers, closed=standing.closed)
        if not found:
            needs_code = is_by_code(wish.form, wish.freeze_by) and wish.auth_code is None
            why = f" ({wish.form} needs auth_code)" if needs_code else ""
            raise NO_ROUTE.error({"form": wish.form, "currency": wish.currency, "why": why})
        return found

    async def _refuse(self, order: _Order, request: PaymentCreate) -> Reply:
        """A check said deny: the payment is stored closed, no provider is asked. Raises 403 `payments.denied_by_risk`.

        The key is not spent: whoever repeats the request finds the payment by its number, and is refused again.
        """
        desk, row = self._desk, order.row
        row |= {"state": "closed", "closed_reason": "denied_by_risk", "attempts": 0, "sequence": 2}
        answer = json_text(payment_answer(row))
        plan = Plan(row["merchant_id"], [Insert(PAYMENTS, encoded(row)), *order.parts, *order.also])
        plan.add(
            Event(desk.tools.ids.mint("evt"), "payment.created", row["id"], 1, row["created_at"], answer),
            Event(desk.tools.ids.mint("evt"), "payment.closed", row["id"], 2, row["created_at"], answer),
        )
        try:
            await desk.tools.committer.commit(plan)
        except PlanRefused as refused:
            if not (isinstance(refused.refusal, Duplicate) and refused.refusal.table == PAYMENTS.name):
                raise
            return await self._existing(row["merchant_id"], refused.refusal.existing_id, request, order.idempotent)
        order.parts.clear()
        metrics.count_events(("payment.created", "payment.closed"))
        raise denied(row)

    async def _hold(self, order: _Order, *, charge: Charge | None) -> Reply:
        """A check said review: the payment waits for a person, no provider is asked."""
        desk, row = self._desk, order.row
        row |= {"state": "in_review", "attempts": 0, "sequence": 2}
        plan = Plan(row["merchant_id"])
        if charge is not None:
            row["charge"] = {**charge.record(), "state": "held"}
            plan.add(*charge.held())
        answer = json_text(payment_answer(row))
        plan.answer = Reply(201, answer)
        plan.add(
            order.idempotent.claim(object_id=row["id"], created_at=row["created_at"], status=201, body=answer),
            Insert(PAYMENTS, encoded(row)),
            Due(EXPIRE, row["id"], row["expires_at"]),
            Event(desk.tools.ids.mint("evt"), "payment.created", row["id"], 1, row["created_at"], answer),
            Event(desk.tools.ids.mint("evt"), "payment.review_started", row["id"], 2, row["created_at"], answer),
            *order.parts,
            *order.also,
        )
        reply: Reply = await desk.tools.committer.commit(plan)
        order.parts.clear()
        metrics.count_events(("payment.created", "payment.review_started"))
        return reply

    async def _take_locally(self, order: _Order, terms: MerchantTerms, *, charge: Charge | None, zone: str) -> Reply:
        """No network: intent and outcome are one plan."""
        desk, row, route = self._desk, order.row, order.route
        now = row["created_at"]
        attempt, transaction = attempt_rows(desk.tools.ids, row, route)
        call = desk.call(row, transaction, route.account)
        result = await desk.tools.providers.call(route.description.id, "pay", call)
        if result.outcome is not Outcome.SUCCESS:
            raise NO_ROUTE.error({"form": row["form"], "currency": row["currency"], "why": ""})
        fee_plan = terms.fee(row["form"], row["currency"])
        amount = row["payable_minor"]
        fee = fee_plan.fee(amount) if amount else 0
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
        finish = desk.finish_due(row["merchant_id"], local_day(now, zone), zone)
        books = Books(row["merchant_id"], row["currency"], route.account.id, transaction["id"], desk.tools.ids)
        answer = json_text(payment_answer(row))
        plan = Plan(row["merchant_id"], answer=Reply(201, answer))
        if charge is not None:
            row["charge"] = {**charge.record(), "state": "spent"}
            plan.add(*charge.spent())
        plan.add(
            order.idempotent.claim(object_id=row["id"], created_at=now, status=201, body=answer),
            Insert(PAYMENTS, encoded(row)),
            Insert(ATTEMPTS, encoded(attempt)),
            Insert(TRANSACTIONS, encoded(transaction)),
            *books.sale(amount, fee, books.till()),
            Event(desk.tools.ids.mint("evt"), "payment.created", row["id"], 1, now, answer),
            Event(desk.tools.ids.mint("evt"), "payment.captured", row["id"], 2, now, answer),
            *([finish] if finish is not None else ()),
            *order.parts,
            *order.also,
        )
        reply: Reply = await desk.tools.committer.commit(plan)
        order.parts.clear()
        desk.is_scheduled(finish)
        metrics.count_events(("payment.created", "payment.captured"))
        return reply

    async def _take(self, order: _Order, auth_code: str | None, *, charge: Charge | None) -> Reply:
        desk, row, route, idempotent = self._desk, order.row, order.route, order.idempotent
        now = row["created_at"]
        attempt, transaction = attempt_rows(desk.tools.ids, row, route)
        plan = Plan(row["merchant_id"])
        if charge is not None:
            row["charge"] = {**charge.record(), "state": "held"}
            plan.add(*charge.held())
        plan.add(
            idempotent.claim(object_id=row["id"], created_at=now),
            Insert(PAYMENTS, encoded(row)),
            Insert(ATTEMPTS, encoded(attempt)),
            Insert(TRANSACTIONS, encoded(transaction)),
            Due(ASK, transaction["id"], now + ask_delay(0)),
            Due(EXPIRE, row["id"], row["expires_at"]),
            Event(desk.tools.ids.mint("evt"), "payment.created", row["id"], 1, now, json_text(payment_answer(row))),
            *order.parts,
            *order.also,
        )
        await desk.tools.committer.commit(plan)
        order.parts.clear()
        metrics.count_events(("payment.created",))
        return await self._try(
            Payment(**row), Transaction(**transaction), route, auth_code=auth_code, idempotent=idempotent, status=201
        )

    async def _try(
        self,
        payment: Payment,
        transaction: Transaction,
        route: Route,
        *,
        auth_code: str | None,
        idempotent: IdempotentRequest,
        status: int,
    ) -> Reply:
        """Call the provider and put its word to the books, with the answer under the client's key.

        Where the failure's class allows it, the next provider is tried as a new attempt, within the attempts that are
        left.
        """
        desk = self._desk
        while True:
            method = method_for(payment.form, payment.freeze_by, is_capture=payment.is_capture)
            call = desk.call(payment.model_dump(), transaction.model_dump(), route.account, auth_code=auth_code)
            result = await ask_patiently(desk, call, provider_id=route.description.id, method=method)
            is_failover = may_try_other(payment, result)
            reply: list[Reply] = []
            finish = _answering(reply, status, None if is_failover else idempotent)
            await desk.conclude(payment.merchant_id, payment.id, transaction.id, result, finish=finish)
            if not is_failover:
                return reply[0]
            following = await self._fail_over(payment, idempotent, status=status)
            if isinstance(following, Reply):
                return following
            payment, transaction, route = following

    async def _fail_over(self, payment: Payment, idempotent: IdempotentRequest, *, status: int) -> _Try | Reply:
        """The next attempt, at a channel account that has not failed yet; the answer as it stands if there is none."""
        desk = self._desk
        terms = await desk.terms(payment.merchant_id)
        hour = await self._hour(payment.merchant_id)
        closed = (await self._standing(payment.merchant_id)).closed
        begun: list[_Try | Reply] = []

        def decide(file: PaymentFile, draft: Draft) -> Plan:
            current = file.payment
            tried = {attempt.channel_account_id for attempt in file.attempts}
            wish = wish_of(current, form=current.form, channel=current.channel, hour=hour, freeze_by=current.freeze_by)
            found = as_ranked(routes(wish, terms, desk.tools.providers, closed=closed), file.attempts[-1].route)
            untried = [route for route in found if route.account.id not in tried]
            may_try = current.state == "created" and file.open_one("cancel") is None and draft.now < current.expires_at
            if not may_try or not untried or current.attempts >= ATTEMPTS_MAX:
                body = json_text(payment_answer(current.model_dump()))
                begun[:] = [Reply(status, body)]
                return Plan(current.merchant_id, [idempotent.answer(status=status, body=body)])
            begun[:] = [self._begin(draft, untried[0])]
            return draft.plan()

        await desk.decide(payment.merchant_id, payment.id, decide)
        return begun[0]

    def _begin(self, draft: Draft, route: Route) -> _Try:
        """Another attempt on the draft's payment, which is in flight from then on."""
        draft.set(state="processing", attempts=draft["attempts"] + 1, next_action=None)
        attempt, transaction = attempt_rows(self._desk.tools.ids, {**draft.row, "updated_at": draft.now}, route)
        draft.insert_attempt(attempt)
        draft.insert_transaction(transaction)
        draft.ask_at(transaction["id"], draft.now + ask_delay(0))
        return Payment(**draft.row), Transaction(**transaction), route

    async def _existing(
        self, merchant_id: str, payment_id: str, request: PaymentCreate, idempotent: IdempotentRequest
    ) -> Reply:
        """The same number again: the same body gets the payment as it is, another body a conflict."""
        payment = await self._desk.tools.repository.payment(merchant_id, payment_id)
        assert payment is not None, "a duplicate exists"
        if payment.fingerprint != idempotent.fingerprint:
            raise OUT_TRADE_NO_TAKEN.error({"out_trade_no": request.out_trade_no, "payment_id": payment_id})
        if payment.closed_reason == "denied_by_risk":
            raise denied(payment.model_dump())
        reply = Reply(200, json_text(payment_answer(payment.model_dump())))
        claim = idempotent.claim(object_id=payment_id, created_at=self._desk.now, status=200, body=reply.body)
        await self._desk.tools.committer.commit(Plan(merchant_id, [claim]))
        return reply

    async def attempt(
        self, principal: Principal, payment_id: str, request: AttemptCreate, idempotent: IdempotentRequest
    ) -> Reply:
        """Another try at a payment in state created; plugins are asked again.

        Raises 403 merchant_suspended, denied_by_risk; 409 attempt_in_flight, outcome_unknown, state_conflict, no_route,
        attempts_exhausted.
        """
        desk = self._desk
        merchant_id = str(principal.merchant_id)
        facts = await desk.facts(merchant_id)
        check_standing(facts)
        hour = local_hour(desk.now, facts.time_zone)
        by = freeze_by(request.form, asked=request.freeze_by, has_code=request.auth_code is not None)
        terms = await desk.terms(merchant_id)
        chosen: list[_Try] = []
        replies: list[Reply] = []
        await self._questions.heal(merchant_id, payment_id)
        standing = await self._standing(merchant_id)
        checked = await self._recheck(merchant_id, payment_id, request)
        left = [] if checked is None else list(checked.parts)

        def decide(file: PaymentFile, draft: Draft) -> Plan:
            chosen.clear()
            payment = file.payment
            check_may_try(file, draft.now)
            if checked is not None:
                draft.set(risk=checked.row["risk"], degraded=checked.row["degraded"])
                draft.add(*left)
            if checked is not None and checked.word != "allow":
                plan = stopped(draft, checked.word)
                body = json_text(plan.answer)
                replies[:] = [Reply(201, body)]
                if checked.word == "review":
                    plan.add(idempotent.claim(object_id=payment.id, created_at=draft.now, status=201, body=body))
                return plan
            check_way(payment, request.form)
            wish = wish_of(
                payment,
                form=request.form,
                channel=request.channel,
                hour=hour,
                auth_code=request.auth_code,
                freeze_by=by,
            )
            route = self._untried(self._routes(wish, terms, standing), file)
            draft.set(form=request.form, channel=request.channel, freeze_by=by)
            if payment.pay_url is None and needs_page(request.form, by=by):
                draft.set(pay_url=payer_url(desk.tools.public_origin))
            chosen[:] = [self._begin(draft, route)]
            return draft.plan().add(idempotent.claim(object_id=payment.id, created_at=draft.now))

        with forsaken_unless_written(desk.tools.plugins, left):
            await desk.decide(merchant_id, payment_id, decide)
            left.clear()
        if checked is not None and checked.word == "deny":
            raise denied(checked.row)
        if not chosen:
            return replies[0]
        payment, transaction, route = chosen[0]
        return await self._try(
            payment, transaction, route, auth_code=request.auth_code, idempotent=idempotent, status=201
        )

    async def _recheck(self, merchant_id: str, payment_id: str, request: AttemptCreate) -> Rechecked | None:
        """What checks say of a further attempt; None when nobody is asked. Writes nothing."""
        if self._desk.tools.plugins is None:
            return None
        file = await self._desk.file(merchant_id, payment_id)
        check_may_try(file, self._desk.now)
        number = file.payment.attempts + 1
        row = file.payment.model_dump() | {"form": request.form, "channel": request.channel, "attempts": number}
        screening = await self._screening(row)
        if screening is None:
            return None
        word = await screening.check(row, context_of(request))
        return Rechecked(row, word, screening.parts)

    def _untried(self, found: list[Route], file: PaymentFile) -> Route:
        """A provider that has not failed yet on this payment, if there is one."""
        tried = {attempt.channel_account_id for attempt in file.attempts}
        return next((route for route in found if route.account.id not in tried), found[0])

    async def read(self, principal: Principal, payment_id: str) -> Payment:
        """One payment, by id or `out_trade_no:<value>`; an open outcome is asked for if the last question is 5 s old.

        Raises 404 `payments.not_found`, for foreign ones too, and for those of stores that the token does not cover.
        """
        payment = await self.seen(principal, payment_id)
        if await self._questions.heal(payment.merchant_id, payment.id, payment):
            payment = await self.seen(principal, payment.id)
        return payment

    async def refund(self, principal: Principal, refund_id: str) -> Refund:
        """One refund, asked about as a payment is. Raises 404 `payments.not_found`."""
        refund, payment = await self._refund_and_payment(principal, refund_id)
        if await self._questions.heal(payment.merchant_id, payment.id, payment):
            refund, _ = await self._refund_and_payment(principal, refund_id)
        return refund

    async def seen_refund(self, principal: Principal, refund_id: str) -> Refund:
        """One refund as it stands, nobody asked. Raises 404 `payments.not_found`."""
        return (await self._refund_and_payment(principal, refund_id))[0]

    async def _refund_and_payment(self, principal: Principal, refund_id: str) -> tuple[Refund, Payment]:
        repository = self._desk.tools.repository
        is_id = REFUND_ID.fullmatch(refund_id)
        refund = await repository.refund(str(principal.merchant_id), refund_id) if is_id else None
        if refund is None:
            raise NOT_FOUND.error({"kind": "refund", "id": quoted(refund_id)})
        return refund, await self.seen(principal, refund.payment_id)

    async def resolve(self, principal: Principal, payment_id: str) -> str:
        """The id of a payment that the token may act on, by id or `out_trade_no:<value>`. Raises as `read` does."""
        if principal.stores is None and PAYMENT_ID.fullmatch(payment_id):
            return payment_id
        return (await self.seen(principal, payment_id)).id

    async def seen(self, principal: Principal, payment_id: str) -> Payment:
        """One payment as it stands, nobody asked. Raises as `read` does."""
        merchant_id, repository = str(principal.merchant_id), self._desk.tools.repository
        found: str | None = payment_id if PAYMENT_ID.fullmatch(payment_id) else None
        if found is None and OUT_TRADE_NO.fullmatch(payment_id):
            found = await repository.payment_id(merchant_id, payment_id.removeprefix("out_trade_no:"))
        payment = await repository.payment(merchant_id, found) if found is not None else None
        if payment is None or not may_see(principal, payment):
            raise NOT_FOUND.error({"kind": "payment", "id": quoted(payment_id)})
        return payment

    async def replay(self, principal: Principal, idempotent: IdempotentRequest) -> Replayed | None:
        """What stands under the request's key, if it was used."""
        return await self._desk.tools.repository.idempotency_record(str(principal.merchant_id), idempotent)

    async def present(self, principal: Principal, object_id: str | None) -> str:
        """The state of the object that an act in flight is about, as it is now."""
        merchant_id, repository = str(principal.merchant_id), self._desk.tools.repository
        if object_id is not None and object_id.startswith("ref_"):
            refund = await repository.refund(merchant_id, object_id)
            assert refund is not None, "claimed in the plan that wrote it"
            return json_text(refund_answer(refund.model_dump()))
        payment = await repository.payment(merchant_id, str(object_id))
        assert payment is not None, "claimed in the plan that wrote it"
        return json_text(payment_answer(payment.model_dump()))


def _charge(meter: Meter, row: dict[str, Any]) -> Charge:
    """What the payment takes of the limits of the grant that it is asked under."""
    return meter.charge(
        reference=row["id"],
        store_id=row["store_id"],
        currency=row["currency"],
        uses={"amount": row["payable_minor"], "quantity": 1},
    )


def may_see(principal: Principal, payment: Payment) -> bool:
    """A token that covers some stores sees their payments alone."""
    return principal.stores is None or (payment.store_id is not None and principal.may_use_store(payment.store_id))


def quoted(id_: str) -> str:
    """An id of the caller's as it may stand in an answer."""
    return id_ if id_.isascii() and id_.isprintable() and len(id_) <= 80 else "of this form"


def _answering(
    reply: list[Reply], status: int, idempotent: IdempotentRequest | None
) -> Callable[[PaymentFile, Draft, Plan], None]:
    """Keeps the plan's answer in `reply`, and under the client's key unless more is to come."""

    def finish(file: PaymentFile, draft: Draft, plan: Plan) -> None:
        body = json_text(plan.answer)
        reply[:] = [Reply(status, body)]
        if idempotent is not None:
            plan.add(idempotent.answer(status=status, body=body))

    return finish
