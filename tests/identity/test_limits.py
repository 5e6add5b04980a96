"""Metering against a plain model: random acts of two processes under a limit that is lowered, raised and ended."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from platform_core.contracts.rar import Detail
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import LIMIT_EXCEEDED, TOKEN_INVALID
from platform_core.identity.grants import Giving, Grants
from platform_core.identity.limit_windows import LIMIT, USED, windows_of
from platform_core.identity.limits import Charge, Limits, Meter, given_back, posted, voided
from platform_core.identity.principal import Principal
from platform_core.identity.rar import GrantedDetail, granted_of
from platform_core.identity.schemas import GrantNarrow
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Plan, PlanRefused
from platform_core.kernel.errors import PlatformError
from platform_core.ledger.records import AccountKey
from platform_core.ledger.service import LedgerService
from tests.identity.conftest import Shop, open_shop

ZONE = "Asia/Shanghai"
STEPS = 150


def refund(day: int) -> Detail:
    limits = [
        {"per": "day", "amount_minor": day, "currency": "CNY"},
        {"per": "month", "quantity": 40},
    ]
    return Detail.model_validate({"type": "payment_refund", "limits": limits})


@dataclass
class Window:
    """The plain model: how much was put in, and where it is."""

    funded: int
    pending: int = 0
    used: int = 0

    @property
    def left(self) -> int:
        return self.funded - self.pending - self.used

    def aim(self, cap: int) -> None:
        """A new cap: all of what is added, at most what is left of what is taken away."""
        self.funded = max(cap, self.funded - self.left) if cap < self.funded else cap


@dataclass
class Model:
    caps: dict[str, int]
    windows: dict[tuple[str, str], Window] = field(default_factory=dict)

    def now(self, moment: datetime) -> dict[str, Window]:
        day = moment.astimezone(ZoneInfo(ZONE)).date()
        starts = {"day": day.isoformat(), "month": day.replace(day=1).isoformat()}
        return {per: self.windows.setdefault((per, start), Window(self.caps[per])) for per, start in starts.items()}


@dataclass
class Act:
    charge: Charge
    amount: int
    windows: dict[str, Window]


class History:
    """One merchant's limit, two processes that meter by it, and the model beside them."""

    def __init__(self, deps: IdentityDeps, shop: Shop, clock: ManualClock) -> None:
        self.deps, self.shop, self.clock = deps, shop, clock
        self.ledger = LedgerService(deps.database, ids=deps.ids)
        self.processes = [
            Limits(database=deps.database, ledger=self.ledger, committer=deps.committer, clock=clock, ids=deps.ids)
            for _ in range(2)
        ]
        self.grants = Grants(deps, limits=self.processes[0])
        self.model = Model({"day": 500, "month": 40})
        self.held: list[Act] = []
        self.spent: list[Act] = []
        self.refusals = 0

    async def principal(self) -> Principal:
        grant = await self.grants.active_of(self.shop.app.id, self.shop.merchant.id)
        assert grant is not None
        return Principal(
            kind="app",
            client_id=self.shop.app.client.id,
            app_id=self.shop.app.id,
            merchant_id=self.shop.merchant.id,
            standing="active",
            mode="test",
            scopes=frozenset(grant.scopes),
            stores=None,
            grant_id=grant.id,
            grant_version=grant.version,
            grant_kind=grant.kind,
            details=granted_of(grant.authorization_details),
            token_id="tok",
            key_id="key",
            expires_at=0,
            api_version="2026-11-22",
        )

    async def act(self, limits: Limits, who: Principal, amount: int, *, is_held: bool) -> Charge:
        async def commit(meter: Meter | None) -> Charge:
            assert meter is not None
            charge = meter.charge(reference="x", store_id=None, currency="CNY", uses={"amount": amount, "quantity": 1})
            parts = charge.held() if is_held else charge.spent()
            await self.deps.committer.commit(Plan(self.shop.merchant.id, parts))
            return charge

        return await limits.spend(who, kind="payment_refund", action="create", zone=ZONE, act=commit)

    async def try_act(self, rng: random.Random) -> None:
        amount, is_held = rng.randint(1, 120), rng.random() < 0.6
        windows = self.model.now(self.clock.now())
        fits = windows["day"].left >= amount and windows["month"].left >= 1
        refused: PlatformError | None = None
        try:
            charge = await self.act(rng.choice(self.processes), await self.principal(), amount, is_held=is_held)
        except PlatformError as error:
            refused = error
        if refused is not None:
            assert refused.declared is LIMIT_EXCEEDED
            assert not fits
            first = windows["day"] if windows["day"].left < amount else windows["month"]
            assert refused.members["left"] == first.left
            self.refusals += 1
            return
        assert fits
        for per, taken in (("day", amount), ("month", 1)):
            if is_held:
                windows[per].pending += taken
            else:
                windows[per].used += taken
        (self.held if is_held else self.spent).append(Act(charge, amount, windows))

    async def resolve(self, rng: random.Random) -> None:
        if not self.held:
            return
        act = self.held.pop(rng.randrange(len(self.held)))
        record = act.charge.record()
        done = rng.choice([None, act.amount, rng.randint(1, act.amount)])
        movements = (
            voided(record, ids=self.deps.ids) if done is None else posted(record, ids=self.deps.ids, amount=done)
        )
        await self.deps.committer.commit(Plan(self.shop.merchant.id, list(movements)))
        for per, taken, kept in (("day", act.amount, done or 0), ("month", 1, 0 if done is None else 1)):
            act.windows[per].pending -= taken
            act.windows[per].used += kept
        if done is not None:
            self.spent.append(replace(act, amount=done))

    async def undo(self, rng: random.Random) -> None:
        if not self.spent:
            return
        act = self.spent.pop(rng.randrange(len(self.spent)))
        merchant_id = self.shop.merchant.id
        back = given_back(act.charge.record(), merchant_id=merchant_id, reference="x", amount=act.amount)
        await self.deps.committer.commit(Plan(merchant_id, list(back)))
        for per, taken in (("day", act.amount), ("month", 1)):
            act.windows[per].used -= taken
        with pytest.raises(PlanRefused):  # once
            await self.deps.committer.commit(Plan(merchant_id, list(back)))

    async def change(self, rng: random.Random) -> None:
        cap = rng.randint(50, 900)
        present = self.model.now(self.clock.now())
        who = await self.principal()
        if cap <= self.model.caps["day"]:
            narrowed = GrantNarrow(authorization_details=(refund(cap),))
            await self.grants.narrow(str(who.grant_id), narrowed, merchant_id=self.shop.merchant.id, by="per_owner")
        else:
            await self.give(cap)
        self.model.caps["day"] = cap
        present["day"].aim(cap)

    async def give(self, cap: int, *, detail: Detail | None = None) -> None:
        giving = Giving(
            app_id=self.shop.app.id,
            merchant_id=self.shop.merchant.id,
            mode="test",
            scopes=frozenset({"refunds:write"}),
            stores=None,
            details=(detail or refund(cap),),
            by="per_owner",
            action="replace",
        )
        parts = await self.grants.give(giving)
        await self.deps.committer.commit(Plan(self.shop.merchant.id, list(parts.parts)))

    async def check(self) -> None:
        """Each window that was opened holds what the model says."""
        [granted] = (await self.principal()).details
        for (per, start), window in self.model.windows.items():
            measure, unit = ("amount", "limit:CNY") if per == "day" else ("quantity", "limit:count")
            bucket = f"{granted.id}/{measure}/{per}/{start}"
            keys = {role: AccountKey(unit, self.shop.merchant.id, role, bucket) for role in (LIMIT, USED)}
            found = await self.ledger.accounts(self.shop.merchant.id, list(keys.values()))
            if keys[LIMIT] not in found:
                assert (window.pending, window.used) == (0, 0)
                continue
            account, used = found[keys[LIMIT]], found[keys[USED]]
            assert (account.available, account.debits_pending, used.posted) == (
                window.left,
                window.pending,
                window.used,
            )


