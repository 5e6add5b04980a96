"""Zygote and spawner: births that fail, zygotes that die, levels that do not hold, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvloop

from sandbox.runtime.birth import STEPS
from sandbox.runtime.levels import Level
from sandbox.runtime.release import ReleaseUnreadable, read_release, release_file
from sandbox.runtime.requests import Born
from sandbox.runtime.spawner import ExitStatus, Spawned, Spawner, SpawnFailed
from tests.sandbox.runtime.faults import MISSING
from tests.support.confined import (
    CONFINED,
    LEVELS,
    OBEY,
    PLAIN,
    TEST_LEVEL,
    VERSION,
    Worker,
    install,
    is_running,
    name_of,
    plugins_folder,
    put_down,
    spawning,
    working,
)
from tests.support.patience import HEARD_S

FAULTS = "tests.sandbox.runtime.faults"
STEP_OF_LEVEL = {"namespaces": Level.L3, "root": Level.L3, "uid": Level.L4}
L2_STEPS = {"privileges", "landlock", "seccomp"}
KILLED = ExitStatus(code=None, signal=signal.SIGKILL)


@pytest.fixture
def plugins() -> Iterator[Path]:
    with plugins_folder() as folder:
        install(folder)
        yield folder


def steps_here() -> list[str]:
    """The steps of a birth at the level that this machine must attain."""
    needed = {step: STEP_OF_LEVEL.get(step, Level.L2 if step in L2_STEPS else Level.L1) for step in STEPS}
    return [step for step in STEPS if needed[step] <= TEST_LEVEL and step != "cgroup"]  # test_cgroups.py has that one


def children_of(pid: int) -> set[int]:
    """Its processes, zombies included."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{name}/stat").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.add(int(name))
    return found


def zygote_pid(spawner: Spawner) -> int:
    zygote = spawner._zygote
    assert zygote is not None
    return zygote._process.pid


async def wait_until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(HEARD_S):
        while not holds():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.01)


async def wait_until_dead(workers: list[Spawned]) -> None:
    await wait_until(lambda: not any(is_running(each) for each in workers))


@pytest.mark.parametrize("step", steps_here())
async def test_an_error_at_each_step_reaches_the_host(plugins: Path, step: str) -> None:
    """Mistake 6: the zygote's error went to a descriptor already reused; the host waited for ever."""
    async with spawning(plugins, level=TEST_LEVEL, entry=f"{FAULTS}:raises_{step}") as spawner:
        assert spawner.level == TEST_LEVEL
        before = os.listdir("/proc/self/fd")
        with pytest.raises(SpawnFailed, match="planted") as failed:
            await spawner.spawn(PLAIN, VERSION, 0)
        assert (failed.value.step, failed.value.path) == (step, "/planted/path")
        assert children_of(zygote_pid(spawner)) == set()
        assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("step", [step for step in steps_here() if step not in STEP_OF_LEVEL])
async def test_a_death_at_each_step_reaches_the_host(plugins: Path, step: str) -> None:
    """At L2 at most: the first process of a pid namespace is deaf to signals of its own."""
    async with spawning(plugins, level=min(TEST_LEVEL, Level.L2), entry=f"{FAULTS}:dies_{step}") as spawner:
        with pytest.raises(SpawnFailed, match="ended without a word") as failed:
            await spawner.spawn(PLAIN, VERSION, 0)
        assert failed.value.step == step
        assert children_of(zygote_pid(spawner)) == set()


async def test_a_birth_that_stands_still_is_given_up_at_every_step(plugins: Path) -> None:
    """All zygotes are there before the first birth, and the births wait for their ends together."""

    async def given_up_at(spawner: Spawner) -> str:
        with pytest.raises(SpawnFailed, match="stood still") as failed:
            await spawner.spawn(PLAIN, VERSION, 0)
        await wait_until(lambda: not children_of(zygote_pid(spawner)))
        return failed.value.step

    steps = steps_here()
    async with contextlib.AsyncExitStack() as stack:
        spawners = [
            await stack.enter_async_context(
                spawning(plugins, level=TEST_LEVEL, entry=f"{FAULTS}:stands_{step}", within_s=3.0)
            )
            for step in steps
        ]
        assert await asyncio.gather(*map(given_up_at, spawners)) == steps


