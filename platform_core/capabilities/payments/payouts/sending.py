"""A payout at its provider: sent once under its own id, asked about until there is a word, and put to the books."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import structlog

from platform_core.capabilities.payments import metrics
from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.desk import CONCLUSIONS_MAX, DEADLINE_S, Desk
from platform_core.capabilities.payments.errors import BUSY
from platform_core.capabilities.payments.outcomes import ASK_AFTER_S, ask_delay
from platform_core.capabilities.payments.payouts.answers import payout_answer
from platform_core.capabilities.payments.payouts.models import PAYOUTS, Payout
from platform_core.capabilities.payments.payouts.repository import PayoutRepository
from platform_core.capabilities.payments.payouts.verdicts import ENDS, Step, Verdict, step_of, verdict_of
from platform_core.capabilities.payments.settlement.books import MerchantBooks
from platform_core.contracts.payments import Payee, PayoutCall, ProviderResult
from platform_core.identity import limits
from platform_core.identity.payout_destinations import PayoutDestinations
from platform_core.kernel.commit import Change, Due, DueDone, Event, Plan, PlanRefused, VersionConflict
from platform_core.kernel.commit.due import DueWork

SEND: Final = "payments.payout"  # due: learn, or bring about, the outcome of a payout
RETURNS_AFTER: Final = (timedelta(days=1), timedelta(days=3), timedelta(days=7))
"""When a paid payout is asked about again: banks send back what they cannot book within days."""
MESSAGE_MAX: Final = 300
Row = dict[str, Any]
log = structlog.get_logger(__name__)


class Sending:
    """Two commits around each call: whoever calls has committed the payout before."""

    def __init__(self, desk: Desk, repository: PayoutRepository, destinations: PayoutDestinations) -> None:
        self._desk = desk
        self._repository = repository
        self._destinations = destinations

    async def send(self, payout: Payout, *, also: Callable[[Row], list[object]] = lambda row: []) -> Row:
        """Ask the provider to pay, and book its word. Returns the payout as it stands then.

        `also` adds to the plan of that word, such as the stored answer; it is handed the payout as it will stand.
        """
        result = await self._call(payout, "payout")
        return await self.conclude(payout, result, is_question=False, also=also)

    async def ask(self, work: DueWork) -> Plan | None:
        """One question about one payout (due kind `payments.payout`); what nobody there has seen is sent again, under
        the same id. Sets the time of the next question itself.
        """
        payout = await self._repository.payout_of(work.subject_id)
        if payout is None or payout.approval in ("waiting", "refused"):
            return Plan(work.merchant_id, [DueDone(SEND, work.subject_id)])
        following = self._following(payout, work)
        if following is None:
            return Plan(payout.merchant_id, [DueDone(SEND, payout.id)])
        metrics.JANITOR_LAG.record(max(0.0, (self._desk.now - work.due_at).total_seconds()))
        self._tell_operator(payout, work)
        # The next question stands before this one is asked: whatever happens to this process, somebody asks again.
        await self._desk.tools.committer.commit(Plan(payout.merchant_id, [following]))
        result = await self._call(payout, "query_payout")
        if payout.state not in ENDS and verdict_of(result, is_question=True) == "unseen":
            await self.send(payout)
        else:
            await self.conclude(payout, result, is_question=True)
        return None

    def _following(self, payout: Payout, work: DueWork) -> Due | None:
        """When the payout is asked about after this time; None when there is nothing to ask."""
        now = self._desk.now
        if payout.state not in ENDS:
            return Due(SEND, payout.id, now + ask_delay(work.tries + 1), work.tries + 1)
        if payout.state != "paid" or payout.paid_at is None:
            return None
        ahead = [payout.paid_at + after for after in RETURNS_AFTER if payout.paid_at + after > now]
        is_last = now < payout.paid_at + RETURNS_AFTER[-1] + timedelta(days=7)
        return Due(SEND, payout.id, ahead[0] if ahead else now + timedelta(days=7), 0) if is_last else None

    def _tell_operator(self, payout: Payout, work: DueWork) -> None:
        if payout.state in ENDS or work.tries < len(ASK_AFTER_S):
            return
        metrics.JANITOR_STUCK.add(1, {"provider": payout.provider_id, "kind": "payout"})
        log.error("payments.payout_still_open", payout_id=payout.id, provider=payout.provider_id, asked=work.tries)

    async def _call(self, payout: Payout, method: str) -> ProviderResult:
        """With nothing open in the database."""
        tools = self._desk.tools
        account = (await self._desk.terms(payout.merchant_id)).channel_accounts.get(payout.channel_account_id)
        if account is None:
            return ProviderResult.unknown("account_missing", "The channel account is gone.")
        destination = await self._destinations.confirmed(payout.merchant_id, payout.destination_id)
        assert destination is not None, "a payout names a destination that was in force"
        call = PayoutCall(
            idempotency_key=payout.id,
            out_payout_no=payout.out_payout_no,
            amount_minor=payout.amount_minor,
            currency=payout.currency,
            channel_account=account.contract,
            deadline_s=DEADLINE_S,
            now=self._desk.now,
            ctx=tools.providers.contexts.context(merchant_id=payout.merchant_id, secrets=account.secrets),
            payee=Payee(holder=destination.holder, bank=destination.bank, account=destination.account),
            note=payout.note,
            provider_reference=payout.provider_reference,
        )
        description = tools.providers.describe(payout.provider_id)
        if description is not None and "payout" not in description.features:
            return ProviderResult.unknown("payout_not_declared", "The provider pays out no longer.")
        return await tools.providers.call(payout.provider_id, method, call)

    async def conclude(
        self,
        payout: Payout,
        result: ProviderResult,
        *,
        is_question: bool,
        also: Callable[[Row], list[object]] = lambda row: [],
    ) -> Row:
        """The second commit: the provider's word is put to the books. The later of two same words changes nothing."""
        verdict = verdict_of(result, is_question=is_question)
        for _ in range(CONCLUSIONS_MAX):
            current = await self._repository.payout(payout.merchant_id, payout.id)
            assert current is not None, "payouts stay"
            step = step_of(current.state, verdict)
            after, parts = self._decided(current, step, verdict, result)
            parts += also(after)
            try:
                if parts:
                    await self._desk.tools.committer.commit(Plan(current.merchant_id, parts))
            except PlanRefused as refused:
                if not (isinstance(refused.refusal, VersionConflict) and refused.refusal.table == PAYOUTS.name):
                    raise
                continue
            if step not in ("nothing", "contradict"):
                metrics.PAYOUTS.add(1, {"state": after["state"], "provider": current.provider_id})
            return after
        raise BUSY.error({"payment_id": payout.id}, retry_after_s=1)

    def _decided(
        self, payout: Payout, step: Step, verdict: Verdict, result: ProviderResult
    ) -> tuple[Row, list[object]]:
        """The payout as it will stand, and the plan's parts."""
        now, error = self._desk.now, _error_of(result)
        reference = result.provider_reference or payout.provider_reference
        if step == "pay":
            values = {"state": "paid", "paid_at": now, "ended_at": now, "last_error": None}
            parts: list[object] = [
                self._books(payout).payout_paid(payout.channel_account_id, payout.amount_minor),
                Due(SEND, payout.id, now + RETURNS_AFTER[0]),
            ]
            return self._announced(payout, {**values, "provider_reference": reference}, parts, "payout.paid")
        if step == "give_back":
            values = {"state": verdict, "ended_at": now, "last_error": error, "provider_reference": reference}
            return self.given_back(payout, values)
        if step == "take_back":
            values = {"state": "returned", "ended_at": now, "last_error": error}
            back = self._books(payout).payout_came_back(payout.channel_account_id, payout.amount_minor)
            return self._ended(payout, values, list(back), "payout.returned")
        if step == "contradict":
            metrics.PAYOUTS.add(1, {"state": "contradicted", "provider": payout.provider_id})
            log.error("payments.payout_contradicted", payout_id=payout.id, state=payout.state, word=verdict)
            return payout.model_dump(), []
        moved = {"send": "sent", "doubt": "unknown"}.get(step, payout.state)
        changed = {"state": moved, "last_error": error, "provider_reference": reference}
        row = payout.model_dump()
        if payout.state in ENDS or all(row[name] == value for name, value in changed.items()):
            return row, []
        return self._changed(payout, changed)

    def given_back(self, payout: Payout, values: Row) -> tuple[Row, list[object]]:
        """It has ended unpaid: the money is the merchant's again, and what it took of the grant's limits."""
        back = self._books(payout).payout_returned(payout.amount_minor)
        type_ = "payout.returned" if values["state"] == "returned" else "payout.failed"
        return self._ended(payout, values, [back], type_)

    def _ended(self, payout: Payout, values: Row, parts: list[object], type_: str) -> tuple[Row, list[object]]:
        parts.append(DueDone(SEND, payout.id))
        if payout.charge is not None:
            parts += limits.given_back(payout.charge, merchant_id=payout.merchant_id, reference=payout.id)
        return self._announced(payout, values, parts, type_)

    def _announced(self, payout: Payout, values: Row, parts: list[object], type_: str) -> tuple[Row, list[object]]:
        after, changes = self._changed(payout, {**values, "sequence": payout.sequence + 1})
        body = json_text(payout_answer(after))
        id_ = self._desk.tools.ids.mint("evt")
        return after, [*changes, *parts, Event(id_, type_, payout.id, after["sequence"], self._desk.now, body)]

    def _changed(self, payout: Payout, values: Row) -> tuple[Row, list[object]]:
        values = {**values, "updated_at": self._desk.now}
        written = {**values}
        if "last_error" in values:
            written["last_error"] = None if values["last_error"] is None else json_text(values["last_error"])
        return {**payout.model_dump(), **values}, [Change(PAYOUTS, payout.id, written, expected=payout.version)]

    def _books(self, payout: Payout) -> MerchantBooks:
        return MerchantBooks(payout.merchant_id, payout.currency, payout.id, self._desk.tools.ids)


def _error_of(result: ProviderResult) -> dict[str, str] | None:
    if result.error is None:
        return None
    error = result.error
    return {"class": str(error.error_class), "code": error.code[:80], "message": error.message[:MESSAGE_MAX]}