@pytest.mark.property
@pytest.mark.database
@pytest.mark.parametrize("seed", range(3))
async def test_random_histories_agree_with_a_plain_model(deps: IdentityDeps, clock: ManualClock, seed: int) -> None:
    rng = random.Random(seed)
    shop = await open_shop(deps, "Metered", frozenset({"refunds:write"}))
    history = History(deps, shop, clock)
    await history.give(500)
    for step in range(STEPS):
        kind = rng.choices(["act", "resolve", "undo", "change", "tomorrow"], weights=[60, 20, 6, 8, 2])[0]
        if kind == "act":
            await history.try_act(rng)
        elif kind == "resolve":
            await history.resolve(rng)
        elif kind == "undo":
            await history.undo(rng)
        elif kind == "change":
            await history.change(rng)
        else:
            clock.advance(timedelta(hours=rng.randint(5, 30)))
        if step % 10 == 0:
            await history.check()
    await history.check()
    assert history.refusals > 5
    assert (await history.ledger.verify(clock.now())).is_clean


@pytest.mark.database
async def test_a23_a_stale_process_opens_no_window_of_a_grant_that_has_changed(
    deps: IdentityDeps, clock: ManualClock
) -> None:
    """The limit is lowered while a process still holds the grant as it was, and midnight passes."""
    shop = await open_shop(deps, "Stale", frozenset({"refunds:write"}))
    history = History(deps, shop, clock)
    await history.give(500)
    stale = await history.principal()
    here, there = history.processes
    await history.act(there, stale, 10, is_held=False)
    lower = GrantNarrow(authorization_details=(refund(20),))
    await history.grants.narrow(str(stale.grant_id), lower, merchant_id=shop.merchant.id, by="per_owner")
    with pytest.raises(PlatformError) as refused:  # its window is open: the ledger knows what is left
        await history.act(there, stale, 11, is_held=False)
    assert refused.value.declared is LIMIT_EXCEEDED
    clock.advance(timedelta(days=1))
    for process in (here, there):
        with pytest.raises(PlatformError) as refused:
            await history.act(process, stale, 1, is_held=False)
        assert refused.value.declared is TOKEN_INVALID
    await history.act(here, await history.principal(), 20, is_held=False)


