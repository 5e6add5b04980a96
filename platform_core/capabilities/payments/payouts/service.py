"""Payouts as they are asked for: POST /v1/payouts, a second person's word, and what the schedule wants."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from platform_core.capabilities.payments import metrics
from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.errors import NOT_FOUND
from platform_core.capabilities.payments.outcomes import ask_delay
from platform_core.capabilities.payments.payouts.answers import payout_answer
from platform_core.capabilities.payments.payouts.errors import (
    NO_PAYOUT_ROUTE,
    OUT_PAYOUT_NO_TAKEN,
    PAYOUT_BELOW_MINIMUM,
    PAYOUT_DEBT_OPEN,
    PAYOUT_DESTINATION_MISSING,
    PAYOUT_NOT_WAITING,
    PAYOUT_UNFUNDED,
)
from platform_core.capabilities.payments.payouts.models import PAYOUTS, Payout
from platform_core.capabilities.payments.payouts.repository import PayoutRepository
from platform_core.capabilities.payments.payouts.schemas import PayoutCreate, PayoutDecide
from platform_core.capabilities.payments.payouts.sending import SEND, Sending
from platform_core.capabilities.payments.payouts.terms import PayoutTermsService
from platform_core.capabilities.payments.service import Reply, quoted
from platform_core.capabilities.payments.settlement.books import MerchantBooks, key_of
from platform_core.capabilities.payments.terms import Account
from platform_core.identity.errors_people import SECOND_PERSON_NEEDED
from platform_core.identity.limits import Charge, Meter
from platform_core.identity.payout_destinations import Destination, PayoutDestinations
from platform_core.identity.principal import Principal
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Audit, Change, Due, Duplicate, Event, Insert, Plan, PlanRefused, VersionConflict
from platform_core.kernel.commit.idempotency import Replayed
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.money import Money
from platform_core.kernel.pagination import Cursors, Position
from platform_core.ledger.accounts import METER, GuardRefused
from platform_core.ledger.service import LedgerService

PAYOUT_ID: Final = re.compile(r"pyo_[0-9a-z]{26}")
TRIES_MAX: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One payout to be made."""

    merchant_id: str
    out_payout_no: str
    amount: Money
    note: str
    origin: str
    requested_by: str
    fingerprint: bytes


