"""What is enabled for a merchant: one look into a cache, news at once, and an honest "nobody can say"."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from platform_core.contracts.runtime import OutsideCall, Pending
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host import enablement as module
from platform_core.plugin_host.allow_list import AllowList
from platform_core.plugin_host.enablement import FeedEnablement, split_stop, stop_subject
from platform_core.plugin_host.installed import EnablementUnreadable
from platform_core.plugin_host.schemas import HookPolicyWrite, InstallationUpdate, SwitchLift, SwitchPull
from tests.plugin_host.conftest import RISK, Market
from tests.plugin_host.test_lifecycle import refused
from tests.support.patience import HEARD_S

pytestmark = pytest.mark.database


class Reads:
    """Counts what is asked of the database."""

    def __init__(self, market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = module.repository.read_enabled

        async def counted(*arguments: object, **named: object) -> object:
            self.count += 1
            return await real(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(module.repository, "read_enabled", counted)


async def test_nothing_enabled_costs_one_read_and_then_none(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    merchant = await market.merchant()
    reads = Reads(market, monkeypatch)
    for _ in range(50):
        assert (await market.life.enablement.of(merchant)).plugins == ()
    assert reads.count == 1
    market.clock.advance(timedelta(seconds=0.9))
    await market.feed.poll()
    await market.life.enablement.of(merchant)
    assert reads.count == 1
    for _ in range(31):
        market.clock.advance(timedelta(seconds=1))
        await market.feed.poll()
    await market.life.enablement.of(merchant)
    assert reads.count == 2, "behind the feed it is read again after 30 s"


async def test_news_of_one_merchant_leave_the_others_in_the_cache(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.publish()
    one, other = await market.merchant(), await market.merchant()
    made = await market.enable(one)
    await market.running(one)
    await market.running(other)
    reads = Reads(market, monkeypatch)
    await market.life.installations.disable(market.actor(one), made.id)
    assert await market.running(other) == []
    assert reads.count == 0
    assert await market.running(one) == []
    assert reads.count == 1


async def test_while_nobody_can_say_it_says_so(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    merchant = await market.merchant()

    async def away(*arguments: object, **named: object) -> object:
        raise ConnectionRefusedError

    monkeypatch.setattr(module.repository, "read_enabled", away)
    with pytest.raises(EnablementUnreadable):
        await market.life.enablement.of(merchant)


async def test_a_merchant_who_is_not_there_has_nothing_that_could_be_read(market: Market) -> None:
    with pytest.raises(EnablementUnreadable):
        await market.life.enablement.of("mer_nobody")


async def test_the_tier_follows_from_the_operators_list_and_its_hash(market: Market) -> None:
    release = await market.publish()
    merchant = await market.merchant()
    await market.enable(merchant)

    async def tier(listed: dict[tuple[str, str], str]) -> str:
        enablement = FeedEnablement(
            database=market.deps.database,
            feed=market.feed,
            feed_clock=market.clock,
            allow_list=AllowList(listed),
            locale="en",
        )
        return (await enablement.of(merchant)).plugins[0].release.tier

    assert await tier({}) == "confined"
    assert await tier({(RISK, "1.0.0"): "0" * 64}) == "confined"
    assert await tier({(RISK, "1.0.0"): release.tree_hash}) == "trusted"


async def test_the_merchants_policy_and_dry_runs_reach_dispatch(market: Market) -> None:
    await market.publish()
    merchant = await market.merchant()
    actor, made = market.actor(merchant), await market.enable(merchant)
    wanted = HookPolicyWrite(check_deny_above={"check_payment": 50_000}, amend_discount_max_bp=2_000)
    policy = await market.life.policies.set(actor, wanted, expected=0)
    assert policy.version == 1
    await market.life.installations.update(actor, made.id, InstallationUpdate(is_dry_run=True), expected=2)
    await market.running(merchant)
    found = await market.life.enablement.of(merchant)
    assert dict(found.policy.check_deny_above_minor) == {"check_payment": 50_000}
    assert (found.policy.amend_discount_max_bp, found.plugins[0].is_dry_run) == (2_000, True)
    assert await market.audited(merchant) == ["merchant.created", "plugin_policy.changed"]
    await refused(market, "kernel.precondition_failed", market.life.policies.set(actor, wanted, expected=0))


class Ended:
    """A runtime that is told to end."""

    level = "L2"

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None, str | None]] = []
        self.heard = asyncio.Event()

    def begin(self, call: OutsideCall, /) -> Pending:
        raise AssertionError("nothing is called")

    async def end(self, plugin_id: str, *, version: str | None = None, merchant_id: str | None = None) -> None:
        self.told.append((plugin_id, version, merchant_id))
        self.heard.set()


async def test_a_pulled_switch_ends_the_work_everywhere_and_nobody_asks(market: Market) -> None:
    await market.publish()
    merchant, other = await market.merchant(), await market.merchant()
    await market.enable(merchant)
    await market.enable(other)
    runtime = Ended()
    market.life.stops.add(runtime)
    assert await market.running(merchant) == [(RISK, "1.0.0")]
    pull = SwitchPull(plugin_id=RISK, rule="PLG-007", reason="It leaks.")
    switch = await market.life.switches.pull(pull, by="per_ops")
    assert await market.running(merchant) == await market.running(other) == []
    async with asyncio.timeout(HEARD_S):
        await runtime.heard.wait()
    assert runtime.told == [(RISK, None, None)]
    stopped = await market.life.enablement.of(merchant)
    assert [enabled.release.plugin_id for enabled in stopped.suspended] == [RISK]
    assert await market.row("SELECT state FROM plugin_release") == ("suspended",)
    assert await market.row("SELECT state FROM app") == ("disabled",)
    assert await market.audited(switch.id) == ["plugin_switch.pulled"]
    late = await market.merchant()
    await refused(market, "plugins.suspended", market.install(late))


async def test_two_people_lift_what_one_pulled(market: Market) -> None:
    await market.publish()
    merchant = await market.merchant()
    await market.enable(merchant)
    switch = await market.life.switches.pull(
        SwitchPull(plugin_id=RISK, rule="PLG-007", reason="It leaks."), by="per_ops"
    )
    why = SwitchLift(reason="1.0.0 was rebuilt.")
    proposed = await market.life.switches.lift(switch.id, why, by="per_li")
    assert (proposed.state, proposed.lift_proposed_by) == ("pulled", "per_li")
    assert await market.running(merchant) == []
    lifting = market.life.switches.lift(switch.id, why, by="per_li")
    await refused(market, "plugins.second_person_needed", lifting)
    assert (await market.life.switches.lift(switch.id, why, by="per_wang")).state == "lifted"
    assert await market.running(merchant) == [(RISK, "1.0.0")]
    assert await market.row("SELECT state FROM plugin_release") == ("published",)
    assert await market.row("SELECT state FROM app") == ("active",)
    await refused(market, "plugins.switch_lifted", market.life.switches.lift(switch.id, why, by="per_wang"))
    assert await market.audited(switch.id) == [
        "plugin_switch.pulled",
        "plugin_switch.lift_proposed",
        "plugin_switch.lifted",
    ]


async def test_a_switch_at_one_merchant_leaves_the_others_alone(market: Market) -> None:
    await market.publish()
    merchant, other = await market.merchant(), await market.merchant()
    await market.enable(merchant)
    made = await market.enable(other)
    pull = SwitchPull(plugin_id=RISK, merchant_id=merchant, rule="PLG-007", reason="It was tricked.")
    await market.life.switches.pull(pull, by="per_ops")
    assert await market.running(merchant) == []
    assert await market.running(other) == [(RISK, "1.0.0")]
    assert await market.row("SELECT state FROM plugin_release") == ("published",)
    assert (await market.life.installations.get(other, made.id)).suspension is None


async def test_only_what_provides_something_is_drained(market: Market) -> None:
    await market.publish()
    pull = SwitchPull(plugin_id=RISK, mode="drain", rule="PLG-007", reason="Slowly.")
    await refused(market, "plugins.switch_refused", market.life.switches.pull(pull, by="per_ops"))
    provider = '[[providers]]\nhook = "register_payment_provider"\nid = "wallet"\nmethods = ["describe", "pay"]\n'
    await market.publish(plugin_id="example.acme.pay", hooks="register_payment_provider", more=provider)
    merchant = await market.merchant()
    await market.enable(merchant, "example.acme.pay")
    drain = pull.model_copy(update={"plugin_id": "example.acme.pay"})
    await market.life.switches.pull(drain, by="per_ops")
    assert await market.running(merchant) == [("example.acme.pay", "1.0.0")]
    assert (await market.life.enablement.of(merchant)).draining == frozenset({"example.acme.pay"})


async def test_a_switch_names_what_is_there(market: Market) -> None:
    await market.publish()
    pull = SwitchPull(plugin_id="example.acme.none", rule="PLG-007", reason="-")
    await refused(market, "plugins.not_found", market.life.switches.pull(pull, by="per_ops"))
    pull = SwitchPull(plugin_id=RISK, plugin_version="9.9.9", rule="PLG-007", reason="-")
    await refused(market, "plugins.release_not_found", market.life.switches.pull(pull, by="per_ops"))


async def test_what_was_disabled_can_still_be_told_so(market: Market) -> None:
    await market.publish()
    merchant = await market.merchant()
    made = await market.enable(merchant)
    await market.life.installations.disable(market.actor(merchant), made.id)
    last = await market.life.enablement.last_of(merchant, made.id)
    assert last is not None
    assert last.release.key == (RISK, "1.0.0")


async def test_one_merchants_role_sees_no_others_installation_and_no_draft(market: Market) -> None:
    await market.publish()
    await market.submit(version="2.0.0")
    merchant, other = await market.merchant(), await market.merchant()
    made = await market.enable(merchant)
    with pytest.raises(PlatformError) as caught:
        await market.life.installations.get(other, made.id)
    assert caught.value.code == "plugins.installation_not_found"
    async with market.deps.database.read(other) as connection:
        rows = (await connection.exec_driver_sql("SELECT id FROM plugin_installation")).all()
        releases = (await connection.exec_driver_sql("SELECT version FROM plugin_release")).all()
    assert (rows, releases) == ([], [("1.0.0",)])


@pytest.mark.parametrize("version", [None, "1.0.0"])
@pytest.mark.parametrize("merchant", [None, "mer_1"])
def test_what_a_stop_is_about_comes_back_as_it_was(version: str | None, merchant: str | None) -> None:
    assert split_stop(stop_subject(RISK, version=version, merchant_id=merchant)) == (RISK, version, merchant)
