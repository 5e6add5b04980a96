"""A real worker process: Celery, its loop thread, a broker that is there, is away, or loses what it was given."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from platform_core.delivery.celery_app import make_celery, publisher
from platform_core.delivery.dispatcher import BrokerDown
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.ids import Ids
from platform_core.kernel.settings import Settings
from tests.delivery.conftest import World
from tests.delivery.receiver import Receiver

pytestmark = pytest.mark.database
Worker = Callable[..., "asyncio.subprocess.Process"]


@asynccontextmanager
async def worker_process(database_url: str, home: Path, *broker: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker that is told to stop at the end of the block, and stops cleanly."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.delivery.worker_process", database_url, str(home), *broker,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, output.decode(errors="replace")


@pytest.fixture
def real(world: World) -> World:
    """The world by the operating system's clock, which the worker process has too."""
    world.clock = SystemClock()
    world.ids = Ids(world.clock)
    return world


async def subscribe(world: World, receiver: Receiver) -> str:
    """A merchant whose events go to the receiver."""
    merchant = await world.merchant()
    app = await world.app(merchant)
    await world.grant(app, merchant)
    await world.endpoint(app, receiver.url())
    return merchant


async def test_a_worker_delivers_by_the_embedded_broker(
    real: World, receiver: Receiver, database_url: str, tmp_path: Path
) -> None:
    merchant = await subscribe(real, receiver)
    async with worker_process(database_url, tmp_path):
        events = {await real.emit(merchant, object_id=f"pay_{n}") for n in range(20)}
        await receiver.wait_for(20)
    assert {request.headers["webhook-id"] for request in receiver.got} == events
    assert len(receiver.got) == 20
    assert not list((tmp_path / "broker" / "messages").iterdir())


async def test_a_worker_delivers_while_the_broker_is_away(
    real: World, receiver: Receiver, database_url: str, tmp_path: Path, unused_port: int
) -> None:
    merchant = await subscribe(real, receiver)
    async with worker_process(database_url, tmp_path, f"redis://127.0.0.1:{unused_port}/0"):
        event = await real.emit(merchant)
        [request] = await receiver.wait_for(1)
    assert request.headers["webhook-id"] == event


async def test_a_broker_that_is_away_is_said_so_within_seconds(tmp_path: Path, unused_port: int) -> None:
    settings = Settings(home=tmp_path, broker_url=f"redis://127.0.0.1:{unused_port}/0")
    celery = make_celery(settings)
    with pytest.raises(BrokerDown):
        await asyncio.wait_for(asyncio.to_thread(publisher(celery), "webhooks", ["whd_1"]), 15)
