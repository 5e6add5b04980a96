"""How each version does: calls, faults and durations, counted in every process, kept as rows, read by rollouts.

A process adds rows and changes none, so processes never meet. Every row stands for half a minute of one version.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer, Insert, Plan, PlanRefused
from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.retention import Kept
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.ids import Ids
from platform_core.plugin_host.answers import Answer
from platform_core.plugin_host.breakers import COUNTED
from platform_core.plugin_host.canary import Figures
from platform_core.plugin_host.models_gate import PLUGIN_CALL_COUNTS

log = structlog.get_logger(__name__)

FLUSH_S: Final = 30.0
VERSIONS_MAX: Final = 1_000
P95_CALLS_MIN: Final = 20
"""With fewer, the slowest call of all would be the p95."""
STEP: Final = 1.1
"""Durations are kept to the tenth of their size: the rule about them is one half."""
LEAST_MS: Final = 0.05
KEPT: Final = (Kept("plugin_call_count", "counted_at", timedelta(days=35)),)
"""For `kernel.database.retention.take_away`, by the clock of business. A stage of a rollout that lasts longer is judged
by its last 35 days.
"""
_SUMS: Final = (
    "SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(faults), 0)::bigint FROM plugin_call_count "
    "WHERE plugin_id = :plugin_id AND plugin_version = :version AND counted_at >= :since"
)
_DURATIONS: Final = (
    "SELECT d.key::int, sum(d.value::bigint)::bigint FROM plugin_call_count, jsonb_each_text(durations) AS d "
    "WHERE plugin_id = :plugin_id AND plugin_version = :version AND counted_at >= :since GROUP BY 1 ORDER BY 1"
)
_BROKEN: Final = (
    "SELECT EXISTS (SELECT FROM plugin_breaker WHERE plugin_id = :plugin_id AND plugin_version = :version "
    "AND opened_at >= :since), (SELECT count(*) FROM plugin_quarantine WHERE plugin_id = :plugin_id "
    "AND plugin_version = :version AND began_at >= :since)"
)


@dataclass(slots=True)
class _Count:
    calls: int = 0
    faults: int = 0
    durations: Counter[int] = field(default_factory=Counter)

    def add(self, other: _Count) -> None:
        self.calls += other.calls
        self.faults += other.faults
        self.durations.update(other.durations)


class CallCounts:
    """The counting of one process: a listener of hooks and of providers' calls. `clock` is that of business."""

    def __init__(self, committer: Committer, *, clock: Clock, ids: Ids) -> None:
        self._committer = committer
        self._clock = clock
        self._ids = ids
        self._counts: dict[tuple[str, str], _Count] = {}
        self._task: asyncio.Task[None] | None = None

    def answered(self, answers: Sequence[Answer], merchant_id: str, /) -> None:
        """Count what was called. What never began, or failed for the machine's sake, says nothing of the version."""
        for answer in answers:
            if answer.call_id and (answer.fault is None or answer.fault.kind in COUNTED):
                self._count(answer)

    def _count(self, answer: Answer) -> None:
        key = (answer.plugin_id, answer.version)
        count = self._counts.get(key)
        if count is None:
            if len(self._counts) >= VERSIONS_MAX:
                return
            count = self._counts[key] = _Count()
        count.calls += 1
        count.faults += answer.fault is not None
        count.durations[step_of(answer.ms)] += 1

    async def start(self) -> None:
        """Write in the background."""
        self._task = asyncio.create_task(self._run(), name="plugin_host.call_counts")

    async def stop(self) -> None:
        """Write what was counted, and end. The committer is stopped later."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.flush()

    async def flush(self) -> None:
        """Write what was counted since the last time; what cannot be written is added to what comes."""
        counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            await asyncio.shield(self._committer.commit(Plan(None, [self._row(*one) for one in counts.items()])))
        except (PlatformError, PlanRefused) as error:
            log.info("plugin.counts_put_off", error=str(error))
            for key, count in counts.items():
                self._counts.setdefault(key, _Count()).add(count)

    def _row(self, key: tuple[str, str], count: _Count) -> Insert:
        row = {
            "id": self._ids.mint("pcc"),
            "plugin_id": key[0],
            "plugin_version": key[1],
            "calls": count.calls,
            "faults": count.faults,
            "durations": msgspec.json.encode({str(step): n for step, n in sorted(count.durations.items())}).decode(),
            "counted_at": self._clock.now(),
        }
        return Insert(PLUGIN_CALL_COUNTS, row)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
            except Exception:  # counting outlives one failed flush
                log.exception("plugin.counts_not_written")


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedHealth:
    """`canary.Health` over the rows of all processes.

    Calls are dated by the clock of business, breakers and quarantines by the real one: a moment is carried over by how
    long ago it was.
    """

    database: Database
    clock: Clock
    real_clock: Clock

    async def figures(self, plugin_id: str, version: str, *, since: datetime) -> Figures:
        """Calls of a version since a moment of business, and what else speaks against it since."""
        rows = self.database.singles("job")
        named: dict[str, Any] = {"plugin_id": plugin_id, "version": version, "since": since}
        [(calls, faults)] = await rows.rows(_SUMS, named)
        durations = [(row[0], row[1]) for row in await rows.rows(_DURATIONS, named)]
        since_really = self.real_clock.now() - (self.clock.now() - since)
        [(has_open_breaker, security_faults)] = await rows.rows(_BROKEN, {**named, "since": since_really})
        return Figures(
            calls=calls,
            faults=faults,
            p95_ms=p95_of(durations),
            has_open_breaker=has_open_breaker,
            security_faults=security_faults,
        )


def step_of(ms: float) -> int:
    """The step of a duration: 0 up to 0.05 ms, each next one a tenth longer."""
    return 0 if ms <= LEAST_MS else math.ceil(math.log(ms / LEAST_MS, STEP))


def p95_of(durations: list[tuple[int, int]]) -> float | None:
    """The upper bound of the step that the 95th of 100 calls is in; `durations`: steps, ascending, and their calls."""
    total = sum(count for _, count in durations)
    if total < P95_CALLS_MIN:
        return None
    seen = 0
    for step, count in durations:
        seen += count
        if seen * 100 >= total * 95:
            return LEAST_MS * STEP**step
    raise AssertionError("the last step holds the last call")
