"""The one writer of a process: takes what has queued up as one batch, commits it once, tells each caller."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import structlog

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit.batch import BatchTransaction, Entry
from platform_core.kernel.commit.columns import send_moments_once
from platform_core.kernel.commit.errors import (
    COMMIT_BUSY,
    COMMIT_STOPPING,
    COMMIT_UNAVAILABLE,
    COMMIT_UNKNOWN,
)
from platform_core.kernel.commit.metrics import record
from platform_core.kernel.commit.plan import Applier, Plan, PlanRefused, Refusal
from platform_core.kernel.commit.report import BatchReport
from platform_core.kernel.errors import ErrorCode, PlatformError
from platform_core.kernel.ids import Ids

log = structlog.get_logger(__name__)

# What says that the session ended or the server can take nothing now, as opposed to a statement that it refused.
# TimeoutError, by which we give up on a silent server, is an OSError.
CONNECTION_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
TRY_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
ATTEMPTS_MAX = 5
RETRY_S = 0.05
# Every statement of a batch works on arrays of keys. A plan made while a table was small would scan it for as long as
# the session lives, so scans and hashes are not offered, and the plan is made once. The time-outs free the locks of a
# session whose client is gone or hangs; between two statements of a batch lie milliseconds.
SESSION = """
SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off;
SET enable_mergejoin = off; SET lock_timeout = '3s'; SET idle_in_transaction_session_timeout = '2s'
"""
# A session that we gave up may still hold our locks, with half a message from us and nobody to send the rest. The role
# that logged in may end it; the writer's role alone may not.
END_SESSION = """
SET ROLE NONE; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = {pid} AND usename = session_user
AND application_name = current_setting('application_name'); RESET ROLE
"""
FENCE = "INSERT INTO commit_batch (id, plans, committed_at) VALUES ($1, 0, $2) ON CONFLICT (id) DO NOTHING"


class _GaveUp(Exception):  # becomes the declared error of every plan in the batch
    def __init__(self, declared: ErrorCode) -> None:
        super().__init__(declared.code)
        self.declared = declared


class _CommitInDoubt(Exception):  # a state of knowledge, not an error
    """COMMIT was or may have been sent, and was not answered."""


class Committer:
    """Group commit over one connection. Any number of tasks may await `commit`; a part's class names its refusals.

    `connect` opens a connection with the writer's role. At most `queue_plans_max` plans wait (503 `kernel.commit_busy`
    beyond it) and at most `batch_plans_max` share a transaction. A plan waits `unavailable_after_s` for a lost
    database, counted from when it was queued, and as long again to learn what became of a COMMIT. A server silent for
    `statement_s` counts as lost.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        appliers: Sequence[Applier],
        *,
        clock: Clock,
        ids: Ids,
        batch_plans_max: int = 128,
        queue_plans_max: int = 1024,
        unavailable_after_s: float = 5.0,
        statement_s: float = 10.0,
        observe: Callable[[BatchReport], None] = record,
    ) -> None:
        self._connect = connect
        self._transaction = BatchTransaction(appliers, clock)
        self._clock = clock
        self._ids = ids
        self._batch_plans_max = batch_plans_max
        self._queue_plans_max = queue_plans_max
        self._unavailable_after_s = unavailable_after_s
        self._statement_s = statement_s
        self._observe = observe
        self._queue: deque[Entry] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connection: asyncpg.Connection | None = None
        self._lost_pid: int | None = None
        self._is_stopping = False

    @property
    def queued(self) -> int:
        """How many plans wait."""
        return len(self._queue)

    async def start(self) -> None:
        """Start the writer's task; the connection is opened with the first batch."""
        assert self._task is None, "a Committer starts once"
        self._task = asyncio.create_task(self._run(), name="kernel.commit")

    async def stop(self) -> None:
        """Write what is queued, then end. Plans that come later get 503 `kernel.commit_stopping`."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # the server may be gone already
                await connection.close(timeout=1)

    async def commit(self, plan: Plan) -> Any:  # the answer's type is the service's
        """Make the plan durable and return its answer.

        Raises `PlanRefused` (nothing written), 503 `kernel.commit_busy`, `kernel.commit_stopping` or
        `kernel.commit_unavailable` (nothing written, come again), 503 `kernel.commit_unknown` (the database went away
        for long while committing: come again with the same key), or what the database said when it refused this plan
        for a reason that no applier foresaw: a bug. A caller that is cancelled withdraws a plan that still queues; a
        plan already taken up is finished without its caller.
        """
        assert self._task is not None, "start() comes first"
        if self._is_stopping:
            raise _error(COMMIT_STOPPING)
        if len(self._queue) >= self._queue_plans_max:
            raise _error(COMMIT_BUSY)
        future = asyncio.get_running_loop().create_future()
        entry = Entry(plan, self._transaction.shares(plan), future, time.monotonic())
        self._queue.append(entry)
        self._wake.set()
        try:
            return await future
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # taken up already: the batch decides
                self._queue.remove(entry)
            raise

    async def _run(self) -> None:
        entries: list[Entry] = []
        try:
            while True:
                entries = self._take()
                if entries:
                    await self._settle(entries)
                elif self._is_stopping:
                    return
                else:
                    self._wake.clear()
                    await self._wake.wait()
                    # One turn of the loop lets every request that is ready to commit join the batch.
                    await asyncio.sleep(0)
        finally:  # only a cancelled writer leaves anything behind
            self._is_stopping = True
            _tell(entries, _failing(COMMIT_UNKNOWN))
            _tell(self._queue, _failing(COMMIT_STOPPING))
            self._queue.clear()

    def _take(self) -> list[Entry]:
        entries: list[Entry] = []
        while self._queue and len(entries) < self._batch_plans_max:
            entry = self._queue.popleft()
            if not entry.done.cancelled():
                entries.append(entry)
        return entries

    async def _settle(self, entries: list[Entry]) -> None:
        started = time.monotonic()
        await self._conclude(entries)
        _tell(entries, lambda entry: entry.outcome)
        outcomes = [entry.outcome for entry in entries if entry.outcome is not None]
        report = BatchReport(
            plans=len(entries),
            refused=Counter(type(outcome).__name__ for outcome in outcomes if isinstance(outcome, Refusal)),
            failed=Counter(_name(outcome) for outcome in outcomes if isinstance(outcome, Exception)),
            wait_s=started - entries[0].queued_at,
            commit_s=time.monotonic() - started,
            queued=len(self._queue),
        )
        try:
            self._observe(report)
        except Exception:  # the writer outlives whoever watches it
            log.exception("commit.observer_failed")

    async def _conclude(self, entries: Sequence[Entry]) -> None:
        """Bring every entry to an outcome. A plan that the database refuses is cornered by halving: its mates live."""
        try:
            await self._write_until_known(entries)
        except _GaveUp as gave_up:
            for (
                entry
            ) in entries:  # also those refused before: what refused them may have been a mate that was not written
                entry.outcome = _error(gave_up.declared)
        except Exception as error:
            await self._rollback()
            if len(entries) == 1:
                log.exception("commit.plan_failed")
                entries[0].outcome = error
                return
            log.warning("commit.batch_split", plans=len(entries), error=type(error).__name__)
            middle = len(entries) // 2
            await self._conclude(entries[:middle])
            await self._conclude(entries[middle:])

    async def _write_until_known(self, entries: Sequence[Entry]) -> None:
        """Repeat the batch until it is committed, or provably is not. It never runs while an earlier run may land."""
        deadline = entries[0].queued_at + self._unavailable_after_s
        again = losses = 0
        while True:
            batch_id = self._ids.mint("bat")
            try:
                await self._write(await self._connected(), batch_id, entries)
                return
            except TRY_AGAIN as error:
                await self._rollback()
                again += 1
                if again == ATTEMPTS_MAX:
                    raise _GaveUp(COMMIT_BUSY) from error
            except _CommitInDoubt as error:
                if await self._has_landed(batch_id):
                    return
                if time.monotonic() >= deadline:
                    raise _GaveUp(COMMIT_UNAVAILABLE) from error
            except Exception as error:
                if not self._is_lost(error):
                    raise
                self._drop_connection()
                losses += 1
                # A plan that queued for long still gets its one new connection.
                if losses > 1 and time.monotonic() >= deadline:
                    raise _GaveUp(COMMIT_UNAVAILABLE) from error
                await asyncio.sleep(RETRY_S)

    async def _write(self, connection: asyncpg.Connection, batch_id: str, entries: Sequence[Entry]) -> None:
        async with asyncio.timeout(self._statement_s):
            is_open = await self._transaction.write(connection, batch_id, entries)
        if not is_open:
            return
        try:
            async with asyncio.timeout(self._statement_s):
                tag = await connection.execute("COMMIT")
        except Exception as error:
            if self._is_lost(error):
                raise _CommitInDoubt from error
            raise
        assert tag == "COMMIT", "an error in the transaction would have been raised where it happened"

    async def _has_landed(self, batch_id: str) -> bool:
        """Whether a batch in doubt was committed. Raises `_GaveUp` when that cannot be learned in time.

        The insertion waits for the old transaction if that still lives; once it is in, the same id can never be
        committed any more, so that repeating the batch under a new id is safe. A fence has no plans: ours may stand
        from an earlier try.
        """
        deadline = time.monotonic() + self._unavailable_after_s
        self._drop_connection()
        while True:
            try:
                connection = await self._connected()
                async with asyncio.timeout(self._statement_s):
                    await connection.execute(FENCE, batch_id, self._clock.now())
                    plans = await connection.fetchval("SELECT plans FROM commit_batch WHERE id = $1", batch_id)
                log.warning("commit.doubt_resolved", batch=batch_id, landed=plans > 0)
                return bool(plans > 0)
            except Exception as error:  # whatever it was: still unknown
                self._drop_connection()
                if time.monotonic() >= deadline:
                    log.exception("commit.unknown", batch=batch_id)
                    raise _GaveUp(COMMIT_UNKNOWN) from error
                await asyncio.sleep(RETRY_S)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            try:
                async with asyncio.timeout(self._statement_s):
                    connection = await self._connect()
                    self._connection = connection
                    await connection.execute(SESSION)
                    await send_moments_once(connection)
                    await self._end_lost_session(connection)
            except Exception as error:  # a refused password is as much an unreachable database as a closed port
                log.warning("commit.connect_failed", error=type(error).__name__)
                self._drop_connection()
                raise ConnectionError("no connection for the writer") from error
        return self._connection

    async def _end_lost_session(self, connection: asyncpg.Connection) -> None:
        pid, self._lost_pid = self._lost_pid, None
        if pid is not None:
            with contextlib.suppress(asyncpg.InsufficientPrivilegeError):  # then the time-outs must do
                await connection.execute(END_SESSION.format(pid=pid))

    def _is_lost(self, error: Exception) -> bool:
        return isinstance(error, CONNECTION_LOST) or self._connection is None or bool(self._connection.is_closed())

    async def _rollback(self) -> None:
        try:
            if self._connection is not None:
                async with asyncio.timeout(self._statement_s):
                    await self._connection.execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - a session in an unknown state is worth nothing; the server rolls back
            self._drop_connection()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._lost_pid = connection.get_server_pid()
            connection.terminate()


def _tell(entries: Sequence[Entry] | deque[Entry], outcome_of: Callable[[Entry], Refusal | Exception | None]) -> None:
    for entry in entries:
        if entry.done.done():
            continue
        outcome = outcome_of(entry)
        if outcome is None:
            entry.done.set_result(entry.plan.answer)
        elif isinstance(outcome, Refusal):
            entry.done.set_exception(PlanRefused(outcome))
        else:
            entry.done.set_exception(outcome)


def _failing(declared: ErrorCode) -> Callable[[Entry], Exception]:
    return lambda entry: _error(declared)


def _error(declared: ErrorCode) -> PlatformError:
    return declared.error(retry_after_s=1)


def _name(error: Exception) -> str:
    return error.code if isinstance(error, PlatformError) else type(error).__name__
