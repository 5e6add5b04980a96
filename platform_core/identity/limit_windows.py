"""The windows of metered limits: which there are at a moment, how one opens, what is told and done at its end.

An opened window is a row beside its accounts. The row's version lets one process alone tell that nothing is left
(`limit.exhausted`) and one alone sweep the window, 35 days after its end; a due row written when it opens does that.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import structlog

from platform_core.contracts.rar import Limit, Period
from platform_core.identity import repository_grants
from platform_core.identity.models import LIMIT_WINDOWS
from platform_core.identity.principal import Principal
from platform_core.identity.rar import GrantedDetail
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Change, Committer, Due, DueDone, Event, Insert, Plan, PlanRefused
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Close, Guard, Transfer
from platform_core.ledger.records import AccountKey
from platform_core.ledger.service import LedgerService

SOURCE: Final = "limit_source"
LIMIT: Final = "grant_limit"
USED: Final = "limit_used"
EXHAUSTED: Final = "limit.exhausted"
SWEEP: Final = "identity.limit_sweep"
KEPT: Final = timedelta(days=35)
PUT_OFF: Final = timedelta(days=1)
WINDOWS_KEPT_MAX: Final = 100_000
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Window:
    """One limit over one stretch of time. `resets_at`: when the next window begins; None: never."""

    detail_id: str
    limit: Limit
    start: str
    resets_at: datetime | None

    @property
    def unit(self) -> str:
        """The ledger's unit."""
        return self.limit.key.unit

    @property
    def bucket(self) -> str:
        """The accounts' bucket."""
        return f"{self.detail_id}/{self.limit.measure}/{self.limit.per}/{self.start}"

    @property
    def id(self) -> str:
        """The id of its row and of its events, the same in every process."""
        return f"lim_{self._digest}"

    @property
    def opening_id(self) -> str:
        """The id of the transfer that opens it: there can be one."""
        return f"limit:{self._digest}"

    @property
    def _digest(self) -> str:
        return hashlib.sha256(f"{self.unit}|{self.bucket}".encode()).hexdigest()[:40]

    def key(self, merchant_id: str, role: str) -> AccountKey:
        """The account of one role."""
        return AccountKey(self.unit, merchant_id, role, self.bucket)


def windows_of(granted: GrantedDetail, *, now: datetime, zone: str) -> tuple[Window, ...]:
    """The windows that an act at this moment falls into; limits of a single request have none. `zone`: IANA name."""
    today = now.astimezone(ZoneInfo(zone)).date()
    found = []
    for limit in granted.detail.limits:
        if limit.per == "request":
            continue
        start, end = _stretch(limit.per, today)
        name = "all" if start is None else start.isoformat()
        resets_at = None if end is None else datetime.combine(end, time(), ZoneInfo(zone)).astimezone(UTC)
        found.append(Window(granted.id, limit, name, resets_at))
    return tuple(found)


def _stretch(per: Period, today: date) -> tuple[date | None, date | None]:
    """First day of the window and of the one after it."""
    if per == "day":
        return today, today + timedelta(days=1)
    if per == "week":
        monday = today - timedelta(days=today.weekday())
        return monday, monday + timedelta(days=7)
    if per == "month":
        first = today.replace(day=1)
        return first, (first + timedelta(days=31)).replace(day=1)
    return None, None


def account(merchant_id: str, unit: str, role: str, bucket: str = "", *, guard: Guard = Guard.GE0) -> Account:
    """The account of a role, as transfers name it."""
    return Account(merchant_id, unit, merchant_id, role, bucket, guard)


def opening(window: Window, who: Principal, *, now: datetime) -> list[object]:
    """Parts that open a window with its cap, for the plan of its first act: the transfer, its row, and its sweeping.

    The second opening is refused as `Duplicate` of the row or as `TransferExists`.
    """
    merchant_id = str(who.merchant_id)
    source = account(merchant_id, window.unit, SOURCE, guard=Guard.FREE)
    limit = account(merchant_id, window.unit, LIMIT, window.bucket)
    row = {
        "id": window.id,
        "merchant_id": merchant_id,
        "grant_id": who.grant_id,
        "detail_id": window.detail_id,
        "unit": window.unit,
        "bucket": window.bucket,
        "opened_at": now,
        "resets_at": window.resets_at,
        "exhausted_at": None,
        "swept_at": None,
        "version": 1,
    }
    parts: list[object] = [
        Transfer(window.opening_id, source, limit, window.limit.value, "limit_opened", window.detail_id),
        Insert(LIMIT_WINDOWS, row),
    ]
    if window.resets_at is not None:
        parts.append(Due(SWEEP, window.id, window.resets_at + KEPT))
    return parts


