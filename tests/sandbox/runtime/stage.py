"""A zygote for all tests, plugins made on the spot, and calls to them."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from benchmarks.plugin_bundle import VERSION, plugin_bundle
from platform_core.contracts.results import Verdict
from platform_core.contracts.runtime import Answered, Ask, Binding, Fault, Mode, OutsideCall, Pending, Told
from sandbox.runtime.install import install
from sandbox.runtime.levels import Level
from sandbox.runtime.limits import PoolLimits
from sandbox.runtime.requests import ZygoteSettings
from sandbox.runtime.spawner import Spawner
from sandbox.runtime.supervisor import Supervisor

PATIENT_S: Final = 20.0
"""Deadline of a call that is to be answered, however busy the machine is."""
VERDICT: Final[TypeAdapter[Any]] = TypeAdapter(Verdict)
HEAD: Final = """
import os, sys, time, json, struct, threading
from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.plugin import Refused
from platform_core.contracts.results import Verdict

def say(what):
    return Verdict.review("said", str(what)[:200])

def send(body):
    os.write(3, struct.pack(">BI", 1, len(body)) + body)
"""
"""Begins every plugin of these tests. A verdict of review carries what the plugin has to say."""
_numbers = itertools.count()


@dataclass
class Gate:
    """Answers as it is told, and remembers what it was asked."""

    answers: Mapping[str, Told] = field(default_factory=dict)
    asked: list[Ask] = field(default_factory=list)

    async def tell(self, ask: Ask, /) -> Told:
        """The answer for the operation; null for others."""
        self.asked.append(ask)
        await asyncio.sleep(0)
        return self.answers.get(ask.operation, Told())


@dataclass
class Listener:
    """Remembers what was heard."""

    faults: list[tuple[str, Fault]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """Monotonic seconds."""

    def heard(self, plugin_id: str, version: str, fault: Fault, /) -> None:
        """Take note."""
        self.times.append(time.monotonic())
        self.faults.append((plugin_id, fault))


@dataclass
class Stage:
    """A supervisor over the zygote of the run."""

    spawner: Spawner
    plugins: Path
    supervisor: Supervisor
    listener: Listener
    lines: list[tuple[str, str]]
    """Call id and text of every line that was logged."""
    gate: Gate = field(default_factory=Gate)

    def plugin(self, code: str, **options: Any) -> str:
        """Install a plugin with this code after `HEAD`; its id. Options as of `plugin_bundle`."""
        plugin_id = options.pop("plugin_id", f"example.acme.probe{next(_numbers)}")
        bundle = plugin_bundle(self.plugins.parent, HEAD + code, plugin_id=plugin_id, **options)
        install(bundle, plugins=self.plugins)
        return str(plugin_id)

    def call(
        self,
        plugin_id: str,
        *,
        target: str = "check_payment",
        merchant_id: str = "mer_1",
        arguments: Mapping[str, Any] | bytes | None = None,
        blobs: tuple[bytes, ...] = (),
        deadline_s: float = PATIENT_S,
        result: TypeAdapter[Any] = VERDICT,
        revision: int = 1,
        config: Mapping[str, Any] | None = None,
        mode: Mode = "test",
    ) -> OutsideCall:
        """A call of a plugin."""
        context = {
            "call_id": "cal_1",
            "hook": target.partition("/")[0],
            "contract": "1.0",
            "store_id": "sto_1",
            "now": "2026-11-22T12:00:00Z",
            "deadline_ms": 150,
            "idempotency_key": "key_1",
        }
        return OutsideCall(
            id=secrets.token_hex(16),
            handle=secrets.token_hex(16),
            binding=Binding(
                plugin_id=plugin_id,
                version=VERSION,
                merchant_id=merchant_id,
                mode=mode,
                locale="en",
                revision=revision,
                config=json.dumps(config or {}).encode(),
            ),
            target=target,
            major=1,
            context=json.dumps(context).encode(),
            arguments=arguments if isinstance(arguments, bytes) else json.dumps(arguments or {}).encode(),
            deadline=time.monotonic() + deadline_s,
            result=result,
            gate=self.gate,
            blobs=blobs,
        )

    def begin(self, plugin_id: str, **options: Any) -> Pending:
        """Begin a call; options as of `call`."""
        return self.supervisor.begin(self.call(plugin_id, **options))

    async def ask(self, plugin_id: str, **options: Any) -> Answered | Fault:
        """Begin a call and wait for it."""
        return await self.begin(plugin_id, **options).outcome()

    async def say(self, plugin_id: str, **options: Any) -> str:
        """What the plugin says in its verdict; it must answer."""
        answered = await self.ask(plugin_id, **options)
        assert isinstance(answered, Answered), answered
        return str(answered.value.reasons[0].text)

    async def fault(self, plugin_id: str, **options: Any) -> Fault:
        """The fault of a call; it must have one."""
        fault = await self.ask(plugin_id, **options)
        assert isinstance(fault, Fault), fault
        return fault


@asynccontextmanager
async def open_stage(
    spawner: Spawner, plugins: Path, *, required: Level = Level.L1, limits: PoolLimits | None = None
) -> AsyncIterator[Stage]:
    """A stage that leaves no process behind."""
    listener, lines = Listener(), list[tuple[str, str]]()
    supervisor = Supervisor(
        spawner,
        plugins=plugins,
        required=required,
        listener=listener,
        log=lambda plugin_id, version, call_id, line: lines.append((call_id, line)),
        limits=PoolLimits(boot_s=PATIENT_S) if limits is None else limits,
    )
    stage = Stage(spawner=spawner, plugins=plugins, supervisor=supervisor, listener=listener, lines=lines)
    try:
        yield stage
    finally:
        await supervisor.close()


async def until(condition: Any, *, within_s: float = PATIENT_S) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


async def started_spawner(plugins: Path, *, level_max: Level = Level.L4) -> Spawner:
    """A zygote that is ready."""
    spawner = Spawner(ZygoteSettings(required=Level.L1, plugins=plugins, level_max=level_max))
    await spawner.start()
    return spawner
