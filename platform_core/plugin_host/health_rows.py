"""What all processes must know about a plugin's health: open breakers, and versions in quarantine.

Rows are the truth; news of them travels by identity's feed (kind `plugin_health`), so every process hears within a
second. Whether a version is in quarantine is answered from memory, because every call asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import structlog

from platform_core.contracts.runtime import Fault
from platform_core.identity.revocation import RevocationFeed, news
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Audit, Change, Committer, Duplicate, Insert, Plan, PlanRefused
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.ids import Ids
from platform_core.plugin_host.gate_errors import NOT_QUARANTINED, SECOND_PERSON_NEEDED
from platform_core.plugin_host.models_gate import PLUGIN_BREAKERS, PLUGIN_QUARANTINES

log = structlog.get_logger(__name__)

DETAIL_LENGTH_MAX: Final = 300
WRITES_MAX: Final = 1_000
RETRY_S: Final = 1.0
STOP_S: Final = 2.0
_QUARANTINED: Final = (
    "SELECT plugin_id, plugin_version FROM plugin_quarantine WHERE lifted_at IS NULL "
    "AND (CAST(:plugin_id AS text) IS NULL OR plugin_id = :plugin_id)"
)
_STANDING: Final = "SELECT id, version, lift_asked_by, lift_reason FROM plugin_quarantine WHERE slot = :slot"
_OPEN: Final = (
    "SELECT plugin_id, hook, plugin_version, why, open_until, open_s FROM plugin_breaker "
    "WHERE open_until > :now AND (CAST(:plugin_id AS text) IS NULL OR plugin_id = :plugin_id)"
)
_BREAKER: Final = "SELECT version, open_until FROM plugin_breaker WHERE id = :id"


class Opening(Protocol):
    """A breaker that was opened, as dispatch tells it."""

    @property
    def plugin_id(self) -> str: ...
    @property
    def hook(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def until(self) -> datetime: ...
    @property
    def open_s(self) -> int: ...


class Hear(Protocol):
    """How dispatch is told of a breaker that some process opened; `until` is aware, UTC."""

    def __call__(self, *, plugin_id: str, hook: str, version: str, why: str, until: datetime, open_s: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthDeps:
    """What both need. `clock` is the real one."""

    database: Database
    committer: Committer
    clock: Clock
    ids: Ids


class BreakerRows:
    """Writes openings down and passes on those of other processes. What dispatch calls its book."""

    def __init__(self, deps: HealthDeps, feed: RevocationFeed, *, hear: Hear) -> None:
        self._deps = deps
        self._hear = hear
        self._tasks: set[asyncio.Task[None]] = set()
        feed.listen("plugin_health", self._read)

    def opened(self, opening: Opening, /) -> None:
        """Write it down and tell everybody, soon. Never blocks, never raises."""
        if len(self._tasks) >= WRITES_MAX:
            log.error("plugin.breaker_not_told", plugin=opening.plugin_id, hook=opening.hook)
            return
        task = asyncio.create_task(self._write(opening), name="plugin_host.breaker_rows")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def start(self) -> None:
        """Hear of what is open already."""
        await self._read(None)

    async def stop(self) -> None:
        """Wait for what is being written."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _write(self, opening: Opening) -> None:
        id_ = f"{opening.plugin_id}/{opening.hook}"
        deps = self._deps
        now = deps.clock.now()
        values = {
            "plugin_version": opening.version,
            "why": opening.why,
            "opened_at": now,
            "open_until": opening.until,
            "open_s": opening.open_s,
        }
        for _ in range(3):
            try:
                found = await deps.database.singles("job").row(_BREAKER, {"id": id_})
                if found is not None and found[1] >= opening.until:
                    return  # another process saw the same, and keeps it open for longer
                part: object
                if found is None:
                    row = {"id": id_, "plugin_id": opening.plugin_id, "hook": opening.hook, "version": 1, **values}
                    part = Insert(PLUGIN_BREAKERS, row)
                else:
                    part = Change(PLUGIN_BREAKERS, id_, values, expected=found[0])
                await deps.committer.commit(Plan(None, [part, _news(deps, opening.plugin_id)]))
                return
            except PlanRefused:  # somebody else wrote it in this moment
                continue
            except (PlatformError, OSError) as error:  # the database is away; this process has opened it all the same
                log.warning("plugin.breaker_put_off", plugin=opening.plugin_id, error=str(error))
                await asyncio.sleep(RETRY_S)

    async def _read(self, plugin_id: str | None) -> None:
        values = {"plugin_id": plugin_id, "now": self._deps.clock.now()}
        for row in await self._deps.database.singles("job").rows(_OPEN, values):
            self._hear(plugin_id=row[0], hook=row[1], version=row[2], why=row[3], until=row[4], open_s=row[5])


