"""Metered limits: a limit is a guarded ledger account, so two processes cannot both spend the last yuan of it.

Per limit and window there is one account `grant_limit/<detail>/<measure>/<period>/<window>` that never goes below
zero, in a unit apart from money. The window's first act opens it in its own plan: the cap moves there from
`limit_source` by a transfer whose id is a hash of the window, so that it happens once. Each act moves its part on to
`limit_used`, pending while the act is, posted and voided with it. Windows run in the merchant's time zone by the
clock of business; a new window is a new account, and nothing is ever reset.

Opening a window and changing a grant both raise the grant's meter (`grant_meter`): whoever decided by what the other
has made stale is refused, and decides anew. So a revoked or lowered limit is exact, whatever a process has cached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from platform_core.contracts.rar import DETAILS_MAX, Limit, Measure, detail_types, say_value
from platform_core.identity import repository_grants
from platform_core.identity.errors import CHANGED_MEANWHILE, LIMIT_EXCEEDED, LIMIT_MISSING, TOKEN_INVALID
from platform_core.identity.limit_windows import (
    LIMIT,
    SOURCE,
    SWEEP,
    USED,
    Known,
    Window,
    WindowsUpkeep,
    account,
    given_up,
    opening,
    windows_of,
)
from platform_core.identity.models import GRANT_METERS, LIMIT_WINDOWS
from platform_core.identity.principal import Principal
from platform_core.identity.rar import Granted, GrantedDetail
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Change, Committer, DueDone, Duplicate, PlanRefused, Refusal, VersionConflict
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.i18n import Text
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import (
    AccountClosed,
    Guard,
    GuardRefused,
    Movement,
    Post,
    Reading,
    Transfer,
    TransferExists,
    Void,
)
from platform_core.ledger.service import LedgerService

TRIES_MAX: Final = DETAILS_MAX + 8
LATE: Final = timedelta(minutes=1)
_NEVER: Final = Text(en="no time: it is for the grant's whole life", zh="不恢复（整个授权期内有效）")
_AT_ONCE: Final = Text(en="the next request", zh="下一次请求")
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="arsenal", error="invalid_token"'}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Share:
    """What one act takes of one window. `id`: of the transfer that moves it."""

    id: str
    unit: str
    bucket: str
    amount: int
    measure: Measure


@dataclass(frozen=True, slots=True)
class Charge:
    """What one act takes of the limits of one detail: parts for its plan, and a record for its document."""

    merchant_id: str
    detail_id: str
    reference: str
    shares: tuple[Share, ...]
    opening: tuple[object, ...]
    readings: tuple[Reading, ...] = ()  # what the plan leaves of each window

    def held(self) -> list[object]:
        """Pending, for an act whose outcome is still to come. Stands first in the plan: a limit refuses first."""
        return [*self.opening, *(self._taken(share, is_pending=True) for share in self.shares), *self.readings]

    def spent(self) -> list[object]:
        """At once, for an act that is done with its plan."""
        return [*self.opening, *(self._taken(share, is_pending=False) for share in self.shares), *self.readings]

    def record(self) -> dict[str, Any]:  # Any: JSON
        """As the document of the act keeps it, for `posted`, `voided` and `given_back`."""
        shares = [
            {"id": s.id, "unit": s.unit, "bucket": s.bucket, "amount": s.amount, "measure": s.measure}
            for s in self.shares
        ]
        return {"detail_id": self.detail_id, "shares": shares}

    def _taken(self, share: Share, *, is_pending: bool) -> Transfer:
        limit = account(self.merchant_id, share.unit, LIMIT, share.bucket)
        used = account(self.merchant_id, share.unit, USED, share.bucket)
        return Transfer(share.id, limit, used, share.amount, "limit_used", self.reference, is_pending=is_pending)


def posted(record: Mapping[str, Any], *, ids: Ids, amount: int | None = None) -> list[Movement]:
    """The held charge is used. `amount`: how much of an amount, where less was done than was asked for; not zero."""
    return [Post(ids.mint("tra"), s["id"], _done(s, amount), "limit_used") for s in record["shares"]]


def voided(record: Mapping[str, Any], *, ids: Ids) -> list[Movement]:
    """The held charge was not used."""
    return [Void(ids.mint("tra"), share["id"], code="limit_freed") for share in record["shares"]]


def given_back(
    record: Mapping[str, Any], *, merchant_id: str, reference: str, amount: int | None = None
) -> list[Movement]:
    """A used charge is undone: it goes back to its own window, once, also when that has ended or was closed."""
    return [
        Transfer(
            f"limit-back:{share['id']}",
            account(merchant_id, share["unit"], USED, share["bucket"]),
            account(merchant_id, share["unit"], LIMIT, share["bucket"]),
            _done(share, amount),
            "limit_given_back",
            reference,
        )
        for share in record["shares"]
    ]


def _done(share: Mapping[str, Any], amount: int | None) -> int:
    whole: int = share["amount"]
    return whole if amount is None or share["measure"] != "amount" else min(whole, amount)


class Meter:
    """One act's way through the details that could cover it. Made by `Limits.spend`, asked by the act."""

    def __init__(self, who: Principal, *, kind: str, action: str, now: datetime, zone: str, ids: Ids) -> None:
        self.who = who
        self.kind = kind
        self.action = action
        self.windows: dict[str, tuple[Window, ...]] = {}  # by detail
        self.closed_to: dict[str, PlatformError] = {}  # details without room, and why
        self.unopened: set[Window] = set()
        self.version = 0  # of the grant's meter, if something is unopened
        self.taken: tuple[tuple[Window, Reading], ...] = ()  # by the charge made last
        self.grant_version = 0
        self._details: Granted = ()
        self._now = now
        self._zone = zone
        self._ids = ids

    def follow(self, details: Granted, *, version: int) -> None:
        """Go by the grant's details as they are in this version."""
        self._details = tuple(granted for granted in details if granted.detail.type == self.kind)
        self.windows = {granted.id: windows_of(granted, now=self._now, zone=self._zone) for granted in self._details}
        self.closed_to.clear()
        self.grant_version = version

    def charge(
        self, *, reference: str, store_id: str | None, currency: str | None, uses: Mapping[Measure, int]
    ) -> Charge:
        """The charge under the first detail that fits and is not known to be full.

        `uses`: how much the act takes of each measure; what the type does not measure is of no account. Raises 403
        `identity.limit_exceeded`, `identity.limit_missing`.
        """
        refused: PlatformError | None = None
        for granted in self._details:
            if not granted.fits(action=self.action, store_id=store_id) or not _has_currency(granted, currency):
                continue
            refused = self.closed_to.get(granted.id) or _over_request(granted, uses, self.kind)
            if refused is None:
                return self._charged(granted, reference, uses)
        raise refused or LIMIT_MISSING.error({"type": self.kind})

    def _charged(self, granted: GrantedDetail, reference: str, uses: Mapping[Measure, int]) -> Charge:
        merchant_id = str(self.who.merchant_id)
        windows = [window for window in self.windows[granted.id] if uses.get(window.limit.measure, 0) > 0]
        shares = tuple(
            Share(self._ids.mint("tra"), w.unit, w.bucket, uses[w.limit.measure], w.limit.measure) for w in windows
        )
        first = [part for w in windows if w in self.unopened for part in opening(w, self.who, now=self._now)]
        if first:
            first.append(Change(GRANT_METERS, str(self.who.grant_id), {}, expected=self.version))
        readings = tuple(Reading(account(merchant_id, w.unit, LIMIT, w.bucket)) for w in windows)
        self.taken = tuple(zip(windows, readings, strict=True))
        return Charge(merchant_id, granted.id, reference, shares, tuple(first), readings)


