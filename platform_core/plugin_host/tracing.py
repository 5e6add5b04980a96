"""Watching hooks being asked, whichever process asks them.

Who watches writes a row (`plugin_trace`) that lasts a minute and is renewed. Every process hears of it, and writes a
row for each call that concerns it (`plugin_traced`), in plans of their own, some milliseconds after the call. While
nobody watches, no listener stands in the process and nothing is done.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import text

from platform_core.contracts.runtime import Fault
from platform_core.identity.revocation import DATABASE_AWAY, RevocationFeed, news
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Audit, Change, Committer, Insert, Plan, PlanRefused
from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.retention import Kept
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.ids import Ids
from platform_core.plugin_host.answers import HookSeen
from platform_core.plugin_host.host_deps import EVERYBODY
from platform_core.plugin_host.listening import Listeners
from platform_core.plugin_host.majors import family_name
from platform_core.plugin_host.members import Key
from platform_core.plugin_host.models_development import TRACED, TRACES
from platform_core.plugin_host.registry import Registry
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.trace_rows import WORDS_LENGTH_MAX, blank_row, call_row

log = structlog.get_logger(__name__)
LASTS: Final = timedelta(seconds=60)
RENEW_S: Final = 20.0
FLUSH_S: Final = 0.05
QUEUE_ROWS_MAX: Final = 500
ROWS_PER_PLAN_MAX: Final = 50
READ_MAX: Final = 500
OVERLAP: Final = timedelta(seconds=5)
"""Numbers are drawn in another order than transactions commit: so long a row may come behind a later one."""
KEPT: Final = (
    Kept("plugin_traced", "seen_at", timedelta(hours=24)),
    Kept("plugin_trace", "until", timedelta(hours=24)),
)
"""For `kernel.database.retention.take_away`, by the real clock."""
_LIVE: Final = text("SELECT id, merchant_id, plugin_id, hook, until FROM plugin_trace WHERE until > :now")
_COLUMNS: Final = "position, " + ", ".join(TRACED.columns)
_NEW: Final = text(
    f"SELECT {_COLUMNS} FROM plugin_traced WHERE merchant_id = :merchant_id AND seen_at > :since "
    "ORDER BY position DESC LIMIT :limit"
)
_CALL: Final = text(f"SELECT {_COLUMNS} FROM plugin_traced WHERE call_id = :call_id")
_ASKS: Final = text(
    "SELECT subject, facts FROM audit_row WHERE kind = 'plugin.call_asked' AND subject = ANY(:ids) ORDER BY position"
)
Warm = Callable[[str, str], Awaitable[Fault | None]]
"""Starts a spare worker of a version; a fault says why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceDeps:
    """What desk and traces work with. `clock` is the real one."""

    database: Database
    committer: Committer
    clock: Clock
    ids: Ids
    feed: RevocationFeed


