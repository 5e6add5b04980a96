"""T+1: a booking day's money becomes available at 02:00 of the next settlement day, in the merchant's time zone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from platform_core.capabilities.payments import metrics
from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.draft import SETTLE, SETTLE_AT
from platform_core.capabilities.payments.settlement.amendments import Amendment, Amendments, drop
from platform_core.capabilities.payments.settlement.answers import settlement_answer
from platform_core.capabilities.payments.settlement.books import MerchantBooks, key_of
from platform_core.capabilities.payments.settlement.calendar import settled_at
from platform_core.capabilities.payments.settlement.figures import (
    NOTHING,
    DayFigures,
    Deductions,
    day_figures,
    deductions,
)
from platform_core.capabilities.payments.settlement.models import RESERVES, SETTLEMENTS, ReservePlan
from platform_core.capabilities.payments.settlement.repository import SettlementRepository
from platform_core.contracts.payments.settlement import SettlementAmender, SettlementToAmend
from platform_core.kernel.commit import (
    Audit,
    Change,
    Due,
    DueDone,
    Duplicate,
    Event,
    Insert,
    Plan,
    PlanRefused,
    Refusal,
    VersionConflict,
)
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.errors import PlatformError
from platform_core.ledger.accounts import GuardRefused, Transfer, TransferExists
from platform_core.ledger.records import AccountRecord
from platform_core.ledger.service import LedgerService

RELEASE: Final = "payments.reserve"  # due: give back what a settlement kept
LOOK_AGAIN: Final = timedelta(hours=1)
TRIES_MAX: Final = 4
RECEIVERS_MAX: Final = 1_000  # of one plan; the others follow at once
log = structlog.get_logger(__name__)
MOVED_MEANWHILE: Final = (GuardRefused, Duplicate, TransferExists, VersionConflict)


@dataclass(frozen=True, slots=True)
class _Day:
    """One booking day of a merchant in one currency, and the next part of its settlement."""

    work: DueWork
    merchant_id: str
    currency: str
    day: date
    part: int
    books: MerchantBooks
    figures: DayFigures
    """What has changed since the last part."""
    is_held: bool
    receivers: list[AccountRecord]
    available_minor: int
    """Before the day's money."""
    owed_minor: int
    reserve: ReservePlan | None

    @property
    def settlement_id(self) -> str:
        return self.books.reference

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to write: nothing has changed, or what has is still held."""
        moved = self.figures.moved_minor
        return not self.receivers and (self.figures.is_nothing or (moved == 0 and self.is_held))

    def deductions(self) -> Deductions:
        moved = self.figures.moved_minor
        rate = 0 if self.reserve is None else self.reserve.rate_bp
        return deductions(moved=moved, available=self.available_minor + moved, owed=self.owed_minor, rate_bp=rate)


class SettlementService:
    """Moves money from `merchant_pending/<day>` to `merchant_available`, and on to whom a part of it belongs."""

    def __init__(self, desk: Desk, ledger: LedgerService, repository: SettlementRepository) -> None:
        self._desk = desk
        self._ledger = ledger
        self._repository = repository
        self._amendments = Amendments(desk.tools.ids)

    def register(self, amender: SettlementAmender) -> None:
        """Let a capability withhold from settlements, after those registered before it. For bootstrap.

        Raises ValueError for a name that is taken.
        """
        self._amendments.register(amender)

    async def settle(self, work: DueWork) -> Plan | None:
        """Settle one booking day: row 12, in its order, as one plan (due kind `payments.settle`).

        A second run moves what was held for open refunds the first time, else nothing. Writes `pay_settlement`,
        perhaps `pay_reserve`, the transfers, the event `settlement.completed`, and looks again in an hour while money
        is held. On the operator's holidays it waits for the next day that is none.
        """
        merchant_id, currency, text = work.subject_id.split("/")
        day = date.fromisoformat(text)
        zone = (await self._desk.facts(merchant_id)).time_zone
        earliest = settled_at(day, await self._repository.holidays(since=day), zone)
        if self._desk.now < earliest:
            return Plan(merchant_id, [Due(SETTLE, work.subject_id, earliest, work.tries)])
        dropped: dict[str, str] = {}
        for tries_left in reversed(range(TRIES_MAX)):
            case = await self._read(work, merchant_id, currency, day)
            amendments = [] if case.is_idle else await self._ask(case, dropped)
            plan = self._plan(case, amendments, dropped=dropped, zone=zone)
            try:
                await self._desk.tools.committer.commit(plan)
            except PlanRefused as refused:
                self._learn(refused.refusal, amendments, dropped, is_last_but_one=tries_left == 1)
                continue  # a refund took its part, or another worker settled: look again
            except PlatformError:
                raise  # busy, unavailable or in doubt: the due row comes again
            except Exception as error:
                if not amendments:
                    raise
                # The database undid the plan for what it says of a row; ours were settled before without theirs.
                log.warning("settlement.plan_broken", settlement=case.settlement_id, error=type(error).__name__)
                for one in amendments:
                    drop(dropped, one.source, "refused")
                continue
            if not case.is_idle:
                metrics.count_events(("settlement.completed",))
            return None
        return Plan(merchant_id, [Due(SETTLE, work.subject_id, self._desk.now + LOOK_AGAIN, work.tries + 1)])

    def _learn(
        self, refusal: Refusal, amendments: list[Amendment], dropped: dict[str, str], *, is_last_but_one: bool
    ) -> None:
        """Who was refused is left out; on the last try everybody is. Raises what no second look can change."""
        blamed = [one for one in amendments if one.is_to_blame(refusal)]
        if not blamed and amendments and (is_last_but_one or not isinstance(refusal, MOVED_MEANWHILE)):
            blamed = amendments
        for one in blamed:
            drop(dropped, one.source, "refused")
        if not blamed and not isinstance(refusal, MOVED_MEANWHILE):
            raise PlanRefused(refusal)

    async def _read(self, work: DueWork, merchant_id: str, currency: str, day: date) -> _Day:
        ids = self._desk.tools.ids
        books = MerchantBooks(merchant_id, currency, ids.mint("set"), ids)
        # In this order: whoever settles in between is met at the part's number, and nothing is told twice.
        earlier, parts = await self._repository.figures_of_parts(merchant_id, day, currency)
        activity = await self._ledger.activity(merchant_id, key_of(books.pending(day)))
        total = NOTHING if activity is None else day_figures(activity)
        receivers = await self._ledger.accounts_by_last_part(
            merchant_id, role="receiver_pending", unit=currency, last_part=day.isoformat(), limit=RECEIVERS_MAX
        )
        keys = [key_of(books.available), key_of(books.debt)]
        accounts = await self._ledger.accounts(merchant_id, keys)
        available, debt = (accounts.get(key) for key in keys)
        return _Day(
            work=work,
            merchant_id=merchant_id,
            currency=currency,
            day=day,
            part=parts + 1,
            books=books,
            figures=total.since(earlier),
            is_held=total.held_minor > 0 or any(record.debits_pending for record in receivers),
            receivers=[record for record in receivers if record.available],
            available_minor=0 if available is None else available.available or 0,
            owed_minor=0 if debt is None else -debt.posted,
            reserve=await self._repository.reserve_plan(merchant_id, currency, now=self._desk.now),
        )

    async def _ask(self, case: _Day, dropped: dict[str, str]) -> list[Amendment]:
        taken, figures = case.deductions(), case.figures
        shown = SettlementToAmend(
            settlement_id=case.settlement_id,
            merchant_id=case.merchant_id,
            currency=case.currency,
            day=case.day,
            part=case.part,
            gross_minor=figures.gross_minor,
            funded_minor=figures.funded_minor,
            fees_minor=figures.fees_minor,
            splits_minor=figures.splits_minor,
            refunds_minor=figures.refunds_minor,
            disputes_minor=figures.disputes_minor,
            debt_minor=taken.debt_minor,
            reserve_minor=taken.reserve_minor,
            left_minor=taken.left_minor,
        )
        return await self._amendments.ask(shown, case.books, dropped=dropped)

    def _plan(self, case: _Day, amendments: list[Amendment], *, dropped: dict[str, str], zone: str) -> Plan:
        now, subject_id = self._desk.now, case.work.subject_id
        plan = Plan(case.merchant_id)
        if len(case.receivers) == RECEIVERS_MAX:
            plan.add(Due(SETTLE, subject_id, now, case.work.tries + 1))
        elif case.is_held:
            plan.add(Due(SETTLE, subject_id, now + LOOK_AGAIN, case.work.tries + 1))
        else:
            plan.add(DueDone(SETTLE, subject_id))
        if case.is_idle:
            return plan
        taken = case.deductions()
        row = self._row(case, taken, amendments, dropped)
        plan.add(Insert(SETTLEMENTS, row))
        if taken.reserve_minor:
            plan.add(*self._kept(case, taken.reserve_minor, zone))
        moves = self._moves(case, taken)
        plan.add(*moves, *(part for one in amendments for part in one.parts))
        for source, fault in dropped.items():
            facts = {"source": source, "fault": fault}
            plan.add(Audit("settlement.amender_dropped", PLATFORM, case.settlement_id, case.merchant_id, facts))
        _assert_ledger_says(plan, row, case)
        answer = json_text(settlement_answer(_as_read(row, amendments, dropped)))
        return plan.add(
            Event(self._desk.tools.ids.mint("evt"), "settlement.completed", case.settlement_id, 1, now, answer)
        )

    def _moves(self, case: _Day, taken: Deductions) -> list[Transfer]:
        """Row 12, in order."""
        books, named = case.books, f"settlement:{case.work.subject_id}:{case.part}"
        moves = []
        if case.figures.moved_minor:
            moves.append(books.settled(books.pending(case.day), books.available, case.figures.moved_minor, id_=named))
        for record in case.receivers:
            receiver_id, _, _ = record.bucket.rpartition("/")
            available = books.receiver_available(receiver_id)
            id_ = f"{named}:{receiver_id}"
            moves.append(books.settled(record.account(), available, record.available or 0, id_=id_))
        if taken.debt_minor:
            moves.append(books.debt_paid(taken.debt_minor))
        if taken.reserve_minor:
            moves.append(books.reserved(taken.reserve_minor))
        return moves

    def _kept(self, case: _Day, amount: int, zone: str) -> list[object]:
        """The reserve's document, and when it is given back: 02:00 of the day after so many days."""
        assert case.reserve is not None, "a reserve has a plan"
        ids, today = self._desk.tools.ids, self._desk.now.astimezone(ZoneInfo(zone)).date()
        day = today + timedelta(days=case.reserve.held_days)
        release_at = datetime.combine(day, SETTLE_AT, ZoneInfo(zone))
        row = {
            "id": ids.mint("rsv"),
            "merchant_id": case.merchant_id,
            "settlement_id": case.settlement_id,
            "currency": case.currency,
            "amount_minor": amount,
            "released_minor": None,
            "release_at": release_at,
            "released_at": None,
            "version": 1,
        }
        return [Insert(RESERVES, row), Due(RELEASE, str(row["id"]), release_at)]

    def _row(
        self, case: _Day, taken: Deductions, amendments: list[Amendment], dropped: dict[str, str]
    ) -> dict[str, Any]:
        withheld = sum(one.amount_minor for one in amendments)
        moved = case.figures.moved_minor
        told = _told(amendments, dropped)
        return {
            "id": case.settlement_id,
            "merchant_id": case.merchant_id,
            "day": case.day,
            "currency": case.currency,
            "part": case.part,
            **asdict(case.figures),
            "moved_minor": moved,
            "debt_minor": taken.debt_minor,
            "reserve_minor": taken.reserve_minor,
            "withheld_minor": withheld,
            "net_minor": moved - taken.debt_minor - taken.reserve_minor - withheld,
            "receivers_minor": sum(record.available or 0 for record in case.receivers),
            "withholdings": json_text(told["withholdings"]),
            "degraded": json_text(told["degraded"]),
            "settled_at": self._desk.now,
        }

    async def release(self, work: DueWork) -> Plan | None:
        """Give back what a settlement kept, as far as no dispute took it; a debt is paid first (due kind
        `payments.reserve`). Once: a second run finds it released.
        """
        for _ in range(TRIES_MAX):
            reserve = await self._repository.reserve(work.subject_id)
            if reserve is None or reserve.released_at is not None:
                break
            ids = self._desk.tools.ids
            books = MerchantBooks(reserve.merchant_id, reserve.currency, reserve.settlement_id, ids)
            keys = [key_of(books.reserve), key_of(books.available), key_of(books.debt)]
            accounts = await self._ledger.accounts(reserve.merchant_id, keys)
            kept, available, debt = (accounts.get(key) for key in keys)
            amount = min(reserve.amount_minor, 0 if kept is None else kept.available or 0)
            free = amount + (0 if available is None else available.available or 0)
            owed = 0 if debt is None else min(-debt.posted, free)
            values = {"released_minor": amount, "released_at": self._desk.now}
            plan = Plan(reserve.merchant_id, [DueDone(RELEASE, reserve.id)])
            plan.add(Change(RESERVES, reserve.id, values, expected=reserve.version))
            if amount:
                plan.add(books.reserve_released(amount))
            if owed:
                plan.add(books.debt_paid(owed))
            try:
                await self._desk.tools.committer.commit(plan)
            except PlanRefused as refused:
                if not isinstance(refused.refusal, MOVED_MEANWHILE):
                    raise
                continue
            return None
        else:
            return Plan(work.merchant_id, [Due(RELEASE, work.subject_id, self._desk.now + LOOK_AGAIN, work.tries + 1)])
        return Plan(work.merchant_id, [DueDone(RELEASE, work.subject_id)])


def _told(amendments: list[Amendment], dropped: dict[str, str]) -> dict[str, list[dict[str, object]]]:
    return {
        "withholdings": [record for one in amendments for record in one.record()],
        "degraded": [{"source": source, "fault": fault} for source, fault in dropped.items()],
    }


def _as_read(row: dict[str, Any], amendments: list[Amendment], dropped: dict[str, str]) -> dict[str, Any]:
    """The row as it will be read: JSON columns as values."""
    return {**row, **_told(amendments, dropped)}


def _assert_ledger_says(plan: Plan, row: dict[str, Any], case: _Day) -> None:
    """The document's net is what the plan's transfers leave on the merchant's available account."""
    available = case.books.available.key
    transfers = [part for part in plan.parts if isinstance(part, Transfer)]
    net = sum(transfer.amount for transfer in transfers if transfer.credit.key == available)
    net -= sum(transfer.amount for transfer in transfers if transfer.debit.key == available)
    assert net == row["net_minor"], (net, row)
