"""In-house work: events for consumers, and rows with a due time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from platform_core.delivery import outbox_admin
from platform_core.delivery.catalogue import EventConsumer, EventSeen
from platform_core.delivery.queues import LEASE, DueHandler
from platform_core.delivery.schedule import DELAYS_S
from platform_core.kernel.commit import Due, DueDone, Event, Plan
from platform_core.kernel.commit.due import DueWork
from tests.delivery.conftest import Broker, Subscription, World
from tests.delivery.receiver import Receiver

pytestmark = pytest.mark.database


class Points:
    """A consumer that answers a payment with an event of its own, after as many failures as it is told."""

    def __init__(self, world: World, *, failures: int = 0) -> None:
        self.world = world
        self.failures = failures
        self.seen: list[EventSeen] = []

    @property
    def consumer(self) -> EventConsumer:
        return EventConsumer("points", frozenset({"payment.captured"}), self.handle)

    async def handle(self, event: EventSeen) -> Plan:
        self.seen.append(event)
        if len(self.seen) <= self.failures:
            raise ConnectionError("the programme is away")
        earned = Event(self.world.ids.mint("evt"), "points.earned", event.object_id, 1, self.world.clock.now(), "{}")
        return Plan(event.merchant_id, [earned])


class Death(BaseException):
    """The process dies here; as a BaseException it passes every handler that a living process has."""


class Dying(Points):
    """Kills its worker the first time."""

    async def handle(self, event: EventSeen) -> Plan:
        plan = await super().handle(event)
        if len(self.seen) == 1:
            raise Death
        return plan


async def earned(world: World) -> int:
    """How often the consumer's effect happened."""
    return int(await world.owner.fetchval("SELECT count(*) FROM outbox WHERE type = 'points.earned'"))


async def test_a_consumers_effect_happens_once_with_the_end_of_its_work(world: World, broker: Broker) -> None:
    points, merchant = Points(world), await world.merchant()
    event = await world.emit(merchant, body='{"id":"pay_1"}', sequence=2)
    await world.emit(merchant, type_="payment.created")
    async with world.worker(broker.publish, consumers=[points.consumer]) as delivery:
        assert await delivery.relay.relay_once() == 2
        assert await delivery.dispatcher.turn() == 1
        broker.messages *= 3
        await broker.carry(delivery)
    assert points.seen == [
        EventSeen(event, "payment.captured", merchant, "pay_1", 2, world.clock.now(), '{"id":"pay_1"}', None)
    ]
    assert await earned(world) == 1
    assert await world.owner.fetchval("SELECT count(*) FROM event_handling") == 0


async def test_a_failing_consumer_is_tried_again_then_dead_then_sent_again(world: World, broker: Broker) -> None:
    points = Points(world, failures=len(DELAYS_S))
    merchant = await world.merchant()
    event = await world.emit(merchant)
    async with world.worker(broker.publish, consumers=[points.consumer]) as delivery:
        await delivery.relay.relay_once()
        for delay_s in DELAYS_S:
            world.clock.advance(timedelta(seconds=delay_s))
            assert await delivery.dispatcher.turn() == 1
            await broker.carry(delivery)
        world.clock.advance(timedelta(days=2))
        assert await delivery.dispatcher.turn() == 0
        [dead] = await outbox_admin.list_dead(world.database)
        assert (dead.kind, dead.event_id, dead.receiver, dead.merchant_id) == ("event", event, "points", merchant)
        assert dead.last_error == "ConnectionError"
        assert await earned(world) == 0
        assert await outbox_admin.resend(world.database, world.committer, work_id=dead.id, clock=world.clock)
        assert not await outbox_admin.resend(world.database, world.committer, work_id=dead.id, clock=world.clock)
        assert await world.audited() == [("event.handled_again", "platform", dead.id, None, merchant)]
        assert await delivery.dispatcher.turn() == 1
        await broker.carry(delivery)
    assert await earned(world) == 1
    assert await outbox_admin.list_dead(world.database) == []


async def test_event_outlives_a_crashed_consumer(world: World, broker: Broker) -> None:
    """medusajs/medusa issues 6016 and 14357: the worker dies in the consumer, another one does it a minute later."""
    points, merchant = Dying(world), await world.merchant()
    event = await world.emit(merchant, body='{"id":"pay_1"}', sequence=2)
    async with world.worker(broker.publish, consumers=[points.consumer]) as delivery:
        await delivery.relay.relay_once()
        assert await delivery.dispatcher.turn() == 1
        with pytest.raises(Death):
            await broker.carry(delivery)
    assert (len(points.seen), await earned(world)) == (1, 0)
    async with world.worker(broker.publish, consumers=[points.consumer]) as delivery:
        assert await delivery.dispatcher.turn() == 0, "it may live and be slow"
        world.clock.advance(LEASE)
        assert await delivery.dispatcher.turn() == 1
        await broker.carry(delivery)
    assert [seen.id for seen in points.seen] == [event, event]
    assert await earned(world) == 1
    assert await world.owner.fetchval("SELECT count(*) FROM event_handling") == 0


