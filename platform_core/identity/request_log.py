"""What each app asked and was answered, for its developers: kept 30 days, redacted by schema.

A request becomes a small row here at once, so that nothing of it is kept alive. Rows are written in batches on a
connection of their own: the log is telemetry, so it never waits for a commit and none waits for it; what does not fit
into the bounded queue is dropped and counted. Headers are not kept, nor are queries, and a body only as far as its
schema names its fields: of every app the first 20 requests a second that went well and the first 20 that did not.
Nobody reads two thousand bodies a second, and redacting them was a tenth of a busy till's server time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from platform_core.identity.models_conventions import REQUEST_LOG
from platform_core.identity.principal import Principal
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit.columns import Column
from platform_core.kernel.database.pools import is_away
from platform_core.kernel.http.envelope import Exchange
from platform_core.kernel.http.recast import operation_of
from platform_core.kernel.http.redaction import BodyRedactors, Redactor, redacted
from platform_core.kernel.telemetry import counter

log = structlog.get_logger(__name__)

QUEUE_MAX: Final = 10_000
BATCH_MAX: Final = 200
BODIES_PER_S: Final = 20
"""Of how many requests of an app, good and bad each, bodies are kept within a second."""
INTERVAL_S: Final = 0.5
PATH_LENGTH_MAX: Final = 512
PROBLEM: Final = Redactor(is_open=True)
"""A problem's words are ours and hold nothing of the input."""
_COLUMNS: Final = (
    "id", "app_id", "client_id", "merchant_id", "method", "operation", "path", "status", "code", "api_version",
    "idempotency_key", "client_request_id", "elapsed_us", "request_body", "answer_body", "created_at",
)  # fmt: skip
assert REQUEST_LOG.columns == _COLUMNS, "a row is built in the order of the table's columns"
_INSERT: Final = REQUEST_LOG.insert_sql.format(*(f"${n + 1}" for n in range(len(_COLUMNS))))
_DROPPED = counter("arsenal.request_log.dropped", unit="{request}", description="Requests that the log had no room for")

Row = tuple[Any, ...]  # Any: values of the columns' types


class RequestLog:
    """The log's writing half, one per process. `record` is for the event loop's thread alone."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        *,
        clock: Clock,
        queue_max: int = QUEUE_MAX,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """`connect` opens a connection of the workers' role."""
        self._connect = connect
        self._clock = clock
        self._queue: deque[Row] = deque()
        self._bodies_s = 0
        self._bodies: dict[tuple[str, bool], int] = {}  # kept in this second, by app and whether it went well
        self._queue_max = queue_max
        self._interval_s = interval_s
        self._redactors: Mapping[str, BodyRedactors] = {}
        self._connection: asyncpg.Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        """One writes at a time: there is one connection."""
        self.dropped = 0
        """How many requests were not logged since the process began."""

    def know(self, redactors: Mapping[str, BodyRedactors]) -> None:
        """What may be seen of each operation's bodies; without it nothing of them is kept."""
        self._redactors = redactors

    def record(self, exchange: Exchange) -> None:
        """Queue one request of an authenticated app; drop and count it when there is no room."""
        caller = exchange.envelope.caller
        if not isinstance(caller, Principal):
            return
        if len(self._queue) >= self._queue_max:
            self.dropped += 1
            _DROPPED.add(1)
            return
        at = self._clock.now()
        self._queue.append(self._row(exchange, caller, at, has_bodies=self._may_keep_bodies(exchange, caller, at)))

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write what is queued, once, and close."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.flush()
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def flush(self) -> int:
        """Write everything that is queued now; says how many rows. What cannot be written is dropped and counted."""
        async with self._turn:
            return await self._flush()

    async def _flush(self) -> int:
        written = 0
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
            try:
                await self._write(batch)
                written += len(batch)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self.dropped += len(batch)
                _DROPPED.add(len(batch))
                log.warning("request_log.not_written", rows=len(batch), error=type(error).__name__)
                await self._hang_up()
                if is_away(error):
                    break
            await asyncio.sleep(0)
        return written

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.flush()

    def _may_keep_bodies(self, exchange: Exchange, caller: Principal, at: datetime) -> bool:
        second = int(at.timestamp())
        if second != self._bodies_s:
            self._bodies_s, self._bodies = second, {}
        key = (caller.app_id, exchange.status < 400)
        kept = self._bodies.get(key, 0)
        if kept >= BODIES_PER_S:
            return False
        self._bodies[key] = kept + 1
        return True

    async def _write(self, rows: list[Row]) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            await self._connection.execute("SET synchronous_commit = off")
        await self._connection.fetch(_INSERT, *(Column(list(column)) for column in zip(*rows, strict=True)))

    async def _hang_up(self) -> None:
        if self._connection is not None:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._connection.close(timeout=1)
            self._connection = None

    def _row(self, exchange: Exchange, caller: Principal, at: datetime, *, has_bodies: bool) -> Row:
        scope, envelope = exchange.scope, exchange.envelope
        operation = operation_of(scope)
        known = self._redactors.get(operation or "") if has_bodies else None
        answer = None if known is None else known.answer
        is_problem = exchange.status >= 400
        return (
            envelope.request_id,
            caller.app_id,
            caller.client_id,
            caller.merchant_id,
            scope["method"],
            operation,
            _plain(scope["path"])[:PATH_LENGTH_MAX],
            exchange.status,
            _code(exchange.answer_body) if is_problem else None,
            envelope.version,
            _key(scope),
            envelope.client_request_id,
            int(exchange.elapsed_s * 1e6),
            _body(exchange.request_body, None if known is None else known.request),
            _body(exchange.answer_body, (PROBLEM if has_bodies else None) if is_problem else answer),
            at,
        )


def _body(raw: bytes | None, redactor: Redactor | None) -> str | None:
    return redacted(raw, redactor) if raw and redactor is not None else None


def _code(raw: bytes | None) -> str | None:
    if not raw:
        return None
    try:
        code = msgspec.json.decode(raw)["code"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return None
    return code if isinstance(code, str) else None


def _key(scope: Mapping[str, Any]) -> str | None:  # Any: ASGI
    for name, value in scope["headers"]:
        if name == b"idempotency-key":
            return _plain(value.decode("latin-1"))[:255]
    return None


def _plain(text: str) -> str:
    """As PostgreSQL takes it: no NUL, no half of a surrogate pair."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
