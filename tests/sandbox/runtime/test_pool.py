"""Who is served by which worker, what waits, what is ended, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from benchmarks.plugin_bundle import VERSION
from platform_core.contracts.runtime import Answered, Fault, FaultKind, Hosted
from sandbox.runtime.limits import PoolLimits
from sandbox.runtime.spawner import Spawner
from tests.sandbox.runtime.stage import PATIENT_S, Stage, open_stage, started_spawner, until

PATIENT = PoolLimits(boot_s=PATIENT_S, wait_share=1.0)
COUNTING = """
calls = 0
born = time.time_ns()

@hookimpl
def check_payment(ctx, payment):
    global calls
    calls += 1
    if payment.subject == "hold":
        ctx.state.get("held")
    if payment.subject == "loop":
        while True: pass
    return say(f"{born} {calls} {ctx.merchant_id}")
"""
CRASHING = """
@hookimpl
def check_payment(ctx, payment):
    import os
    os._exit(3)
"""
TEXT = {"subject": ""}
HOLD = {"subject": "hold"}


class Held:
    """A gate that keeps every call until it is opened."""

    def __init__(self, stage: Stage) -> None:
        self.count = 0
        self._open = asyncio.Event()
        self._tell = stage.gate.tell
        stage.gate.tell = self._wait  # type: ignore[method-assign]  # this test's gate

    async def _wait(self, ask: object, /) -> object:
        self.count += 1
        await self._open.wait()
        return await self._tell(ask)  # type: ignore[arg-type]

    def open(self) -> None:
        """Let them go."""
        self._open.set()


def worker_of(said: str) -> str:
    """When the worker was born: tells workers apart, as each sees itself as process 1."""
    return said.partition(" ")[0]


async def test_a_worker_serves_the_merchant_of_its_first_call_and_no_other(stage: Stage) -> None:
    plugin = stage.plugin(COUNTING)
    said = [await stage.say(plugin, merchant_id=f"mer_{n % 3}", arguments=TEXT) for n in range(12)]
    by_merchant = [{worker_of(each) for each in said if each.endswith(f"mer_{n}")} for n in range(3)]
    assert [len(workers) for workers in by_merchant] == [1, 1, 1]
    assert len(set.union(*by_merchant)) == 3
    assert [each.split()[1] for each in said[-3:]] == ["4", "4", "4"]


async def test_one_call_at_a_time_and_no_more_workers_than_the_manifest_says(spawner: Spawner, plugins: Path) -> None:
    async with open_stage(spawner, plugins, limits=PATIENT) as stage:
        plugin, held = stage.plugin(COUNTING, resources={"workers_max": 2}), Held(stage)
        pending = [stage.begin(plugin, arguments=HOLD) for _ in range(4)]
        await until(lambda: held.count == 2)
        await asyncio.sleep(0.1)
        assert held.count == 2
        held.open()
        answers = [await each.outcome() for each in pending]
        assert all(isinstance(answer, Answered) for answer in answers)
        workers = {worker_of(answer.value.reasons[0].text) for answer in answers if isinstance(answer, Answered)}
        assert len(workers) == 2


async def test_what_may_not_wait_is_saturated_at_once_and_other_merchants_are_served(
    stage: Stage,
) -> None:
    plugin, held = stage.plugin(COUNTING, resources={"workers_max": 1}), Held(stage)
    assert await stage.say(plugin, merchant_id="mer_2", arguments=TEXT)
    running = stage.begin(plugin, arguments=HOLD)
    await until(lambda: held.count == 1)
    waiting = [stage.begin(plugin, arguments=TEXT) for _ in range(PoolLimits().waiting_per_key_max)]
    assert await stage.fault(plugin, arguments=TEXT) == Fault(FaultKind.SATURATED, "no worker was free in time")
    assert (await stage.say(plugin, merchant_id="mer_2", arguments=TEXT)).split()[1:] == ["2", "mer_2"]
    held.open()
    assert isinstance(await running.outcome(), Answered)
    assert all([isinstance(await each.outcome(), Answered) for each in waiting])


async def test_a_call_waits_for_a_busy_worker_a_fifth_of_its_deadline(stage: Stage) -> None:
    plugin, held = stage.plugin(COUNTING, resources={"workers_max": 1}), Held(stage)
    running = stage.begin(plugin, arguments=HOLD)
    await until(lambda: held.count == 1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    fault = await stage.fault(plugin, arguments=TEXT, deadline_s=1.0)
    assert fault.kind is FaultKind.SATURATED
    assert loop.time() - began >= 0.19
    held.open()
    assert isinstance(await running.outcome(), Answered)


async def test_per_call_workers_are_used_once(stage: Stage) -> None:
    plugin = stage.plugin(COUNTING, resources={"worker_scope": "per_call"})
    said = [await stage.say(plugin, arguments=TEXT) for _ in range(5)]
    assert [each.split()[1] for each in said] == ["1"] * 5
    assert len({worker_of(each) for each in said}) == 5


async def test_a_spare_takes_over_when_a_worker_is_killed(stage: Stage) -> None:
    plugin = stage.plugin(COUNTING)
    first = await stage.say(plugin, arguments=TEXT)
    await until(lambda: len(stage.supervisor.pids(plugin)) == 2)
    await stage.supervisor.warm(plugin, "1.0.0")
    spare = set(stage.supervisor.pids(plugin))
    fault = await stage.fault(plugin, arguments={"subject": "loop"}, deadline_s=0.05)
    assert fault.kind is FaultKind.TIMEOUT
    second = await stage.say(plugin, arguments=TEXT)
    assert worker_of(second) != worker_of(first)
    assert len(spare & set(stage.supervisor.pids(plugin))) == 1


async def test_each_merchant_that_is_warmed_for_finds_a_worker_of_its_own(stage: Stage) -> None:
    plugin = stage.plugin(COUNTING)
    for merchant in ("mer_1", "mer_2", "mer_1"):
        await stage.supervisor.warm(plugin, "1.0.0", merchant_id=merchant)
    kept = stage.supervisor._pool._versions[plugin, "1.0.0"].keys
    assert {merchant: (key.size, len(key.idle)) for merchant, key in kept.items()} == {"mer_1": (1, 1), "mer_2": (1, 1)}
    before = set(stage.supervisor.pids(plugin))
    said = [await stage.say(plugin, merchant_id=merchant, arguments=TEXT) for merchant in ("mer_1", "mer_2", "mer_1")]
    assert [each.split()[1:] for each in said] == [["1", "mer_1"], ["1", "mer_2"], ["2", "mer_1"]]
    assert before <= set(stage.supervisor.pids(plugin)), "nobody's worker was taken for somebody else"


async def test_a_version_that_does_not_load_is_not_kept_for_anybody(stage: Stage) -> None:
    plugin = stage.plugin("raise RuntimeError('no')")
    outcome = await stage.supervisor.warm(plugin, "1.0.0", merchant_id="mer_1")
    assert isinstance(outcome, Fault)
    assert outcome.kind is FaultKind.LOAD
    assert stage.supervisor._pool._versions[plugin, "1.0.0"].keys == {}


async def test_a_worker_found_dead_is_replaced_without_a_fault(stage: Stage) -> None:
    plugin = stage.plugin(COUNTING)
    for _ in range(3):
        await stage.say(plugin, arguments=TEXT)
        for pid in stage.supervisor.pids(plugin):
            os.kill(pid, signal.SIGKILL)
            while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)  # noqa: ASYNC251 - the loop must not hear of it before the call begins
        pending = stage.begin(plugin, arguments=TEXT)
        assert isinstance(await pending.outcome(), Answered)
    assert stage.listener.faults == []


@pytest.mark.parametrize(
    "limits",
    [
        replace(PATIENT, calls_max=3),
        replace(PATIENT, age_s_max=0.0),
        replace(PATIENT, cpu_s_max=0.0),
        replace(PATIENT, idle_s_max=0.0),
    ],
    ids=["calls", "age", "cpu", "idle"],
)
async def test_workers_are_recycled(spawner: Spawner, plugins: Path, limits: PoolLimits) -> None:
    async with open_stage(spawner, plugins, limits=limits) as stage:
        plugin = stage.plugin(COUNTING)
        first = await stage.say(plugin, arguments=TEXT)
        pids = set(stage.supervisor.pids(plugin))
        if limits.calls_max == 3:
            said = [await stage.say(plugin, arguments=TEXT) for _ in range(3)]
            assert [each.split()[1] for each in said] == ["2", "3", "1"]
        await until(lambda: not pids <= set(stage.supervisor.pids(plugin)))
        await until(lambda: not pids & set(stage.supervisor.pids(plugin)) or limits.calls_max == 3)
        assert worker_of(await stage.say(plugin, arguments=TEXT)) != worker_of(first)
        assert stage.listener.faults == []


async def test_a_cancelled_wait_leaves_and_a_cancelled_call_ends_its_worker(stage: Stage) -> None:
    plugin, held = stage.plugin(COUNTING, resources={"workers_max": 1}), Held(stage)
    await stage.say(plugin, arguments=TEXT)
    (worker,) = stage.supervisor.pids(plugin)[:1]
    running = asyncio.ensure_future(stage.ask(plugin, arguments=HOLD))
    await until(lambda: held.count == 1)
    waiting = [asyncio.ensure_future(stage.ask(plugin, arguments=TEXT)) for _ in range(4)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    again = asyncio.ensure_future(stage.ask(plugin, arguments=TEXT))  # There is room for one more.
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert all(isinstance(answer, Answered) for answer in await asyncio.gather(*waiting[1:], again))
    assert worker not in stage.supervisor.pids(plugin)
    held.open()


async def test_a_full_plugin_makes_room_by_ending_the_worker_idle_longest(spawner: Spawner, plugins: Path) -> None:
    limits = replace(PATIENT, workers_per_plugin_max=3)
    async with open_stage(spawner, plugins, limits=limits) as stage:
        plugin = stage.plugin(COUNTING)
        for n in (1, 2, 3, 1, 3, 4):
            assert (await stage.say(plugin, merchant_id=f"mer_{n}", arguments=TEXT)).endswith(f"mer_{n}")
            assert len(stage.supervisor.pids(plugin)) <= 3
        said = {n: await stage.say(plugin, merchant_id=f"mer_{n}", arguments=TEXT) for n in (1, 3, 4)}
        assert {n: each.split()[1] for n, each in said.items()} == {1: "3", 3: "3", 4: "2"}


@pytest.mark.parametrize(
    "limits", [replace(PATIENT, memory_mb_max=600), replace(PATIENT, workers_max=2)], ids=["memory", "workers"]
)
async def test_bounds_of_the_process_hold_over_all_plugins(spawner: Spawner, plugins: Path, limits: PoolLimits) -> None:
    async with open_stage(spawner, plugins, limits=limits) as stage:
        ids = [stage.plugin(COUNTING) for _ in range(4)]
        for plugin in ids * 2:
            await stage.say(plugin, arguments=TEXT)
            assert sum(len(stage.supervisor.pids(each)) for each in ids) <= 2


async def test_when_everything_is_busy_a_call_is_saturated_not_stuck(spawner: Spawner, plugins: Path) -> None:
    limits = replace(PATIENT, workers_max=1, wait_share=0.2)
    async with open_stage(spawner, plugins, limits=limits) as stage:
        one, other = stage.plugin(COUNTING), stage.plugin(COUNTING)
        held = Held(stage)
        running = stage.begin(one, arguments=HOLD)
        await until(lambda: held.count == 1)
        assert (await stage.fault(other, arguments=TEXT, deadline_s=0.5)).kind is FaultKind.SATURATED
        held.open()
        assert isinstance(await running.outcome(), Answered)
        assert (await stage.say(other, arguments=TEXT)).split()[1] == "1"


async def test_ending_a_merchant_leaves_the_others(stage: Stage) -> None:
    plugin, held = stage.plugin(COUNTING), Held(stage)
    kept = await stage.say(plugin, merchant_id="mer_2", arguments=TEXT)
    running = stage.begin(plugin, arguments=HOLD)
    await until(lambda: held.count == 1)
    await stage.supervisor.end(plugin, merchant_id="mer_1")
    assert await running.outcome() == Fault(FaultKind.DIED, "the platform ended the plugin's workers")
    again = await stage.say(plugin, merchant_id="mer_2", arguments=TEXT)
    assert (worker_of(again), again.split()[1]) == (worker_of(kept), "2")
    pids = stage.supervisor.pids(plugin)
    await stage.supervisor.end(plugin, version="0.9.0")
    assert stage.supervisor.pids(plugin) == pids
    await stage.supervisor.end(plugin)
    assert stage.supervisor.pids(plugin) == ()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert stage.listener.faults == []


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_closing_leaves_no_process_and_no_descriptor(spawner: Spawner, plugins: Path) -> None:
    before = open_descriptors()
    for _ in range(3):
        async with open_stage(spawner, plugins) as stage:
            plugin, held = stage.plugin(COUNTING), Held(stage)
            running = stage.begin(plugin, arguments=HOLD)
            await until(lambda held=held: held.count == 1)
            ids = [stage.plugin("raise ValueError\n"), plugin, stage.plugin(COUNTING)]
            others = [stage.begin(each, arguments=TEXT, merchant_id="mer_9") for each in ids]
            assert isinstance(await others[0].outcome(), Fault)
            pids = [pid for each in ids for pid in stage.supervisor.pids(each)]
        assert isinstance(await running.outcome(), Fault)
        assert all([isinstance(await each.outcome(), Answered | Fault) for each in others[1:]])
        assert pids
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert (await stage.fault(plugin)).kind is FaultKind.UNAVAILABLE
    assert open_descriptors() == before


async def test_when_the_zygote_dies_calls_end_and_later_ones_are_served(plugins: Path) -> None:
    spawner = await started_spawner(plugins)
    try:
        async with open_stage(spawner, plugins, limits=PATIENT) as stage:
            plugin, held = stage.plugin(COUNTING), Held(stage)
            running = stage.begin(plugin, arguments=HOLD)
            await until(lambda: held.count == 1)
            pids = stage.supervisor.pids(plugin)
            zygote = next(each for each in psutil.Process().children() if pids[0] in descendants(each))
            zygote.kill()
            outcome = await running.outcome()
            assert isinstance(outcome, Fault)
            assert outcome.kind is FaultKind.DIED
            held.open()
            await until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
            for _ in range(200):
                if isinstance(await stage.ask(plugin, arguments=TEXT), Answered):
                    break
                await asyncio.sleep(0.05)
            assert isinstance(await stage.ask(plugin, arguments=TEXT), Answered)
    finally:
        await spawner.close()


def descendants(process: psutil.Process) -> set[int]:
    return {each.pid for each in process.children(recursive=True)}


async def test_a_looping_plugin_does_not_slow_the_calls_of_another(stage: Stage) -> None:
    """Nothing of one plugin's call is on the other's way: while one loops, a hundred calls of the other end first."""
    looping, other = stage.plugin(COUNTING), stage.plugin(COUNTING)
    await stage.say(other, arguments=TEXT)
    await stage.say(looping, arguments=TEXT)
    loop = asyncio.ensure_future(stage.ask(looping, arguments={"subject": "loop"}))
    for _ in range(100):
        assert isinstance(await stage.ask(other, arguments=TEXT), Answered)
    assert not loop.done()
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_the_next_spare_waits_until_the_last_one_has_answered(spawner: Spawner, plugins: Path) -> None:
    """A fork would take the processors from the call that the spare was kept for; whoever has none is not made wait."""
    async with open_stage(spawner, plugins, limits=replace(PATIENT, refill_s=3600.0)) as stage:
        plugin = stage.plugin(COUNTING)
        assert isinstance(await stage.supervisor.warm(plugin, VERSION), Hosted)
        await stage.say(plugin, merchant_id="mer_1", arguments=TEXT)
        await asyncio.sleep(0.2)  # A spare that is not held back is ready by then, or at least there.
        assert len(stage.supervisor.pids(plugin)) == 1
        await stage.say(plugin, merchant_id="mer_2", arguments=TEXT)
        assert len(stage.supervisor.pids(plugin)) == 2
    async with open_stage(spawner, plugins, limits=PATIENT) as stage:
        await stage.say(plugin, merchant_id="mer_1", arguments=TEXT)
        await until(lambda: len(stage.supervisor.pids(plugin)) == 2)


async def test_a_worker_is_stopped_after_its_answer_unless_its_next_call_waits(
    spawner: Spawner, plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stage(spawner, plugins, limits=replace(PATIENT, refill_s=3600.0)) as stage:
        plugin = stage.plugin(COUNTING, resources={"workers_max": 1})
        await stage.say(plugin, arguments=TEXT)
        (pid,) = stage.supervisor.pids(plugin)
        await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        sent: list[int] = []
        send = signal.pidfd_send_signal

        def noted(pidfd: int, number: int) -> None:
            sent.append(number)
            send(pidfd, number)

        monkeypatch.setattr(signal, "pidfd_send_signal", noted)
        pending = [stage.begin(plugin, arguments=TEXT) for _ in range(20)]
        assert [type(await each.outcome()) for each in pending] == [Answered] * len(pending)
        await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        assert sent == [signal.SIGCONT, signal.SIGSTOP]
        assert stage.supervisor.pids(plugin) == (pid,)
        await stage.say(plugin, arguments=TEXT)
        await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        assert sent == [signal.SIGCONT, signal.SIGSTOP] * 2
        monkeypatch.undo()


async def test_workers_that_fail_again_and_again_are_replaced_at_a_bounded_rate(
    spawner: Spawner, plugins: Path
) -> None:
    limits = replace(PATIENT, wait_share=0.01, kills_burst=2, kills_per_s=0.0)
    async with open_stage(spawner, plugins, limits=limits) as stage:
        plugin, other = stage.plugin(CRASHING), stage.plugin(COUNTING)
        faults = [await stage.fault(plugin, arguments=TEXT) for _ in range(6)]
        died = sum(fault.kind is FaultKind.DIED for fault in faults)
        assert 2 <= died <= 4, "those that were there or on their way when the limit was reached, and no more"
        assert {fault.kind for fault in faults[died:]} == {FaultKind.SATURATED}
        assert stage.supervisor.pids(plugin) == ()
        assert await stage.say(other, arguments=TEXT), "another plugin has workers as before"
