"""`plugin_call`: calls of a confined plugin against a ping-pong between two processes (isolation.md section 11).

One call is compared with one ping-pong on one processor, where the scheduler has no choice: left to it, both processes
of a pair run now on one processor and now on two, each pair for itself, which alone is a factor of two on an idle
machine (the same commit gave 1.2 to 4.7). What several workers do at once is measured on all processors.

A call is the runtime's alone; `proxied` is the same through pluggy and the generated proxy, with the payload cut and
written; `dispatched` is the whole of an asking, with breaker, gate and decision, for which no goal is set.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import psutil
import uvloop
from pydantic import TypeAdapter

from benchmarks.figures import Figure, Goal, Rounds
from benchmarks.options import Options
from benchmarks.ping_pong import partner, ping
from benchmarks.plugin_bundle import PLUGIN_ID, VERSION, plugin_bundle
from benchmarks.plugin_proxy import MERCHANT_ID, Dispatched, Proxied
from platform_core.contracts.results import Verdict
from platform_core.contracts.runtime import Answered, Ask, Binding, Fault, OutsideCall, Told
from sandbox.runtime.install import install
from sandbox.runtime.levels import Level
from sandbox.runtime.limits import PoolLimits
from sandbox.runtime.requests import ZygoteSettings
from sandbox.runtime.spawner import Spawner
from sandbox.runtime.supervisor import Supervisor

NAME = "plugin_call"
ROUNDS = 15
CALLS = 400
SPAWNS = 20
_RESULT: Final = TypeAdapter(Verdict)
_TIMES: Final = (
    "ping_200",
    "call",
    "proxied",
    "dispatched",
    "call_4k",
    "with_capability",
    "spread_ping_200",
    "spread_call",
    "three_at_once",
)
_CODE: Final = """
from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.results import Verdict


@hookimpl
def check_payment(ctx, payment):
    if payment.subject == "ask":
        ctx.state.get("velocity")
    while payment.subject == "loop":
        pass
    return Verdict.review("large", "More than 5,000.00 in one payment, which is unusual for this store.")
"""
"""The verdict is about 200 bytes as a frame."""


class _Gate:
    async def tell(self, ask: Ask) -> Told:
        """Nothing is stored."""
        return Told()


class Confined:
    """Calls of one plugin through the supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._gate = _Gate()

    def begin(
        self, subject: str = "", *, plugin_id: str = PLUGIN_ID, merchant_id: str = MERCHANT_ID, deadline_s: float = 5.0
    ) -> Awaitable[Answered | Fault]:
        """One call, sent before this returns."""
        arguments = b'{"amount":{"amount_minor":510000,"currency":"CNY"},"subject":"%b"}' % subject.encode()
        return self.begin_with(arguments, plugin_id=plugin_id, merchant_id=merchant_id, deadline_s=deadline_s)

    def begin_with(
        self,
        arguments: bytes,
        *,
        plugin_id: str = PLUGIN_ID,
        merchant_id: str = MERCHANT_ID,
        deadline_s: float = 5.0,
    ) -> Awaitable[Answered | Fault]:
        """The same with the payload as JSON."""
        call = OutsideCall(
            id=secrets.token_hex(16),
            handle=secrets.token_hex(16),
            binding=self._binding(plugin_id, merchant_id),
            target="check_payment",
            major=1,
            context=_CONTEXT,
            arguments=arguments,
            deadline=time.monotonic() + deadline_s,
            result=_RESULT,
            gate=self._gate,
        )
        return self._supervisor.begin(call).outcome()

    @cache  # noqa: B019 - one object for the whole run; the host keeps a binding as long as nothing of it changes too
    def _binding(self, plugin_id: str, merchant_id: str) -> Binding:
        return Binding(
            plugin_id=plugin_id,
            version=VERSION,
            merchant_id=merchant_id,
            mode="test",
            locale="en",
            revision=1,
            config=b"{}",
        )

    async def ask(self, subject: str = "", *, plugin_id: str = PLUGIN_ID, merchant_id: str = MERCHANT_ID) -> None:
        """One call, which must be answered."""
        answer = await self.begin(subject, plugin_id=plugin_id, merchant_id=merchant_id)
        assert isinstance(answer, Answered), answer


