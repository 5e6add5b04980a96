"""What ended a month ago goes, with its attempts and its message; what somebody still waits for stays."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from platform_core.delivery.webhooks.purge import KEPT, purge
from tests.delivery.conftest import Broker, Subscription, World
from tests.delivery.receiver import Receiver
from tests.delivery.test_webhooks import turn

pytestmark = pytest.mark.database


async def counts(world: World) -> tuple[int, int, int]:
    """Deliveries, attempts, messages."""
    tables = ("webhook_delivery", "webhook_attempt", "webhook_message")
    deliveries, attempts, messages = [await world.owner.fetchval(f"SELECT count(*) FROM {table}") for table in tables]
    return deliveries, attempts, messages


async def test_deliveries_are_kept_a_month_after_their_end(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    other = await world.app(subscribed.merchant)
    await world.grant(other, subscribed.merchant)
    await world.endpoint(other, receiver.url("/other"))
    worker = await world.database.connect("job")
    try:
        async with world.worker(broker.publish) as delivery:
            await world.emit(subscribed.merchant)
            assert await turn(delivery, broker) == 2
            receiver.status = 500
            await world.emit(subscribed.merchant, sequence=2)
            assert await turn(delivery, broker) == 2  # these go on being tried
        assert await counts(world) == (4, 4, 2)
        world.clock.advance(KEPT)
        assert await purge(worker, now=world.clock.now()) == 0, "to the second"
        world.clock.advance(timedelta(seconds=1))
        assert await purge(worker, now=world.clock.now(), limit=1) == 1
        assert await counts(world) == (3, 3, 2), "the message still has a delivery"
        assert await purge(worker, now=world.clock.now()) == 1
        assert await counts(world) == (2, 2, 1), "what is under way stays, however old"
        assert await purge(worker, now=world.clock.now()) == 0
    finally:
        await worker.close()


async def test_one_that_is_being_sent_again_stays(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    async with world.worker(broker.publish) as delivery:
        await world.emit(subscribed.merchant)
        assert await turn(delivery, broker) == 1
    world.clock.advance(KEPT + timedelta(days=1))
    worker = await world.database.connect("job")
    try:
        async with world.owner.transaction():
            await world.owner.execute("SELECT FROM webhook_delivery FOR UPDATE")
            assert await purge(worker, now=world.clock.now()) == 0
        assert await purge(worker, now=world.clock.now()) == 1
    finally:
        await worker.close()
    assert await counts(world) == (0, 0, 0)


async def test_only_what_has_ended_can_be_deleted_at_all(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    receiver.status = 500
    async with world.worker(broker.publish) as delivery:
        await world.emit(subscribed.merchant)
        await turn(delivery, broker)
    worker, app = await world.database.connect("job"), await world.database.connect("app")
    try:
        assert await worker.execute("DELETE FROM webhook_delivery") == "DELETE 0"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute("DELETE FROM webhook_delivery")
    finally:
        await worker.close()
        await app.close()
    assert await counts(world) == (1, 1, 1)
