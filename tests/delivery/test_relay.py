"""From the outbox to rows of work, and from there to a real receiver."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from platform_core.delivery.dispatcher import BrokerDown
from tests.delivery.conftest import World
from tests.delivery.receiver import Receiver

pytestmark = pytest.mark.database


def broker_down(queue: str, ids: Sequence[str]) -> None:
    """A broker that takes nothing, so that work is done in this process."""
    raise BrokerDown("nobody listens")


async def test_an_event_reaches_its_subscriber_signed(world: World, receiver: Receiver) -> None:
    merchant = await world.merchant()
    app = await world.app(merchant)
    await world.grant(app, merchant)
    await world.endpoint(app, receiver.url())
    event = await world.emit(merchant, body='{"id":"pay_1","amount_minor":1200}', sequence=3)

    async with world.worker(broker_down) as delivery:
        assert await delivery.relay.relay_once() == 1
        assert await delivery.dispatcher.turn() == 1

    [request] = receiver.got
    assert request.headers["webhook-id"] == event
    assert msgspec.json.decode(request.body) == {
        "type": "payment.captured",
        "timestamp": "2026-11-22T12:00:00.000Z",
        "object": "pay_1",
        "sequence": 3,
        "api_version": "2026-11-22",
        "mode": "test",
        "merchant": merchant,
        "data": {"id": "pay_1", "amount_minor": 1200},
    }
    [row] = await world.owner.fetch("SELECT state, attempts, last_status, finished_at FROM webhook_delivery")
    assert tuple(row) == ("delivered", 1, 200, world.clock.now())
    [attempt] = await world.owner.fetch("SELECT number, status, error, excerpt FROM webhook_attempt")
    assert tuple(attempt) == (1, 200, None, "ok")