@pytest.mark.database
async def test_a_stale_process_goes_on_by_the_raised_limit(deps: IdentityDeps, clock: ManualClock) -> None:
    """The limit is raised while a process still holds the grant as it was: no act is refused, no window opens low."""
    shop = await open_shop(deps, "Raised", frozenset({"refunds:write"}))
    history = History(deps, shop, clock)
    await history.give(100)
    stale = await history.principal()
    here, there = history.processes
    await history.act(there, stale, 10, is_held=False)
    await history.give(500)
    await history.act(there, stale, 300, is_held=False)
    clock.advance(timedelta(days=1))
    await history.act(there, stale, 1, is_held=False)
    await history.act(here, await history.principal(), 499, is_held=False)
    with pytest.raises(PlatformError) as refused:
        await history.act(there, stale, 1, is_held=False)
    assert refused.value.declared is LIMIT_EXCEEDED


@pytest.mark.database
async def test_a_stale_process_goes_on_when_a_detail_made_room_for_a_wider_one(
    deps: IdentityDeps, clock: ManualClock
) -> None:
    """The detail was of one action and is of all now: another id, whose windows are others; the old ones are closed."""
    shop = await open_shop(deps, "Wider", frozenset({"refunds:write"}))
    history = History(deps, shop, clock)
    narrow = refund(100).model_copy(update={"actions": ("create",)})
    await history.give(100, detail=narrow)
    stale = await history.principal()
    there = history.processes[1]
    await history.act(there, stale, 10, is_held=False)
    await history.give(500)
    now = await history.principal()
    assert (now.grant_version, now.details[0].id != stale.details[0].id) == (stale.grant_version + 1, True)
    charge = await history.act(there, stale, 300, is_held=False)
    assert charge.detail_id == now.details[0].id


@pytest.mark.database
async def test_a23_a_grant_that_ended_frees_no_room(deps: IdentityDeps, clock: ManualClock) -> None:
    shop = await open_shop(deps, "Ended", frozenset({"refunds:write"}))
    history = History(deps, shop, clock)
    await history.give(500)
    who = await history.principal()
    held = await history.act(history.processes[1], who, 400, is_held=True)
    await history.grants.revoke(str(who.grant_id), merchant_id=shop.merchant.id, by="per_owner", why="test")
    await deps.committer.commit(Plan(shop.merchant.id, list(voided(held.record(), ids=deps.ids))))
    for process in history.processes:
        with pytest.raises(PlatformError) as refused:
            await history.act(process, who, 1, is_held=False)
        assert refused.value.declared is TOKEN_INVALID


@pytest.mark.unit
@pytest.mark.parametrize(
    ("moment", "zone", "per", "start", "resets_at"),
    [
        ("2026-11-22T15:59:59Z", "Asia/Shanghai", "day", "2026-11-22", "2026-11-22T16:00:00Z"),
        ("2026-11-22T16:00:00Z", "Asia/Shanghai", "day", "2026-11-23", "2026-11-23T16:00:00Z"),
        ("2026-11-22T12:00:00Z", "Asia/Shanghai", "week", "2026-11-16", "2026-11-22T16:00:00Z"),
        ("2026-12-31T12:00:00Z", "Asia/Shanghai", "month", "2026-12-01", "2026-12-31T16:00:00Z"),
        ("2026-03-29T00:30:00Z", "Europe/Berlin", "day", "2026-03-29", "2026-03-29T22:00:00Z"),  # 23 hours
        ("2026-10-25T12:00:00Z", "Europe/Berlin", "day", "2026-10-25", "2026-10-25T23:00:00Z"),  # 25 hours
        ("2026-11-22T12:00:00Z", "Asia/Shanghai", "grant", "all", None),
    ],
)
def test_windows_run_where_the_merchant_is(moment: str, zone: str, per: str, start: str, resets_at: str | None) -> None:
    detail = Detail.model_validate({"type": "payment_refund", "limits": [{"per": per, "quantity": 1}]})
    [window] = windows_of(GrantedDetail("det_1", detail), now=datetime.fromisoformat(moment), zone=zone)
    assert window.bucket == f"det_1/quantity/{per}/{start}"
    assert window.resets_at == (None if resets_at is None else datetime.fromisoformat(resets_at))
    assert start == "all" or date.fromisoformat(start)
