"""Makes bills: in pieces, each a commit of its own, so that a crash loses one piece and a large day fits in any memory.

A bill is published when its rows explain the balances, and never otherwise.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.bills import metrics
from platform_core.capabilities.payments.bills.answers import DETAIL, MANIFEST, SUMMARY, bill_answer
from platform_core.capabilities.payments.bills.archive import Deflater, Inflater, Member, deflated, framed
from platform_core.capabilities.payments.bills.calendar import BillDay, bill_day, following, ready_at
from platform_core.capabilities.payments.bills.entries import UnknownMovement
from platform_core.capabilities.payments.bills.figures import (
    GroupBalance,
    figures_of,
    group_balances,
    seal,
    summary_kept,
    summary_lines,
    summary_of,
    trailer,
)
from platform_core.capabilities.payments.bills.folding import Key
from platform_core.capabilities.payments.bills.models import BILL_PARTS, BILLS, Bill
from platform_core.capabilities.payments.bills.reading import LedgerReader
from platform_core.capabilities.payments.bills.repository import MAKE, BillRepository, BillSnapshot
from platform_core.capabilities.payments.bills.rows import COLUMNS, BillRow, Summary, cells, encoded
from platform_core.capabilities.payments.desk import Desk, local_day
from platform_core.kernel.commit import (
    Change,
    Due,
    DueDone,
    Duplicate,
    Event,
    Insert,
    Plan,
    PlanRefused,
    VersionConflict,
)
from platform_core.kernel.commit.due import DueWork

log = structlog.get_logger(__name__)

PIECE_TRANSFERS: Final = 20_000
WORK_S: Final = 30.0  # a worker's lease lasts longer than this and the longest piece
LOOK_AGAIN: Final = timedelta(hours=1)
FOUND_MAX: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BillMismatch(ValueError):
    """A bill that would not say the truth: why, for the operator."""


@dataclass(slots=True)
class _Draft:
    """A bill's detail as far as it is written."""

    zone: ZoneInfo
    after: Key | None = None
    number: int = 0  # pieces stored
    rows: int = 0
    size: int = 0
    packed: int = 0
    crc32: int = 0
    summary: Summary = field(default_factory=Summary)
    texts: list[bytes] = field(default_factory=list)  # of the piece that is being written

    @staticmethod
    def of(bill: Bill) -> _Draft:
        """Where an earlier run got to."""
        draft, kept = _Draft(ZoneInfo(bill.time_zone)), bill.progress
        if kept is not None:
            draft.after = (datetime.fromisoformat(kept["after"][0]), kept["after"][1])
            draft.number, draft.rows, draft.size = kept["number"], bill.rows, kept["size"]
            draft.packed, draft.crc32 = kept["packed"], kept["crc32"]
            draft.summary = summary_of(kept["summary"])
        return draft

    def kept(self) -> dict[str, Any]:
        """What another process needs to go on behind the last stored piece."""
        assert self.after is not None, "something was written"
        return {
            "after": [self.after[0].isoformat(), self.after[1]],
            "number": self.number,
            "size": self.size,
            "packed": self.packed,
            "crc32": self.crc32,
            "summary": summary_kept(self.summary),
        }

    def begin(self) -> None:
        """A new piece; the first one has the heading."""
        self.texts = []
        if self.number == 0:
            self.text(encoded([COLUMNS]))

    def write(self, rows: list[BillRow]) -> None:
        """Rows more."""
        if rows:
            lines = [cells(row, self.rows + n, self.zone) for n, row in enumerate(rows, start=1)]
            self.rows += len(rows)
            for row in rows:
                self.summary.add(row)
            self.text(encoded(lines))

    def text(self, content: bytes) -> None:
        """Bytes of the file more."""
        self.crc32 = zlib.crc32(content, self.crc32)
        self.size += len(content)
        self.texts.append(content)

    def piece(self, *, is_last: bool) -> bytes:
        """The piece as it is stored."""
        deflater = Deflater()
        for text in self.texts:
            deflater.add(text)
        piece = deflater.piece(is_last=is_last)
        self.packed += len(piece)
        return piece


