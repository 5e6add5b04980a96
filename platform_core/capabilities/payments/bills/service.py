"""Shows published bills: as they were made, byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from platform_core.capabilities.payments.bills.answers import bill_answer
from platform_core.capabilities.payments.bills.archive import inflated
from platform_core.capabilities.payments.bills.calendar import ready_at
from platform_core.capabilities.payments.bills.errors import BILL_ABSENT, BILL_NOT_READY
from platform_core.capabilities.payments.bills.making import BillMaker, frame_of
from platform_core.capabilities.payments.bills.models import Bill
from platform_core.capabilities.payments.bills.repository import BillRepository
from platform_core.capabilities.payments.bills.rows import COLUMNS, decoded
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.service import quoted
from platform_core.kernel.ids import is_id
from platform_core.kernel.pagination import Cursors, Position

RETRY_S: Final = 60
READ_MAX: Final = 31
_MARKS: Final = frozenset({"row_no", "total", "opening", "closing", "sha256"})


class BillService:
    """Bills of one merchant at a time."""

    def __init__(self, desk: Desk, repository: BillRepository, maker: BillMaker, cursors: Cursors) -> None:
        self._desk = desk
        self._repository = repository
        self._maker = maker
        self._cursors = cursors

    async def find(self, merchant_id: str, name: str) -> Bill:
        """A published bill, by its day (`2026-11-22`) or id.

        Raises 404 `payments.bill_not_ready` with the moment when it will be, `payments.bill_absent` for a day that has
        none.
        """
        if is_id("bil", name):
            bill = await self._repository.bill_by_id(merchant_id, name)
            if bill is None or bill.state != "published":
                raise BILL_ABSENT.error({"day": name})
            return bill
        day = _day(name)
        if day is None:
            raise BILL_ABSENT.error({"day": quoted(name)})
        bill = await self._repository.bill(merchant_id, day)
        if bill is not None and bill.state == "published":
            return bill
        ready = ready_at(day, (await self._desk.facts(merchant_id)).time_zone)
        later = int((ready - self._desk.now).total_seconds())
        following = await self._maker.next_day(merchant_id)
        if later <= 0 and (following is None or day < following.day):
            raise BILL_ABSENT.error({"day": day.isoformat()})
        raise BILL_NOT_READY.error(
            {"day": day.isoformat(), "ready_at": ready.isoformat()}, retry_after_s=max(later, RETRY_S)
        )

    async def page(
        self, merchant_id: str, *, first: date | None, last: date | None, limit: int, cursor: str | None
    ) -> dict[str, Any]:
        """Published bills of the days from `first` to `last`, the newest first."""
        bound_to = {"list": "bills", "merchant": merchant_id, "first": str(first), "last": str(last)}
        after = None if cursor is None else self._cursors.read(cursor, bound_to=bound_to)
        before = None if after is None else date.fromisoformat(after.id)
        rows = await self._repository.published(merchant_id, first=first, last=last, before=before, limit=limit + 1)
        page = self._cursors.page(
            rows, limit=limit, bound_to=bound_to, position_of=_position, show=lambda row: bill_answer(row.model_dump())
        )
        return {"data": page.data, "next_cursor": page.next_cursor}

    async def published(self, merchant_id: str, *, limit: int) -> list[Bill]:
        """The newest bills."""
        return await self._repository.published(merchant_id, first=None, last=None, before=None, limit=limit)

    async def all_published(self, *, merchant_id: str | None, day: date | None) -> AsyncIterator[Bill]:
        """For the operator: bills of one merchant, or of all; of one day, or of all; the newest first."""
        merchants = await self._repository.merchants() if merchant_id is None else [merchant_id]
        for each in merchants:
            before: date | None = None
            while page := await self._repository.published(each, first=day, last=day, before=before, limit=READ_MAX):
                for bill in page:
                    yield bill
                before = page[-1].day

    async def problem(self, merchant_id: str, day: date) -> str | None:
        """For the operator: why the bill of a day could not be published; None if nothing is wrong."""
        bill = await self._repository.bill(merchant_id, day)
        return None if bill is None else bill.problem

    async def references_of(self, merchant_id: str, payment_id: str) -> list[str]:
        """What the ledger's transfers of a payment name as their reference."""
        return await self._repository.references_of(merchant_id, payment_id)

    def detail(self, bill: Bill) -> AsyncIterator[bytes]:
        """The detail as CSV, in pieces."""
        return inflated(self._repository.pieces(bill))

    async def archive(self, bill: Bill) -> AsyncIterator[bytes]:
        """The ZIP, in pieces: the same bytes each time."""
        before, behind = frame_of(bill)
        yield before
        async for piece in self._repository.pieces(bill):
            yield piece
        yield behind

    async def lines(self, bill: Bill) -> AsyncIterator[dict[str, str]]:
        """The rows of a bill as the file has them, by column; what a spreadsheet's guard put before a text included."""
        async for text in self.detail(bill):  # each piece is whole records
            for record in decoded(text):
                if record[0] not in _MARKS:
                    yield dict(zip(COLUMNS, record, strict=True))

    async def period(self, merchant_id: str, *, first: date, last: date) -> AsyncIterator[dict[str, str]]:
        """The rows of all published days from `first` to `last`, oldest first; `row_no` begins anew each day."""
        day, one = first, timedelta(days=1)
        while day <= last:
            bill = await self._repository.bill(merchant_id, day)
            if bill is not None and bill.state == "published":
                async for line in self.lines(bill):
                    yield line
            day += one


def _day(name: str) -> date | None:
    try:
        day = date.fromisoformat(name)
    except ValueError:
        return None
    return day if day.isoformat() == name else None


def _position(bill: Bill) -> Position:
    return Position(datetime.combine(bill.day, time.min, UTC), bill.day.isoformat())
