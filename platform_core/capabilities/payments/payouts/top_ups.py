"""Top-ups: money that came in from a merchant's bank, booked by two of the operator's people; row 14."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.errors import BUSY
from platform_core.capabilities.payments.payouts.errors import TOP_UP_EXISTS, TOP_UP_INVALID, TOP_UP_MISSING
from platform_core.capabilities.payments.payouts.models import TOP_UPS, TopUp
from platform_core.capabilities.payments.payouts.repository import PayoutRepository
from platform_core.capabilities.payments.settlement.books import MerchantBooks, key_of
from platform_core.identity.errors_people import SECOND_PERSON_NEEDED
from platform_core.kernel.commit import Audit, Change, Duplicate, Insert, Plan, PlanRefused, VersionConflict
from platform_core.kernel.money import Money
from platform_core.ledger.accounts import GuardRefused, TransferExists
from platform_core.ledger.service import LedgerService

PLACE: Final = re.compile(r"[!-~]{1,64}", re.ASCII)
TRIES_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class TopUps:
    """The operator's side of money that comes in."""

    desk: Desk
    ledger: LedgerService
    repository: PayoutRepository

    async def propose(self, merchant_id: str, amount: Money, *, bank_account: str, reference: str, by: str) -> TopUp:
        """A line of our bank's statement is a merchant's money. Nothing is booked yet.

        409 `payments.top_up_exists` for a line that waits or is booked, 422 `payments.top_up_invalid`.
        """
        is_sound = amount.amount_minor > 0 and PLACE.fullmatch(bank_account) and PLACE.fullmatch(reference)
        if not is_sound:
            raise TOP_UP_INVALID.error()
        found = await self.repository.top_up_of(bank_account, reference)
        if found is not None:
            raise _exists(found)
        row: dict[str, Any] = {
            "id": self.desk.tools.ids.mint("top"),
            "merchant_id": merchant_id,
            "bank_account": bank_account,
            "reference": reference,
            "currency": amount.currency,
            "amount_minor": amount.amount_minor,
            "debt_minor": 0,
            "state": "proposed",
            "proposed_by": by,
            "decided_by": None,
            "version": 1,
            "created_at": self.desk.now,
            "decided_at": None,
        }
        facts = {"amount_minor": amount.amount_minor, "currency": amount.currency, "reference": reference}
        told = Audit("top_up.proposed", by, str(row["id"]), merchant_id, facts)
        try:
            await self.desk.tools.committer.commit(Plan(merchant_id, [Insert(TOP_UPS, row), told]))
        except PlanRefused as refused:
            if not (isinstance(refused.refusal, Duplicate) and refused.refusal.table == TOP_UPS.name):
                raise
            found = await self.repository.top_up(refused.refusal.existing_id)
            raise _exists(found or TopUp(**row)) from refused
        return TopUp(**row)

    async def confirm(self, top_up_id: str, *, by: str) -> TopUp:
        """Another person's word: the money is the merchant's, and pays off what the merchant owes.

        403 `identity.second_person_needed`; 404 `payments.top_up_not_found`; 409 `payments.top_up_exists` for a line
        that was booked meanwhile.
        """
        for _ in range(TRIES_MAX):
            top_up = await self._waiting(top_up_id, by)
            plan, after = await self._booking(top_up, by)
            try:
                await self.desk.tools.committer.commit(plan)
            except PlanRefused as refused:
                if isinstance(refused.refusal, TransferExists):
                    booked = await self.repository.top_up_of(top_up.bank_account, top_up.reference)
                    raise _exists(booked or top_up) from refused
                if not isinstance(refused.refusal, GuardRefused | VersionConflict):
                    raise
                continue  # the debt has changed meanwhile, or somebody else decided
            return after
        raise BUSY.error({"payment_id": top_up_id}, retry_after_s=1)

    async def refuse(self, top_up_id: str, *, by: str) -> TopUp:
        """It is not the merchant's money; the line may be proposed again. Raises as `confirm` does."""
        top_up = await self._waiting(top_up_id, by)
        values = {"state": "refused", "decided_by": by, "decided_at": self.desk.now}
        told = Audit("top_up.refused", by, top_up.id, top_up.merchant_id, {"by": top_up.proposed_by})
        change = Change(TOP_UPS, top_up.id, values, expected=top_up.version)
        try:
            await self.desk.tools.committer.commit(Plan(top_up.merchant_id, [change, told]))
        except PlanRefused as refused:
            if isinstance(refused.refusal, VersionConflict):
                raise TOP_UP_MISSING.error({"top_up_id": top_up_id}) from refused
            raise
        return TopUp(**{**top_up.model_dump(), **values})

    async def _waiting(self, top_up_id: str, by: str) -> TopUp:
        top_up = await self.repository.top_up(top_up_id)
        if top_up is None or top_up.state != "proposed":
            raise TOP_UP_MISSING.error({"top_up_id": top_up_id[:80]})
        if top_up.proposed_by == by:
            raise SECOND_PERSON_NEEDED.error()
        return top_up

    async def _booking(self, top_up: TopUp, by: str) -> tuple[Plan, TopUp]:
        books = MerchantBooks(top_up.merchant_id, top_up.currency, top_up.id, self.desk.tools.ids)
        keys = [key_of(books.available), key_of(books.debt)]
        accounts = await self.ledger.accounts(top_up.merchant_id, keys)
        available, debt = (accounts.get(key) for key in keys)
        free = top_up.amount_minor + (0 if available is None else available.available or 0)
        # Of what was available before too; the document tells at most its own amount.
        owed = 0 if debt is None else min(-debt.posted, free)
        values = {
            "state": "booked",
            "debt_minor": min(owed, top_up.amount_minor),
            "decided_by": by,
            "decided_at": self.desk.now,
        }
        once = f"top_up:{top_up.bank_account}:{top_up.reference}"
        plan = Plan(top_up.merchant_id, [Change(TOP_UPS, top_up.id, values, expected=top_up.version)])
        plan.add(books.topped_up(top_up.bank_account, top_up.amount_minor, id_=once))
        if owed:
            plan.add(books.debt_paid(owed))
        plan.add(Audit("top_up.booked", by, top_up.id, top_up.merchant_id, {"by": top_up.proposed_by}))
        return plan, TopUp(**{**top_up.model_dump(), **values})


def _exists(found: TopUp) -> Exception:
    told = {
        "reference": found.reference,
        "bank_account": found.bank_account,
        "state": found.state,
        "top_up_id": found.id,
    }
    error: Exception = TOP_UP_EXISTS.error(told)
    return error
