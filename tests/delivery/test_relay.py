"""From the outbox to rows of work: who hears of what, once each, and what the message looks like."""

from __future__ import annotations

import asyncio

import asyncpg
import msgspec
import pytest

from platform_core.delivery.nudges import Nudger, listen
from tests.delivery.conftest import Broker, Subscription, World
from tests.delivery.receiver import Receiver

pytestmark = pytest.mark.database


async def told(world: World) -> list[tuple[str, str]]:
    """Which endpoint is to hear of which event."""
    rows = await world.owner.fetch("SELECT endpoint_id, event_id FROM webhook_delivery ORDER BY event_id, endpoint_id")
    return [tuple(row) for row in rows]


async def test_an_event_reaches_its_subscriber(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    event = await world.emit(subscribed.merchant, body='{"id":"pay_1","amount_minor":1200}', sequence=3)
    async with world.worker(broker.publish) as delivery:
        assert await delivery.relay.relay_once() == 1
        assert await delivery.dispatcher.turn() == 1
        assert await broker.carry(delivery) == 1
    [request] = receiver.got
    assert request.headers["webhook-id"] == event
    assert request.headers["content-type"] == "application/json"
    assert msgspec.json.decode(request.body) == {
        "type": "payment.captured",
        "timestamp": "2026-11-22T12:00:00.000Z",
        "object": "pay_1",
        "sequence": 3,
        "api_version": "2026-11-22",
        "mode": "test",
        "merchant": subscribed.merchant,
        "data": {"id": "pay_1", "amount_minor": 1200},
    }
    [row] = await world.owner.fetch("SELECT state, attempts, last_status, finished_at FROM webhook_delivery")
    assert tuple(row) == ("delivered", 1, 200, world.clock.now())
    [attempt] = await world.owner.fetch("SELECT number, status, error, excerpt FROM webhook_attempt")
    assert tuple(attempt) == (1, 200, None, "ok")


async def test_only_those_hear_who_may_and_want_to(world: World, broker: Broker) -> None:
    merchant, other = await world.merchant(), await world.merchant()
    app, poor, strange = await world.app(merchant), await world.app(merchant), await world.app(other)
    await world.grant(app, merchant)
    await world.grant(poor, merchant, "refunds:read")
    await world.grant(strange, other)
    url = "http://127.0.0.1:9/"
    everything, _ = await world.endpoint(app, url)
    family, _ = await world.endpoint(app, url, types='["refund.*", "payment.*"]')
    await world.endpoint(app, url, types='["payment.created", "refund.*"]')
    await world.endpoint(app, url, mode="live")
    disabled, _ = await world.endpoint(app, url)
    await world.owner.execute(
        "UPDATE webhook_endpoint SET state = 'disabled', disabled_reason = 'requested' WHERE id = $1", disabled
    )
    await world.endpoint(poor, url)
    await world.endpoint(strange, url)
    event = await world.emit(merchant)
    unknown_type = await world.emit(merchant, type_="secret.thing")
    platform = await world.emit(None)
    async with world.worker(broker.publish) as delivery:
        assert await delivery.relay.relay_once() == 3
    assert await told(world) == sorted([(everything, event), (family, event)])
    assert {unknown_type, platform}.isdisjoint(event for _, event in await told(world))


@pytest.mark.parametrize(
    "ending",
    [
        "UPDATE access_grant SET state = 'revoked', revoked_at = now()",
        "UPDATE access_grant SET expires_at = '2026-11-22 11:59:59Z'",
    ],
)
async def test_who_was_let_out_hears_nothing(
    world: World, broker: Broker, subscribed: Subscription, ending: str
) -> None:
    await world.owner.execute(ending)
    await world.emit(subscribed.merchant)
    async with world.worker(broker.publish) as delivery:
        assert await delivery.relay.relay_once() == 1
    assert await told(world) == []


async def test_of_grants_an_app_hears_of_its_own_alone_and_of_its_end_last(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    apps = [await world.app(merchant) for _ in range(2)]
    scopes = "grant_management_query payments:read"
    grants = [await world.grant(app, merchant, scopes) for app in apps]
    endpoints = [(await world.endpoint(app, "http://127.0.0.1:9/"))[0] for app in apps]
    changed = await world.emit(merchant, type_="grant.changed", object_id=grants[0])
    async with world.worker(broker.publish) as delivery:
        await delivery.relay.relay_once()
        await world.owner.execute(
            "UPDATE access_grant SET state = 'revoked', revoked_at = now() WHERE id = $1", grants[0]
        )
        revoked = await world.emit(merchant, type_="grant.revoked", object_id=grants[0], sequence=2)
        payment = await world.emit(merchant)
        await delivery.relay.relay_once()
    assert await told(world) == sorted(
        [(endpoints[0], changed), (endpoints[0], revoked), (endpoints[1], payment)], key=lambda pair: (pair[1], pair[0])
    )


async def test_relaying_twice_makes_one_delivery(world: World, broker: Broker, subscribed: Subscription) -> None:
    event = await world.emit(subscribed.merchant)
    async with world.worker(broker.publish) as delivery:
        assert await delivery.relay.relay_once() == 1
        assert await delivery.relay.relay_once() == 0
        await world.owner.execute("UPDATE outbox SET relayed_at = NULL")  # as if the mark had been lost
        assert await delivery.relay.relay_once() == 1
    assert await told(world) == [(subscribed.endpoint, event)]


async def test_two_relays_share_a_backlog_without_doubling(
    world: World, broker: Broker, subscribed: Subscription
) -> None:
    events = await asyncio.gather(*(world.emit(subscribed.merchant, object_id=f"pay_{n}") for n in range(700)))
    async with world.worker(broker.publish) as one, world.worker(broker.publish) as two:
        counts = [0]
        while sum(counts[-2:]) or len(counts) < 3:
            counts += await asyncio.gather(one.relay.relay_once(), two.relay.relay_once())
    assert sum(counts) == 700
    assert max(counts) <= 500
    assert await told(world) == [(subscribed.endpoint, event) for event in sorted(events)]


async def test_a_large_event_is_sent_thin(
    world: World, receiver: Receiver, broker: Broker, subscribed: Subscription
) -> None:
    await world.emit(subscribed.merchant, object_id="pay_9", body=msgspec.json.encode({"note": "x" * 20_000}).decode())
    async with world.worker(broker.publish) as delivery:
        await delivery.relay.relay_once()
        await delivery.dispatcher.turn()
        await broker.carry(delivery)
    assert msgspec.json.decode(receiver.got[0].body)["data"] == {"id": "pay_9", "path": "/v1/payments/pay_9"}


async def test_the_relays_role_can_do_its_work_and_nothing_else(world: World, subscribed: Subscription) -> None:
    connection = await world.database.connect("job")
    for statement in (
        "UPDATE webhook_delivery SET state = 'delivered'",
        "UPDATE webhook_endpoint SET url = 'https://evil.example'",
        "UPDATE webhook_message SET body = ''",
        "UPDATE outbox SET body = '{}'",
        "DELETE FROM event_handling",
        "INSERT INTO webhook_attempt VALUES ('wha_1', 'whd_1', 'app_1', 1, now(), 200, NULL, '', 1)",
        "INSERT INTO outbox (id, type, object_id, sequence, occurred_at, body) VALUES ('e', 't', 'o', 1, now(), '{}')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_a_nudge_wakes_the_relay_of_another_process(world: World) -> None:
    wake = asyncio.Event()
    ear = asyncio.create_task(listen(world.database, wake))
    await asyncio.wait_for(wake.wait(), 10)  # listening now
    wake.clear()
    nudger = Nudger(world.database)
    await nudger.start()
    nudger.nudge()
    await asyncio.wait_for(wake.wait(), 10)
    await nudger.stop()
    ear.cancel()
    assert wake.is_set()


async def test_of_limits_an_app_hears_of_its_own_alone(world: World, broker: Broker) -> None:
    merchant = await world.merchant()
    apps = [await world.app(merchant) for _ in range(2)]
    grants = [await world.grant(app, merchant, "grant_management_query") for app in apps]
    endpoints = [(await world.endpoint(app, "http://127.0.0.1:9/", types='["limit.*"]'))[0] for app in apps]
    for number, grant in enumerate(grants):
        await world.window(f"lim_{number}", grant, merchant)
    first = await world.emit(merchant, type_="limit.exhausted", object_id="lim_0")
    second = await world.emit(merchant, type_="limit.exhausted", object_id="lim_1")
    await world.emit(merchant, type_="limit.exhausted", object_id="lim_of_nobody")
    async with world.worker(broker.publish) as delivery:
        await delivery.relay.relay_once()
    assert await told(world) == sorted([(endpoints[0], first), (endpoints[1], second)], key=lambda pair: pair[1])