class Limits:
    """Meters acts and moves limits. One per process; `clock` is that of business."""

    def __init__(
        self, *, database: Database, ledger: LedgerService, committer: Committer, clock: Clock, ids: Ids
    ) -> None:
        self.windows = WindowsUpkeep(database=database, ledger=ledger, committer=committer, clock=clock, ids=ids)
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._ids = ids
        self._opened = Known()

    async def spend(
        self, who: Principal, *, kind: str, action: str, zone: str, act: Callable[[Meter | None], Awaitable[T]]
    ) -> T:
        """Do a metered act. `act` asks the meter for its charge, puts that into its plan and commits the plan.

        It may be called again, after the plan was refused by a limit and before anything was written. An owner's grant
        without limits of this type is not metered: `act(None)`, and no read. Raises 403 `identity.limit_exceeded`,
        `identity.limit_missing`; 401 `identity.token_invalid` when the grant has ended or something was taken away.
        Emits `limit.exhausted` when the act leaves nothing, or is the first to find too little.
        """
        details = tuple(granted for granted in who.details if granted.detail.type == kind)
        if not details:
            if who.grant_kind == "owner":
                return await act(None)
            raise LIMIT_MISSING.error({"type": kind})
        meter = Meter(who, kind=kind, action=action, now=self._clock.now(), zone=zone, ids=self._ids)
        meter.follow(details, version=who.grant_version)
        await self._learn(meter)
        for _ in range(TRIES_MAX):
            try:
                answer = await act(meter)
            except PlanRefused as refused:
                if not await self._heard(meter, refused.refusal):
                    raise
                continue
            await self._settle(meter)
            return answer
        raise CHANGED_MEANWHILE.error({"id": str(who.grant_id)}, retry_after_s=1)

    async def _settle(self, meter: Meter) -> None:
        """What the committed charge tells: its windows are open, and some may have nothing left."""
        for window, reading in meter.taken:
            if reading.left is None:
                continue  # the act found that it was done before, and charged nothing
            self._opened.add(window)
            if reading.left == 0:
                await self.windows.tell_exhausted(window, meter.who, left=0, kind=meter.kind)

    async def _heard(self, meter: Meter, refusal: Refusal) -> bool:
        """Whether the refusal was a limit's; the meter knows then what to do differently."""
        if isinstance(refusal, AccountClosed) and refusal.role == LIMIT:
            await self._learn(meter, is_closed=True)
            return True
        if isinstance(refusal, GuardRefused) and refusal.role == LIMIT:
            window = _named(meter, refusal.account)
            meter.closed_to[window.detail_id] = _exceeded(window, refusal.available, meter.kind)
            if window not in meter.unopened:  # else it has no row yet: the act is beyond the cap of an empty window
                await self.windows.tell_exhausted(window, meter.who, left=refusal.available, kind=meter.kind)
            return True
        is_opened = (isinstance(refusal, Duplicate) and refusal.table == LIMIT_WINDOWS.name) or (
            isinstance(refusal, TransferExists) and refusal.id in {w.opening_id for w in meter.unopened}
        )
        is_passed = isinstance(refusal, VersionConflict) and refusal.table == GRANT_METERS.name
        if is_opened or is_passed:
            await self._learn(meter)
        return is_opened or is_passed

    async def _learn(self, meter: Meter, *, is_closed: bool = False) -> None:
        """Find out which of the meter's windows are still to be opened; reads only if this process does not know.

        A grant that was only widened since the caller was read goes on, by the details it has now. `is_closed`: the
        meter went by a window that is closed, which only a later version explains.
        """
        meter.unopened = set()
        unknown = self._unknown(meter)
        if not unknown and not is_closed:
            return
        who, merchant_id = meter.who, str(meter.who.merchant_id)
        async with self._database.read(
            merchant_id
        ) as connection:  # before the accounts: what moves after it is noticed
            state = await repository_grants.read_meter(connection, str(who.grant_id), merchant_id=merchant_id)
        if state is None or state.state != "active" or who.grant_version < state.grant_floor:
            raise TOKEN_INVALID.error(headers=_CHALLENGE)
        if state.grant_version != meter.grant_version:
            meter.follow(state.details, version=state.grant_version)
            unknown = self._unknown(meter)
        elif is_closed:
            raise TOKEN_INVALID.error(headers=_CHALLENGE)
        keys = [window.key(merchant_id, LIMIT) for window in unknown]
        accounts = await self._ledger.accounts(merchant_id, keys) if keys else {}
        open_ = {w for w in unknown if (a := accounts.get(w.key(merchant_id, LIMIT))) is not None and a.credits_posted}
        for window in open_:
            self._opened.add(window)
        meter.unopened, meter.version = unknown - open_, state.version

    def _unknown(self, meter: Meter) -> set[Window]:
        """Windows of which this process does not know that they are open."""
        return {window for windows in meter.windows.values() for window in windows if window not in self._opened}

    async def change(
        self, merchant_id: str, *, before: Granted, after: Granted, zone: str, is_ending: bool = False
    ) -> list[object]:
        """Parts for the plan that changes a grant, which also raises the meter it was decided by.

        The present window of each limit ends up with its new cap: raising adds the difference, lowering takes back at
        most what is left of it; of a limit that is gone, or whose grant is ending, everything goes back and it closes.
        """
        former = self._present(before, zone)
        kept = {} if is_ending else self._present(after, zone)
        keys = [window.key(merchant_id, role) for window in former.values() for role in (LIMIT, USED)]
        accounts = await self._ledger.accounts(merchant_id, keys) if keys else {}
        parts: list[object] = []
        for place, window in sorted(former.items()):
            limit, used = (accounts.get(window.key(merchant_id, role)) for role in (LIMIT, USED))
            if limit is None or not limit.credits_posted:
                continue  # whoever opens it needs the meter, and with it the grant as this plan leaves it
            if place not in kept:
                parts += self._ended(window, merchant_id, left=limit.available or 0)
                continue
            funded = limit.posted + (used.posted if used is not None else 0)
            parts += self._moved(kept[place], merchant_id, kept[place].limit.value - funded)
        return parts

    def _ended(self, window: Window, merchant_id: str, *, left: int) -> list[object]:
        swept = Change(LIMIT_WINDOWS, window.id, {"swept_at": self._clock.now()})
        ended = given_up(merchant_id, window.unit, window.bucket, amount=left, transfer_id=self._ids.mint("tra"))
        return [*ended, swept, DueDone(SWEEP, window.id)]

    def _present(self, details: Granted, zone: str) -> dict[tuple[str, str], Window]:
        """The windows of this moment, and those of a minute ago: an act decided before midnight may still arrive."""
        now = self._clock.now()
        return {
            (window.unit, window.bucket): window
            for moment in (now - LATE, now)
            for granted in details
            for window in windows_of(granted, now=moment, zone=zone)
        }

    def _moved(self, window: Window, merchant_id: str, difference: int) -> list[object]:
        source = account(merchant_id, window.unit, SOURCE, guard=Guard.FREE)
        limit = account(merchant_id, window.unit, LIMIT, window.bucket)
        id_ = self._ids.mint("tra")
        if difference > 0:
            return [Transfer(id_, source, limit, difference, "limit_raised", window.detail_id)]
        if difference < 0:
            return [Transfer(id_, limit, source, -difference, "limit_lowered", window.detail_id, balancing="debit")]
        return []

    async def left(self, merchant_id: str, details: Granted, *, zone: str) -> dict[str, list[LimitState]]:
        """What is left now of each limit that has windows, by detail."""
        now = self._clock.now()
        windows = {granted.id: windows_of(granted, now=now, zone=zone) for granted in details}
        keys = [window.key(merchant_id, LIMIT) for found in windows.values() for window in found]
        accounts = await self._ledger.accounts(merchant_id, keys) if keys else {}
        states: dict[str, list[LimitState]] = {}
        for detail_id, found in windows.items():
            states[detail_id] = []
            for window in found:
                account = accounts.get(window.key(merchant_id, LIMIT))
                is_open = account is not None and account.credits_posted > 0
                left = (account.available or 0) if account is not None and is_open else window.limit.value
                states[detail_id].append(LimitState(window.limit, left, window.resets_at))
        return states