_CONTEXT: Final = json.dumps(
    {
        "call_id": "cal_bench",
        "hook": "check_payment",
        "contract": "1.0",
        "store_id": None,
        "now": "2026-11-22T12:00:00Z",
        "deadline_ms": 150,
        "idempotency_key": "tra_bench",
    }
).encode()


def run(options: Options) -> list[Figure]:
    """On uvloop, as all our processes run, and on asyncio's own loop, which no goal is set for.

    There the ping-pong's answer has often come before `sock_recv` first looks, so that it never waits: a plugin cannot
    be that quick.
    """
    rounds = 1 if options.rounds == 1 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="arsenal-bench-") as folder:
        plugins = Path(folder) / "plugins"
        ids = (PLUGIN_ID, f"{PLUGIN_ID}2", f"{PLUGIN_ID}3")
        for plugin_id in ids:
            install(plugin_bundle(Path(folder), _CODE, plugin_id=plugin_id), plugins=plugins)
        on_uvloop = uvloop.run(_measure(plugins, ids, rounds=rounds))
        on_asyncio = asyncio.run(_measure(plugins, ids, rounds=rounds))
    return [*_figures(on_uvloop, "uvloop", has_goals=True), *_figures(on_asyncio, "asyncio", has_goals=False)]


def _figures(rounds: Rounds, loop: str, *, has_goals: bool) -> Iterator[Figure]:
    def figure(name: str, values: Sequence[float], *, unit: str, goal: tuple[float, float]) -> Figure:
        return Figure(NAME, f"{loop}.{name}", values, unit, Goal("<=", *goal) if has_goals else None)

    for name, against, goal in (
        ("call", "ping_200", (3.0, 2.6)),
        ("proxied", "ping_200", (3.0, 2.6)),
        ("call_4k", "ping_4k", (6.5, 4.8)),
        ("with_capability", "ping_200", (5.5, 4.8)),
        ("three_at_once", "spread_call", (2.0, 1.9)),
        ("three_at_once", "three_in_turn", (0.75, 0.66)),
    ):
        yield figure(f"{name}_to_{against}", rounds.ratios(name, against), unit="x", goal=goal)
    yield Figure(NAME, f"{loop}.dispatched_to_ping_200", rounds.ratios("dispatched", "ping_200"), "x")
    yield Figure(NAME, f"{loop}.spread_call_to_ping_200", rounds.ratios("spread_call", "spread_ping_200"), "x")
    for name in _TIMES:
        yield Figure(NAME, f"{loop}.{name}_us", rounds.of(name), "us")
    yield figure("ready_ms", rounds.of("ready_ms"), unit="ms", goal=(15.0, 7.0))
    yield figure("private_mib", rounds.of("private_mib"), unit="MiB", goal=(4.0, 2.6))
    yield figure("loop_wait_ms", rounds.of("loop_wait_ms"), unit="ms", goal=(60.0, 57.0))
    yield figure("after_kill_ms", rounds.of("after_kill_ms"), unit="ms", goal=(3.0, 0.2))
    yield figure("quarantined_us", rounds.of("quarantined_us"), unit="us", goal=(20.0, 1.0))


async def _measure(plugins: Path, ids: tuple[str, ...], *, rounds: int) -> Rounds:
    kept = Rounds()
    with _one_processor():
        async with _confining(plugins) as supervisor:
            await _one_by_one(kept, supervisor, rounds=rounds)
    async with _confining(plugins) as supervisor:
        confined = Confined(supervisor)
        await _at_once(kept, confined, ids, rounds=rounds)
        await _workers(kept, supervisor, plugins_id=ids[0])
        await _looping(kept, confined, times=3 if rounds > 1 else 1)
        supervisor.quarantine(ids[2], VERSION)
        began = time.perf_counter()
        for _ in range(CALLS):
            await confined.begin(plugin_id=ids[2])
        kept.add({"quarantined_us": (time.perf_counter() - began) / CALLS * 1e6})
    return kept