@pytest.mark.parametrize("level", CONFINED, ids=name_of)
async def test_a_missing_source_fails_the_spawn_and_is_named(plugins: Path, level: Level) -> None:
    """Mistake 4: a missing bind source was skipped in silence."""
    folder = plugins / PLAIN / VERSION / "site"
    async with spawning(plugins, level=level) as spawner:
        shutil.rmtree(folder)
        with pytest.raises(SpawnFailed) as failed:
            await spawner.spawn(PLAIN, VERSION, 0)
        assert failed.value.step == ("root" if level >= Level.L3 else "landlock")
        assert failed.value.path == str(folder)
        assert children_of(zygote_pid(spawner)) == set()


@pytest.mark.parametrize("level", CONFINED, ids=name_of)
async def test_a_shared_source_that_is_missing_leaves_no_level(plugins: Path, level: Level) -> None:
    async with spawning(plugins, level=level, entry=f"{FAULTS}:missing_source") as spawner:
        assert spawner.level == Level.L1
        assert [each.level for each in spawner.unproven] == list(range(level, Level.L1, -1))
        assert {each.step for each in spawner.unproven} <= {"root", "landlock"}
        assert all(str(MISSING) in each.path for each in spawner.unproven)


@pytest.mark.parametrize("level", CONFINED, ids=name_of)
async def test_an_installation_below_a_closed_folder_works(level: Level) -> None:
    """Mistake 5: sources under a 0700 parent, or opened before `unshare`, could not be bound."""
    with plugins_folder() as outer:
        outer.chmod(0o700)
        inner = outer / "closed" / "plugins"
        inner.mkdir(parents=True)
        (outer / "closed").chmod(0o700)
        install(inner)
        async with spawning(inner, level=level) as spawner, working(spawner) as worker:
            assert spawner.level == level, spawner.unproven
            assert await worker.run("import plain, json.tool, pydantic.color; result = plain.VALUE") == 1


@pytest.mark.parametrize("level", LEVELS, ids=name_of)
async def test_two_hundred_workers_stay_alive_and_die_with_the_zygote(plugins: Path, level: Level) -> None:
    """Mistake 3: the parent-death signal fired when the intermediate exited and killed workers at random."""
    async with spawning(plugins, level=level) as spawner:
        for round_ in range(4):
            workers = [await spawner.spawn(PLAIN, VERSION, slot) for slot in range(50)]
            await asyncio.sleep(0.1)
            assert [is_running(each) for each in workers] == [True] * 50
            answers = [await Worker(spawner, each).run("result = 6 * 7") for each in workers]
            assert answers == [42] * 50
            if round_ < 3:
                for each in workers:
                    await put_down(spawner, each)
        assert len({each.pid for each in workers}) == 50
        os.kill(zygote_pid(spawner), signal.SIGKILL)
        await wait_until_dead(workers)
        assert await spawner.reap(workers[0]) == KILLED
        for each in workers:
            each.close()


