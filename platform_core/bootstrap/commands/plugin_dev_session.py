"""One session of `arsenal plugin dev`: watch the folder, build, swap, show what is asked, leave all as it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from platform_core.bootstrap.commands.plugin_author_project import Project
from platform_core.bootstrap.commands.plugin_dev_build import Builder, BuildFault, Draft, Stamp, own_version, stamp_of
from platform_core.bootstrap.platform import Platform
from platform_core.bootstrap.terminal import CliFailure
from platform_core.contracts import catalogue
from platform_core.contracts.hooks import PROVIDER_CALL_MS
from platform_core.contracts.manifest import Manifest
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host.development import Development
from platform_core.plugin_host.installations import Actor
from platform_core.plugin_host.releases import Submission
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.tracing import RENEW_S, Trace, Watched, read_asks

LOOK_S: Final = 0.1
SETTLE_S: Final = 0.05
HERE_WITHIN_S: Final = 1.5
READY_WITHIN_S: Final = 8.0
ASKS_AFTER_S: Final = 0.3
"""A call's asks are written with the order that it belongs to, or in the next batch; so long its line waits."""
DRAIN_MARGIN_S: Final = 0.5


class Voice(Protocol):
    """Tells the developer."""

    def waiting(self) -> None:
        """No process answers yet."""
        ...

    def began(self, processes: int) -> None:
        """So many processes will show what they ask."""
        ...

    def swapped(self, version: str, *, saved_to_swapped_ms: int, processes: int, missing: int) -> None:
        """The merchant's orders are decided by this draft."""
        ...

    def fault(self, fault: BuildFault, *, running: str | None) -> None:
        """A change was not taken; `running` goes on."""
        ...

    def call(self, row: Record, asks: list[str], refused: list[str]) -> None:
        """A plugin was asked. `refused`: kernel calls by name."""
        ...

    def ended(self, *, is_restored: bool) -> None:
        """The session is over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is developed, where, and by whom. `config`: what the fixtures find, JSON."""

    project: Project
    merchant_id: str
    by: str
    config: bytes | None = None