class Quarantines:
    """Versions that committed a security fault. Begun at once and by anybody, lifted by two people with a reason."""

    def __init__(
        self, deps: HealthDeps, feed: RevocationFeed, *, changed: Callable[[str, str, bool], None] | None = None
    ) -> None:
        """`changed(plugin_id, version, is_quarantined)` is told of every change, wherever it was made."""
        self._deps = deps
        self._changed = changed or (lambda plugin_id, version, is_quarantined: None)
        self._held: set[tuple[str, str]] = set()
        self._unwritten: set[tuple[str, str]] = set()  # held here, and not known to stand in a row
        self._tasks: set[asyncio.Task[None]] = set()
        feed.listen("plugin_health", self._read)

    def follow(self, changed: Callable[[str, str, bool], None]) -> None:
        """Tell somebody of every change from now on, instead of whoever was told before."""
        self._changed = changed

    def held(self) -> frozenset[tuple[str, str]]:
        """All that are in quarantine, by plugin and version."""
        return frozenset(self._held)

    def holds(self, plugin_id: str, version: str) -> bool:
        """Whether the version is in quarantine, at most a second ago."""
        return (plugin_id, version) in self._held

    async def start(self) -> None:
        """Learn of all."""
        await self._read(None)

    async def stop(self) -> None:
        """Wait for what is being written, a while."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_S)

    def fault(
        self, plugin_id: str, version: str, fault: Fault, *, merchant_id: str | None = None, call_id: str | None = None
    ) -> None:
        """As `begin`, for callers that must not wait: tried again until it is written."""
        if (plugin_id, version) in self._held:
            return
        self._unwritten.add((plugin_id, version))
        self._hold(plugin_id, version)

        async def write() -> None:
            while True:
                try:
                    await self.begin(plugin_id, version, fault, merchant_id=merchant_id, call_id=call_id)
                    return
                except PlatformError as error:
                    log.error("plugin.quarantine_put_off", plugin=plugin_id, version=version, error=error.code)
                    await asyncio.sleep(RETRY_S)

        task = asyncio.create_task(write(), name="plugin_host.quarantines")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def begin(
        self,
        plugin_id: str,
        version: str,
        fault: Fault,
        *,
        merchant_id: str | None = None,
        call_id: str | None = None,
    ) -> None:
        """Put a version in quarantine for all merchants; nothing more if it is there already.

        In this process it counts at once, also while the database is away. Raises PlatformError then.
        """
        self._unwritten.add((plugin_id, version))
        self._hold(plugin_id, version)
        deps = self._deps
        row: dict[str, Any] = {
            "id": deps.ids.mint("qua"),
            "plugin_id": plugin_id,
            "plugin_version": version,
            "slot": _slot(plugin_id, version),
            "fault": str(fault.kind),
            "detail": fault.detail[:DETAIL_LENGTH_MAX],
            "merchant_id": merchant_id,
            "call_id": call_id,
            "began_at": deps.clock.now(),
            "lift_asked_by": None,
            "lift_reason": None,
            "lifted_by": None,
            "lifted_at": None,
            "version": 1,
        }
        facts = {"version": version, "fault": str(fault.kind), "call": call_id, "merchant": merchant_id}
        told = Audit("plugin.quarantined", "platform", plugin_id, None, facts, rule="isolation.6")
        try:
            await deps.committer.commit(Plan(None, [Insert(PLUGIN_QUARANTINES, row), told, _news(deps, plugin_id)]))
        except PlanRefused as refused:
            if not isinstance(refused.refusal, Duplicate):
                raise
        self._unwritten.discard((plugin_id, version))

    async def lift(self, plugin_id: str, version: str, *, by: str, reason: str) -> bool:
        """Ask to lift a quarantine, or confirm what another person asked; True once it is lifted.

        Raises 404 `plugin.not_quarantined`, 409 `plugin.second_person_needed` when the same person asks twice.
        """
        deps = self._deps
        values = {"slot": _slot(plugin_id, version)}
        found = await deps.database.singles("job").row(_STANDING, values)
        named = {"plugin": plugin_id, "version": version}
        if found is None:
            raise NOT_QUARANTINED.error(named)
        id_, row_version, first = found[0], found[1], found[2]
        if first == by:
            raise SECOND_PERSON_NEEDED.error({**named, "first": first})
        facts = {"version": version, "first": first}
        if first is None:
            change = {"lift_asked_by": by, "lift_reason": reason}
            told = Audit("plugin.quarantine_lift_asked", by, plugin_id, None, {"version": version}, reason=reason)
            await self._commit_lift([Change(PLUGIN_QUARANTINES, id_, change, row_version), told], named)
            return False
        lifted: dict[str, Any] = {"lifted_by": by, "lifted_at": deps.clock.now(), "slot": None}
        told = Audit("plugin.quarantine_lifted", by, plugin_id, None, facts, reason=reason)
        part = Change(PLUGIN_QUARANTINES, id_, lifted, row_version)
        await self._commit_lift([part, told, _news(deps, plugin_id)], named)
        await self._read(plugin_id)
        return True

    async def _commit_lift(self, parts: list[object], named: dict[str, str]) -> None:
        try:
            await self._deps.committer.commit(Plan(None, parts))
        except PlanRefused as refused:  # somebody else did something with it in this moment
            raise NOT_QUARANTINED.error(named) from refused

    def _hold(self, plugin_id: str, version: str) -> None:
        if (plugin_id, version) not in self._held:
            self._held.add((plugin_id, version))
            self._changed(plugin_id, version, True)

    async def _read(self, plugin_id: str | None) -> None:
        rows = await self._deps.database.singles("job").rows(_QUARANTINED, {"plugin_id": plugin_id})
        now = {(row[0], row[1]) for row in rows}
        before = {pair for pair in self._held if plugin_id is None or pair[0] == plugin_id}
        for pair in sorted(now - before):
            self._hold(*pair)
        for pair in sorted(before - now - self._unwritten):
            self._held.discard(pair)
            self._changed(*pair, False)


def _slot(plugin_id: str, version: str) -> str:
    return f"{plugin_id}/{version}"


def _news(deps: HealthDeps, plugin_id: str) -> Insert:
    return news(deps.ids, kind="plugin_health", subject_id=plugin_id, merchant_id=None, now=deps.clock.now())