class TraceDesk:
    """Writes down what one process sees while somebody watches. A `HookListener`; belongs to one event loop."""

    def __init__(
        self,
        deps: TraceDeps,
        listeners: Listeners,
        *,
        process: str,
        is_development: bool,
        registry: Callable[[], Registry],
        warm: Warm,
    ) -> None:
        """`process` names this one in rows; `registry` is the present generation."""
        self._deps = deps
        self._listeners = listeners
        self._process = process
        self._is_development = is_development
        self._registry = registry
        self._warm = warm
        self._traces: Sequence[Record] = ()
        self._answered: set[str] = set()
        self._told: set[tuple[str, Key]] = set()
        self._rows: deque[dict[str, Any]] = deque()
        self._lost = 0
        self._remove: Callable[[], None] | None = None
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """After the first generation: what is loaded is heard of behind those who load it."""
        self._deps.feed.listen("plugin_trace", self._heard)
        self._deps.feed.listen("plugins", self._changed)
        self._begin(self._run())
        await self._read()

    async def stop(self) -> None:
        """Write what is queued, and end."""
        if self._remove is not None:
            self._remove()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._flush()

    def saw(self, seen: HookSeen, /) -> None:
        """Queue a row for each answer that somebody watches."""
        now = self._deps.clock.now()
        watched = [trace for trace in self._traces if trace.until > now and _concerns(trace, seen)]
        if not watched:
            return
        for answer in seen.answers:
            if all(trace.plugin_id not in (None, answer.plugin_id) for trace in watched):
                continue
            row = call_row(seen, answer, id_=self._deps.ids.mint("ptd"), process=self._process, now=now)
            self._put({**row, "is_development": self._is_development})

    def _put(self, row: dict[str, Any]) -> None:
        if len(self._rows) >= QUEUE_ROWS_MAX:
            self._lost += 1
            return
        self._rows.append(row)
        self._wake.set()

    async def _heard(self, merchant_id: str) -> None:
        await self._read()

    async def _changed(self, subject_id: str) -> None:
        if subject_id == EVERYBODY and self._traces:
            self._begin(self._tell_what_is_ready())
        for trace in self._traces:
            if trace.merchant_id == subject_id:
                self._put({**self._own_row(trace, kind="heard"), "plugin_id": trace.plugin_id or ""})

    async def _read(self) -> None:
        async with self._deps.database.read_all() as connection:
            self._traces = (await connection.execute(_LIVE, {"now": self._deps.clock.now()})).all()
        if self._traces and self._remove is None:
            self._remove = self._listeners.add(self)
        elif not self._traces and self._remove is not None:
            self._remove()
            self._remove = None
        self._answered &= {trace.id for trace in self._traces}
        for trace in self._traces:
            if trace.id not in self._answered:
                self._answered.add(trace.id)
                self._put(self._own_row(trace, kind="here"))
        if self._traces:
            self._begin(self._tell_what_is_ready())

    async def _tell_what_is_ready(self) -> None:
        """Each version of a watched plugin that this process can ask, once a spare worker of it stands ready."""
        keys = self._registry().keys
        for trace in tuple(self._traces):
            for key in keys:
                if key[0] != trace.plugin_id or (trace.id, key) in self._told:
                    continue
                self._told.add((trace.id, key))
                fault = await self._warm(*key) if self._is_confined(key) else None
                row = self._own_row(trace, kind="ready")
                row |= {"plugin_id": key[0], "plugin_version": key[1], "outcome": "ok"}
                if fault is not None:
                    row |= {"outcome": fault.kind.value, "detail": fault.detail[:WORDS_LENGTH_MAX]}
                self._put(row)

    def _is_confined(self, key: Key) -> bool:
        member = self._registry().member(key)
        return member is not None and member.release.tier == "confined"

    def _own_row(self, trace: Record, *, kind: str) -> dict[str, Any]:
        row = blank_row(
            id_=self._deps.ids.mint("ptd"),
            merchant_id=trace.merchant_id,
            process=self._process,
            now=self._deps.clock.now(),
        )
        return {**row, "kind": kind, "object_id": trace.id, "is_development": self._is_development}

    def _begin(self, work: Any) -> None:  # Any: a coroutine
        task = asyncio.create_task(work, name="plugin_host.tracing")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(FLUSH_S)  # so that a burst is a few plans
            self._wake.clear()
            await self._flush()
            now = self._deps.clock.now()
            if self._remove is not None and all(trace.until <= now for trace in self._traces):
                await self._forget()

    async def _forget(self) -> None:
        """Nobody renewed: whoever watched is gone without a word."""
        try:
            await self._read()
        except DATABASE_AWAY as error:
            log.info("plugin.traces_unread", error=type(error).__name__)

    async def _flush(self) -> None:
        while self._rows:
            by_merchant: dict[str, list[object]] = {}
            for _ in range(min(len(self._rows), ROWS_PER_PLAN_MAX)):
                row = self._rows.popleft()
                by_merchant.setdefault(row["merchant_id"], []).append(Insert(TRACED, row))
            for merchant_id, parts in by_merchant.items():
                try:
                    await self._deps.committer.commit(Plan(merchant_id, parts))
                except (PlatformError, PlanRefused) as error:  # a trace is for looking, and is not worth a retry
                    self._lost += len(parts)
                    log.warning("plugin.trace_not_written", rows=len(parts), error=str(error))
        if self._lost:
            log.warning("plugin.trace_rows_lost", rows=self._lost)
            self._lost = 0