class PayoutService:
    """Makes payouts and lets a second person decide on large ones."""

    def __init__(
        self,
        desk: Desk,
        ledger: LedgerService,
        repository: PayoutRepository,
        *,
        terms: PayoutTermsService,
        sending: Sending,
        destinations: PayoutDestinations,
        cursors: Cursors,
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._repository = repository
        self._terms = terms
        self._sending = sending
        self._destinations = destinations
        self._cursors = cursors

    @property
    def clock(self) -> Clock:
        """The process's clock, by which a repeated request waits."""
        return self._desk.tools.clock

    async def create(self, principal: Principal, request: PayoutCreate, idempotent: IdempotentRequest) -> Reply:
        """Set available money aside and have it sent to the merchant's bank; row 14.

        Writes the payout, the transfer, the event `payout.created` and the answer under the Idempotency-Key; above the
        policy's amount it then waits for a second person, else the provider is asked and its word booked. The same
        `out_payout_no` and body again is answered with the payout as it stands, 200.

        Raises 403 as `Limits.spend`; 409 payout_insufficient_balance, payout_debt_open, payout_destination_missing,
        no_payout_route, out_payout_no_taken; 422 payout_below_minimum.
        """
        merchant_id = str(principal.merchant_id)
        wanted = Wanted(
            merchant_id=merchant_id,
            out_payout_no=request.out_payout_no,
            amount=Money(request.amount_minor, request.currency),
            note=request.note,
            origin="manual",
            requested_by=principal.client_id,
            fingerprint=idempotent.fingerprint,
        )

        async def act(meter: Meter | None) -> Payout:
            return await self.begin(wanted, meter=meter, idempotent=idempotent)

        try:
            if principal.kind == "person":  # a person's own rights are not metered
                payout = await act(None)
            else:
                zone = (await self._desk.facts(merchant_id)).time_zone
                spend = self._desk.tools.limits.spend
                payout = await spend(principal, kind="payout_create", action="create", zone=zone, act=act)
        except PlanRefused as refused:
            if isinstance(refused.refusal, Duplicate) and refused.refusal.table == PAYOUTS.name:
                return await self._existing(wanted, refused.refusal.existing_id, idempotent)
            raise
        if payout.approval == "waiting":
            return Reply(201, json_text(payout_answer(payout.model_dump())))
        after = await self._sending.send(payout, also=_answering(idempotent, status=201))
        return Reply(201, json_text(payout_answer(after)))

    async def begin(
        self, wanted: Wanted, *, meter: Meter | None = None, idempotent: IdempotentRequest | None = None
    ) -> Payout:
        """The first commit: the money is set aside. Nothing is sent yet.

        Raises what `create` does, and `PlanRefused(Duplicate)` for a number that is taken.
        """
        desk, amount = self._desk, wanted.amount
        terms = await self._terms.of(wanted.merchant_id, amount.currency)
        if amount.amount_minor < terms.payout_minor_min:
            minimum = Money(terms.payout_minor_min, amount.currency)
            raise PAYOUT_BELOW_MINIMUM.error({"minimum": minimum, "asked": amount}, param="/amount_minor")
        destination = await self._destinations.in_force(wanted.merchant_id, amount.currency, now=desk.now)
        if destination is None:
            raise PAYOUT_DESTINATION_MISSING.error({"currency": amount.currency})
        account = await self._route(wanted)
        await self._check_debt(wanted)
        above = terms.approval_above_minor
        needs_second = above is not None and amount.amount_minor > above
        row = self._row(wanted, destination, account, approval="waiting" if needs_second else "not_needed")
        charge = None if meter is None else _charge(meter, row)
        plan = self._plan(row, charge, idempotent)
        try:
            await desk.tools.committer.commit(plan)
        except PlanRefused as refused:
            raise _unfunded(refused, amount.currency) from refused
        metrics.PAYOUTS.add(1, {"state": "created", "provider": account.provider_id})
        return Payout(**row)

    def _row(self, wanted: Wanted, destination: Destination, account: Account, *, approval: str) -> dict[str, Any]:
        now = self._desk.now
        return {
            "id": self._desk.tools.ids.mint("pyo"),
            "merchant_id": wanted.merchant_id,
            "out_payout_no": wanted.out_payout_no,
            "fingerprint": wanted.fingerprint,
            "origin": wanted.origin,
            "state": "created",
            "approval": approval,
            "currency": wanted.amount.currency,
            "amount_minor": wanted.amount.amount_minor,
            "destination_id": destination.id,
            "destination_hint": destination.account[-4:],
            "channel_account_id": account.id,
            "provider_id": account.provider_id,
            "provider_reference": None,
            "note": wanted.note,
            "requested_by": wanted.requested_by,
            "decided_by": None,
            "charge": None,
            "last_error": None,
            "sequence": 1,
            "version": 1,
            "created_at": now,
            "updated_at": now,
            "paid_at": None,
            "ended_at": None,
        }

    def _plan(self, row: dict[str, Any], charge: Charge | None, idempotent: IdempotentRequest | None) -> Plan:
        ids, now = self._desk.tools.ids, self._desk.now
        plan = Plan(row["merchant_id"])
        if charge is not None:
            row["charge"] = charge.record()
            plan.add(*charge.spent())
        answer, is_waiting = json_text(payout_answer(row)), row["approval"] == "waiting"
        if idempotent is not None:
            status, body = (201, answer) if is_waiting else (None, None)
            plan.add(idempotent.claim(object_id=row["id"], created_at=now, status=status, body=body))
        books = MerchantBooks(row["merchant_id"], row["currency"], row["id"], ids)
        written = {**row, "charge": None if row["charge"] is None else json_text(row["charge"])}
        plan.add(Insert(PAYOUTS, written), books.payout_created(row["amount_minor"]))
        if not is_waiting:
            plan.add(Due(SEND, row["id"], now + ask_delay(0)))
        facts = {"amount_minor": row["amount_minor"], "currency": row["currency"], "destination": row["destination_id"]}
        return plan.add(
            Event(ids.mint("evt"), "payout.created", row["id"], 1, now, answer),
            Audit("payout.created", row["requested_by"], row["id"], row["merchant_id"], facts),
        )

    async def decide(
        self, principal: Principal, payout_id: str, request: PayoutDecide, idempotent: IdempotentRequest
    ) -> Reply:
        """Another person's word on a payout above the policy's amount: it is sent, or its money is given back.

        401 `identity.step_up_required`; 403 `identity.second_person_needed`, also for apps; 404 `payments.not_found`;
        409 `payments.payout_not_waiting`, and `payments.payout_destination_missing` where the destination was changed
        meanwhile.
        """
        if principal.kind != "person":
            raise SECOND_PERSON_NEEDED.error()
        payout = await self.one(principal, payout_id)
        if payout.requested_by == principal.client_id:
            raise SECOND_PERSON_NEEDED.error()
        if (payout.state, payout.approval) != ("created", "waiting"):
            raise _not_waiting(payout)
        if not request.is_approved:
            return await self._refuse(principal, payout, idempotent)
        current = await self._destinations.in_force(payout.merchant_id, payout.currency, now=self._desk.now)
        if current is None or current.id != payout.destination_id:
            raise PAYOUT_DESTINATION_MISSING.error({"currency": payout.currency})
        now = self._desk.now
        values = {"approval": "approved", "decided_by": principal.client_id, "updated_at": now}
        plan = Plan(payout.merchant_id, [Change(PAYOUTS, payout.id, values, expected=payout.version)])
        plan.add(
            idempotent.claim(object_id=payout.id, created_at=now),
            Due(SEND, payout.id, now + ask_delay(0)),
            Audit("payout.approved", principal.client_id, payout.id, payout.merchant_id, {"by": payout.requested_by}),
        )
        await self._commit_decision(payout, plan)
        approved = await self.one(principal, payout_id)
        after = await self._sending.send(approved, also=_answering(idempotent, status=200))
        return Reply(200, json_text(payout_answer(after)))

    async def _refuse(self, principal: Principal, payout: Payout, idempotent: IdempotentRequest) -> Reply:
        error = {"class": "declined_final", "code": "approval_refused", "message": "A second person refused it."}
        values = {
            "state": "failed",
            "approval": "refused",
            "decided_by": principal.client_id,
            "ended_at": self._desk.now,
            "last_error": error,
        }
        after, parts = self._sending.given_back(payout, values)
        body = json_text(payout_answer(after))
        claim = idempotent.claim(object_id=payout.id, created_at=self._desk.now, status=200, body=body)
        told = Audit("payout.refused", principal.client_id, payout.id, payout.merchant_id, {"by": payout.requested_by})
        await self._commit_decision(payout, Plan(payout.merchant_id, [claim, *parts, told]))
        metrics.PAYOUTS.add(1, {"state": "failed", "provider": payout.provider_id})
        return Reply(200, body)

    async def _commit_decision(self, payout: Payout, plan: Plan) -> None:
        try:
            await self._desk.tools.committer.commit(plan)
        except PlanRefused as refused:
            if isinstance(refused.refusal, VersionConflict):
                current = await self._repository.payout(payout.merchant_id, payout.id)
                raise _not_waiting(current or payout) from refused
            raise

    async def one(self, principal: Principal, payout_id: str) -> Payout:
        """One payout. Raises 404 `payments.not_found`."""
        found = None
        if PAYOUT_ID.fullmatch(payout_id):
            found = await self._repository.payout(str(principal.merchant_id), payout_id)
        if found is None:
            raise NOT_FOUND.error({"kind": "payout", "id": quoted(payout_id)})
        return found

    async def page(self, principal: Principal, *, state: str | None, limit: int, cursor: str | None) -> dict[str, Any]:
        """Payouts, newest first."""
        merchant_id = str(principal.merchant_id)
        bound_to = {"list": "payouts", "merchant": merchant_id, "state": state}
        after = None if cursor is None else self._cursors.read(cursor, bound_to=bound_to)
        rows = await self._repository.payouts(
            merchant_id, state=state, after=None if after is None else (after.created_at, after.id), limit=limit
        )
        page = self._cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.created_at, row.id),
            show=lambda row: payout_answer(row.model_dump()),
        )
        return {"data": page.data, "next_cursor": page.next_cursor}

    async def replay(self, principal: Principal, idempotent: IdempotentRequest) -> Replayed | None:
        """What stands under the request's key, if it was used."""
        return await self._desk.tools.repository.idempotency_record(str(principal.merchant_id), idempotent)

    async def present(self, principal: Principal, object_id: str | None) -> str:
        """The payout that an act in flight is about, as it is now."""
        payout = await self._repository.payout(str(principal.merchant_id), str(object_id))
        assert payout is not None, "claimed in the plan that wrote it"
        return json_text(payout_answer(payout.model_dump()))

    async def _existing(self, wanted: Wanted, payout_id: str, idempotent: IdempotentRequest) -> Reply:
        """The same number again: the same body gets the payout as it is, another body a conflict."""
        payout = await self._repository.payout(wanted.merchant_id, payout_id)
        assert payout is not None, "a duplicate exists"
        if payout.fingerprint != wanted.fingerprint:
            told = {"out_payout_no": wanted.out_payout_no, "payout_id": payout_id}
            raise OUT_PAYOUT_NO_TAKEN.error(told, param="/out_payout_no")
        body = json_text(payout_answer(payout.model_dump()))
        claim = idempotent.claim(object_id=payout_id, created_at=self._desk.now, status=200, body=body)
        await self._desk.tools.committer.commit(Plan(wanted.merchant_id, [claim]))
        return Reply(200, body)

    async def _route(self, wanted: Wanted) -> Account:
        """The merchant's oldest active channel account that pays out this amount in this currency."""
        desk, amount = self._desk, wanted.amount
        plugins = desk.tools.plugins
        closed = frozenset() if plugins is None else (await plugins.standing(wanted.merchant_id)).closed
        for account in (await desk.terms(wanted.merchant_id)).channel_accounts.values():
            description = desk.tools.providers.describe(account.provider_id)
            if description is None or not account.is_active or description.id in closed:
                continue
            limit = next((one for one in description.limits if one.currency == amount.currency), None)
            is_within = limit is not None and limit.amount_minor_min <= amount.amount_minor <= limit.amount_minor_max
            if "payout" in description.features and is_within:
                return account
        raise NO_PAYOUT_ROUTE.error({"asked": amount})

    async def _check_debt(self, wanted: Wanted) -> None:
        books = MerchantBooks(wanted.merchant_id, wanted.amount.currency, "", self._desk.tools.ids)
        debt = await self._ledger.account(wanted.merchant_id, key_of(books.debt))
        if debt is not None and debt.posted < 0:
            raise PAYOUT_DEBT_OPEN.error({"owed": Money(-debt.posted, wanted.amount.currency)})