@contextmanager
def _one_processor() -> Iterator[None]:
    """This thread, and every process that is started meanwhile, on the first processor that we may use."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@asynccontextmanager
async def _confining(plugins: Path) -> AsyncIterator[Supervisor]:
    spawner = Spawner(ZygoteSettings(required=Level.L2, plugins=plugins))
    await spawner.start()
    supervisor = Supervisor(
        spawner, plugins=plugins, required=Level.L2, limits=PoolLimits(workers_per_plugin_max=SPAWNS + 2)
    )
    try:
        yield supervisor
    finally:
        await supervisor.close()
        await spawner.close()


Variants = Mapping[str, Callable[[], Awaitable[None]]]


async def _one_by_one(kept: Rounds, supervisor: Supervisor, *, rounds: int) -> None:
    confined, dispatched = Confined(supervisor), Dispatched(supervisor)
    proxied = Proxied(confined.begin_with)
    with partner() as pong:
        variants: Variants = {
            "ping_200": lambda: ping(pong, b"x" * 200),
            "call": confined.ask,
            "proxied": proxied.check,
            "dispatched": dispatched.check,
            "ping_4k": lambda: ping(pong, b"x" * 4096),
            "call_4k": lambda: confined.ask("x" * 3800),
            "with_capability": lambda: confined.ask("ask"),
        }
        await _alternate(kept, variants, rounds=rounds)


async def _at_once(kept: Rounds, confined: Confined, ids: tuple[str, ...], *, rounds: int) -> None:
    async def in_turn() -> None:
        for plugin_id in ids:
            await confined.ask(plugin_id=plugin_id)

    async def at_once() -> None:
        pending = [confined.begin(plugin_id=plugin_id) for plugin_id in ids]
        for each in pending:
            assert isinstance(await each, Answered)

    with partner() as pong:
        variants: Variants = {
            "spread_ping_200": lambda: ping(pong, b"x" * 200),
            "spread_call": confined.ask,
            "three_in_turn": in_turn,
            "three_at_once": at_once,
        }
        await _alternate(kept, variants, rounds=rounds)


async def _alternate(kept: Rounds, variants: Variants, *, rounds: int) -> None:
    for variant in variants.values():
        await _p50_us(variant, calls=CALLS)
    for _ in range(rounds):
        kept.add({name: await _p50_us(variant, calls=CALLS) for name, variant in variants.items()})


async def _p50_us(variant: Callable[[], Awaitable[None]], *, calls: int) -> float:
    lasted = []
    for _ in range(calls):
        began = time.perf_counter()
        await variant()
        lasted.append(time.perf_counter() - began)
    return statistics.median(lasted) * 1e6


async def _workers(kept: Rounds, supervisor: Supervisor, *, plugins_id: str) -> None:
    """How long a worker takes to be ready, and what it keeps for itself while idle after one call."""
    confined = Confined(supervisor)
    for _ in range(SPAWNS):
        await supervisor.end(plugins_id)
        began = time.perf_counter()
        await supervisor.warm(plugins_id, VERSION)
        kept.add({"ready_ms": (time.perf_counter() - began) * 1000})
    for number in range(SPAWNS):
        await confined.ask(merchant_id=f"mer_{number}")
    for pid in supervisor.pids(plugins_id):
        kept.add({"private_mib": psutil.Process(pid).memory_full_info().uss / 2**20})
    await supervisor.end(plugins_id)


async def _looping(kept: Rounds, confined: Confined, *, times: int) -> None:
    """What the caller waits for a plugin that loops under a deadline of 50 ms, and the call after it."""
    for _ in range(times):
        await confined.ask()
        await asyncio.sleep(0.2)  # A spare is ready by then.
        began = time.perf_counter()
        await confined.begin("loop", deadline_s=0.05)
        waited = time.perf_counter()
        await confined.ask()
        kept.add({"loop_wait_ms": (waited - began) * 1000, "after_kill_ms": (time.perf_counter() - waited) * 1000})
