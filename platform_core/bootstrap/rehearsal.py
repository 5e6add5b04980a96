"""Calling a plugin in a confined worker with nothing behind it: for its fixtures, and to replay a call.

The worker is as confined as any. What it asks for is answered by the contract kit's host in memory: nothing is written
and nothing is sent.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from platform_core.bootstrap.clients_gate import ClientsGate, nothing_leaves, runs_elsewhere
from platform_core.bootstrap.confined import Confined
from platform_core.contracts.hooks import CONTRACT, HookSpec
from platform_core.contracts.manifest import Manifest
from platform_core.contracts.plugin import Mode
from platform_core.contracts.runtime import Answered, Binding, Fault, OutsideCall
from platform_core.contracts.testing.bounds import BOUNDS
from platform_core.contracts.testing.host import FakeClients, FakeHost
from platform_core.contracts.testing.kit import Setup, cases
from platform_core.contracts.testing.loaded import LoadedPlugin
from platform_core.kernel.entropy import Entropy
from platform_core.plugin_host.majors import Major
from sandbox.runtime.levels import Level

MERCHANT: Final = "mer_rehearsal"
ID_BYTES: Final = 16


class Faults:
    """A `FaultListener` that keeps what it hears."""

    def __init__(self) -> None:
        self.heard_of: list[Fault] = []

    def heard(self, plugin_id: str, version: str, fault: Fault, /) -> None:
        """Keep it."""
        self.heard_of.append(fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One fixture that was not answered as it must be; `fixture` is empty when the plugin could not even be loaded."""

    fixture: str
    hook: str
    said: str
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one rehearsed call is told besides its payload."""

    store_id: str | None
    mode: Mode
    locale: str
    now: datetime
    idempotency_key: str
    config: bytes


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one call: the value or the fault, what was asked for, milliseconds."""

    outcome: Answered | Fault
    asked: Sequence[str]
    took_ms: float


@dataclass(slots=True)
class Rehearsal:
    """Workers of its own, ended with it."""

    confined: Confined
    faults: Faults
    lines: list[str] = field(default_factory=list)
    """What plugins printed, the last ones."""
    _entropy: Entropy = field(default_factory=Entropy)

    async def load(self, plugin_id: str, version: str) -> Fault | None:
        """Start a worker of a version; a fault says why there is none."""
        return await self.confined.readied(plugin_id, version)

    async def fixtures(self, manifest: Manifest, *, config: bytes) -> list[Failed]:
        """Load the version, and call each hook on each golden fixture; what failed."""
        about = manifest.plugin
        fault = await self.load(about.id, about.version)
        if fault is not None:
            return [Failed(fixture="", hook="", said=f"{fault.kind.value}: {fault.detail}", fault=fault)]
        hooks = {use.name: runs_elsewhere for use in manifest.hooks} | {
            use.hook: runs_elsewhere for use in manifest.providers
        }
        plugin, failed = LoadedPlugin(manifest=manifest, hooks=hooks), []
        for case in cases(plugin, Setup(config=msgspec.json.decode(config))):
            told = case.fixture.context
            facts = Facts(
                store_id=told.store_id,
                mode=told.mode,
                locale=told.locale,
                now=told.now,
                idempotency_key=told.idempotency_key,
                config=config,
            )
            host = FakeHost(manifest, config=msgspec.json.decode(config), outside=nothing_leaves, now=told.now)
            played = await self.play(manifest, case.hook, payload=case.json(), facts=facts, host=host)
            said = _fault_of(case.hook, case.fixture.payload, played.outcome)
            if said is not None:
                fault = played.outcome if isinstance(played.outcome, Fault) else None
                failed.append(Failed(fixture=case.fixture.name, hook=case.hook.name, said=said, fault=fault))
        return failed

    async def play(self, manifest: Manifest, hook: HookSpec, *, payload: bytes, facts: Facts, host: FakeHost) -> Played:
        """One call, within the deadline that it would have."""
        use = manifest.hook(hook.name)
        deadline_ms = min(hook.rule.each_ms, (use.deadline_ms if use is not None else None) or hook.rule.each_ms)
        call_id, handle = (self._entropy(ID_BYTES).hex() for _ in range(2))
        gate = ClientsGate(FakeClients(host, hook), call_id=call_id, handle=handle)
        told = {
            "call_id": call_id,
            "deadline_ms": deadline_ms,
            "hook": hook.name,
            "contract": CONTRACT,
            "store_id": facts.store_id,
            "now": facts.now,
            "idempotency_key": facts.idempotency_key,
        }
        binding = Binding(
            plugin_id=manifest.plugin.id,
            version=manifest.plugin.version,
            merchant_id=MERCHANT,
            mode=facts.mode,
            locale=facts.locale,
            revision=1,
            config=facts.config,
        )
        began = time.monotonic()
        call = OutsideCall(
            id=call_id,
            handle=handle,
            binding=binding,
            target=hook.name,
            major=hook.version,
            context=msgspec.json.encode(told),
            arguments=payload,
            deadline=began + deadline_ms / 1000,
            result=Major(hook).adapter,
            gate=gate,
        )
        outcome = await self.confined.begin(call).outcome()
        return Played(outcome, tuple(gate.asked), (time.monotonic() - began) * 1000)

    async def end(self, plugin_id: str, version: str) -> None:
        """Kill the workers of a version."""
        await self.confined.end(plugin_id, version=version)


@asynccontextmanager
async def rehearsing(plugins: Path, *, required: Level) -> AsyncIterator[Rehearsal]:
    """Over the releases in a folder. The zygote starts with the first version."""
    faults, lines = Faults(), list[str]()

    def keep(plugin_id: str, version: str, call_id: str, line: str, /) -> None:
        lines.append(line)
        del lines[:-50]

    confined = Confined(plugins, required=required, listener=faults, quarantined=frozenset, lines=keep)
    try:
        yield Rehearsal(confined, faults, lines)
    finally:
        await confined.stop()


def _fault_of(hook: HookSpec, payload: object, outcome: Answered | Fault) -> str | None:
    if isinstance(outcome, Fault):
        return f"{outcome.kind.value}: {outcome.detail}"
    bounds = BOUNDS.get(hook.name)
    return None if bounds is None else bounds(payload, outcome.value)


def preset(host: FakeHost, state: Mapping[str, Any]) -> None:  # Any: JSON
    """Let a plugin's store hold something."""
    for key, value in state.items():
        host.state.put(key, value)