@dataclass(frozen=True, slots=True)
class LimitState:
    """Where a limit stands in its present window."""

    limit: Limit
    left: int
    resets_at: datetime | None


def _named(meter: Meter, account: str) -> Window:
    """The window whose account refused, by the account's name."""
    for windows in meter.windows.values():
        for window in windows:
            if account.startswith(f"{window.unit}:") and account.endswith(f":{LIMIT}/{window.bucket}"):
                return window
    raise AssertionError(f"no window of the act is called {account}")


def _has_currency(granted: GrantedDetail, currency: str | None) -> bool:
    """Whether the detail's amounts say anything about this currency; one that counts only fits every currency."""
    currencies = {limit.currency for limit in granted.detail.limits} - {None}
    return not currencies or currency in currencies


def _over_request(granted: GrantedDetail, uses: Mapping[Measure, int], kind: str) -> PlatformError | None:
    for limit in granted.detail.limits:
        if limit.per == "request" and uses.get(limit.measure, 0) > limit.value:
            return _refusal(limit, limit.value, kind, resets_at=None, shown=_AT_ONCE)
    return None


def _exceeded(window: Window, left: int, kind: str) -> PlatformError:
    resets_at = None if window.resets_at is None else window.resets_at.isoformat().replace("+00:00", "Z")
    return _refusal(window.limit, left, kind, resets_at=resets_at, shown=resets_at or _NEVER)


def _refusal(limit: Limit, left: int, kind: str, *, resets_at: str | None, shown: object) -> PlatformError:
    counted = detail_types()[kind].counted
    values = {
        "limit": Text(en=limit.say("en", counted), zh=limit.say("zh", counted)),
        "left": Text(en=say_value(limit, left, "en", counted), zh=say_value(limit, left, "zh", counted)),
        "resets_at": shown,
    }
    members = {"limit": limit.model_dump(mode="json", exclude_none=True), "left": left, "resets_at": resets_at}
    return LIMIT_EXCEEDED.error(values, members=members)
