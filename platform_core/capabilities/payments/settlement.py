"""T+1: a booking day's money becomes available at 02:00 of the day after it, in the merchant's time zone."""

from __future__ import annotations

from datetime import date, timedelta

from platform_core.capabilities.payments.answers import json_text, settlement_answer
from platform_core.capabilities.payments.books import Books
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.draft import SETTLE
from platform_core.capabilities.payments.models import SETTLEMENTS
from platform_core.capabilities.payments.splits.books import MOVES_MAX, day_key, receiver_moves
from platform_core.capabilities.payments.splits.repository import SplitRepository
from platform_core.kernel.commit import Due, DueDone, Duplicate, Event, Insert, Plan, PlanRefused
from platform_core.kernel.commit.due import DueWork
from platform_core.ledger.accounts import GuardRefused, Transfer, TransferExists
from platform_core.ledger.records import AccountKey
from platform_core.ledger.service import LedgerService

LOOK_AGAIN = timedelta(hours=1)
TRIES_MAX = 3


class SettlementService:
    """Moves money from `merchant_pending/<day>` to `merchant_available`."""

    def __init__(self, desk: Desk, ledger: LedgerService, splits: SplitRepository) -> None:
        self._desk = desk
        self._ledger = ledger
        self._splits = splits

    async def settle(self, work: DueWork) -> Plan | None:
        """Settle one booking day. A second run moves what was held for open refunds the first time, else nothing.

        Writes `pay_settlement`, one transfer, those of the receivers who have shares of the day, the event
        `settlement.completed`, and looks again in an hour while money is held.
        """
        merchant_id, currency, text = work.subject_id.split("/")
        day = date.fromisoformat(text)
        for _ in range(TRIES_MAX):
            key = AccountKey(currency, merchant_id, "merchant_pending", day.isoformat())
            account = await self._ledger.account(merchant_id, key)
            free = 0 if account is None else account.available or 0
            held = 0 if account is None else account.debits_pending
            plan = await self._plan(work, merchant_id, currency, day, amount=free, is_held=held > 0)
            moves = await self._receivers(merchant_id, currency, day)
            plan.add(*moves)
            if len(moves) == MOVES_MAX:  # there may be more
                plan.add(Due(SETTLE, work.subject_id, self._desk.now, work.tries))
            try:
                await self._desk.tools.committer.commit(plan)
            except PlanRefused as refused:
                if not isinstance(refused.refusal, GuardRefused | Duplicate | TransferExists):
                    raise
                continue  # a refund took its part, or another worker settled: look again
            return None
        return Plan(merchant_id, [Due(SETTLE, work.subject_id, self._desk.now + LOOK_AGAIN, work.tries + 1)])

    async def _receivers(self, merchant_id: str, currency: str, day: date) -> list[Transfer]:
        """Row 12 of the receivers, whose money moves with the day it came in on."""
        ids = await self._splits.receivers_of_day(merchant_id, day, currency=currency)
        keys = [day_key(merchant_id, currency, receiver_id, day=day) for receiver_id in ids]
        records = await self._ledger.accounts(merchant_id, keys) if keys else {}
        return receiver_moves(
            list(records.values()),
            merchant_id=merchant_id,
            currency=currency,
            settlement=f"{merchant_id}/{currency}/{day.isoformat()}",
            ids=self._desk.tools.ids,
        )

    async def _plan(
        self, work: DueWork, merchant_id: str, currency: str, day: date, *, amount: int, is_held: bool
    ) -> Plan:
        ids, now = self._desk.tools.ids, self._desk.now
        again = Due(SETTLE, work.subject_id, now + LOOK_AGAIN, work.tries + 1)
        plan = Plan(merchant_id, [again if is_held else DueDone(SETTLE, work.subject_id)])
        if amount == 0:
            return plan
        part = 1 + await self._desk.tools.repository.settlement_parts(merchant_id, day, currency)
        settlement_id = ids.mint("set")
        row = {
            "id": settlement_id,
            "merchant_id": merchant_id,
            "day": day,
            "currency": currency,
            "part": part,
            "net_minor": amount,
            "settled_at": now,
        }
        books = Books(merchant_id, currency, "", settlement_id, ids)
        named = f"settlement:{work.subject_id}:{part}"
        return plan.add(
            Insert(SETTLEMENTS, row),
            Transfer(named, books.pending(day), books.available, amount, "settlement", settlement_id),
            Event(ids.mint("evt"), "settlement.completed", settlement_id, 1, now, json_text(settlement_answer(row))),
        )
