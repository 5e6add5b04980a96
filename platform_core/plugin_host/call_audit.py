"""Accounts for what plugins ask: every ask stands in a row of the audit log, none is dropped.

The asks of a call stand together in one row. What a plugin did to its own things (state, secrets, problems) rides in
the plan that the call belongs to. What it saw or moved beyond them (an operation, egress, a handle that was not its
own) is queued at once and written in the next batch; an ask for which the queue has no room is refused before it does
anything.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog

from platform_core.identity import base64url
from platform_core.kernel.commit import Audit, Committer, Plan, PlanRefused
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host.calls import CallFacts
from platform_core.plugin_host.gate_errors import AUDIT_FULL

log = structlog.get_logger(__name__)

QUEUE_ROWS_MAX: Final = 2_000
ROWS_PER_PLAN_MAX: Final = 200
ASKS_PER_ROW_MAX: Final = 25  # keeps a row's facts below the log's 8192 characters
NAME_LENGTH_MAX: Final = 60  # of an operation, which may be anything that a plugin wrote
RETRY_S: Final = 0.5
_encoder: Final = msgspec.json.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True)
class Asked:
    """One ask, as it is accounted for."""

    sequence: int
    operation: str
    scope: str | None
    digest: str
    """SHA-256 of the arguments, its first 128 bits in base64url."""
    code: str
    """`ok`, or the refusal's code."""
    limit: str | None
    """Type of the metered limit that was drawn on."""
    ms: int
    times: int = 1
    """How many asks this stands for: those beyond a call's budget are alike and stand as one."""

    def record(self) -> list[object]:
        """As the row's facts keep it."""
        return [
            self.sequence,
            self.operation[:NAME_LENGTH_MAX],
            self.scope,
            self.digest,
            self.code,
            self.limit,
            self.ms,
            self.times,
        ]


def digest_of(arguments: Any, blobs: Iterable[bytes] = ()) -> str:  # Any: JSON
    """What tells one ask's arguments from another's without keeping them."""
    try:
        hashed = hashlib.sha256(_encoder.encode(arguments))
    except (TypeError, ValueError, RecursionError):  # a trusted plugin may hand over what no JSON can say
        hashed = hashlib.sha256(b"no JSON")
    for blob in blobs:
        hashed.update(blob)
    return base64url.encode(hashed.digest()[:16])


def rows_of(facts: CallFacts, asked: Sequence[Asked], *, level: str) -> list[Audit]:
    """The rows that account for these asks of one call."""
    release = facts.enabled.release
    about = {
        "version": release.version,
        "tier": release.tier,
        "level": level,
        "hook": facts.operation,
        "grant": facts.enabled.grant_id,
    }
    return [
        Audit(
            "plugin.call_asked",
            release.plugin_id,
            facts.call_id,
            facts.merchant_id,
            {**about, "asks": [one.record() for one in asked[start : start + ASKS_PER_ROW_MAX]]},
            stream="call",
        )
        for start in range(0, len(asked), ASKS_PER_ROW_MAX)
    ]


def misuse_of(facts: CallFacts, *, operation: str, level: str) -> Audit:
    """The row of a handle that was not the call's own."""
    release = facts.enabled.release
    about = {"version": release.version, "tier": release.tier, "level": level, "hook": facts.operation}
    return Audit(
        "plugin.handle_misused",
        release.plugin_id,
        facts.call_id,
        facts.merchant_id,
        {**about, "operation": operation[:NAME_LENGTH_MAX]},
        stream="call",
    )


class CallAudits:
    """The queue, one per process."""

    def __init__(self, committer: Committer, *, rows_max: int = QUEUE_ROWS_MAX) -> None:
        self._committer = committer
        self._rows_max = rows_max
        self._rows: deque[Audit] = deque()
        self._under_way = 0
        self._reserved = 0
        self._wake = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def start(self) -> None:
        """Write in the background."""
        self._task = asyncio.create_task(self._run(), name="plugin_host.call_audits")

    async def stop(self) -> None:
        """Write what is queued, and end. The committer is stopped later."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
        if not await self.flush():
            log.error("plugin.audit_not_written", rows=len(self._rows))

    def reserve(self) -> None:
        """Room for one row, before what it accounts for is done. Raises 503 `plugin.audit_full`."""
        if len(self._rows) + self._under_way + self._reserved >= self._rows_max:
            raise AUDIT_FULL.error(retry_after_s=1)
        self._reserved += 1

    def release(self) -> None:
        """Give reserved room back; the row that it was for is put without a bound."""
        self._reserved -= 1

    def put(self, rows: Iterable[Audit]) -> None:
        """Queue rows, whatever the bound: what they account for has been done."""
        self._rows.extend(rows)
        self._wake.set()

    async def flush(self) -> bool:
        """Write everything that is queued or under way; False if something could not be written, which is kept."""
        async with self._flushing:
            rows = list(self._rows)
            self._rows.clear()
            self._under_way = len(rows)
            kept = await asyncio.gather(*(self._write(plan) for plan in _plans(rows)))
            self._under_way = 0
            self._rows.extendleft(row for some in reversed(kept) for row in reversed(some))
        return not any(kept)

    async def _write(self, plan: Plan) -> list[Audit]:
        """Commit one plan; gives back the rows that could not be written now."""
        rows = [part for part in plan.parts if isinstance(part, Audit)]
        try:
            await self._committer.commit(plan)
        except (PlatformError, PlanRefused) as error:
            log.warning("plugin.audit_put_off", rows=len(rows), error=str(error))
            return rows
        return []

    async def _run(self) -> None:
        while not self._is_stopping:
            await self._wake.wait()
            self._wake.clear()
            if not await self.flush() and not self._is_stopping:
                await asyncio.sleep(RETRY_S)
                self._wake.set()


def _plans(rows: Iterable[Audit]) -> list[Plan]:
    """One plan for each merchant, and another where it would grow too large."""
    by_merchant: dict[str | None, list[Audit]] = {}
    for row in rows:
        by_merchant.setdefault(row.merchant_id, []).append(row)
    return [
        Plan(merchant_id, list(some[start : start + ROWS_PER_PLAN_MAX]))
        for merchant_id, some in by_merchant.items()
        for start in range(0, len(some), ROWS_PER_PLAN_MAX)
    ]