def _answering(idempotent: IdempotentRequest, *, status: int) -> Callable[[dict[str, Any]], list[object]]:
    def also(row: dict[str, Any]) -> list[object]:
        return [idempotent.answer(status=status, body=json_text(payout_answer(row)))]

    return also


def _charge(meter: Meter, row: dict[str, Any]) -> Charge:
    uses = {"amount": row["amount_minor"]}
    return meter.charge(reference=row["id"], store_id=None, currency=row["currency"], uses=uses)  # type: ignore[arg-type]  # a Measure


def _unfunded(refused: PlanRefused, currency: str) -> Exception:
    """409 `payments.payout_insufficient_balance` where an account of money refused; any other refusal as it is."""
    refusal = refused.refusal
    if not isinstance(refusal, GuardRefused) or refusal.account.startswith(METER):
        return refused
    metrics.GUARD_REFUSALS.add(1, {"role": refusal.role})
    figures = {"asked": Money(refusal.asked, currency), "available": Money(max(0, refusal.available), currency)}
    return PAYOUT_UNFUNDED.error(figures, param="/amount_minor")


def _not_waiting(payout: Payout) -> Exception:
    told = {"payout_id": payout.id, "state": payout.state, "approval": payout.approval}
    error: Exception = PAYOUT_NOT_WAITING.error(told)
    return error
