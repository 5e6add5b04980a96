"""The one writer of a process: takes what has queued up as one batch, judges it in order, writes it set-based, commits once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import structlog

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit.errors import COMMIT_BUSY, COMMIT_UNAVAILABLE, COMMIT_UNKNOWN
from platform_core.kernel.commit.plan import Applier, BatchWork, Plan, PlanRefused, Refusal, Statement
from platform_core.kernel.ids import Ids

Connection = asyncpg.Connection
log = structlog.get_logger(__name__)

# What says that the session with the database ended, as opposed to a statement that it refused.
CONNECTION_LOST = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
)
TRY_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True)
class BatchReport:
    """Figures of one batch, for metrics: counts, and seconds of monotonic time."""

    plans: int
    refused: int
    wait_s: float
    commit_s: float
    queued: int


@dataclass(slots=True)
class _Entry:
    plan: Plan
    done: asyncio.Future[Any]
    queued_at: float
    outcome: Refusal | BaseException | None = None


@dataclass(slots=True)
class _Batch:
    id: str
    entries: list[_Entry]
    attempts: int = 0
    shares: list[dict[int, list[object]]] = field(default_factory=list)  # per applier: a plan's parts by the plan's identity


class _RowsMiscounted(Exception):  # noqa: N818 - caught right here
    """A statement wrote another number of rows than its plans hold: a part broke a rule that only the database knew."""


class _CommitInDoubt(Exception):  # noqa: N818 - a state of knowledge, not an error
    """The connection went away after COMMIT was sent or may have been sent."""


class Committer:
    """Group commit over one connection. `commit` may be awaited by any number of tasks; see `specs` of each part for its refusals.

    `connect` opens a connection with the writer's role. At most `queue_plans_max` plans wait (503 `kernel.commit_busy` beyond it)
    and at most `batch_plans_max` share a transaction. `unavailable_after_s` bounds how long a plan waits for a lost database.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        appliers: Sequence[Applier],
        *,
        clock: Clock,
        ids: Ids,
        batch_plans_max: int = 128,
        queue_plans_max: int = 1024,
        unavailable_after_s: float = 5.0,
        observe: Callable[[BatchReport], None] = lambda report: None,
    ) -> None:
        self._connect = connect
        self._appliers = list(appliers)
        self._applier_of = {part: n for n, applier in enumerate(appliers) for part in applier.part_types}
        self._clock = clock
        self._ids = ids
        self._batch_plans_max = batch_plans_max
        self._queue_plans_max = queue_plans_max
        self._unavailable_after_s = unavailable_after_s
        self._observe = observe
        self._queue: deque[_Entry] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._sql: dict[tuple[str, ...], str] = {}
        self._is_stopping = False

    async def start(self) -> None:
        """Start the writer's task; the connection is opened with the first batch."""
        assert self._task is None, "a Committer starts once"
        self._task = asyncio.create_task(self._run(), name="kernel.commit")

    async def stop(self) -> None:
        """Write what is queued, then end. Plans that come later get 503."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
        await self._drop_connection()

    async def commit(self, plan: Plan) -> Any:  # the answer's type is the service's
        """Make the plan durable and return its answer.

        Raises `PlanRefused` (nothing written), 503 `kernel.commit_busy` or `kernel.commit_unavailable` (nothing written, come
        again) or 503 `kernel.commit_unknown` (the database went away for long while committing: come again with the same key).
        A caller that is cancelled withdraws a plan that still queues; a plan already taken up is finished without its caller.
        """
        if self._is_stopping or len(self._queue) >= self._queue_plans_max:
            raise COMMIT_BUSY.error({"queued": len(self._queue)}, retry_after_s=1)
        entry = _Entry(plan, asyncio.get_running_loop().create_future(), time.monotonic())
        self._queue.append(entry)
        self._wake.set()
        try:
            return await entry.done
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # taken up already: the batch decides
                self._queue.remove(entry)
            raise

    async def _run(self) -> None:
        while True:
            if not self._queue:
                if self._is_stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                # One turn of the loop lets every request that is ready to commit join the batch.
                await asyncio.sleep(0)
                continue
            size = min(len(self._queue), self._batch_plans_max)
            entries = [self._queue.popleft() for _ in range(size)]
            await self._settle(entries)

    async def _settle(self, entries: list[_Entry]) -> None:
        """Bring every entry to an outcome and tell its caller. Never raises."""
        started = time.monotonic()
        try:
            await self._write_until_known(_Batch(self._ids.mint("bat"), entries))
        except Exception as error:  # noqa: BLE001 - the writer must outlive any plan; each caller gets the error
            log.exception("commit.batch_failed", plans=len(entries))
            for entry in entries:
                entry.outcome = entry.outcome or error
        finished = time.monotonic()
        refused = 0
        for entry in entries:
            refused += entry.outcome is not None
            if entry.done.done():
                continue
            if entry.outcome is None:
                entry.done.set_result(entry.plan.answer)
            elif isinstance(entry.outcome, Refusal):
                entry.done.set_exception(PlanRefused(entry.outcome))
            else:
                entry.done.set_exception(entry.outcome)
        wait_s = started - entries[0].queued_at
        self._observe(BatchReport(len(entries), refused, wait_s, finished - started, len(self._queue)))

    async def _write_until_known(self, batch: _Batch) -> None:
        """Repeat the batch until it is committed, or provably is not. It is never run twice while the first run may still land."""
        deadline = time.monotonic() + self._unavailable_after_s
        is_sent = False
        while True:
            try:
                connection = await self._connected()
                if is_sent:
                    if await self._has_landed(connection, batch.id):
                        return
                    is_sent, batch.id = False, self._ids.mint("bat")
                await self._write(connection, batch)
                return
            except TRY_AGAIN as error:
                await self._rollback()
                batch.attempts += 1
                if batch.attempts >= ATTEMPTS_MAX:
                    raise COMMIT_BUSY.error({"queued": len(self._queue)}, retry_after_s=1) from error
            except _CommitInDoubt:
                is_sent = True
                await self._drop_connection()
            except CONNECTION_LOST as error:
                await self._drop_connection()
                if time.monotonic() >= deadline:
                    raise (COMMIT_UNKNOWN if is_sent else COMMIT_UNAVAILABLE).error(retry_after_s=1) from error
                await asyncio.sleep(0.05)
            except (asyncpg.PostgresError, _RowsMiscounted) as error:
                await self._rollback()
                if len(batch.entries) == 1:
                    raise
                log.warning("commit.batch_split", plans=len(batch.entries), error=type(error).__name__)
                for entry in batch.entries:
                    await self._settle_alone(entry)
                return

    async def _settle_alone(self, entry: _Entry) -> None:
        """One plan of a batch that the database refused in a way no applier foresaw: its mates must not suffer for it."""
        try:
            await self._write_until_known(_Batch(self._ids.mint("bat"), [entry]))
        except Exception as error:  # noqa: BLE001 - handed to the caller of this plan
            log.exception("commit.plan_failed")
            entry.outcome = error

    async def _write(self, connection: Connection, batch: _Batch) -> None:
        works = self._begin(batch)
        for work in works:
            await work.prepare(connection)
        keys = sorted({key for work in works for key in work.lock_keys()})
        await connection.execute(
            "BEGIN; SELECT count(pg_advisory_xact_lock(k)) FROM unnest('{%s}'::bigint[]) AS k" % ",".join(map(str, keys))
            if keys
            else "BEGIN"
        )
        for work in works:
            await work.look(connection)
        written = self._judge(batch, works)
        if not written:
            await connection.execute("ROLLBACK")
            return
        await self._apply(connection, batch.id, works, plans=written)
        try:
            await connection.execute("COMMIT")
        except (*CONNECTION_LOST, asyncio.CancelledError) as error:
            raise _CommitInDoubt from error

    def _begin(self, batch: _Batch) -> list[BatchWork]:
        plans: list[list[tuple[Plan, list[object]]]] = [[] for _ in self._appliers]
        batch.shares = [{} for _ in self._appliers]
        for entry in batch.entries:
            entry.outcome = None
            for part in entry.plan.parts:
                n = self._applier_of[type(part)]
                parts = batch.shares[n].get(id(entry.plan))
                if parts is None:
                    batch.shares[n][id(entry.plan)] = parts = []
                    plans[n].append((entry.plan, parts))
                parts.append(part)
        return [applier.begin(share) for applier, share in zip(self._appliers, plans, strict=True)]

    def _judge(self, batch: _Batch, works: list[BatchWork]) -> int:
        """In order of arrival; a plan is in only if every applier takes all its parts. Returns how many are in."""
        kept = 0
        for entry in batch.entries:
            for work, share in zip(works, batch.shares, strict=True):
                parts = share.get(id(entry.plan))
                if parts is not None and (refusal := work.judge(entry.plan, parts)) is not None:
                    entry.outcome = refusal
                    break
            if entry.outcome is None:
                kept += 1
                for work in works:
                    work.keep()
            else:
                for work in works:
                    work.drop()
        return kept

    async def _apply(self, connection: Connection, batch_id: str, works: list[BatchWork], *, plans: int) -> None:
        """All writes of the batch as one statement of common table expressions: one round trip, counted on both sides."""
        statements = [
            Statement(
                "INSERT INTO commit_batch (id, plans, committed_at) VALUES ({0}, {1}, {2}) RETURNING 1",
                (batch_id, plans, self._clock.now()),
                1,
            )
        ]
        for work in works:
            statements += work.statements()
        shape = tuple(statement.sql for statement in statements)
        sql = self._sql.get(shape) or self._compose(shape)
        arguments = [argument for statement in statements for argument in statement.arguments]
        counts = await connection.fetchrow(sql, *arguments)
        assert counts is not None
        for statement, count in zip(statements, counts, strict=True):
            if statement.rows_expected is not None and count != statement.rows_expected:
                raise _RowsMiscounted(f"wrote {count} of {statement.rows_expected} rows: {statement.sql[:80]}")

    def _compose(self, shape: tuple[str, ...]) -> str:
        expressions, number = [], 0
        for n, fragment in enumerate(shape):
            count = 0
            while "{%d}" % count in fragment:
                count += 1
            expressions.append(f"w{n} AS ({fragment.format(*(f'${number + i + 1}' for i in range(count)))})")
            number += count
        counted = ", ".join(f"(SELECT count(*) FROM w{n})" for n in range(len(shape)))
        sql = f"WITH {', '.join(expressions)} SELECT {counted}"
        if len(self._sql) >= 512:  # shapes are few; this only bounds what a strange load could pile up
            self._sql.clear()
        self._sql[shape] = sql
        return sql

    async def _has_landed(self, connection: Connection, batch_id: str) -> bool:
        """Whether a batch in doubt was committed.

        The insertion waits for the old transaction if that is still alive; if it succeeds, the same id can never be committed any
        more, so that repeating the batch under a new id is safe.
        """
        is_fenced = await connection.fetchval(
            "INSERT INTO commit_batch (id, plans, committed_at) VALUES ($1, 0, $2) ON CONFLICT (id) DO NOTHING RETURNING true",
            batch_id,
            self._clock.now(),
        )
        log.warning("commit.doubt_resolved", batch=batch_id, landed=not is_fenced)
        return not is_fenced

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return self._connection

    async def _rollback(self) -> None:
        try:
            if self._connection is not None:
                await self._connection.execute("ROLLBACK")
        except CONNECTION_LOST:
            await self._drop_connection()

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
