"""The same story on both event loops that the runtime promises to work on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import uvloop

from platform_core.contracts.runtime import Answered, FaultKind, Told
from sandbox.runtime.pending import RunningCall
from tests.sandbox.runtime.stage import Stage, open_stage, started_spawner, until

CODE = """
@hookimpl
def check_payment(ctx, payment):
    if payment.subject == "ask":
        return say(ctx.state.get("k"))
    if payment.subject == "leave":
        os._exit(3)
    while payment.subject == "loop":
        pass
    return say(len(payment.subject))
"""


async def story(stage: Stage) -> None:
    plugin, other = stage.plugin(CODE), stage.plugin(CODE)
    stage.gate.answers = {"state.get": Told(value=b"null")}
    pending = [stage.begin(each, arguments={"subject": "abc"}) for each in (plugin, other)]
    assert [isinstance(await each.outcome(), Answered) for each in pending] == [True, True]
    assert await stage.say(plugin, arguments={"subject": "ask"}) == "None"
    assert await stage.say(plugin, arguments={"subject": "x" * 250_000}) == "250000"
    kinds = [(await stage.fault(plugin, arguments={"subject": "leave"})).kind]
    kinds.append((await stage.fault(plugin, arguments={"subject": "loop"}, deadline_s=0.2)).kind)
    assert kinds == [FaultKind.DIED, FaultKind.TIMEOUT]
    late = stage.begin(other, arguments={"subject": ""}, deadline_s=0.2)
    time.sleep(0.5)  # noqa: ASYNC251 - it is the host that is late; the answer came in time
    assert isinstance(late, RunningCall)
    late.expire()  # As when a loop looks at its timers before its sockets.
    assert isinstance(await late.outcome(), Answered)
    single = stage.plugin(CODE, resources={"workers_max": 1})
    assert await stage.say(single, arguments={"subject": ""}) == "0"
    first, waiting = (stage.begin(single, arguments={"subject": ""}, deadline_s=1.0) for _ in range(2))
    time.sleep(0.3)  # noqa: ASYNC251 - more than a call may wait; but the worker has been free for long
    assert isinstance(waiting, RunningCall)
    waiting.expire()
    assert [isinstance(await each.outcome(), Answered) for each in (first, waiting)] == [True, True]
    killed = stage.supervisor.pids(other)
    for pid in killed:
        os.kill(pid, 9)
    assert await stage.say(plugin, arguments={"subject": ""}) == "0"
    await until(lambda: not {*killed} & {*stage.supervisor.pids(other)})
    assert await stage.say(other, arguments={"subject": ""}) == "0"


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_calls_faults_and_ends_are_alike_on_both_loops(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.sleep(0))  # uvloop keeps two descriptors of its own from its first run on.
    before, children = len(os.listdir("/proc/self/fd")), {child.pid for child in psutil.Process().children(True)}

    async def play() -> None:
        spawner = await started_spawner(plugins)
        try:
            async with open_stage(spawner, plugins) as stage:
                await story(stage)
        finally:
            await spawner.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(play())
    assert len(os.listdir("/proc/self/fd")) == before
    assert {child.pid for child in psutil.Process().children(True)} <= children
