"""The confined tier of one process: zygote and workers, started when there is a plugin that needs them."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from platform_core.contracts.runtime import Answered, Fault, FaultKind, FaultListener, OutsideCall, Pending
from sandbox.runtime.levels import Level
from sandbox.runtime.requests import ZygoteSettings
from sandbox.runtime.spawner import Spawner, SpawnFailed
from sandbox.runtime.supervisor import Supervisor

log = structlog.get_logger(__name__)
LINES_PER_S: Final = 200
"""Of one version's output, into the log."""
_UIDS_PER_PROCESS: Final = 4096
_UID_FIRST: Final = 1_900_000_000


class _Never:
    """A call that could not begin."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    async def outcome(self) -> Answered | Fault:
        """At once."""
        return self._fault


class Confined:
    """A `Runtime`. Until `start` every call is answered `unavailable`."""

    def __init__(
        self,
        plugins: Path,
        *,
        required: Level,
        listener: FaultListener,
        quarantined: Callable[[], frozenset[tuple[str, str]]],
    ) -> None:
        """`quarantined`: the versions that must not run, asked when workers can first be had."""
        self._plugins = plugins
        self._required = required
        self._listener = listener
        self._quarantined = quarantined
        self._spawner: Spawner | None = None
        self._supervisor: Supervisor | None = None
        self._why = "nothing confined was started in this process"
        self._turn = asyncio.Lock()

    @property
    def level(self) -> str:
        """The level attained; L0 while nothing runs."""
        return "L0" if self._supervisor is None else self._supervisor.level

    @property
    def supervisor(self) -> Supervisor | None:
        """Once started."""
        return self._supervisor

    async def start(self) -> None:
        """Once; a machine that cannot confine is said loudly, and the plugins answer by their failure policies."""
        async with self._turn:
            if self._supervisor is not None:
                return
            await asyncio.to_thread(self._plugins.mkdir, parents=True, exist_ok=True)
            uid_first = _UID_FIRST + os.getpid() % 8192 * _UIDS_PER_PROCESS
            settings = ZygoteSettings(required=self._required, plugins=self._plugins.resolve(), uid_first=uid_first)
            spawner = Spawner(settings)
            try:
                await spawner.start()
            except SpawnFailed as error:
                self._why = str(error)
                log.error("plugin.no_confinement", required=self._required.name, why=str(error))
                await spawner.close()
                return
            self._spawner = spawner
            self._supervisor = Supervisor(
                spawner,
                plugins=self._plugins.resolve(),
                required=self._required,
                listener=self._listener,
                log=LogValve(),
            )
            for plugin_id, version in self._quarantined():
                self._supervisor.quarantine(plugin_id, version)
            log.info("plugin.confinement", attained=spawner.level.name, required=self._required.name)

    async def stop(self) -> None:
        """Kill every worker and the zygote."""
        if self._supervisor is not None:
            await self._supervisor.close()
        if self._spawner is not None:
            await self._spawner.close()
        self._supervisor = self._spawner = None

    def begin(self, call: OutsideCall, /) -> Pending:
        """As the supervisor does."""
        if self._supervisor is None:
            return _Never(Fault(FaultKind.NOT_CONFINED, self._why[:300]))
        return self._supervisor.begin(call)

    async def warm(self, plugin_id: str, version: str) -> None:
        """A spare worker, ready for the first call. What keeps it from starting is told to the listener."""
        await self.start()
        if self._supervisor is not None:
            await self._supervisor.warm(plugin_id, version)

    async def end(self, plugin_id: str, *, version: str | None = None, merchant_id: str | None = None) -> None:
        """Kill workers."""
        if self._supervisor is not None:
            await self._supervisor.end(plugin_id, version=version, merchant_id=merchant_id)

    def changed(self, plugin_id: str, version: str, is_quarantined: bool) -> None:
        """A version went into quarantine, or out of it, in whatever process."""
        if self._supervisor is None:
            return
        if is_quarantined:
            self._supervisor.quarantine(plugin_id, version)
        else:
            self._supervisor.lift(plugin_id, version)


class LogValve:
    """Writes what plugins say into the log: so many lines a second of each version, and how many more there were.

    A line costs the host about as much as a tenth of an order; without a bound one merchant's chatty plugin is paid for
    by everybody.
    """

    def __init__(self, *, lines_per_s: int = LINES_PER_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines_per_s = lines_per_s
        self._clock = clock
        self._second = 0
        self._lines: Counter[tuple[str, str]] = Counter()

    def __call__(self, plugin_id: str, version: str, call_id: str, line: str, /) -> None:
        """A `sandbox.runtime.supervisor.LogSink`."""
        second = int(self._clock())
        if second != self._second:
            self._tell_left_out()
            self._second = second
        key = (plugin_id, version)
        self._lines[key] += 1
        if self._lines[key] <= self._lines_per_s:
            log.info("plugin.said", plugin=plugin_id, version=version, call_id=call_id, line=line)

    def _tell_left_out(self) -> None:
        for (plugin_id, version), lines in self._lines.items():
            if lines > self._lines_per_s:
                left_out = lines - self._lines_per_s
                log.warning("plugin.lines_left_out", plugin=plugin_id, version=version, lines=left_out)
        self._lines.clear()