class BillMaker:
    """Due work of merchants' days."""

    def __init__(self, desk: Desk, repository: BillRepository) -> None:
        self._desk = desk
        self._repository = repository

    async def find_work(self) -> int:
        """Give merchants whose money has moved a due row for their next bill; returns how many were given one."""
        merchants = await self._repository.without_work(FOUND_MAX)
        for merchant_id in merchants:
            await self._desk.tools.committer.commit(Plan(merchant_id, [Due(MAKE, merchant_id, self._desk.now)]))
        return len(merchants)

    async def make(self, work: DueWork) -> Plan | None:
        """Due: make the merchant's next bill when its time has come; one bill a run, then the next is due."""
        merchant_id = work.subject_id
        day = await self.next_day(merchant_id)
        if day is None:
            return Plan(merchant_id, [DueDone(MAKE, merchant_id)])
        if self._desk.now < day.ready_at:
            return Plan(merchant_id, [Due(MAKE, merchant_id, day.ready_at)])
        if await self.advance(merchant_id, day, tries=work.tries):
            return None
        return Plan(merchant_id, [Due(MAKE, merchant_id, self._desk.now, work.tries)])

    async def next_day(self, merchant_id: str) -> BillDay | None:
        """The first day without a published bill; None while nothing moved and nothing is held since the last one."""
        last = await self._repository.last_published(merchant_id)
        zone = (await self._desk.facts(merchant_id)).time_zone
        if last is not None and _holds(last):
            return following(last.day, zone, behind=last.until)
        behind = None if last is None else last.until
        moved = await self._repository.first_moved(merchant_id, behind or _EPOCH)
        return None if moved is None else bill_day(local_day(moved, zone), zone, behind=behind)

    async def advance(self, merchant_id: str, day: BillDay, *, tries: int = 0, work_s: float | None = WORK_S) -> bool:
        """Go on with a bill for some seconds (None: to the end); False while there is more to do.

        Writes pieces, and in the end the bill, `bill.published` and the next due row in one plan. A bill that does not
        tie is not published: the reason is stored, the metric bill_mismatch counts it, and it is begun anew in an
        hour. Another worker's bill stands.
        """
        try:
            bill = await self._repository.bill(merchant_id, day.day) or await self._begun(merchant_id, day)
            if bill.state == "published":
                return True
            try:
                return await self._written(bill, work_s=work_s)
            except (BillMismatch, UnknownMovement) as mismatch:
                await self._refused(bill, str(mismatch), tries=tries)
                return True
        except PlanRefused as refused:
            if not isinstance(refused.refusal, Duplicate | VersionConflict):
                raise
            return True

    async def _begun(self, merchant_id: str, day: BillDay) -> Bill:
        row: dict[str, Any] = dict.fromkeys(Bill.model_fields) | {
            "id": self._desk.tools.ids.mint("bil"),
            "merchant_id": merchant_id,
            "day": day.day,
            "time_zone": day.time_zone,
            "since": day.since,
            "until": day.until,
            "state": "making",
            "run": 1,
            "rows": 0,
            "version": 1,
            "created_at": self._desk.now,
        }
        await self._desk.tools.committer.commit(Plan(merchant_id, [Insert(BILLS, row)]))
        return Bill(**row)

    async def _written(self, bill: Bill, *, work_s: float | None) -> bool:
        clock = self._desk.tools.clock
        ends = None if work_s is None else clock.monotonic() + work_s
        draft = _Draft.of(bill)
        async with self._repository.snapshot() as snapshot:
            while not await _fill(snapshot, bill, draft):
                part = self._part(bill, draft.number, draft.piece(is_last=False))
                draft.number += 1
                values = {"rows": draft.rows, "progress": json_text(draft.kept())}
                change = Change(BILLS, bill.id, values, expected=bill.version)
                await self._desk.tools.committer.commit(Plan(bill.merchant_id, [part, change]))
                bill = Bill(**{**bill.model_dump(), "version": bill.version + 1})
                if ends is not None and clock.monotonic() >= ends:
                    return False
            balances = await self._proved(snapshot, bill, draft.summary)
        await self._publish(bill, draft, balances)
        return True

    def _part(self, bill: Bill, number: int, piece: bytes) -> Insert:
        row = {
            "id": self._desk.tools.ids.mint("blp"),
            "merchant_id": bill.merchant_id,
            "bill_id": bill.id,
            "run": bill.run,
            "number": number,
            "content": piece,
        }
        return Insert(BILL_PARTS, row)

    async def _proved(self, snapshot: BillSnapshot, bill: Bill, summary: Summary) -> list[GroupBalance]:
        """The balances that the rows explain, and that begin where the last bill's ended. Raises BillMismatch."""
        accounts = await snapshot.balances(bill.merchant_id, since=bill.since, until=bill.until)
        balances = group_balances(accounts, summary)
        faults = [str(balance) for balance in balances if not balance.is_tied]
        last = await self._repository.last_published(bill.merchant_id)
        if last is not None and last.until == bill.since:
            opening = {(each.currency, each.account): each.opening_minor for each in balances}
            for key, closing in closings(last.figures).items():
                if opening.get(key, 0) != closing:
                    faults.append(f"{key[1]} {key[0]} begins at {opening.get(key, 0)}, {last.id} ended at {closing}")
        if faults:
            raise BillMismatch("; ".join(faults))
        return balances

    async def _publish(self, bill: Bill, draft: _Draft, balances: list[GroupBalance]) -> None:
        figures = figures_of(draft.summary, balances)
        draft.text(encoded(trailer(figures)))
        sha = await self._sha_of_stored(bill, draft)
        closing_line = encoded([seal(sha.hexdigest())])
        draft.text(closing_line)
        sha.update(closing_line)
        piece = draft.piece(is_last=True)
        summary = encoded(summary_lines(draft.summary, bill.day))
        values: dict[str, Any] = {
            "state": "published",
            "rows": draft.rows,
            "progress": None,
            "problem": None,
            "figures": figures,
            "detail_bytes": draft.size,
            "detail_packed_bytes": draft.packed,
            "detail_crc32": draft.crc32,
            "detail_sha256": sha.hexdigest(),
            "summary": summary,
            "published_at": self._desk.now,
        }
        values["manifest"] = _manifest({**bill.model_dump(), **values})
        row = {**bill.model_dump(), **values}
        values["archive_bytes"], values["archive_sha256"] = await self._archive_of(Bill(**row), piece)
        await self._commit_published(bill, values, self._part(bill, draft.number, piece))

    async def _commit_published(self, bill: Bill, values: dict[str, Any], part: Insert) -> None:
        now, answer = self._desk.now, json_text(bill_answer({**bill.model_dump(), **values}))
        written = {**values, "figures": json_text(values["figures"])}
        plan = Plan(
            bill.merchant_id,
            [
                part,
                Change(BILLS, bill.id, written, expected=bill.version),
                Event(self._desk.tools.ids.mint("evt"), "bill.published", bill.id, 1, now, answer),
                Due(MAKE, bill.merchant_id, ready_at(local_day(bill.until, bill.time_zone), bill.time_zone)),
            ],
        )
        await self._desk.tools.committer.commit(plan)
        metrics.PUBLISHED.add(1)

    async def _sha_of_stored(self, bill: Bill, draft: _Draft) -> Any:  # Any: hashlib's object
        """SHA-256 of the detail so far: of the pieces that are stored, then of what is in memory."""
        sha = hashlib.sha256()
        if draft.number:
            inflater = Inflater()
            async for piece in self._repository.pieces(bill):
                sha.update(inflater.text_of(piece))
        for text in draft.texts:
            sha.update(text)
        return sha

    async def _archive_of(self, bill: Bill, last_piece: bytes) -> tuple[int, str]:
        """Size and SHA-256 of the ZIP."""
        before, behind = frame_of(bill)
        sha, size = hashlib.sha256(before), len(before)
        async for piece in self._repository.pieces(bill):
            sha.update(piece)
            size += len(piece)
        sha.update(last_piece)
        sha.update(behind)
        return size + len(last_piece) + len(behind), sha.hexdigest()

    async def _refused(self, bill: Bill, problem: str, *, tries: int) -> None:
        """Leave the bill unpublished, say why, and begin anew later."""
        metrics.MISMATCH.add(1)
        log.error("bill.mismatch", merchant=bill.merchant_id, day=bill.day.isoformat(), problem=problem)
        current = await self._repository.bill_by_id(bill.merchant_id, bill.id)
        assert current is not None, "bills are never taken away"
        values = {"problem": problem, "run": current.run + 1, "rows": 0, "progress": None}
        again = Due(MAKE, bill.merchant_id, self._desk.now + LOOK_AGAIN, tries + 1)
        change = Change(BILLS, bill.id, values, expected=current.version)
        await self._desk.tools.committer.commit(Plan(bill.merchant_id, [change, again]))