def given_up(merchant_id: str, unit: str, bucket: str, *, amount: int, transfer_id: str) -> list[object]:
    """Parts that end a window: what is left of it, at most `amount`, goes back to where it came from; then it closes.

    A close alone for an amount of nothing. What is pending can still be posted or voided, and what was used given back.
    """
    source = account(merchant_id, unit, SOURCE, guard=Guard.FREE)
    limit = account(merchant_id, unit, LIMIT, bucket)
    if amount <= 0:
        return [Close(limit)]
    back = Transfer(transfer_id, limit, source, amount, "limit_swept", bucket.partition("/")[0], balancing="debit")
    return [back, Close(limit)]


class Known:
    """Windows that this process need not ask about again: the newest 100,000."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, window: Window) -> bool:
        return window.id in self._ids

    def add(self, window: Window) -> None:
        """Remember one more."""
        self._ids[window.id] = None
        if len(self._ids) > WINDOWS_KEPT_MAX:
            self._ids.popitem(last=False)


class WindowsUpkeep:
    """Tells when a window has nothing left, and sweeps ended ones. `clock` is that of business."""

    def __init__(
        self, *, database: Database, ledger: LedgerService, committer: Committer, clock: Clock, ids: Ids
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._committer = committer
        self._clock = clock
        self._ids = ids
        self._told = Known()

    async def tell_exhausted(self, window: Window, who: Principal, *, left: int, kind: str) -> None:
        """Emit `limit.exhausted`, once for a window whatever the number of processes; a plan of its own.

        It never fails the act that found out: what cannot be written now is told by the next refusal.
        """
        if window in self._told:
            return
        now = self._clock.now()
        values = {"exhausted_at": now}
        plan = Plan(str(who.merchant_id), [Change(LIMIT_WINDOWS, window.id, values, expected=1)])
        body = _exhausted(window, who, left=left, kind=kind, now=now)
        try:
            await self._committer.commit(plan.add(Event(self._ids.mint("evt"), EXHAUSTED, window.id, 1, now, body)))
        except PlanRefused:  # told before, by whoever raised the version
            pass
        except PlatformError as error:
            log.warning("identity.limit_not_told", window=window.id, error=error.declared.code)
            return
        self._told.add(window)

    async def sweep(self, work: DueWork) -> Plan:
        """End a window 35 days after it reset (due kind `identity.limit_sweep`). Safe to run twice at once.

        What is left goes back to `limit_source` and the account takes nothing more out; its row, its transfers and the
        grant's versions stay. A window with something pending waits another day. What was used can still be given
        back: a refund may bounce later than that.
        """
        merchant_id = str(work.merchant_id)
        done = DueDone(SWEEP, work.subject_id)
        async with self._database.read(merchant_id) as connection:
            row = await repository_grants.read_window(connection, work.subject_id)
        if row is None or row.swept_at is not None:
            return Plan(merchant_id, [done])
        key = AccountKey(row.unit, merchant_id, LIMIT, row.bucket)
        found = (await self._ledger.accounts(merchant_id, [key]))[key]
        now = self._clock.now()
        if found.debits_pending:
            return Plan(merchant_id, [Due(SWEEP, work.subject_id, now + PUT_OFF)])
        swept = Change(LIMIT_WINDOWS, row.id, {"swept_at": now}, expected=row.version)
        left = found.available or 0
        ended = given_up(merchant_id, row.unit, row.bucket, amount=left, transfer_id=self._ids.mint("tra"))
        return Plan(merchant_id, [swept, *ended, done])


def _exhausted(window: Window, who: Principal, *, left: int, kind: str, now: datetime) -> str:
    """The event's body. `left` is 0, or what was too little for the act that was refused first."""
    body = {
        "id": window.id,
        "grant_id": who.grant_id,
        "app_id": who.app_id,
        "merchant_id": who.merchant_id,
        "type": kind,
        "detail_id": window.detail_id,
        "limit": window.limit.model_dump(mode="json", exclude_none=True),
        "window": window.start,
        "left": left,
        "resets_at": None if window.resets_at is None else _moment(window.resets_at),
        "exhausted_at": _moment(now),
    }
    return msgspec.json.encode(body).decode()


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
