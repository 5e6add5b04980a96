"""A plugin is installed, upgraded, rolled back and suspended while orders run at two server processes.

None is lost, none is decided by two versions, and every process hears of every step.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.commit.due import lease_due
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.settings import Settings
from platform_core.plugin_host.installations import Actor
from platform_core.plugin_host.releases import Submission
from platform_core.plugin_host.rollouts import ROLLOUT
from platform_core.plugin_host.schemas import (
    InstallationCreate,
    ReviewWrite,
    SwitchLift,
    SwitchPull,
    UpgradeAct,
)
from tests.support.load import Credentials
from tests.support.processes import Daemon, Tell, free_port, teller
from tests.support.processes_arsenal import environment, open_shops, server
from tests.support.steady_orders import ORDER_MINOR, Order, SteadyOrders
from tests.support.version_teller import OFF_MINOR, PUBLISHER, TELLER, hooks_told, teller_bundle, versions_told

pytestmark = [pytest.mark.api, pytest.mark.database]
CLIENTS: Final = 8
LATE: Final = frozenset({"timeout", "saturated"})
LATE_SHARE_MAX: Final = 0.01
"""Of all orders: a busy machine answers late now and then; a plugin that is asked before it can run would be late for
every order of the moment after a step."""


@dataclass(slots=True)
class Step:
    """A state that orders were decided by, between two moments of time.monotonic()."""

    name: str
    is_now: object
    began: float
    lag_s: float = 0.0


@dataclass(slots=True)
class Shopkeeping:
    """What the operator and two merchants do while orders run."""

    platform: Platform
    folder: Path
    shops: Sequence[Credentials]
    orders: SteadyOrders
    installations: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    async def publish(self, version: str, *, is_wider: bool = False) -> None:
        """Submitted, reviewed by as many as it needs, published."""
        life = self.platform.plugin_life
        assert life.bundles is not None
        unpacked = await life.bundles.unpack(teller_bundle(self.folder, version, is_wider=is_wider))
        await life.deps.parties.ensure_isv(PUBLISHER, name="Arsenal")
        made = await life.releases.submit(Submission(unpacked=unpacked, isv_id=PUBLISHER, by="per_publisher"))
        for number in range(made.reviews_needed):
            review = ReviewWrite(decision="approve", note="Read it.")
            await life.releases.review(made.id, review, reviewer=f"per_reviewer{number}")
        await life.releases.publish(made.id, by="per_publisher", isv_id=PUBLISHER)

    async def install(self) -> None:
        """The newest version, at both merchants."""
        installations = self.platform.plugin_life.installations
        for shop in self.shops:
            made = await installations.install(_owner(shop), InstallationCreate(plugin_id=TELLER))
            await installations.enable(_owner(shop), made.id)
            self.installations[shop.merchant_id] = made.id

    async def upgrade_with_consent(self) -> None:
        """To a version that sees more: refused first, then with what the merchant was shown."""
        upgrades = self.platform.plugin_life.upgrades
        for shop in self.shops:
            id_ = self.installations[shop.merchant_id]
            with pytest.raises(PlatformError) as refused:
                await upgrades.upgrade(_owner(shop), id_, UpgradeAct())
            assert refused.value.code == "plugins.consent_needed"
            seen = await upgrades.preview(shop.merchant_id, id_, version=None)
            await upgrades.upgrade(_owner(shop), id_, UpgradeAct(accepted_difference=seen.digest))

    async def upgrade_by_canary(self, version: str) -> None:
        """The first turn of a rollout to everybody, as a worker takes it."""
        rollouts = self.platform.plugin_life.rollouts
        await rollouts.start(TELLER, version, by="per_operator", percent=100)
        connection = await self.platform.database.connect("job")
        try:
            [work] = await lease_due(connection, kind=ROLLOUT, now=self.platform.clock.now())
        finally:
            await connection.close()
        await self.platform.committer.commit(await rollouts.step(work))

    async def roll_back(self, version: str) -> None:
        """One merchant by itself, the others by the operator."""
        life, first = self.platform.plugin_life, self.shops[0]
        await life.rollouts.halt(TELLER, by="per_operator", reason="a test")
        await life.upgrades.upgrade(
            _owner(first), self.installations[first.merchant_id], UpgradeAct(plugin_version=version)
        )
        await life.upgrades.rollback(_owner(first), self.installations[first.merchant_id])

    async def disable(self) -> None:
        """At both merchants."""
        for shop in self.shops:
            await self.platform.plugin_life.installations.disable(_owner(shop), self.installations[shop.merchant_id])

    async def settled(self, name: str, *, is_now: object) -> None:
        """Wait until both processes decide by the state that the step just made."""
        step = Step(name, is_now, time.monotonic())
        self.steps.append(step)
        step.lag_s = await self.orders.until(self.shops, told=state_of, is_now=is_now, since=step.began)


def state_of(payment: Mapping[str, Any]) -> object:
    """What decided an order: its versions, and where it stands."""
    return payment.get("state"), frozenset(versions_told(payment)), hooks_told(payment)


def decided_by(version: str) -> object:
    """The state of orders that a version decided."""
    return "captured", frozenset({version}), 2


NOBODY: Final = ("captured", frozenset[str](), 0)


def suspended(version: str) -> object:
    """The state of orders whose check is suspended: somebody must look at them."""
    return "in_review", frozenset({version}), 0


def _owner(shop: Credentials) -> Actor:
    return Actor(id="per_owner", merchant_id=shop.merchant_id)


@pytest.fixture
async def servers(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[list[str], dict[str, str]]]:
    """Two `arsenal serve` over one database and one home; their origins, and the settings that they share."""
    ports = [free_port(), free_port()]
    given = environment(
        tmp_path / "home", database_url=database_url, public_origin=f"http://127.0.0.1:{ports[0]}", log_level="warning"
    )
    daemons: list[Daemon] = [server(f"server{n}", tmp_path, port=port, given=given) for n, port in enumerate(ports)]
    try:
        for daemon in daemons:
            await daemon.start()
        yield [f"http://127.0.0.1:{port}" for port in ports], given
    finally:
        for daemon in daemons:
            await daemon.stop()


async def test_orders_go_on_while_a_plugin_changes(
    servers: tuple[list[str], dict[str, str]], database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    origins, given = servers
    settings = Settings(home=Path(given["ARSENAL_HOME"]), public_origin=given["ARSENAL_PUBLIC_ORIGIN"])
    urls = DatabaseUrls(owner=database_url)
    async with open_platform(settings, urls, clock=SystemClock(), is_asking_plugins=False) as platform:
        first, second, witness = await open_shops(platform, count=3, acquirer_url="http://acquirer.invalid")
        orders = SteadyOrders(origins, [first, second, first, second, witness])
        keeping = Shopkeeping(platform, tmp_path, [first, second], orders)
        async with orders.running(clients=CLIENTS):
            await _life_of_a_plugin(keeping)
    _tell(teller(capsys), keeping)
    _check_answers(keeping, witness)
    await _check_rows(database_url, orders.orders)


async def _life_of_a_plugin(keeping: Shopkeeping) -> None:
    """Every step of plugins.md section 9 that a running platform sees, one after another."""
    switches = keeping.platform.plugin_life.switches
    await keeping.settled("nothing installed", is_now=NOBODY)
    await keeping.publish("1.0.0")
    await keeping.install()
    await keeping.settled("installed", is_now=decided_by("1.0.0"))
    await keeping.publish("1.1.0", is_wider=True)
    await keeping.upgrade_with_consent()
    await keeping.settled("upgraded with consent", is_now=decided_by("1.1.0"))
    await keeping.publish("1.2.0", is_wider=True)
    await keeping.upgrade_by_canary("1.2.0")
    await keeping.settled("upgraded by canary", is_now=decided_by("1.2.0"))
    await keeping.roll_back("1.2.0")
    await keeping.settled("rolled back", is_now=decided_by("1.1.0"))
    pulled = await switches.pull(
        SwitchPull(plugin_id=TELLER, mode="stop", rule="isolation.6", reason="It is looked into."), by="per_operator"
    )
    await keeping.settled("suspended", is_now=suspended("1.1.0"))
    for person in ("per_operator", "per_second"):
        await switches.lift(pulled.id, SwitchLift(reason="It was nothing."), by=person)
    await keeping.settled("lifted", is_now=decided_by("1.1.0"))
    await keeping.disable()
    await keeping.settled("disabled", is_now=NOBODY)


def _tell(tell: Tell, keeping: Shopkeeping) -> None:
    orders = keeping.orders.orders
    lags = ", ".join(f"{step.name} {step.lag_s * 1000:.0f}" for step in keeping.steps)
    tell(f"upgrade under load: {len(orders)} orders; last order by the old state, ms after the step: {lags}")
    degraded = Counter(
        (_step_of(keeping.steps, one.began).name, fault["hook"], fault["fault"])
        for one in orders
        for fault in one.answer.get("degraded", ())
    )
    for (step, hook, fault), count in sorted(degraded.items()):
        tell(f"upgrade under load: {count} x {hook} {fault} after {step}")


def _step_of(steps: Sequence[Step], began: float) -> Step:
    return next((step for step in reversed(steps) if step.began <= began), steps[0])


def _check_answers(keeping: Shopkeeping, witness: Credentials) -> None:
    """Each order was answered, and by one state: that of its step or of the one before."""
    orders, steps = keeping.orders.orders, keeping.steps
    assert Counter(one.status for one in orders) == {201: len(orders)}, _strange(orders)
    late = 0
    for one in orders:
        versions, hooks = versions_told(one.answer), hooks_told(one.answer)
        assert len(versions) <= 1, f"{one.number} was decided by {versions}"
        faults = {fault["fault"] for fault in one.answer["degraded"]}
        if one.merchant_id == witness.merchant_id:
            assert state_of(one.answer) == NOBODY, one
            continue
        if faults and faults <= LATE:
            late += 1
            continue
        place = steps.index(_step_of(steps, one.began))
        allowed = {step.is_now for step in steps[max(place - 1, 0) : place + 2]}
        is_cut_off = any(state[0] == "in_review" for state in allowed if isinstance(state, tuple))
        if not (is_cut_off and faults):
            assert state_of(one.answer) in allowed, f"{hooks} hooks: {one}"
    assert late <= LATE_SHARE_MAX * len(orders), f"{late} of {len(orders)} orders had a late plugin"


def _strange(orders: Sequence[Order]) -> list[Order]:
    return [one for one in orders if one.status != 201][:5]


async def _check_rows(database_url: str, orders: Sequence[Order]) -> None:
    """The rows are those that were answered, no more and no less, and the money in them is what plugins left of it."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT out_trade_no, state, payable_minor, captured_minor, discounts, risk, degraded FROM pay_payment"
        )
    finally:
        await connection.close()
    by_number = {row["out_trade_no"]: row for row in rows}
    assert sorted(by_number) == sorted(one.number for one in orders)
    for one in orders:
        row, amounts = by_number[one.number], one.answer["amounts"]
        off = OFF_MINOR if one.answer["discounts"] else 0
        expected = (one.answer["state"], ORDER_MINOR - off, ORDER_MINOR - off if row["state"] == "captured" else 0)
        assert (row["state"], row["payable_minor"], row["captured_minor"]) == expected, one.number
        assert (amounts["payable_minor"], amounts["captured_minor"]) == expected[1:], one.number
