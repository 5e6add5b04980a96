"""Events on their way to plugins: one delivery each, in sequence, with the plugins' schedule and a visible end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from platform_core.delivery import outbox_admin
from platform_core.delivery.assembly import Delivery
from platform_core.delivery.plugins.purge import purge
from platform_core.delivery.plugins.queue import UNDER_WAY_MAX
from platform_core.delivery.schedule import PLUGIN_DELAYS_S
from platform_core.kernel.commit import Audit, Event
from platform_core.plugin_host.events import hooks_by_event
from platform_core.plugin_host.telling import Telling, Told, plugin_change_of
from tests.delivery.conftest import Broker, World
from tests.support.patience import HEARD_S

pytestmark = pytest.mark.database

HOOKS = hooks_by_event({"on_payment_captured": "on", "on_plugin_changed": "on", "check_payment": "check"})
DONE = Told(outcome="done", version="1.0.0")


@dataclass
class Plugins:
    """A dispatcher that answers as it is told, and remembers what it was asked."""

    world: World
    answers: list[Told] = field(default_factory=list)
    told: list[Telling] = field(default_factory=list)
    error: Exception | None = None

    async def tell(self, telling: Telling) -> Told:
        self.told.append(telling)
        if self.error is not None:
            raise self.error
        return self.answers.pop(0) if self.answers else DONE

    @property
    def sequences(self) -> list[int]:
        return [telling.sequence for telling in self.told]


async def installed(
    world: World, merchant_id: str, *, plugin: str = "example.acme.crm", hooks: str = "on_payment_captured"
) -> str:
    """A plugin that is enabled at a merchant."""
    now, owner = world.clock.now(), world.owner
    await owner.execute(
        "INSERT INTO plugin VALUES ($1, $2, 'isv_1', 1, 1, $3) ON CONFLICT DO NOTHING", plugin, f"app_{plugin}", now
    )
    await owner.execute(
        "INSERT INTO plugin_release (id, plugin_id, app_id, isv_id, version, state, manifest, hooks, tree_hash, "
        "bundle_hash, is_from_host, change_log, test_account, checks, difference, round, reviews_needed, row_version, "
        "created_at) VALUES ($1, $2, $2, 'isv_1', '1.0.0', 'published', '{}', $3, '', '', false, '', '', '[]', '{}', "
        "1, 0, 1, $4) ON CONFLICT DO NOTHING", f"prl_{plugin}", plugin, hooks, now,
    )  # fmt: skip
    id_ = world.ids.mint("pin")
    await owner.execute(
        "INSERT INTO plugin_installation (id, merchant_id, plugin_id, app_id, release_id, version, state, "
        "config_revision, is_dry_run, last_change, row_version, created_at, updated_at) "
        "VALUES ($1, $2, $3, $3, $4, '1.0.0', 'enabled', 0, false, 'enabled', 1, $5, $5)",
        id_, merchant_id, plugin, f"prl_{plugin}", now,
    )  # fmt: skip
    return id_


async def carry(world: World, delivery: Delivery, broker: Broker) -> int:
    """Relay, wake, work; how many rows were woken."""
    while await delivery.relay.relay_once():
        pass
    woken = await delivery.dispatcher.turn()
    await broker.carry(delivery)
    return woken


async def states(world: World) -> list[tuple[Any, ...]]:
    rows = await world.owner.fetch("SELECT state, tries, last_fault FROM plugin_delivery ORDER BY sequence, id")
    return [tuple(row) for row in rows]


async def test_each_enabled_plugin_that_listens_is_told_once(world: World, broker: Broker) -> None:
    merchant, other = await world.merchant(), await world.merchant()
    plugins = Plugins(world)
    installation = await installed(world, merchant)
    second = await installed(world, merchant, plugin="example.acme.mail")
    await installed(world, merchant, plugin="example.acme.deaf", hooks="check_payment")
    disabled = await installed(world, other)
    await world.owner.execute("UPDATE plugin_installation SET state = 'disabled' WHERE id = $1", disabled)
    event = await world.emit(merchant)
    await world.emit(other)
    await world.emit(merchant, type_="payment.created")
    async with world.worker(broker.publish, teller=plugins, plugin_hooks=HOOKS) as delivery:
        assert await carry(world, delivery, broker) == 2
        broker.messages *= 3
        await broker.carry(delivery)
    assert {told.installation_id for told in plugins.told} == {installation, second}
    assert len(plugins.told) == 2
    told = plugins.told[0]
    assert (told.event_id, told.hook, told.merchant_id) == (event, "on_payment_captured", merchant)
    assert (told.object_id, told.sequence, told.body) == ("pay_1", 1, '{"id":"pay_1"}')
    assert await states(world) == [("done", 1, None)] * 2


async def test_relayed_twice_it_is_laid_out_once(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    await installed(world, merchant)
    await world.emit(merchant)
    async with world.worker(broker.publish, teller=Plugins(world), plugin_hooks=HOOKS) as delivery:
        await delivery.relay.relay_once()
        await world.owner.execute("UPDATE outbox SET relayed_at = NULL")
        await delivery.relay.relay_once()
    assert await world.owner.fetchval("SELECT count(*) FROM plugin_delivery") == 1


async def test_a_plugin_that_fails_is_tried_by_its_schedule_then_dead_then_told_again(
    world: World, broker: Broker
) -> None:
    merchant = await world.merchant()
    await installed(world, merchant)
    fault = Told(outcome="retry", version="1.0.0", fault="timeout")
    plugins = Plugins(world, answers=[fault] * len(PLUGIN_DELAYS_S))
    await world.emit(merchant)
    async with world.worker(broker.publish, teller=plugins, plugin_hooks=HOOKS) as delivery:
        for delay_s in PLUGIN_DELAYS_S:
            if delay_s:
                world.clock.advance(timedelta(seconds=delay_s - 1))
                assert await carry(world, delivery, broker) == 0
                world.clock.advance(timedelta(seconds=1))
            assert await carry(world, delivery, broker) == 1
        world.clock.advance(timedelta(days=2))
        assert await carry(world, delivery, broker) == 0
        assert await states(world) == [("dead", 9, "timeout")]
        [dead] = await outbox_admin.list_dead(world.database)
        assert (dead.kind, dead.receiver, dead.last_error) == ("plugin", "example.acme.crm", "timeout")
        assert (await outbox_admin.read_state(world.database, world.clock)).plugins.dead == 1
        assert await outbox_admin.resend(world.database, world.committer, work_id=dead.id, clock=world.clock)
        assert not await outbox_admin.resend(world.database, world.committer, work_id=dead.id, clock=world.clock)
        assert await world.audited() == [("plugin_delivery.resent", "platform", dead.id, None, merchant)]
        assert await carry(world, delivery, broker) == 1
    assert await states(world) == [("done", 1, None)]
    assert len({told.event_id for told in plugins.told}) == 1


async def test_the_plugin_says_when_to_come_again(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    await installed(world, merchant)
    plugins = Plugins(world, answers=[Told(outcome="retry", after_s=900, fault="the CRM is closed")])
    await world.emit(merchant)
    async with world.worker(broker.publish, teller=plugins, plugin_hooks=HOOKS) as delivery:
        await carry(world, delivery, broker)
        world.clock.advance(timedelta(seconds=899))
        assert await carry(world, delivery, broker) == 0
        world.clock.advance(timedelta(seconds=1))
        assert await carry(world, delivery, broker) == 1
    assert await states(world) == [("done", 2, None)]


async def test_an_object_is_told_of_in_sequence_and_other_objects_do_not_wait(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    await installed(world, merchant)
    plugins = Plugins(world, answers=[Told(outcome="retry", fault="exception")])
    await world.emit(merchant, sequence=1)
    async with world.worker(broker.publish, teller=plugins, plugin_hooks=HOOKS) as delivery:
        await carry(world, delivery, broker)
        assert await states(world) == [("pending", 1, "exception")]
        await world.emit(merchant, sequence=2)
        await world.emit(merchant, sequence=3)
        await world.emit(merchant, object_id="pay_2", sequence=7)
        await carry(world, delivery, broker)
        assert plugins.sequences == [1, 7]
        world.clock.advance(timedelta(seconds=6))
        for _ in range(3):
            await carry(world, delivery, broker)
    assert plugins.sequences == [1, 7, 1, 2, 3]


async def test_what_is_not_laid_out_yet_is_waited_for(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    await installed(world, merchant)
    plugins = Plugins(world)
    await world.emit(merchant, sequence=2)
    async with world.worker(broker.publish, teller=plugins, plugin_hooks=HOOKS) as delivery:
        await delivery.relay.relay_once()
        first = await world.emit(merchant, sequence=1)
        await delivery.dispatcher.turn()
        await broker.carry(delivery)
        assert plugins.told == []
        world.clock.advance(timedelta(seconds=2))
        for _ in range(2):
            await carry(world, delivery, broker)
            world.clock.advance(timedelta(seconds=2))
    assert plugins.sequences == [1, 2]
    assert plugins.told[0].event_id == first


async def test_a_dead_letter_does_not_hold_what_comes_after_it(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    await installed(world, merchant)
    plugins = Plugins(world, answers=[Told(outcome="retry", fault="died")])
    await world.emit(merchant, sequence=1)
    await world.emit(merchant, sequence=2)
    async with world.worker(broker.publish, teller=plugins, plugin_hooks=HOOKS) as delivery:
        await delivery.relay.relay_once()
        await world.owner.execute("UPDATE plugin_delivery SET tries = 8 WHERE sequence = 1")
        for _ in range(2):
            await carry(world, delivery, broker)
    assert plugins.sequences == [1, 2]
    assert await states(world) == [("dead", 9, "died"), ("done", 1, None)]


async def test_what_the_plugin_wrote_is_committed_with_the_end_of_its_delivery(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    await installed(world, merchant)
    written = Event(world.ids.mint("evt"), "crm.synced", "pay_1", 1, world.clock.now(), "{}")
    plugins = Plugins(world, answers=[Told(outcome="done", version="1.0.0", parts=[written])])
    await world.emit(merchant)
    async with world.worker(broker.publish, teller=plugins, plugin_hooks=HOOKS) as delivery:
        await carry(world, delivery, broker)
    assert await world.owner.fetchval("SELECT count(*) FROM outbox WHERE type = 'crm.synced'") == 1


async def test_refused_writes_vanish_and_the_event_comes_again(world: World, broker: Broker) -> None:
    merchant, other = await world.merchant(), await world.merchant()
    await installed(world, merchant)
    foreign = Told(outcome="done", parts=[Audit("plugin.called", "x", "y", other)])
    plugins = Plugins(world, answers=[foreign])
    await world.emit(merchant)
    async with world.worker(broker.publish, teller=plugins, plugin_hooks=HOOKS) as delivery:
        await carry(world, delivery, broker)
        assert await states(world) == [("pending", 1, "writes_refused")]
        assert await world.audited() == []
        world.clock.advance(timedelta(seconds=6))
        await carry(world, delivery, broker)
    assert await states(world) == [("done", 2, None)]


async def test_a_plugin_that_is_gone_is_told_nothing_more(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    await installed(world, merchant)
    await world.emit(merchant)
    plugins = Plugins(world, answers=[Told(outcome="off")])
    async with world.worker(broker.publish, teller=plugins, plugin_hooks=HOOKS) as delivery:
        await carry(world, delivery, broker)
        world.clock.advance(timedelta(days=1))
        assert await carry(world, delivery, broker) == 0
    assert await states(world) == [("dropped", 1, None)]


async def test_a_broken_dispatcher_costs_a_try_and_no_delivery(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    await installed(world, merchant)
    await world.emit(merchant)
    plugins = Plugins(world, error=RuntimeError("no runtime"))
    async with world.worker(broker.publish, teller=plugins, plugin_hooks=HOOKS) as delivery:
        await carry(world, delivery, broker)
    assert await states(world) == [("pending", 1, "RuntimeError")]


async def test_without_a_dispatcher_deliveries_wait(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    await installed(world, merchant)
    await world.emit(merchant)
    async with world.worker(broker.publish, plugin_hooks=HOOKS) as delivery:
        assert await carry(world, delivery, broker) == 0
    assert await states(world) == [("pending", 0, None)]


async def test_one_plugin_never_has_more_calls_under_way_than_its_share(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    await installed(world, merchant)
    release, at_once, most, enough = asyncio.Event(), 0, 0, asyncio.Event()

    class Slow:
        async def tell(self, telling: Telling) -> Told:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            if at_once == UNDER_WAY_MAX:
                enough.set()
            await release.wait()
            at_once -= 1
            return DONE

    for number in range(10):
        await world.emit(merchant, object_id=f"pay_{number}")
    async with world.worker(broker.publish, teller=Slow(), plugin_hooks=HOOKS) as delivery:
        await delivery.relay.relay_once()
        await delivery.dispatcher.turn()
        works = [delivery.dispatcher.run_work(queue, id_) for queue, id_ in messages_of(broker)]
        running = asyncio.gather(*works)
        async with asyncio.timeout(HEARD_S):
            await enough.wait()
        release.set()
        await running
        assert most == UNDER_WAY_MAX
        for _ in range(6):
            world.clock.advance(timedelta(seconds=2))
            await carry(world, delivery, broker)
    assert [state for state, _, _ in await states(world)] == ["done"] * 10


def messages_of(broker: Broker) -> Sequence[tuple[str, str]]:
    taken, broker.messages = list(broker.messages), []
    return taken


async def test_a_plugin_hears_of_its_own_life_alone_and_that_it_was_disabled_last(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    own = await installed(world, merchant, plugin="example.acme.a", hooks="on_plugin_changed")
    await installed(world, merchant, plugin="example.acme.b", hooks="on_plugin_changed")
    plugins = Plugins(world)
    body = '{"last_change":"upgraded","from_version":"1.0.0","plugin_version":"1.1.0"}'
    await world.emit(merchant, type_="plugin.upgraded", object_id=own, sequence=3, body=body)
    async with world.worker(broker.publish, teller=plugins, plugin_hooks=HOOKS) as delivery:
        await carry(world, delivery, broker)
        await world.owner.execute("UPDATE plugin_installation SET state = 'disabled' WHERE id = $1", own)
        await world.emit(merchant, type_="plugin.disabled", object_id=own, sequence=4, body=body)
        await world.emit(merchant, type_="plugin.configured", object_id=own, sequence=5, body=body)
        await carry(world, delivery, broker)
    assert [(told.installation_id, told.event_type) for told in plugins.told] == [
        (own, "plugin.upgraded"),
        (own, "plugin.disabled"),
    ]
    change = plugin_change_of(plugins.told[0])
    assert (change.change, change.from_version, change.to_version) == ("upgraded", "1.0.0", "1.1.0")
    assert (change.event_id, change.sequence) == (plugins.told[0].event_id, 3)


async def test_what_has_ended_is_kept_for_a_month(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    await installed(world, merchant)
    await world.emit(merchant)
    async with world.worker(broker.publish, teller=Plugins(world), plugin_hooks=HOOKS) as delivery:
        await carry(world, delivery, broker)
    connection = await world.database.connect("job")
    try:
        assert await purge(connection, now=world.clock.now() + timedelta(days=29)) == 0
        assert await purge(connection, now=world.clock.now() + timedelta(days=31)) == 1
    finally:
        await connection.close()


def test_events_lead_to_their_hooks() -> None:
    assert HOOKS["payment.captured"] == "on_payment_captured"
    assert HOOKS["plugin.rolled_back"] == "on_plugin_changed"
    assert "check.payment" not in HOOKS
