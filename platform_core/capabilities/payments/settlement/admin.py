"""What the operator sets and books: holidays, reserves, and what acquirers have paid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from zoneinfo import ZoneInfo

from platform_core.capabilities.payments.errors import NOT_FOUND
from platform_core.capabilities.payments.repository import PaymentRepository
from platform_core.capabilities.payments.settlement.books import MerchantBooks
from platform_core.capabilities.payments.settlement.errors import (
    ACQUIRER_PAYOUT_INVALID,
    ACQUIRER_PAYOUT_TAKEN,
    HOLIDAY_EXISTS,
    HOLIDAY_MISSING,
    HOLIDAY_PAST,
    RESERVE_TERMS_INVALID,
)
from platform_core.capabilities.payments.settlement.models import (
    ACQUIRER_PAYOUTS,
    HOLIDAYS,
    RESERVE_PLANS,
    AcquirerPayout,
    Holiday,
)
from platform_core.capabilities.payments.settlement.repository import SettlementRepository
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Audit, Committer, Duplicate, Insert, Plan, PlanRefused, Remove
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.ids import Ids
from platform_core.kernel.money import Money, exponent_of

OPERATOR_ZONE: Final = ZoneInfo("Asia/Shanghai")
REFERENCE: Final = re.compile(r"[!-~]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SettlementAdmin:
    """The operator's side of settlement."""

    repository: SettlementRepository
    payments: PaymentRepository
    committer: Committer
    clock: Clock
    ids: Ids

    async def holidays(self) -> list[Holiday]:
        """From today on, in order."""
        return await self.repository.holiday_rows(since=self._today())

    async def add_holiday(self, day: date, *, name: str, by: str = PLATFORM) -> Holiday:
        """Settle and pay out nothing on a day to come. 409 `payments.holiday_exists`, 422 `payments.holiday_past`."""
        if day <= self._today():
            raise HOLIDAY_PAST.error({"day": day.isoformat()})
        row: dict[str, Any] = {"id": self.ids.mint("hol"), "day": day, "name": name, "created_at": self.clock.now()}
        told = Audit("settlement_holiday.added", by, day.isoformat(), None, {"name": name})
        try:
            await self.committer.commit(Plan(None, [Insert(HOLIDAYS, row), told]))
        except PlanRefused as refused:
            if isinstance(refused.refusal, Duplicate):
                raise HOLIDAY_EXISTS.error({"day": day.isoformat()}) from refused
            raise
        return Holiday(**row)

    async def remove_holiday(self, day: date, *, by: str = PLATFORM) -> None:
        """Settle on a day to come after all; what was put off past it stays there.

        404 `payments.holiday_missing`, 422 `payments.holiday_past`.
        """
        if day <= self._today():
            raise HOLIDAY_PAST.error({"day": day.isoformat()})
        found = [row for row in await self.repository.holiday_rows(since=day) if row.day == day]
        if not found:
            raise HOLIDAY_MISSING.error({"day": day.isoformat()})
        told = Audit("settlement_holiday.removed", by, day.isoformat(), None, {"name": found[0].name})
        await self.committer.commit(Plan(None, [Remove(HOLIDAYS, found[0].id), told]))

    async def set_reserve(
        self, merchant_id: str, *, currency: str, rate_bp: int, held_days: int, by: str = PLATFORM
    ) -> str:
        """What settlements keep back from now on, and for how many days; rate 0 ends it. Returns `rsp_...`.

        What was kept before is given back as it was agreed then. 422 `payments.reserve_terms_invalid`.
        """
        if not (0 <= rate_bp <= 10_000 and 1 <= held_days <= 1_000):
            raise RESERVE_TERMS_INVALID.error({"rate_bp": rate_bp, "held_days": held_days})
        exponent_of(currency)
        row = {
            "id": self.ids.mint("rsp"),
            "merchant_id": merchant_id,
            "currency": currency,
            "rate_bp": rate_bp,
            "held_days": held_days,
            "valid_from": self.clock.now(),
        }
        facts = {"currency": row["currency"], "rate_bp": rate_bp, "held_days": held_days}
        told = Audit("reserve_plan.set", by, str(row["id"]), merchant_id, facts)
        await self.committer.commit(Plan(merchant_id, [Insert(RESERVE_PLANS, row), told]))
        return str(row["id"])

    async def book_acquirer_payout(
        self, channel_account_id: str, *, gross: Money, cost: Money, reference: str, by: str = PLATFORM
    ) -> AcquirerPayout:
        """Row 13: the acquirer has paid `gross` of what it owed, less its `cost`, under the bank's or its reference.

        Idempotent by (channel account, reference): the same figures again change nothing. For reconciliation and the
        operator. 404 `payments.not_found`, 409 `payments.acquirer_payout_taken`, 422
        `payments.acquirer_payout_invalid`.
        """
        is_sound = gross.currency == cost.currency and 0 <= cost.amount_minor <= gross.amount_minor > 0
        if not is_sound or REFERENCE.fullmatch(reference) is None:
            figures = {"gross_minor": gross.amount_minor, "cost_minor": cost.amount_minor}
            raise ACQUIRER_PAYOUT_INVALID.error(figures)
        account = await self.payments.channel_account(channel_account_id)
        if account is None:
            raise NOT_FOUND.error({"kind": "channel account", "id": channel_account_id})
        row: dict[str, Any] = {
            "id": self.ids.mint("aqp"),
            "merchant_id": account.merchant_id,
            "channel_account_id": channel_account_id,
            "reference": reference,
            "currency": gross.currency,
            "gross_minor": gross.amount_minor,
            "cost_minor": cost.amount_minor,
            "booked_by": by,
            "booked_at": self.clock.now(),
        }
        books = MerchantBooks(account.merchant_id, gross.currency, str(row["id"]), self.ids)
        facts = {"channel_account": channel_account_id, "gross_minor": gross.amount_minor, "reference": reference}
        plan = Plan(account.merchant_id, [Insert(ACQUIRER_PAYOUTS, row)])
        plan.add(*books.acquirer_paid(channel_account_id, gross=gross.amount_minor, cost=cost.amount_minor))
        plan.add(Audit("acquirer_payout.booked", by, str(row["id"]), account.merchant_id, facts))
        try:
            await self.committer.commit(plan)
        except PlanRefused as refused:
            if not (isinstance(refused.refusal, Duplicate) and refused.refusal.table == ACQUIRER_PAYOUTS.name):
                raise
            return await self._booked(AcquirerPayout(**row), refused)
        return AcquirerPayout(**row)

    async def _booked(self, wanted: AcquirerPayout, refused: PlanRefused) -> AcquirerPayout:
        found = await self.repository.acquirer_payout(wanted.merchant_id, wanted.channel_account_id, wanted.reference)
        assert found is not None, "its key is taken"
        same = ("currency", "gross_minor", "cost_minor")
        if all(getattr(found, name) == getattr(wanted, name) for name in same):
            return found
        figures = {
            "reference": found.reference,
            "channel_account_id": found.channel_account_id,
            "gross": str(Money(found.gross_minor, found.currency)),
            "cost": str(Money(found.cost_minor, found.currency)),
        }
        raise ACQUIRER_PAYOUT_TAKEN.error(figures) from refused

    def _today(self) -> date:
        return self.clock.now().astimezone(OPERATOR_ZONE).date()
