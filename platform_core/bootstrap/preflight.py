"""A bundle tried before anybody relies on it: unpacked apart, its hooks run by the contract kit in confined workers.

Nothing of the bundle is imported here, and nothing is left of it. The worker asks a host in memory: its store is empty,
its secrets are made up, and nothing leaves, as when a provider is away; a plugin must get by with that.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import TypeAdapter

from platform_core.bootstrap.clients_gate import ClientsGate, nothing_leaves, runs_elsewhere
from platform_core.contracts.hooks import HookSpec
from platform_core.contracts.manifest import Manifest, SecretUse
from platform_core.contracts.manifest_rules import read
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.runtime import Answered, Binding, Fault, OutsideCall
from platform_core.contracts.testing.kit import Setup, run_kit
from platform_core.contracts.testing.loaded import LoadedPlugin
from sandbox.runtime.install import install
from sandbox.runtime.installed import Installed
from sandbox.runtime.levels import Level
from sandbox.runtime.requests import ZygoteSettings
from sandbox.runtime.spawner import Spawner, SpawnFailed
from sandbox.runtime.supervisor import Supervisor

RULES: Final = frozenset({"KIT-01", "KIT-02", "KIT-03", "KIT-04", "KIT-05"})
"""Those that a worker can be asked. Providers' own (KIT-06) and versions (KIT-07) are tried by the publisher."""
CALL_WITHIN_S: Final = 10.0
"""Correctness is tried here; how fast it is, REV-013 measures."""
SHOWN_MAX: Final = 3
_UID_FIRST: Final = 1_940_000_000  # apart from those of `bootstrap.confined`
_UIDS_PER_PROCESS: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What came of it. `level`: the one that was proven just now."""

    level: Level
    required: Level
    calls: int = 0
    broken: tuple[str, ...] = ()

    @property
    def is_run(self) -> bool:
        """Whether this machine confines as required; else nothing was started."""
        return self.level >= self.required

    @property
    def words(self) -> str:
        """In one sentence."""
        if not self.is_run:
            return f"Not run: this machine attains {self.level.name}, and {self.required.name} is required."
        if self.broken:
            more = f", and {len(self.broken) - SHOWN_MAX} more" if len(self.broken) > SHOWN_MAX else ""
            return f"In a worker at {self.level.name}: {'; '.join(self.broken[:SHOWN_MAX])}{more}"
        return f"{self.calls} calls in a worker at {self.level.name} were answered as the contract says."


async def preflight(bundle: Path, *, required: Level) -> Preflight:
    """Unpack, load and call it, confined. Raises what the installer raises; a plugin's faults are in the answer."""
    with _scratch() as plugins:
        installed = await asyncio.to_thread(install, bundle, plugins=plugins)
        uid_first = _UID_FIRST + os.getpid() % 8192 * _UIDS_PER_PROCESS
        spawner = Spawner(ZygoteSettings(required=required, plugins=plugins, uid_first=uid_first))
        try:
            await spawner.start()
        except SpawnFailed:
            await spawner.close()
            return Preflight(level=Level.L0, required=required)
        try:
            if spawner.level < required:
                return Preflight(level=spawner.level, required=required)
            return await _tried(spawner, installed, plugins=plugins, required=required)
        finally:
            await spawner.close()


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder through which workers of other uids can walk."""
    with tempfile.TemporaryDirectory(prefix="arsenal-preflight-") as scratch:
        Path(scratch).chmod(0o755)
        yield Path(scratch).resolve()


async def _tried(spawner: Spawner, installed: Installed, *, plugins: Path, required: Level) -> Preflight:
    manifest_path = installed.manifest_path
    manifest = read(manifest_path.read_text(encoding="utf-8"))
    supervisor = Supervisor(spawner, plugins=plugins, required=required)
    runner = InWorker(supervisor, asyncio.get_running_loop(), where=f"in a worker at {spawner.level.name}")
    broken: tuple[str, ...] = ()
    try:
        ready = await supervisor.warm(manifest.plugin.id, manifest.plugin.version)
        if isinstance(ready, Fault):
            broken = (f"It does not load: {ready.kind}: {ready.detail}",)
        else:
            plugin = LoadedPlugin(manifest=manifest, hooks={use.name: runs_elsewhere for use in manifest.hooks})
            setup = Setup(
                config=_defaults(manifest, manifest_path.parent),
                secrets={use.name: _made_up(use) for use in manifest.secrets},
                outside=nothing_leaves,
                runner=runner,
            )
            broken = tuple(str(each) for each in await asyncio.to_thread(run_kit, plugin, setup, rules=RULES))
    finally:
        await supervisor.close()
    return Preflight(level=spawner.level, required=required, calls=runner.calls, broken=broken)


class WorkerFault(Exception):
    """A call that ended without an answer."""


@dataclass(slots=True)
class InWorker:
    """The kit's `Runner` over a supervisor. Called from a thread beside the loop to which the supervisor belongs."""

    supervisor: Supervisor
    loop: asyncio.AbstractEventLoop
    where: str
    calls: int = 0

    def call(self, plugin: LoadedPlugin, hook: HookSpec, *, ctx: HookContext, json: bytes) -> Any:
        """As `Runner.call`. Raises WorkerFault."""
        self.calls += 1
        asked = asyncio.run_coroutine_threadsafe(self._ask(plugin.manifest, hook, ctx, json), self.loop)
        outcome = asked.result()
        if isinstance(outcome, Fault):
            raise WorkerFault(f"{outcome.kind}: {outcome.detail}".rstrip(": "))
        return outcome.value

    async def _ask(self, manifest: Manifest, hook: HookSpec, ctx: HookContext, arguments: bytes) -> Answered | Fault:
        call_id, handle = secrets.token_hex(16), secrets.token_hex(16)
        facts = {
            "call_id": call_id,
            "hook": hook.name,
            "contract": ctx.contract,
            "store_id": ctx.store_id,
            "now": ctx.now.isoformat(),
            "deadline_ms": ctx.deadline_ms,
            "idempotency_key": ctx.idempotency_key,
        }
        call = OutsideCall(
            id=call_id,
            handle=handle,
            binding=Binding(
                plugin_id=manifest.plugin.id,
                version=manifest.plugin.version,
                merchant_id=ctx.merchant_id,
                mode=ctx.mode,
                locale=ctx.locale,
                revision=1,
                config=_json_of(ctx.config),
            ),
            target=hook.name,
            major=hook.version,
            context=json.dumps(facts).encode(),
            arguments=arguments,
            deadline=time.monotonic() + CALL_WITHIN_S,
            result=_adapter(hook.result),
            gate=ClientsGate(ctx.clients, call_id=call_id, handle=handle),
        )
        return await self.supervisor.begin(call).outcome()


@cache
def _adapter(result: Any) -> TypeAdapter[Any]:  # Any: of the hook's result type
    return TypeAdapter(result)


def _json_of(config: Mapping[str, Any]) -> bytes:  # Any: JSON, frozen
    return TypeAdapter(dict[str, Any]).dump_json(dict(config))


def _made_up(use: SecretUse) -> bytes:
    """A secret of the right kind that opens nothing."""
    if use.kind != "signing_key":
        return b"0123456789abcdef0123456789abcdef"
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _defaults(manifest: Manifest, folder: Path) -> dict[str, Any]:  # Any: JSON by the plugin's own schema
    """The settings that the schema proposes."""
    if manifest.config is None:
        return {}
    told = json.loads((folder / manifest.config.schema_).read_text(encoding="utf-8"))
    return {name: one["default"] for name, one in told.get("properties", {}).items() if "default" in one}