async def test_a_new_zygote_takes_over_and_old_workers_are_gone(
    plugins: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with spawning(plugins, level=TEST_LEVEL) as spawner:
        first = zygote_pid(spawner)
        old = await spawner.spawn(PLAIN, VERSION, 0)
        os.kill(first, signal.SIGKILL)
        await wait_until_dead([old])
        worker = await until_spawned(spawner)
        assert zygote_pid(spawner) != first
        assert [each.message for each in caplog.records if each.levelname == "ERROR"] == [
            "the zygote has ended, and all its workers with it; another is started"
        ]
        assert await Worker(spawner, worker).run("result = 1") == 1
        assert await spawner.reap(old) == KILLED  # the new zygote does not know it
        await put_down(spawner, worker)
        old.close()


async def until_spawned(spawner: Spawner) -> Spawned:
    async with asyncio.timeout(2 * HEARD_S):
        while True:
            with contextlib.suppress(SpawnFailed):
                return await spawner.spawn(PLAIN, VERSION, 0)
            await asyncio.sleep(0.05)


async def test_a_zygote_that_does_not_answer_is_replaced(plugins: Path) -> None:
    async with spawning(plugins, level=TEST_LEVEL, within_s=1.0) as spawner:
        first = zygote_pid(spawner)
        old = await spawner.spawn(PLAIN, VERSION, 0)
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(SpawnFailed, match="gave no answer within 2 s") as failed:
            await spawner.spawn(PLAIN, VERSION, 1)
        assert failed.value.step == "deadline"
        await wait_until_dead([old])
        worker = await until_spawned(spawner)
        assert zygote_pid(spawner) != first
        await put_down(spawner, worker)
        old.close()


HOST = """
import asyncio, pathlib, sys
from sandbox.runtime.levels import Level
from sandbox.runtime.requests import ZygoteSettings
from sandbox.runtime.spawner import Spawner

async def main():
    plugins, entry, plugin_id, version = sys.argv[1:]
    settings = ZygoteSettings(required=Level.L1, plugins=pathlib.Path(plugins), entry=entry, spawn_within_s=20)
    spawner = Spawner(settings, start_within_s=60, answer_within_s=20)
    await spawner.start()
    worker = await spawner.spawn(plugin_id, version, 0)
    print(spawner._zygote._process.pid, worker.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_the_end_of_the_host_ends_zygote_and_workers(plugins: Path) -> None:
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOST, str(plugins), OBEY, PLAIN, VERSION, stdout=asyncio.subprocess.PIPE
    )
    assert host.stdout is not None
    zygote, worker = (int(each) for each in (await asyncio.wait_for(host.stdout.readline(), 3 * HEARD_S)).split())
    watched = [os.pidfd_open(zygote), os.pidfd_open(worker)]
    host.kill()
    await host.wait()
    for each in watched:
        assert await asyncio.to_thread(select.select, [each], [], [], HEARD_S) == ([each], [], [])
        os.close(each)


@pytest.mark.parametrize(
    ("entry", "step"),
    [("no_filter", "selftest"), ("no_landlock", "selftest"), ("lame_filter", "seccomp")],
)
async def test_a_level_that_does_not_hold_is_not_claimed(plugins: Path, entry: str, step: str) -> None:
    async with spawning(plugins, level=TEST_LEVEL, entry=f"{FAULTS}:{entry}", required=Level.L2) as spawner:
        assert spawner.level == Level.L1
        assert spawner.unproven[-1].level == Level.L2
        assert spawner.unproven[-1].step == step
        with pytest.raises(SpawnFailed, match="attained L1, required L2"):
            await spawner.spawn(PLAIN, VERSION, 0)
        assert children_of(zygote_pid(spawner)) == set()


async def test_a_machine_without_room_costs_a_birth_and_no_life(plugins: Path) -> None:
    async with spawning(plugins, level=TEST_LEVEL, entry=f"{FAULTS}:no_room") as spawner:
        zygote = zygote_pid(spawner)
        before = len(os.listdir(f"/proc/{zygote}/fd"))
        for words in ("temporarily unavailable", "Cannot allocate memory"):
            with pytest.raises(SpawnFailed, match=words) as failed:
                await spawner.spawn(PLAIN, VERSION, 0)
            assert failed.value.step == "fork"
        assert children_of(zygote) == set()
        assert len(os.listdir(f"/proc/{zygote}/fd")) == before
        async with working(spawner) as worker:
            assert await worker.run("result = 'born'") == "born"
        assert zygote_pid(spawner) == zygote


def test_a_spawner_works_on_another_loop(plugins: Path) -> None:
    """Server and worker run on uvloop."""

    async def spawn_and_reap() -> ExitStatus:
        async with spawning(plugins, level=TEST_LEVEL) as spawner:
            worker = await spawner.spawn(PLAIN, VERSION, 0)
            assert await asyncio.get_running_loop().sock_sendall(worker.channel, b'"result = 1"\n') is None
            worker.channel.shutdown(socket.SHUT_WR)
            ended = await spawner.reap(worker)
            worker.close()
            return ended

    def run() -> ExitStatus:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(spawn_and_reap())

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run).result() == ExitStatus(code=0, signal=None)


async def test_a_zygote_with_a_thread_forks_nobody(plugins: Path) -> None:
    with pytest.raises(SpawnFailed, match="2 threads"):
        async with spawning(plugins, level=TEST_LEVEL, entry=f"{FAULTS}:thread"):
            raise AssertionError("started")


@pytest.mark.parametrize("entry", ["tests.sandbox.runtime.nowhere:run", "tests.sandbox.runtime.entries:nothing"])
async def test_an_entry_that_is_not_there_is_named(plugins: Path, entry: str) -> None:
    with pytest.raises(SpawnFailed) as failed:
        async with spawning(plugins, level=TEST_LEVEL, entry=entry):
            raise AssertionError("started")
    assert failed.value.step == "start"
    assert entry.rpartition(".")[2].split(":")[1] in failed.value.words or "nowhere" in failed.value.words


async def test_a_slot_is_taken_until_its_worker_is_reaped(plugins: Path) -> None:
    async with spawning(plugins, level=TEST_LEVEL, uid_count=3) as spawner:
        first = await spawner.spawn(PLAIN, VERSION, 1)
        for slot in (1, 2, 4096):
            with pytest.raises(SpawnFailed, match="is taken or does not exist"):
                await spawner.spawn(PLAIN, VERSION, slot)
        assert children_of(zygote_pid(spawner)) == {first.pid}
        with pytest.raises(SpawnFailed, match="no worker of this zygote"):
            await spawner._zygote.ask(b'{"op":"reap","pid":1}\n', Born, within_s=HEARD_S)  # type: ignore[union-attr]
        first.channel.close()
        assert await spawner.reap(first) == ExitStatus(code=0, signal=None)
        second = await spawner.spawn(PLAIN, VERSION, 1)
        await put_down(spawner, second)
        first.close()


async def test_who_is_cancelled_while_spawning_harms_nobody(plugins: Path) -> None:
    async with spawning(plugins, level=TEST_LEVEL) as spawner, working(spawner) as worker:
        zygote = zygote_pid(spawner)
        before = set(os.listdir("/proc/self/fd"))
        # One is cancelled before its question was sent, one while the zygote works, others wait for their turn.
        tasks = [asyncio.create_task(spawner.spawn(PLAIN, VERSION, slot)) for slot in range(1, 6)]
        await asyncio.sleep(0.005)
        for task in tasks:
            task.cancel()
        assert {type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)} == {asyncio.CancelledError}
        await wait_until(lambda: children_of(zygote) == {worker.spawned.pid})
        await wait_until(lambda: not spawner._under_way)
        assert set(os.listdir("/proc/self/fd")) == before
        assert zygote_pid(spawner) == zygote
        assert await worker.run("result = 'unharmed'") == "unharmed"
        async with working(spawner, slot=1) as another:
            assert await another.run("result = 1") == 1


async def test_a_host_that_closes_while_spawning_leaves_nothing(plugins: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    async with spawning(plugins, level=TEST_LEVEL) as spawner:
        zygote = zygote_pid(spawner)
        tasks = [asyncio.create_task(spawner.spawn(PLAIN, VERSION, slot)) for slot in range(5)]
        await asyncio.sleep(0.005)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    for each in ended:
        if isinstance(each, Spawned):
            await wait_until_dead([each])
            each.close()
    assert {type(each) for each in ended} <= {SpawnFailed, Spawned}
    assert str(zygote) not in os.listdir("/proc")
    assert set(os.listdir("/proc/self/fd")) == before


async def test_reaping_does_not_wait_for_a_running_worker(plugins: Path) -> None:
    async with spawning(plugins, level=TEST_LEVEL, within_s=1.0) as spawner, working(spawner) as worker:
        with pytest.raises(SpawnFailed, match="still running") as failed:
            await spawner.reap(worker.spawned)
        assert failed.value.step == "deadline"
        assert await worker.run("result = 'alive'") == "alive"


@pytest.mark.parametrize("level", LEVELS, ids=name_of)
async def test_how_a_worker_ended_is_told(plugins: Path, level: Level) -> None:
    async with spawning(plugins, level=level) as spawner:
        async with working(spawner) as worker:
            assert await worker.end_of("import os; os._exit(7)") == ExitStatus(code=7, signal=None)
        async with working(spawner) as worker:
            crashed = await worker.end_of("import ctypes; ctypes.string_at(0)")
            assert crashed == ExitStatus(code=None, signal=signal.SIGSEGV)
        async with working(spawner) as worker:
            aborted = await worker.end_of("import os; os.abort()")
            # The first process of a pid namespace does not hear its own SIGABRT; libc then ends it by a trap.
            assert (aborted.signal == signal.SIGABRT) == (level < Level.L3)
            assert aborted.signal is not None


async def test_output_of_both_streams_arrives_in_the_log(plugins: Path) -> None:
    async with spawning(plugins, level=TEST_LEVEL) as spawner, working(spawner) as worker:
        await worker.run("import os, sys; print('printed'); print('complained', file=sys.stderr); os.write(1, b'raw')")
        assert os.read(worker.spawned.log, 4096) == b"printed\ncomplained\nraw"


async def test_a_host_leaves_nothing_behind(plugins: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    async with spawning(plugins, level=TEST_LEVEL) as spawner:
        pid = zygote_pid(spawner)
        for slot in range(5):
            async with working(spawner, slot=slot) as worker:
                assert await worker.run("result = 1") == 1
        kept = await spawner.spawn(PLAIN, VERSION, 9)
    assert str(pid) not in os.listdir("/proc")
    assert not is_running(kept)
    kept.close()
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "request_line",
    [
        {"op": "spawn", "plugin_id": "../../etc", "version": VERSION, "slot": 0},
        {"op": "spawn", "plugin_id": PLAIN, "version": "../1.0.0", "slot": 0},
        {"op": "spawn", "plugin_id": PLAIN, "version": VERSION, "slot": -1},
        {"op": "spawn", "plugin_id": PLAIN, "version": VERSION, "slot": 0, "merchant_id": "mer_1"},
        {"op": "spawn", "plugin_id": PLAIN, "version": VERSION, "slot": 0, "folder": "/etc"},
        {"op": "exec", "path": "/bin/sh"},
    ],
    ids=["id is a path", "version is a path", "slot", "merchant", "folder", "operation"],
)
async def test_a_request_says_release_and_slot_and_no_more(plugins: Path, request_line: dict[str, object]) -> None:
    async with spawning(plugins, level=TEST_LEVEL) as spawner:
        zygote = spawner._zygote
        assert zygote is not None
        with pytest.raises(SpawnFailed) as refused:
            await zygote.ask(json.dumps(request_line).encode() + b"\n", Born, within_s=HEARD_S)
        assert refused.value.step == "request"
        assert children_of(zygote_pid(spawner)) == set()
        async with working(spawner) as worker:
            assert await worker.run("result = 'still in step'") == "still in step"


async def test_a_spawn_without_its_descriptors_is_refused(plugins: Path) -> None:
    async with spawning(plugins, level=TEST_LEVEL) as spawner:
        zygote = spawner._zygote
        assert zygote is not None
        line = json.dumps({"op": "spawn", "plugin_id": PLAIN, "version": VERSION, "slot": 0}).encode() + b"\n"
        with pytest.raises(SpawnFailed, match="1 descriptors came"):
            await zygote.ask(line, Born, descriptors=(0,), within_s=HEARD_S)
        assert children_of(zygote_pid(spawner)) == set()


async def test_a_release_that_is_not_installed_is_named(plugins: Path) -> None:
    async with spawning(plugins, level=TEST_LEVEL) as spawner:
        with pytest.raises(SpawnFailed, match="No such file") as failed:
            await spawner.spawn(PLAIN, "9.9.9", 0)
        assert (failed.value.step, failed.value.path) == ("release", str(release_file(plugins, PLAIN, "9.9.9")))
        with pytest.raises(SpawnFailed) as refused:
            await spawner.spawn("Not An Id", VERSION, 0)
        assert refused.value.step == "request"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"folder": "/etc"}, "outside of"),
        ({"folder": "{parent}/../../../etc"}, "outside of"),
        ({"version": "2.0.0"}, "speaks of"),
        ({"memory_mb": 4096}, "memory_mb"),
        ({"tree_hash": "abc"}, "tree_hash"),
        ({"environment": {"A": "b"}}, "environment"),
    ],
    ids=["folder", "dots", "version", "memory", "hash", "unknown"],
)
def test_a_release_that_says_something_else_is_refused(plugins: Path, changed: dict[str, object], words: str) -> None:
    path = release_file(plugins, PLAIN, VERSION)
    told = json.loads(path.read_text(encoding="utf-8"))
    changed = {
        key: value.format(parent=path.parent) if isinstance(value, str) else value for key, value in changed.items()
    }
    path.write_text(json.dumps({**told, **changed}), encoding="utf-8")
    with pytest.raises(ReleaseUnreadable, match=words):
        read_release(plugins, plugin_id=PLAIN, version=VERSION)


def test_a_link_in_place_of_a_release_is_not_followed(plugins: Path) -> None:
    path = release_file(plugins, PLAIN, VERSION)
    path.rename(path.with_name("moved.json"))
    path.symlink_to("moved.json")
    with pytest.raises(ReleaseUnreadable, match="symbolic links"):
        read_release(plugins, plugin_id=PLAIN, version=VERSION)


@pytest.mark.parametrize("level", LEVELS, ids=name_of)
async def test_a_frozen_worker_goes_on_where_it_stood(plugins: Path, level: Level) -> None:
    """SIGSTOP in the middle of every kind of sleep: the kernel resumes them by restart_syscall."""
    sleeps = {
        "time.sleep(0.5)": None,
        "select.select([], [], [], 0.5)": None,
        "select.poll().poll(500)": None,
        "select.epoll().poll(0.5)": None,
        "lock = threading.Lock(); lock.acquire(); lock.acquire(timeout=0.5)": None,
        "result = libc.poll(None, 0, 500)": 0,
        "result = libc.usleep(500000)": 0,
    }
    async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
        await worker.run("import ctypes, select, threading, time; libc = ctypes.CDLL(None)")
        for code, expected in sleeps.items():
            answer = asyncio.create_task(worker.run(code))
            await asyncio.sleep(0.1)
            signal.pidfd_send_signal(worker.spawned.pidfd, signal.SIGSTOP)
            await asyncio.sleep(0.05)
            signal.pidfd_send_signal(worker.spawned.pidfd, signal.SIGCONT)
            assert await answer == expected, code


async def test_memory_is_refused_beyond_the_release_s_limit(plugins: Path) -> None:
    install(plugins, plugin_id="com.example.large", memory_mb=512)
    ask = "result = len(bytearray(300 * 1024 * 1024))"
    async with spawning(plugins, level=TEST_LEVEL) as spawner:
        async with working(spawner) as worker:
            assert (await worker.run(ask)).startswith("MemoryError")
            assert await worker.run("result = 'alive'") == "alive"
        async with working(spawner, plugin_id="com.example.large") as worker:
            assert await worker.run(ask) == 300 * 1024 * 1024


async def test_ten_threads_fit_into_the_address_space(plugins: Path) -> None:
    install(plugins, plugin_id="com.example.small", memory_mb=96)
    code = """
import threading
barrier = threading.Barrier(11)
threads = [threading.Thread(target=barrier.wait) for _ in range(10)]
for each in threads: each.start()
barrier.wait(10)
for each in threads: each.join()
result = len(threads)
"""
    small = "com.example.small"
    async with spawning(plugins, level=TEST_LEVEL) as spawner, working(spawner, plugin_id=small) as worker:
        assert await worker.run(code) == 10


async def test_workers_do_not_share_their_random_numbers(plugins: Path) -> None:
    async with spawning(plugins, level=TEST_LEVEL) as spawner:
        drawn = []
        for slot in range(3):
            async with working(spawner, slot=slot) as worker:
                drawn.append(await worker.run("import random; result = random.random()"))
        assert len(set(drawn)) == 3


@pytest.mark.parametrize("level", LEVELS, ids=name_of)
async def test_a_worker_s_first_thread_has_the_number_that_the_kernel_gave_it(plugins: Path, level: Level) -> None:
    """Not the zygote's: the fork leaves out what Python does after one."""
    code = "import threading; result = [threading.main_thread().native_id, threading.get_native_id()]"
    async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
        said, true = await worker.run(code)
    assert said == true
    assert (true == 1) == (level >= Level.L3)