class DevSession:
    """Runs until `stop` is set. Everything that it changed is undone on the way out, whatever happens."""

    def __init__(self, platform: Platform, wanted: Wanted, *, builder: Builder, voice: Voice) -> None:
        self._platform = platform
        self._wanted = wanted
        self._builder = builder
        self._voice = voice
        self._life: Development = platform.plugin_life.development
        self._plugin_id, self._version = own_version(wanted.project)
        self._trace = Trace(
            platform.plugin_host.traces,
            Watched(merchant_id=wanted.merchant_id, plugin_id=self._plugin_id),
            by=wanted.by,
        )
        self._here: dict[str, Record] = {}
        self._ready: dict[tuple[str, str], Record] = {}
        self._heard: dict[str, float] = {}
        self._calls: list[tuple[float, Record]] = []
        self._running: Draft | None = None
        self._running_id = ""
        self._drain_s = 0.0
        self._number = 0
        self._own: set[str] = set()
        self._draining: set[asyncio.Task[None]] = set()
        self._named: dict[tuple[str, str | None], list[str]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until stopped. CliFailure when the platform or the merchant takes no drafts."""
        await self._life.check(self._wanted.merchant_id, self._plugin_id, version=self._version)
        await self._trace.begin()
        tasks = [asyncio.create_task(work) for work in (self._poll(), self._renew(), self._watch(), stop.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks[1:], return_exceptions=True)
            try:
                await self._leave()
            finally:
                tasks[0].cancel()
                await asyncio.gather(tasks[0], return_exceptions=True)
                await self._trace.end()

    # Watching the folder.

    async def _watch(self) -> None:
        await self._gathered()
        seen: Stamp = {}
        while True:
            stamp = await asyncio.to_thread(stamp_of, self._wanted.project)
            if stamp == seen:
                await asyncio.sleep(LOOK_S)
                continue
            saved_at = _saved_at(seen, stamp)
            await asyncio.sleep(SETTLE_S)
            if await asyncio.to_thread(stamp_of, self._wanted.project) != stamp:
                continue  # it is being written
            seen = stamp
            await self._take(saved_at)

    async def _take(self, saved_at: float) -> None:
        """Build and swap; a fault leaves what runs as it is."""
        try:
            self._number = max(self._number + 1, int(time.time()))
            draft = await self._builder.build(number=self._number, config=self._wanted.config)
            await self._swap(draft, saved_at)
        except BuildFault as fault:
            self._voice.fault(fault, running=None if self._running is None else self._running.key[1])
        except PlatformError as error:
            refused = BuildFault("swap", error.detail("en"), error.hint("en") or "Run: arsenal doctor")
            self._voice.fault(refused, running=None if self._running is None else self._running.key[1])

    async def _swap(self, draft: Draft, saved_at: float) -> None:
        wanted = self._wanted
        try:
            if draft.key[0] != self._plugin_id:
                said = f"The plugin's id was {self._plugin_id} and is {draft.key[0]}."
                raise BuildFault("manifest", said, "End this session and begin another.")
            release_id = await self._life.draft(
                Submission(unpacked=draft.unpacked, isv_id=draft.manifest.plugin.publisher, by=wanted.by)
            )
            self._own.add(release_id)
            missing = await self._all(lambda: {name for name, version in self._ready if version == draft.key[1]})
            self._check_ready(draft)
            self._check_here()  # a process that was started meanwhile counts too
            began = time.monotonic()
            await self._life.swap(Actor(id=wanted.by, merchant_id=wanted.merchant_id), release_id)
        except BaseException:
            await self._sweep(self._running_id, draft)
            raise
        before, self._running, self._running_id = self._running, draft, release_id
        missing |= await self._all(lambda: {name for name, at in self._heard.items() if at >= began})
        self._voice.swapped(
            draft.key[1],
            saved_to_swapped_ms=round((time.time() - saved_at) * 1000),
            processes=len(self._here) - len(missing),
            missing=len(missing),
        )
        drain_s, self._drain_s = self._drain_s, _longest_s(draft.manifest)
        if before is not None:
            task = asyncio.create_task(self._drain(before, release_id, drain_s))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    def _check_ready(self, draft: Draft) -> None:
        """A process that cannot start a worker of the draft says why."""
        for (name, version), row in self._ready.items():
            if version == draft.key[1] and row.outcome != "ok":
                said = f"{name} cannot run it: {row.outcome}: {row.detail}"
                raise BuildFault("swap", said, "Run: arsenal doctor")

    async def _all(self, answered: Callable[[], set[str]]) -> set[str]:
        """Wait until every process has answered; those that did not in time."""
        until = time.monotonic() + READY_WITHIN_S
        while True:
            missing = set(self._here) - answered()
            if not missing or time.monotonic() >= until:
                return missing
            await asyncio.sleep(LOOK_S / 4)

    async def _gathered(self) -> None:
        """Wait for the processes that ask plugins. CliFailure when one of them takes no drafts."""
        until, is_told = time.monotonic() + HERE_WITHIN_S, False
        while time.monotonic() < until or not self._here:
            if time.monotonic() >= until and not is_told:
                self._voice.waiting()
                is_told = True
            await asyncio.sleep(LOOK_S)
        self._check_here()
        self._voice.began(len(self._here))

    def _check_here(self) -> None:
        for row in self._here.values():
            if not row.is_development:
                raise CliFailure(
                    f"The process {row.process} takes no drafts: it is not in development mode.",
                    "Run: arsenal demo (or set ARSENAL_IS_DEVELOPMENT=true for server and worker)",
                    code="cli.not_in_development",
                )

    # What processes saw.

    async def _poll(self) -> None:
        while True:
            for row in await self._trace.new_rows():
                self._sort(row)
            await self._show()
            await asyncio.sleep(LOOK_S / 2)

    def _sort(self, row: Record) -> None:
        if row.kind == "here":
            self._here[row.process] = row
        elif row.kind == "ready":
            self._ready[row.process, row.plugin_version] = row
        elif row.kind == "heard":
            self._heard[row.process] = time.monotonic()
        else:
            self._calls.append((time.monotonic() + ASKS_AFTER_S, row))

    async def _show(self) -> None:
        now = time.monotonic()
        due = [row for at, row in self._calls if at <= now]
        if not due:
            return
        self._calls = [(at, row) for at, row in self._calls if at > now]
        asks = await read_asks(self._platform.database, [row.call_id for row in due if row.call_id])
        for row in due:
            self._voice.call(row, asks.get(row.call_id, []), await self._refused(row))

    async def _refused(self, row: Record) -> list[str]:
        """Kernel calls that the version is refused, by name, where one may have been the reason."""
        may_be = row.outcome == "forbidden_call" or (row.outcome == "exception" and "PermissionError" in row.detail)
        if not may_be:
            return []
        key = (row.plugin_version, row.payload)
        if key not in self._named:
            calls = {} if row.payload is None else {row.hook: row.payload}
            found = await self._builder.refused_calls(row.plugin_id, row.plugin_version, calls=calls)
            self._named = {key: found}
        return self._named[key]

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._trace.renew()
            await self._life.renew(self._wanted.merchant_id, self._plugin_id)

    # Going.

    async def _drain(self, before: Draft, kept: str, drain_s: float) -> None:
        """Let calls under way finish, then take the draft away with its workers."""
        await asyncio.sleep(drain_s + DRAIN_MARGIN_S)
        await self._sweep(kept, before)

    async def _sweep(self, kept: str, *drafts: Draft) -> None:
        versions = await self._life.sweep(self._plugin_id, own=self._own, kept=kept, by=self._wanted.by)
        for key in dict.fromkeys([*((self._plugin_id, version) for version in versions), *(one.key for one in drafts)]):
            await self._builder.remove(*key)

    async def _leave(self) -> None:
        """Bring back what was enabled before; drain; take every draft away."""
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        began = time.monotonic()
        is_restored = await self._life.end(self._wanted.merchant_id, self._plugin_id, by=self._wanted.by)
        if is_restored:
            await self._all(lambda: {name for name, at in self._heard.items() if at >= began})
            await asyncio.sleep(self._drain_s + DRAIN_MARGIN_S)
        await self._sweep("")
        self._voice.ended(is_restored=is_restored)


def _saved_at(before: Stamp, after: Stamp) -> float:
    """When the last of the changed files was written, seconds since the epoch; now for one that was taken away."""
    changed = [stamp[0] for path, stamp in after.items() if before.get(path) != stamp]
    return max(changed) / 1e9 if changed and before else time.time()


def _longest_s(manifest: Manifest) -> float:
    """How long a call of this plugin may take at most."""
    known = catalogue.hooks()
    longest_ms = [use.deadline_ms or known[use.name].rule.each_ms for use in manifest.hooks]
    longest_ms += [PROVIDER_CALL_MS for _ in manifest.providers]
    return max(longest_ms, default=0) / 1000