async def test_a_consumer_may_not_decide_for_another_merchant(world: World, broker: Broker) -> None:
    merchant, other = await world.merchant(), await world.merchant()

    async def steal(event: EventSeen) -> Plan:
        return Plan(other, [Event(world.ids.mint("evt"), "points.earned", "x", 1, world.clock.now(), "{}")])

    consumer = EventConsumer("thief", frozenset({"payment.captured"}), steal)
    await world.emit(merchant)
    async with world.worker(broker.publish, consumers=[consumer]) as delivery:
        await delivery.relay.relay_once()
        await delivery.dispatcher.turn()
        await broker.carry(delivery)
    assert await earned(world) == 0
    assert await world.owner.fetchval("SELECT last_error FROM event_handling") == "ValueError"


async def test_due_work_is_done_when_due_and_once(world: World, broker: Broker) -> None:
    done: list[DueWork] = []
    merchant = await world.merchant()

    async def handle(work: DueWork) -> Plan:
        done.append(work)
        return Plan(work.merchant_id, [DueDone(work.kind, work.subject_id)])

    due_at = world.clock.now() + timedelta(hours=7)
    await world.committer.commit(Plan(merchant, [Due("payments.expiry", "pay_1", due_at)]))
    async with world.worker(broker.publish, due_handlers=[DueHandler("payments.expiry", handle)]) as delivery:
        world.clock.advance(timedelta(hours=6, minutes=59))
        assert await delivery.dispatcher.turn() == 0
        world.clock.advance(timedelta(minutes=1))
        assert await delivery.dispatcher.turn() == 1
        broker.messages *= 2
        await broker.carry(delivery)
        world.clock.advance(timedelta(minutes=5))
        assert await delivery.dispatcher.turn() == 0
    assert done == [DueWork("payments.expiry", "pay_1", merchant, due_at, 0)]


async def test_due_work_that_fails_comes_again_later_and_later(world: World, broker: Broker) -> None:
    tries: list[int] = []

    async def fail(work: DueWork) -> Plan:
        tries.append(work.tries)
        raise ConnectionError("the acquirer is away")

    await world.committer.commit(Plan(None, [Due("payments.janitor", "pay_1", world.clock.now())]))
    async with world.worker(broker.publish, due_handlers=[DueHandler("payments.janitor", fail)]) as delivery:
        for delay_s in (0, 60, 120, 240, 480, 960, 1920, 3600, 3600):
            world.clock.advance(timedelta(seconds=delay_s))
            assert await delivery.dispatcher.turn() == 1
            await broker.carry(delivery)
    assert tries == list(range(9))


async def test_a_wake_up_for_due_work_that_comes_after_its_lease_does_nothing(world: World, broker: Broker) -> None:
    done: list[DueWork] = []

    async def handle(work: DueWork) -> Plan:
        done.append(work)
        return Plan(None, [DueDone(work.kind, work.subject_id)])

    await world.committer.commit(Plan(None, [Due("payments.janitor", "pay_1", world.clock.now())]))
    async with world.worker(broker.publish, due_handlers=[DueHandler("payments.janitor", handle)]) as delivery:
        await delivery.dispatcher.turn()
        world.clock.advance(timedelta(seconds=61))
        await broker.carry(delivery)
        assert done == []
        assert await delivery.dispatcher.turn() == 1
        await broker.carry(delivery)
    assert len(done) == 1


async def test_the_operator_sees_what_waits_and_sends_a_webhook_again(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    event = await world.emit(subscribed.merchant)
    world.clock.advance(timedelta(seconds=9))
    state = await outbox_admin.read_state(world.database, world.clock)
    assert (state.unrelayed, state.oldest_unrelayed_s) == (1, 9.0)
    async with world.worker(broker.publish) as delivery:
        await delivery.relay.relay_once()
        world.clock.advance(timedelta(seconds=3))
        state = await outbox_admin.read_state(world.database, world.clock)
        assert (state.unrelayed, state.oldest_unrelayed_s) == (0, 0.0)
        assert state.webhooks == outbox_admin.QueueState(waiting=1, due=1, oldest_due_s=3.0, dead=0)
        for _ in range(2):
            await delivery.dispatcher.turn()
            await broker.carry(delivery)
            work_id = await world.owner.fetchval("SELECT id FROM webhook_delivery")
            await outbox_admin.resend(world.database, world.committer, work_id=work_id, clock=world.clock)
    assert [request.headers["webhook-id"] for request in receiver.got] == [event, event]
    assert receiver.got[0].body == receiver.got[1].body
    assert await world.audited() == [("webhook.resent", "platform", work_id, None, None)] * 2
    assert not await outbox_admin.resend(world.database, world.committer, work_id="whd_none", clock=world.clock)