async def _fill(snapshot: BillSnapshot, bill: Bill, draft: _Draft) -> bool:
    """Write the next piece; True when it is the last. Behind it `draft.after` says where the next one begins."""
    draft.begin()
    reader = LedgerReader(snapshot, bill.merchant_id, since=bill.since, until=bill.until, after=draft.after)
    while not reader.is_over:
        draft.write(await reader.rows())
        if not reader.is_over and reader.transfers >= PIECE_TRANSFERS and reader.rests_at is not None:
            draft.after = reader.rests_at
            return False
    return True


def frame_of(bill: Bill) -> tuple[bytes, bytes]:
    """What stands in the ZIP before and behind the detail's pieces."""
    assert bill.summary is not None, "published"
    assert bill.manifest is not None, "published"
    assert bill.detail_crc32 is not None, "published"
    assert bill.detail_bytes is not None, "published"
    assert bill.detail_packed_bytes is not None, "published"
    detail = Member(DETAIL, bill.detail_crc32, bill.detail_bytes, bill.detail_packed_bytes)
    others = []
    for name, content in ((SUMMARY, bytes(bill.summary)), (MANIFEST, bytes(bill.manifest))):
        packed = deflated(content)
        others.append((Member.whole(name, content, packed), packed))
    return framed(detail, others, day=bill.day)


def closings(figures: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    """What each group of accounts held at the end, by currency and group."""
    return {
        (each["currency"], balance["account"]): balance["closing_minor"]
        for each in figures
        for balance in each["balances"]
    }


def _holds(bill: Bill) -> bool:
    """Whether anything was left in the merchant's accounts."""
    return any(closings(bill.figures).values())


def _manifest(row: dict[str, Any]) -> bytes:
    files = [
        {"name": DETAIL, "size_bytes": row["detail_bytes"], "sha256": row["detail_sha256"]},
        {"name": SUMMARY, "size_bytes": len(row["summary"]), "sha256": hashlib.sha256(row["summary"]).hexdigest()},
    ]
    names = ("id", "merchant_id", "day", "time_zone", "since", "until", "rows", "published_at")
    told = {**{name: row[name] for name in names}, "currencies": row["figures"], "files": files}
    return json_text(told).encode()
