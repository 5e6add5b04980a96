"""What ends a payment for good: 365 days after its last capture nothing can be refunded any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from platform_core.capabilities.payments import metrics
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.disputes.words import DECIDED
from platform_core.capabilities.payments.draft import Draft
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.windows import FINISH, REFUND_WINDOW
from platform_core.kernel.commit import Due, DueDone, Plan
from platform_core.kernel.commit.due import DueWork

LOOK_AGAIN: Final = timedelta(days=1)
BATCH: Final = 500


class Finishing:
    """Finishes the payments that were last captured on one day: one due row for each merchant and day.

    A row for each payment would cost the paid order a write, and be the largest table of all after a year.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def finish(self, work: DueWork) -> Plan | None:
        """Due (`payments.finish`, subject `<merchant>/<day>`): every captured payment of the day that is at rest.

        Emits `payment.finished`. One with money under way, a refund or an open dispute, waits, and is looked at again
        the next day; so is what a batch left over, at once.
        """
        merchant_id, text = work.subject_id.split("/")
        zone = (await self._desk.facts(merchant_id)).time_zone
        start, end = day_bounds(date.fromisoformat(text), zone)
        repository = self._desk.tools.repository
        waiting, after = 0, ""
        while True:
            found = await repository.captured_between(merchant_id, start, end, after=after, limit=BATCH)
            waiting += await self._finish(merchant_id, found)
            if len(found) < BATCH:
                break
            after = found[-1]
        if waiting:
            return Plan(merchant_id, [Due(FINISH, work.subject_id, self._desk.now + LOOK_AGAIN, work.tries + 1)])
        return Plan(merchant_id, [DueDone(FINISH, work.subject_id)])

    async def _finish(self, merchant_id: str, payment_ids: Sequence[str]) -> int:
        """How many of them must wait."""
        waiting = 0
        for payment_id in payment_ids:
            announced: list[str] = []

            def decide(file: PaymentFile, draft: Draft, announced: list[str] = announced) -> Plan | None:
                announced.clear()
                if file.payment.state != "captured" or not is_over(file, draft.now):
                    return None
                draft.set(state="finished")
                draft.emit("payment.finished")
                announced += draft.announced
                return draft.plan()

            await self._desk.decide(merchant_id, payment_id, decide)
            waiting += not announced
            metrics.count_events(announced)
        return waiting


def is_over(file: PaymentFile, now: datetime) -> bool:
    """Whether the window for refunds is over and nothing is under way."""
    payment = file.payment
    assert payment.captured_at is not None, "captured money has its moment"
    if now <= payment.captured_at + REFUND_WINDOW or payment.refunding_minor:
        return False
    return all(d.state in DECIDED or (d.state == "accepted" and d.is_withdrawn) for d in file.disputes)


def day_bounds(day: date, time_zone: str) -> tuple[datetime, datetime]:
    """A calendar day where the merchant is."""
    zone = ZoneInfo(time_zone)
    return datetime.combine(day, time(), zone), datetime.combine(day + timedelta(days=1), time(), zone)
