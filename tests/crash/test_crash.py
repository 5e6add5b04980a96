"""kill -9 of server, worker and database, at random points, under load. Then the books must be right."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from tests.crash.conftest import Fleet
from tests.support.load import Act, Load, replay
from tests.support.load_audit import (
    bring_forward,
    check_acknowledged,
    check_book,
    check_delivered,
    half_there,
    open_work,
)
from tests.support.processes import Daemon
from tests.support.processes_arsenal import read_book, run_command

pytestmark = [pytest.mark.crash, pytest.mark.timeout(720)]

KILLS_EACH = 11
CLIENTS = 16
GAP_S = (1.0, 3.5)
REST_S = 90.0
REPLAYS = 60
ACKNOWLEDGED_EACH = 20
KILLING_MAX_S = 300.0
WORK_ACTS = 8  # of some 25 that a quick machine does between two strikes of one hand
WORK_S = 20.0


async def test_nothing_is_lost_doubled_or_half_done_by_thirty_kills(fleet: Fleet) -> None:
    seed = int(os.environ.get("ARSENAL_TEST_SEED", random.randrange(1_000_000)))
    fleet.tell(f"crash test: ARSENAL_TEST_SEED={seed}")
    load = Load([fleet.origin], fleet.shops, seed=seed, abandons=0.15)
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        clients = group.create_task(load.run(CLIENTS))
        await _kill_at_random(fleet, random.Random(seed), load)
        killed_s = time.monotonic() - began
        load.stop()
        await clients
    assert _is_thick(load), f"the load was too thin to prove much: {load.acknowledged}; {load.seen}"
    rest_s = await _come_to_rest(fleet)
    await _check(fleet, load, seed=seed, killed_s=killed_s, rest_s=rest_s)


def _is_thick(load: Load) -> bool:
    """Whether enough of each kind was acknowledged: a slow machine needs more time, not fewer proofs."""
    return min(load.acknowledged[kind] for kind in ("pay", "capture", "refund")) >= ACKNOWLEDGED_EACH


async def _kill_at_random(fleet: Fleet, chance: random.Random, load: Load) -> None:
    """Each victim by a hand of its own, so that two may fall at a time; each is started again at once.

    A hand waits for some work to be done between its strikes, so that a slow machine is killed while it works, not
    only while it starts. It goes on past the least number of kills until the load is thick or the time is up.
    """
    ends = time.monotonic() + KILLING_MAX_S

    async def strike(
        kill: Callable[[], Awaitable[None]], revive: Callable[[], Awaitable[None]], gap: random.Random
    ) -> None:
        kills = 0
        while kills < KILLS_EACH or not (_is_thick(load) or time.monotonic() > ends):
            done = load.acknowledged.total()
            await asyncio.sleep(gap.uniform(*GAP_S))
            await _some_work(load, beyond=done)
            await kill()
            await revive()
            kills += 1

    def again(daemon: Daemon) -> Callable[[], Awaitable[None]]:
        return lambda: fleet.start_again(daemon)

    victims = [
        (fleet.server.kill, again(fleet.server)),
        (fleet.worker.kill, again(fleet.worker)),
        (fleet.database.kill, fleet.database.wait),
    ]
    async with asyncio.TaskGroup() as group:
        for kill, revive in victims:
            group.create_task(strike(kill, revive, random.Random(chance.random())))


async def _some_work(load: Load, *, beyond: int) -> None:
    """Until more was acknowledged, or so long that something else is wrong, which the checks will say."""
    ends = time.monotonic() + WORK_S
    while True:
        if load.acknowledged.total() >= beyond + WORK_ACTS or time.monotonic() > ends:
            return
        await asyncio.sleep(0.05)


async def _come_to_rest(fleet: Fleet) -> float:
    """Wait until nothing is open, letting the janitor's hours pass at once; returns the seconds that took."""
    began = time.monotonic()
    connection = await asyncpg.connect(fleet.database.url)
    try:
        while left := await open_work(connection):
            assert time.monotonic() - began < REST_S, f"still open after {REST_S:g} s: {left}\n{fleet.worker.tail()}"
            await bring_forward(connection)
            await asyncio.sleep(2)
    finally:
        await connection.close()
    return time.monotonic() - began


async def _check(fleet: Fleet, load: Load, *, seed: int, killed_s: float, rest_s: float) -> None:
    kills = {"server": fleet.server.kills, "worker": fleet.worker.kills, "database": fleet.database.kills}
    assert sum(kills.values()) >= 30, kills
    connection = await asyncpg.connect(fleet.database.url)
    try:
        await _check_replays(fleet, load, seed=seed)
        acknowledged = await check_acknowledged(connection, load.acts)
        assert await half_there(connection) == {}
        moved = await check_book(connection, await read_book(fleet.acquirer_url))
        events, again = await check_delivered(connection, fleet.inbox.arrived())
        rows = await connection.fetchval("SELECT count(*) FROM pay_payment")
        bugs = {name: count for name, count in load.seen.items() if name.startswith("500")}
    finally:
        await connection.close()
    ledger = await _verified_ledger(fleet)
    silent = sum(not act.status for act in load.acts)
    fleet.tell(
        f"crash test: kills {kills}, {fleet.failed_starts} failed starts, load {killed_s:.0f} s, rest {rest_s:.0f} s; "
        f"{len(load.acts)} acts, acknowledged {dict(acknowledged)}, never answered {silent}; {rows} payments, {moved} "
        f"keys moved money at the acquirer; {events} events, {again} came again; ledger of {ledger}"
    )
    fleet.tell(f"crash test: answers {dict(load.seen.most_common())}")
    assert not bugs, f"an outage is answered 503, never 500: {bugs}"
    assert load.seen["unanswered"] == 0, "a key that is repeated long enough is answered"


async def _check_replays(fleet: Fleet, load: Load, *, seed: int) -> None:
    """The keys that were acknowledged still stand for the same thing."""
    done = [act for act in load.acts if act.is_acknowledged]
    chosen = random.Random(seed).sample(done, min(REPLAYS, len(done)))

    def same(first: Act, second: Act) -> None:
        assert second.is_acknowledged, f"{first} was acknowledged, now: {second.status} {second.answer}"
        assert second.answer["id"] == first.answer["id"], f"another object under one key: {first} {second}"

    await replay(load, acts=chosen, origin=fleet.origin, on_answer=same)


async def _verified_ledger(fleet: Fleet) -> str:
    """`arsenal ledger verify`."""
    report = await asyncio.to_thread(run_command, "ledger", "verify", given=fleet.given)
    return f"{report['accounts']} accounts, {report['transfers']} transfers"
