"""Deliveries on a clock that the test turns: the schedule, leases, crashes, and an endpoint's fate."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from platform_core.delivery.assembly import Delivery
from platform_core.delivery.schedule import DELAYS_S
from platform_core.kernel.http.webhook_signing import secret_bytes, signed_headers
from tests.delivery.conftest import Broker, Subscription, World
from tests.delivery.receiver import Receiver

pytestmark = pytest.mark.database


async def turn(delivery: Delivery, broker: Broker) -> int:
    """Relay, wake and work once; returns how many were woken."""
    await delivery.relay.relay_once()
    woken = await delivery.dispatcher.turn()
    await broker.carry(delivery)
    return woken


async def delivery_row(world: World) -> dict[str, Any]:
    """The one delivery there is."""
    [row] = await world.owner.fetch("SELECT * FROM webhook_delivery")
    return dict(row)


async def test_a_failing_delivery_follows_the_schedule_to_its_end(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    receiver.status = 500
    event = await world.emit(subscribed.merchant)
    async with world.worker(broker.publish) as delivery:
        for number, delay_s in enumerate(DELAYS_S, start=1):
            if delay_s:
                world.clock.advance(timedelta(seconds=delay_s - 1))
                assert await turn(delivery, broker) == 0
                world.clock.advance(timedelta(seconds=1))
            assert await turn(delivery, broker) == 1
            assert len(receiver.got) == number
        world.clock.advance(timedelta(days=2))
        assert await turn(delivery, broker) == 0
    row = await delivery_row(world)
    assert (row["state"], row["attempts"], row["last_status"]) == ("dead", 10, 500)
    assert {request.headers["webhook-id"] for request in receiver.got} == {event}
    assert len({request.body for request in receiver.got}) == 1
    assert len({request.headers["webhook-timestamp"] for request in receiver.got}) == 10
    numbers = await world.owner.fetch("SELECT number FROM webhook_attempt ORDER BY number")
    assert [number for (number,) in numbers] == list(range(1, 11))


async def test_each_attempt_is_signed_anew_over_the_same_bytes(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    receiver.answers = [500]
    await world.emit(subscribed.merchant)
    async with world.worker(broker.publish) as delivery:
        await turn(delivery, broker)
        world.clock.advance(timedelta(seconds=5))
        await turn(delivery, broker)
    first, second = receiver.got
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    expected = signed_headers(
        message_id=first.headers["webhook-id"],
        body=first.body,
        at=world.clock.now(),
        secrets=[secret_bytes(subscribed.secret)],
    )
    assert {name: second.headers[name] for name in expected} == expected


async def test_a_crash_between_claim_and_answer_sends_again_under_the_same_id(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    receiver.delay_s = 30
    await world.emit(subscribed.merchant)
    async with world.worker(broker.publish) as crashing:
        await crashing.relay.relay_once()
        await crashing.dispatcher.turn()
        attempt = asyncio.create_task(broker.carry(crashing))
        await receiver.wait_for(1)
        attempt.cancel()  # the worker dies with the request under way
        await asyncio.gather(attempt, return_exceptions=True)
    receiver.delay_s = 0
    async with world.worker(broker.publish) as delivery:
        world.clock.advance(timedelta(seconds=59))
        assert await turn(delivery, broker) == 0
        world.clock.advance(timedelta(seconds=1))
        assert await turn(delivery, broker) == 1
    first, second = receiver.got
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert (await delivery_row(world))["state"] == "delivered"


async def test_a_wake_up_that_came_twice_or_late_sends_once(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    await world.emit(subscribed.merchant)
    async with world.worker(broker.publish) as delivery:
        await delivery.relay.relay_once()
        await delivery.dispatcher.turn()
        [(queue, work_id)] = broker.messages
        await asyncio.gather(*(delivery.dispatcher.run_work(queue, work_id) for _ in range(10)))
        await delivery.dispatcher.run_work(queue, work_id)
        await delivery.dispatcher.run_work(queue, "whd_unknown")
        await delivery.dispatcher.run_work("unknown", work_id)
    assert len(receiver.got) == 1


async def test_a_broker_that_is_emptied_loses_nothing(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    await world.emit(subscribed.merchant)
    async with world.worker(broker.publish) as delivery:
        await delivery.relay.relay_once()
        assert await delivery.dispatcher.turn() == 1
        assert await delivery.dispatcher.turn() == 0
        broker.messages.clear()
        world.clock.advance(timedelta(seconds=60))
        assert await turn(delivery, broker) == 1
    assert len(receiver.got) == 1


async def test_work_goes_on_while_the_broker_is_away(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    broker.is_away = True
    await world.emit(subscribed.merchant)
    async with world.worker(broker.publish) as delivery:
        await delivery.relay.relay_once()
        assert await delivery.dispatcher.turn() == 1
        assert len(receiver.got) == 1
        broker.is_away = False
        world.clock.advance(timedelta(seconds=5))
        await world.emit(subscribed.merchant, sequence=2)
        assert await turn(delivery, broker) == 1
    assert len(receiver.got) == 2


async def test_gone_disables_and_enabling_sends_what_waited(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    receiver.answers = [500, 410]
    await world.emit(subscribed.merchant, object_id="pay_1")
    async with world.worker(broker.publish) as delivery:
        await turn(delivery, broker)
        second = await world.emit(subscribed.merchant, object_id="pay_2")
        await turn(delivery, broker)
        [endpoint] = await world.owner.fetch("SELECT state, disabled_reason, version FROM webhook_endpoint")
        assert tuple(endpoint) == ("disabled", "gone", 2)
        events = await world.owner.fetch("SELECT type, sequence FROM outbox WHERE object_id = $1", subscribed.endpoint)
        assert [tuple(event) for event in events] == [("webhook_endpoint.disabled", 2)]
        told = ("webhook_endpoint.disabled", "platform", subscribed.endpoint, "gone", None)
        assert await world.audited() == [told]
        world.clock.advance(timedelta(seconds=5))
        await world.emit(subscribed.merchant, object_id="pay_3")
        assert await turn(delivery, broker) == 0
        await world.owner.execute("UPDATE webhook_endpoint SET state = 'enabled', disabled_reason = NULL")
        assert await turn(delivery, broker) == 1
    states = dict(await world.owner.fetch("SELECT object_id, state FROM webhook_delivery"))
    assert states == {"pay_1": "delivered", "pay_2": "dead"}
    assert receiver.got[1].headers["webhook-id"] == second


async def test_an_endpoint_is_warned_at_three_days_and_disabled_at_five(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    receiver.status = 500
    async with world.worker(broker.publish) as delivery:
        for _ in range(6):
            await world.emit(subscribed.merchant)
            await turn(delivery, broker)
            world.clock.advance(timedelta(days=1))
    types = await world.owner.fetch(
        "SELECT type, sequence, occurred_at - $2 FROM outbox WHERE object_id = $1 ORDER BY sequence",
        subscribed.endpoint,
        world.clock.now() - timedelta(days=6),
    )
    assert [tuple(row) for row in types] == [
        ("webhook_endpoint.failing", 2, timedelta(days=3)),
        ("webhook_endpoint.disabled", 3, timedelta(days=5)),
    ]
    [endpoint] = await world.owner.fetch("SELECT state, disabled_reason FROM webhook_endpoint")
    assert tuple(endpoint) == ("disabled", "failing")


async def test_an_overloaded_endpoint_is_left_alone_as_long_as_it_asks(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    receiver.answers, receiver.headers = [429], {"retry-after": "600"}
    await world.emit(subscribed.merchant)
    async with world.worker(broker.publish) as delivery:
        await turn(delivery, broker)
        await world.emit(subscribed.merchant, object_id="pay_2")
        world.clock.advance(timedelta(seconds=599))
        assert await turn(delivery, broker) == 0
        world.clock.advance(timedelta(seconds=1))
        assert await turn(delivery, broker) == 2
    assert len(receiver.got) == 3
    [health] = await world.owner.fetch("SELECT concurrency, failing_since FROM webhook_endpoint_health")
    assert tuple(health) == (6, None)


async def test_no_more_than_its_concurrency_reach_an_endpoint_at_once(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    await world.owner.execute("UPDATE webhook_endpoint_health SET concurrency = 2")
    receiver.delay_s = 0.05
    for number in range(9):
        await world.emit(subscribed.merchant, object_id=f"pay_{number}")
    async with world.worker(broker.publish) as delivery:
        await delivery.relay.relay_once()
        assert await delivery.dispatcher.turn() == 2
        ids = [row["id"] for row in await world.owner.fetch("SELECT id FROM webhook_delivery")]
        await asyncio.gather(*(delivery.dispatcher.run_work("webhooks", work_id) for work_id in ids))
        assert receiver.at_once_max == 2
        while len(receiver.got) < 9:
            world.clock.advance(timedelta(seconds=60))
            await turn(delivery, broker)
    assert len({request.headers["webhook-id"] for request in receiver.got}) == 9


async def test_one_slow_endpoint_holds_up_no_other(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    await world.owner.execute("UPDATE webhook_endpoint_health SET paused_until = 'infinity'")
    other, _ = await world.endpoint(subscribed.app, receiver.url("/other"))
    for number in range(300):
        await world.emit(subscribed.merchant, object_id=f"pay_{number}")
    async with world.worker(broker.publish) as delivery:
        await delivery.relay.relay_once()
        assert await delivery.dispatcher.turn() == 8
        await broker.carry(delivery)
    assert {request.target for request in receiver.got} == {"/other"}
    assert other != subscribed.endpoint


async def test_a_rotated_secret_signs_beside_the_old_one_for_a_day(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    new = b"\x09" * 32
    await world.owner.execute(
        "UPDATE webhook_endpoint SET secret_before_sealed = secret_sealed, secret_before_until = $1, "
        "secret_sealed = $2",
        world.clock.now() + timedelta(hours=24),
        world.vault.seal(subscribed.endpoint, new),
    )
    async with world.worker(broker.publish) as delivery:
        for hours in (23, 1):
            await world.emit(subscribed.merchant)
            world.clock.advance(timedelta(hours=hours))
            await turn(delivery, broker)
    both, alone = (request.headers["webhook-signature"].split(" ") for request in receiver.got)
    assert (len(both), len(alone)) == (2, 1)


async def test_an_address_that_became_private_is_not_called(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    await world.emit(subscribed.merchant)
    async with world.worker(broker.publish, allow_loopback_http=False) as delivery:
        await turn(delivery, broker)
    assert receiver.got == []
    row = await delivery_row(world)
    assert (row["state"], row["last_error"], row["attempts"]) == ("pending", "url_refused", 1)
