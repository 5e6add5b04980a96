"""Problems of plugins that people should see, kept as rows: opened once, counted while they go on, bounded.

A problem is told to this process at once and written with the next flush, so that telling never waits and never fails.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec
import structlog
from sqlalchemy import or_, select, tuple_

from platform_core.contracts.plugin import Severity
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Audit, Change, Committer, Insert, Plan, PlanRefused
from platform_core.kernel.database.pools import Database, is_away
from platform_core.kernel.database.retention import Kept
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.i18n import Text
from platform_core.kernel.ids import Ids
from platform_core.kernel.pagination import Position
from platform_core.plugin_host.gate_errors import PROBLEM_NOT_FOUND, REPORTS_EXCEEDED
from platform_core.plugin_host.models_gate import PLUGIN_PROBLEMS, PluginProblem

log = structlog.get_logger(__name__)

SAME_FOR: Final = timedelta(minutes=60)
"""How long after it was last met a problem is the same one."""
OPEN_MAX: Final = 100
REPORTS_PER_MINUTE_MAX: Final = 10
PENDING_MAX: Final = 1_000
FLUSH_S: Final = 1.0
KEPT: Final = (Kept("plugin_problem", "last_at", timedelta(days=90)),)
"""For `kernel.database.retention.take_away`, by the clock of business."""
State = Literal["open", "acknowledged", "resolved"]
REPORTED: Final = "reported"
_problems: Final = PLUGIN_PROBLEMS.table
_SLOTS: Final = "SELECT slot, id, count, version, last_at FROM plugin_problem WHERE slot = ANY(:slots)"
_OPEN: Final = (
    "SELECT plugin_id, coalesce(merchant_id, ''), count(*) FROM plugin_problem "
    "WHERE state <> 'resolved' AND plugin_id = ANY(:plugin_ids) GROUP BY 1, 2"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something wrong, as the host tells it. Nothing secret or personal in its texts."""

    plugin_id: str
    plugin_version: str
    merchant_id: str | None
    """None: it concerns the version, whoever uses it."""
    kind: str
    key: str
    """What tells it from other problems of its kind."""
    severity: Severity
    message: Text | str
    """A plain text is a plugin's own, in whatever language."""
    hint: Text | str
    hook: str | None = None
    docs: str = ""
    call_id: str | None = None

    @property
    def slot(self) -> str:
        """The same for what counts as the same problem."""
        named = "\x1f".join((self.plugin_id, self.merchant_id or "", self.kind, self.key))
        return hashlib.sha256(named.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """Something wrong, as the plugin itself tells it (`ctx.problems.report`)."""

    plugin_id: str
    plugin_version: str
    merchant_id: str
    hook: str
    key: str
    message: str
    hint: str
    severity: Severity
    call_id: str


@dataclass(frozen=True, slots=True)
class _Standing:
    id: str
    count: int
    version: int
    last_at: datetime


class ProblemBook:
    """One per process. `clock` is that of business."""

    def __init__(self, *, database: Database, committer: Committer, clock: Clock, ids: Ids) -> None:
        self._database = database
        self._committer = committer
        self._clock = clock
        self._ids = ids
        self._pending: dict[str, tuple[Noted, int]] = {}
        self._minute = 0
        self._reports: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    def reported(self, report: Reported) -> None:
        """Take a plugin's own report. Raises 429 `plugin.reports_exceeded` beyond 10 a minute of one plugin."""
        minute = int(self._clock.now().timestamp()) // 60
        if minute != self._minute:
            self._minute = minute
            self._reports.clear()
        if self._reports[report.plugin_id] >= REPORTS_PER_MINUTE_MAX:
            raise REPORTS_EXCEEDED.error({"max": REPORTS_PER_MINUTE_MAX}, retry_after_s=60)
        self._reports[report.plugin_id] += 1
        self.note(
            Noted(
                plugin_id=report.plugin_id,
                plugin_version=report.plugin_version,
                merchant_id=report.merchant_id,
                kind=REPORTED,
                key=report.key,
                severity=report.severity,
                message=report.message,
                hint=report.hint,
                hook=report.hook,
                call_id=report.call_id,
            )
        )

    def note(self, noted: Noted) -> None:
        """Open a problem, or count the one that is the same. Never waits, never fails."""
        slot = noted.slot
        before = self._pending.get(slot)
        if before is None and len(self._pending) >= PENDING_MAX:
            log.warning("plugin.problem_not_kept", plugin=noted.plugin_id, kind=noted.kind, why="too many at once")
            return
        self._pending[slot] = (noted, 1 + (before[1] if before is not None else 0))
        self._wake.set()

    async def start(self) -> None:
        """Write in the background."""
        self._task = asyncio.create_task(self._run(), name="plugin_host.problem_book")

    async def stop(self) -> None:
        """Write what is pending, and end. The committer is stopped later."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
        await self.flush()

    async def flush(self) -> None:
        """Write what is pending now; what cannot be written is kept for the next time."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            standing = await self._standing(list(pending))
            room = await self._room({noted.plugin_id for noted, _ in pending.values()})
        except Exception as error:  # a driver's, which says that the database is away
            self._put_back(pending)
            if not is_away(error):
                raise
            return
        for slot, (noted, count) in pending.items():
            if not await self._write(noted, count, standing.get(slot), room):
                self._put_back({slot: (noted, count)})

    async def _run(self) -> None:
        while not self._is_stopping:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
            except Exception:  # the book outlives one failed flush
                log.exception("plugin.problems_not_written")
            if not self._is_stopping:
                await asyncio.sleep(FLUSH_S)
                if self._pending:
                    self._wake.set()

    def _put_back(self, pending: dict[str, tuple[Noted, int]]) -> None:
        for slot, (noted, count) in pending.items():
            later = self._pending.get(slot)
            self._pending[slot] = (noted, count) if later is None else (later[0], later[1] + count)

    async def _standing(self, slots: Sequence[str]) -> dict[str, _Standing]:
        rows = await self._database.singles("job").rows(_SLOTS, {"slots": list(slots)})
        return {row[0]: _Standing(row[1], row[2], row[3], row[4]) for row in rows}

    async def _room(self, plugin_ids: set[str]) -> Counter[tuple[str, str]]:
        rows = await self._database.singles("job").rows(_OPEN, {"plugin_ids": sorted(plugin_ids)})
        return Counter({(row[0], row[1]): row[2] for row in rows})

    async def _write(
        self, noted: Noted, count: int, standing: _Standing | None, open_: Counter[tuple[str, str]]
    ) -> bool:
        """Whether it is done with; False: somebody else was faster, and it is decided anew."""
        now, place = self._clock.now(), (noted.plugin_id, noted.merchant_id or "")
        if standing is not None and standing.last_at < now - SAME_FOR:
            if not await self._commit(noted, Change(PLUGIN_PROBLEMS, standing.id, {"slot": None}, standing.version)):
                return False
            standing = None
        if standing is not None:
            values = {"count": standing.count + count, "last_at": max(now, standing.last_at), "call_id": noted.call_id}
            return await self._commit(noted, Change(PLUGIN_PROBLEMS, standing.id, values, standing.version))
        if open_[place] >= OPEN_MAX:
            log.warning("plugin.problem_not_kept", plugin=noted.plugin_id, kind=noted.kind, why="too many are open")
            return True
        open_[place] += 1
        return await self._commit(noted, Insert(PLUGIN_PROBLEMS, self._row(noted, count, now)))

    async def _commit(self, noted: Noted, part: object) -> bool:
        try:
            await self._committer.commit(Plan(noted.merchant_id, [part]))
        except (PlanRefused, PlatformError) as error:
            log.info("plugin.problem_put_off", plugin=noted.plugin_id, error=str(error))
            return False
        return True

    def _row(self, noted: Noted, count: int, now: datetime) -> dict[str, Any]:
        return {
            "id": self._ids.mint("prb"),
            "plugin_id": noted.plugin_id,
            "plugin_version": noted.plugin_version,
            "merchant_id": noted.merchant_id,
            "hook": noted.hook,
            "kind": noted.kind,
            "severity": noted.severity,
            "key": noted.key,
            "slot": noted.slot,
            "count": count,
            "message": _words(noted.message),
            "hint": _words(noted.hint),
            "docs": noted.docs,
            "call_id": noted.call_id,
            "state": "open",
            "version": 1,
            "first_at": now,
            "last_at": now,
        }

    async def of_merchant(
        self, merchant_id: str, plugin_ids: Sequence[str], *, after: Position | None, limit: int
    ) -> list[PluginProblem]:
        """What a merchant sees: its own problems, and those of versions of plugins that it has installed."""
        mine = _problems.c.merchant_id == merchant_id
        shared = _problems.c.merchant_id.is_(None) & _problems.c.plugin_id.in_(plugin_ids)
        return await self._page(or_(mine, shared), after=after, limit=limit)

    async def of_plugins(self, plugin_ids: Sequence[str], *, after: Position | None, limit: int) -> list[PluginProblem]:
        """What publisher or operator see of these plugins, the last met first. Whose they are, the caller knows."""
        return await self._page(_problems.c.plugin_id.in_(plugin_ids), after=after, limit=limit)

    async def _page(self, condition: Any, *, after: Position | None, limit: int) -> list[PluginProblem]:  # Any: SQL
        query = select(_problems).where(condition)
        if after is not None:
            query = query.where(tuple_(_problems.c.last_at, _problems.c.id) < (after.created_at, after.id))
        query = query.order_by(_problems.c.last_at.desc(), _problems.c.id.desc()).limit(limit)
        async with self._database.read_all() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [PluginProblem(**row) for row in rows]

    async def acknowledge(self, problem_id: str, *, by: str, merchant_id: str | None) -> None:
        """Somebody looks after it. `merchant_id`: for whom they act. Raises 404 `plugin.problem_not_found`."""
        told = Audit("plugin_problem.acknowledged", by, problem_id, merchant_id)
        await self._move(problem_id, {"state": "acknowledged"}, told)

    async def resolve(self, problem_id: str, *, by: str, merchant_id: str | None) -> None:
        """It is over; met again it is a new one. Raises 404 `plugin.problem_not_found`."""
        told = Audit("plugin_problem.resolved", by, problem_id, merchant_id)
        await self._move(problem_id, {"state": "resolved", "slot": None}, told)

    async def _move(self, problem_id: str, values: dict[str, Any], told: Audit) -> None:
        query = select(_problems).where(_problems.c.id == problem_id, _problems.c.state != "resolved")
        async with self._database.read_all() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None or row.merchant_id != told.merchant_id:
            raise PROBLEM_NOT_FOUND.error()
        told = replace(told, facts={"plugin": row.plugin_id, "kind": row.kind, "key": row.key})
        try:
            await self._committer.commit(
                Plan(row.merchant_id, [Change(PLUGIN_PROBLEMS, problem_id, values, row.version), told])
            )
        except PlanRefused:  # it was met again in this moment
            await self._move(problem_id, values, told)


def _words(text: Text | str) -> str:
    words = {"en": text, "zh": text} if isinstance(text, str) else {"en": text.en, "zh": text.zh}
    return msgspec.json.encode(words).decode()
