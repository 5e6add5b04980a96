"""How a merchant is paid out: its own schedule and minimum, and above which amount two persons decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.errors import BUSY
from platform_core.capabilities.payments.payouts.answers import terms_answer
from platform_core.capabilities.payments.payouts.models import PAYOUT_TERMS, PayoutTerms
from platform_core.capabilities.payments.payouts.repository import PayoutRepository
from platform_core.capabilities.payments.payouts.schemas import PayoutTermsWrite
from platform_core.capabilities.payments.settlement.calendar import next_payout
from platform_core.capabilities.payments.settlement.repository import SettlementRepository
from platform_core.kernel.commit import (
    Audit,
    Change,
    Due,
    DueDone,
    Duplicate,
    Insert,
    Plan,
    PlanRefused,
    VersionConflict,
)
from platform_core.kernel.money import exponent_of

PAY_OUT: Final = "payments.payout_schedule"  # due: a scheduled payout
APPROVAL_ABOVE_MINOR: Final = 10_000_000
"""The platform's policy for merchants that have none of their own, in minor units: 100,000.00 CNY."""
TRIES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class PayoutTermsService:
    """Reads and writes terms; a schedule is a due row for each merchant and currency."""

    desk: Desk
    repository: PayoutRepository
    settlements: SettlementRepository

    async def of(self, merchant_id: str, currency: str) -> PayoutTerms:
        """The merchant's terms, else the platform's: by hand, any amount, a second person above the policy's."""
        found = await self.repository.terms(merchant_id, currency)
        return found or self._default(merchant_id, currency)

    async def shown(self, merchant_id: str) -> list[dict[str, Any]]:
        """All that the merchant has, by currency."""
        rows = await self.repository.all_terms(merchant_id)
        return [terms_answer(row.model_dump(), next_payout_at=await self.next_at(row)) for row in rows]

    async def write(
        self,
        merchant_id: str,
        wanted: PayoutTermsWrite,
        *,
        by: str,
        also: Callable[[dict[str, Any]], Iterable[object]],
    ) -> dict[str, Any]:
        """The merchant's own part: schedule, weekday, minimum. Returns `PayoutTermsRead`; `also` adds parts for it."""
        values = {
            "schedule": wanted.schedule,
            "weekday": wanted.weekday,
            "payout_minor_min": wanted.payout_minor_min,
        }
        return await self._write(merchant_id, wanted.currency, values, by=by, also=also)

    async def set_policy(
        self, merchant_id: str, *, currency: str, approval_above_minor: int | None, by: str
    ) -> dict[str, Any]:
        """The operator's part: above which amount a second person decides; None: never. Returns `PayoutTermsRead`."""
        exponent_of(currency)
        values = {"approval_above_minor": approval_above_minor}
        return await self._write(merchant_id, currency, values, by=by, also=lambda row: ())

    async def next_at(self, terms: PayoutTerms) -> datetime | None:
        """When the schedule pays out next; None where it is by hand."""
        if terms.schedule == "manual":
            return None
        zone = (await self.desk.facts(terms.merchant_id)).time_zone
        holidays = await self.settlements.holidays(since=self.desk.now.date())
        return next_payout(self.desk.now, holidays, zone, weekday=terms.weekday)

    def _default(self, merchant_id: str, currency: str) -> PayoutTerms:
        return PayoutTerms(
            id="",
            merchant_id=merchant_id,
            currency=currency,
            schedule="manual",
            weekday=None,
            payout_minor_min=1,
            approval_above_minor=APPROVAL_ABOVE_MINOR,
            last_skipped=None,
            version=0,
            updated_at=self.desk.now,
        )

    async def _write(
        self,
        merchant_id: str,
        currency: str,
        values: dict[str, Any],
        *,
        by: str,
        also: Callable[[dict[str, Any]], Iterable[object]],
    ) -> dict[str, Any]:
        for _ in range(TRIES_MAX):
            before = await self.of(merchant_id, currency)
            id_ = before.id or self.desk.tools.ids.mint("pyt")
            after = PayoutTerms(**{**before.model_dump(), **values, "id": id_, "updated_at": self.desk.now})
            next_at = await self.next_at(after)
            shown = terms_answer(after.model_dump(), next_payout_at=next_at)
            subject = f"{merchant_id}/{currency}"
            plan = Plan(merchant_id, list(also(shown)))
            if before.id:
                plan.add(Change(PAYOUT_TERMS, id_, {**values, "updated_at": self.desk.now}, expected=before.version))
            else:
                plan.add(Insert(PAYOUT_TERMS, {**after.model_dump(), "version": 1}))
            plan.add(DueDone(PAY_OUT, subject) if next_at is None else Due(PAY_OUT, subject, next_at))
            plan.add(Audit("payout_terms.set", by, id_, merchant_id, {"currency": currency, **values}))
            try:
                await self.desk.tools.committer.commit(plan)
            except PlanRefused as refused:
                is_raced = isinstance(refused.refusal, Duplicate | VersionConflict)
                if not (is_raced and getattr(refused.refusal, "table", "") == PAYOUT_TERMS.name):
                    raise
                continue
            return shown
        raise BUSY.error({"payment_id": merchant_id}, retry_after_s=1)
