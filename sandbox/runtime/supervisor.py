"""The confined tier as the plugin host sees it: a `Runtime` over a pool of workers.

What faults mean stands here: which end a version at once (quarantine), who is told, and what is checked before a worker
of a version may run. Quarantine is kept in memory; the host keeps it in rows and says so at every start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from platform_core.contracts.runtime import Fault, FaultKind, FaultListener, Hosted, OutsideCall, Pending
from sandbox.runtime import frames
from sandbox.runtime.crew import Facts
from sandbox.runtime.installed import Installed, NotInstalled, read_installed, tree_hash
from sandbox.runtime.levels import Level
from sandbox.runtime.limits import PoolLimits
from sandbox.runtime.pool import Pool, Starts

LOG_BYTES_PER_CALL: Final = 8 * 1024
LOG_LINES_PER_CALL: Final = 64


class LogSink(Protocol):
    """Where the lines of plugins go."""

    def __call__(self, plugin_id: str, version: str, call_id: str, line: str, /) -> None:
        """Write one line, control characters escaped; `call_id` is empty while a plugin is loaded."""
        ...


class StartsAtLevel(Starts, Protocol):
    """What of `spawner.Spawner` the supervisor uses."""

    @property
    def level(self) -> Level: ...


class Supervisor:
    """Runs installed plugins in confined workers. Made and used on one running event loop; ends with `close`.

    It is a `platform_core.contracts.runtime.Runtime`.
    """

    def __init__(
        self,
        starts: StartsAtLevel,
        *,
        plugins: Path,
        required: Level,
        listener: FaultListener | None = None,
        log: LogSink | None = None,
        limits: PoolLimits | None = None,
    ) -> None:
        """`starts` is started already, and closed by its owner after this. `plugins`: folder of installed releases."""
        self._starts = starts
        self._plugins = plugins
        self._required = required
        self._listener = listener
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._pool = Pool(starts, watch=self, loop=self._loop, limits=limits)
        self._checker = self._loop.create_task(self._check_trees(self._pool.limits.tree_check_s), name="tree check")

    @property
    def level(self) -> str:
        """The level attained, as measured at the zygote's start."""
        return self._starts.level.name

    def begin(self, call: OutsideCall, /) -> Pending:
        """Send it at once if a worker is free; never blocks, never raises."""
        return self._pool.begin(call)

    async def end(self, plugin_id: str, *, version: str | None = None, merchant_id: str | None = None) -> None:
        """Kill the workers of a plugin, version or merchant. Calls under way end as `died`."""
        await self._pool.end(plugin_id, version=version, merchant_id=merchant_id)

    def quarantine(self, plugin_id: str, version: str, *, detail: str = "") -> None:
        """Answer every call of a version with `quarantined` and kill what runs of it. Idempotent."""
        self._pool.refuse(plugin_id, version, Fault(FaultKind.QUARANTINED, detail[: frames.DETAIL_MAX]))

    def lift(self, plugin_id: str, version: str) -> None:
        """Undo `quarantine`. The files are compared again before the next worker."""
        self._pool.allow(plugin_id, version)

    async def warm(self, plugin_id: str, version: str) -> Hosted | Fault:
        """Start a worker as a spare, and wait until it is ready: for preflight, and before the first call.

        Once it is ready it has answered like its manifest; a fault says why there is none.
        """
        return await self._pool.warm(plugin_id, version)

    def pids(self, plugin_id: str) -> tuple[int, ...]:
        """The processes of a plugin's workers, for metrics and `arsenal doctor`."""
        return self._pool.pids(plugin_id)

    async def close(self) -> None:
        """Kill every worker. No process and no descriptor of a worker is left."""
        self._checker.cancel()
        await asyncio.gather(self._checker, return_exceptions=True)
        await self._pool.close()

    # What the pool asks and tells.

    async def open(self, plugin_id: str, version: str) -> Facts | Fault:
        """Read a release and compare its files."""
        try:
            installed = await asyncio.to_thread(read_installed, self._plugins, plugin_id=plugin_id, version=version)
        except NotInstalled as missing:
            return Fault(FaultKind.UNAVAILABLE, str(missing)[: frames.DETAIL_MAX])
        fault = await self._compare(installed)
        if fault is not None:
            self.security(plugin_id, version, fault, is_told=False)
            return fault
        return Facts(
            hooks=installed.hooks,
            providers=installed.providers,
            memory_mb=installed.release.memory_mb,
            workers_max=installed.workers_max,
            is_per_call=installed.is_per_call,
        )

    def judge_lock(self, frame: frames.Locked) -> Fault | None:
        """Whether a worker attained what is required."""
        if frame.level >= self._required:
            return None
        holes = ", ".join(frame.holes) or "none named"
        detail = f"attained L{frame.level}, required {self._required.name}; holes: {holes}"
        return Fault(FaultKind.NOT_CONFINED, detail[: frames.DETAIL_MAX])

    def failed(self, plugin_id: str, version: str, fault: Fault) -> None:
        """A worker could not be had."""
        if self._listener is not None:
            self._listener.heard(plugin_id, version, fault)

    def security(self, plugin_id: str, version: str, fault: Fault, *, is_told: bool) -> None:
        """Quarantine the version."""
        refusal = Fault(FaultKind.QUARANTINED, f"{fault.kind}: {fault.detail}"[: frames.DETAIL_MAX])
        self._pool.refuse(plugin_id, version, refusal, cause=fault)
        if self._listener is not None and not is_told:
            self._listener.heard(plugin_id, version, fault)

    def logged(self, plugin_id: str, version: str, call_id: str, output: bytes) -> None:
        """Pass the output of a call on, line by line, no more than a call may write."""
        if self._log is None:
            return
        for line in lines_of(output):
            self._log(plugin_id, version, call_id, line)

    # Files.

    async def _compare(self, installed: Installed) -> Fault | None:
        try:
            found = await asyncio.to_thread(tree_hash, installed.release.folder)
        except OSError as error:
            return Fault(FaultKind.TAMPERED, f"its files cannot be read: {error.strerror}")
        if found == installed.release.tree_hash:
            return None
        return Fault(FaultKind.TAMPERED, "its files are not those that were installed")

    async def _check_trees(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            for plugin_id, version in self._pool.in_use():
                opened = await self.open(plugin_id, version)
                if isinstance(opened, Fault) and not opened.is_security:
                    gone = Fault(FaultKind.TAMPERED, opened.detail)
                    self.security(plugin_id, version, gone, is_told=False)


def lines_of(
    output: bytes, *, bytes_max: int = LOG_BYTES_PER_CALL, lines_max: int = LOG_LINES_PER_CALL
) -> Iterator[str]:
    """Lines that can be shown: UTF-8, what is no printable character escaped, cut with a word about it."""
    text = output[:bytes_max].decode("utf-8", "backslashreplace")
    lines = text.split("\n", lines_max)
    left_out = lines.pop() if len(lines) > lines_max else ""
    for line in lines:
        if line:
            yield line if line.isprintable() else "".join(map(_shown, line))
    if left_out:
        yield f"... and {left_out.count(chr(10)) + (not left_out.endswith(chr(10)))} lines more"
    if len(output) > bytes_max:
        yield f"... and {len(output) - bytes_max} bytes more"


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
