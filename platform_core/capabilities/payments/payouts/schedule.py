"""Payouts by the merchant's schedule: all that is available, on the merchant's calendar."""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo

import structlog

from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.payouts.models import PAYOUT_TERMS, PAYOUTS, Payout, PayoutTerms
from platform_core.capabilities.payments.payouts.sending import Sending
from platform_core.capabilities.payments.payouts.service import PayoutService, Wanted
from platform_core.capabilities.payments.payouts.terms import PAY_OUT, PayoutTermsService
from platform_core.capabilities.payments.settlement.books import MerchantBooks, key_of
from platform_core.kernel.commit import Change, Due, DueDone, Duplicate, Plan, PlanRefused
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.money import AMOUNT_MINOR_MAX, Money
from platform_core.ledger.service import LedgerService

NUMBER: Final = "auto-{day:%Y%m%d}-{currency}"  # no client's number can have a hyphen
log = structlog.get_logger(__name__)


class PayoutSchedule:
    """One due row for each merchant and currency that has a schedule."""

    def __init__(
        self,
        desk: Desk,
        ledger: LedgerService,
        *,
        terms: PayoutTermsService,
        payouts: PayoutService,
        sending: Sending,
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._terms = terms
        self._payouts = payouts
        self._sending = sending

    async def run(self, work: DueWork) -> Plan | None:
        """Pay out what is available, if it reaches the minimum (due kind `payments.payout_schedule`).

        Once a calendar day: the number is the day's, so a second run, or one after a crash, finds it taken. What
        cannot be paid out is told on the terms and waits for the next time.
        """
        merchant_id, currency = work.subject_id.split("/")
        terms = await self._terms.of(merchant_id, currency)
        following = await self._terms.next_at(terms)
        if following is None:
            return Plan(merchant_id, [DueDone(PAY_OUT, work.subject_id)])
        plan = Plan(merchant_id, [Due(PAY_OUT, work.subject_id, following)])
        wanted = await self._wanted(work, terms)
        if wanted is None:
            return plan
        try:
            payout = await self._payouts.begin(wanted)
        except PlanRefused as refused:
            if not (isinstance(refused.refusal, Duplicate) and refused.refusal.table == PAYOUTS.name):
                raise
            return plan
        except PlatformError as error:
            if error.declared.status >= 500:  # the database is busy: the row's lease runs out, and it comes again
                raise
            log.warning("payments.payout_skipped", merchant_id=merchant_id, code=error.declared.code)
            skipped = json_text({"code": error.declared.code, "at": self._desk.now})
            return plan.add(Change(PAYOUT_TERMS, terms.id, {"last_skipped": skipped}))
        await self._desk.tools.committer.commit(plan)
        await self._send(payout)
        return None

    async def _send(self, payout: Payout) -> None:
        if payout.approval == "not_needed":
            await self._sending.send(payout)

    async def _wanted(self, work: DueWork, terms: PayoutTerms) -> Wanted | None:
        """All that is available, at most what one payout may be; None below the minimum."""
        books = MerchantBooks(terms.merchant_id, terms.currency, "", self._desk.tools.ids)
        available = await self._ledger.account(terms.merchant_id, key_of(books.available))
        amount = min(0 if available is None else available.available or 0, AMOUNT_MINOR_MAX)
        if amount < terms.payout_minor_min:
            return None
        zone = ZoneInfo((await self._desk.facts(terms.merchant_id)).time_zone)
        day = work.due_at.astimezone(zone).date()
        number = NUMBER.format(day=day, currency=terms.currency)
        return Wanted(
            merchant_id=terms.merchant_id,
            out_payout_no=number,
            amount=Money(amount, terms.currency),
            note="",
            origin=terms.schedule,
            requested_by=PLATFORM,
            fingerprint=number.encode(),
        )