def _concerns(trace: Record, seen: HookSeen) -> bool:
    is_hook = trace.hook is None or family_name(trace.hook) == family_name(seen.hook)
    return trace.merchant_id == seen.merchant_id and is_hook


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What somebody watches."""

    merchant_id: str
    plugin_id: str | None = None
    hook: str | None = None


class Trace:
    """One person's watching: begun, renewed, read, ended. Used by the command line."""

    def __init__(self, deps: TraceDeps, watched: Watched, *, by: str) -> None:
        self.id = deps.ids.mint("ptr")
        self.watched = watched
        self._deps = deps
        self._by = by
        self._since: datetime | None = None
        self._shown: dict[str, datetime] = {}

    async def begin(self) -> None:
        """Let all processes watch; an audit row says who does."""
        now, watched = self._deps.clock.now(), self.watched
        row = {
            "id": self.id,
            "merchant_id": watched.merchant_id,
            "plugin_id": watched.plugin_id,
            "hook": watched.hook,
            "began_by": self._by,
            "began_at": now,
            "until": now + LASTS,
            "version": 1,
        }
        facts = {"plugin": watched.plugin_id, "hook": watched.hook}
        audit = Audit("plugin.trace_began", self._by, self.id, watched.merchant_id, facts, stream="access")
        self._since = now
        await self._deps.committer.commit(Plan(watched.merchant_id, [Insert(TRACES, row), audit, self._news(now)]))

    async def renew(self) -> None:
        """For another minute."""
        now = self._deps.clock.now()
        await self._until(now + LASTS, now)

    async def end(self) -> None:
        """Let nobody watch any more for this."""
        now = self._deps.clock.now()
        await self._until(now, now)

    async def _until(self, until: datetime, now: datetime) -> None:
        change = Change(TRACES, self.id, {"until": until})
        await self._deps.committer.commit(Plan(self.watched.merchant_id, [change, self._news(now)]))

    def _news(self, now: datetime) -> Insert:
        merchant_id = self.watched.merchant_id
        return news(self._deps.ids, kind="plugin_trace", subject_id=merchant_id, merchant_id=merchant_id, now=now)

    async def new_rows(self) -> list[Record]:
        """What was seen since the last time, each row once, in the order of the rows."""
        assert self._since is not None, "it was begun"
        now = self._deps.clock.now()
        async with self._deps.database.read(self.watched.merchant_id) as connection:
            since, self._since = self._since - OVERLAP, now
            values = {"merchant_id": self.watched.merchant_id, "since": since, "limit": READ_MAX}
            rows = (await connection.execute(_NEW, values)).all()
        found = [row for row in reversed(rows) if row.id not in self._shown and self._is_ours(row)]
        self._shown |= {row.id: row.seen_at for row in found}
        self._shown = {id_: at for id_, at in self._shown.items() if at > since}
        return found

    def _is_ours(self, row: Record) -> bool:
        if row.kind != "call":
            return bool(row.object_id == self.id)
        watched = self.watched
        is_hook = watched.hook is None or family_name(watched.hook) == family_name(row.hook)
        return is_hook and watched.plugin_id in (None, row.plugin_id)


async def read_call(database: Database, call_id: str) -> Record | None:
    """A call that was seen, by its id; for the operator."""
    async with database.read_all() as connection:
        return (await connection.execute(_CALL, {"call_id": call_id})).one_or_none()


async def read_asks(database: Database, call_ids: Sequence[str]) -> Mapping[str, list[str]]:
    """What calls asked of the gate, as their audit rows say: `state.increment`, `payments.get (identity.scope)`."""
    if not call_ids:
        return {}
    async with database.read_all() as connection:
        rows = (await connection.execute(_ASKS, {"ids": [*call_ids]})).all()
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.subject, []).extend(asks_of(row.facts))
    return found


def asks_of(facts: str) -> list[str]:
    """The asks of one audit row, in order, each with the refusal's code where there was one."""
    told = []
    for _, operation, _, _, code, _, _, times in json.loads(facts)["asks"]:
        told.append(operation + (f" x{times}" if times > 1 else "") + ("" if code == "ok" else f" ({code})"))
    return told
