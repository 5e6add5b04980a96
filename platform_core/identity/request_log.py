"""What each app asked and was answered, for its developers: kept 30 days, redacted by schema.

A request costs one append here. Redacting and writing happen apart, in batches, on a connection of their own: the log
is telemetry, so it never waits for a commit and none waits for it; what does not fit into the bounded queue is
dropped and counted. Headers are not kept, nor are queries, and a body only as far as its schema names its fields.
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
INTERVAL_S: Final = 0.5
PATH_LENGTH_MAX: Final = 512
PROBLEM: Final = Redactor(is_open=True)
"""A problem's words are ours and hold nothing of the input."""
_COLUMNS: Final = REQUEST_LOG.columns
_INSERT: Final = REQUEST_LOG.insert_sql.format(*(f"${n + 1}" for n in range(len(_COLUMNS))))
_DROPPED = counter("arsenal.request_log.dropped", unit="{request}", description="Requests that the log had no room for")

Entry = tuple[Exchange, Principal, datetime]


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
        self._queue: deque[Entry] = deque()
        self._queue_max = queue_max
        self._interval_s = interval_s
        self._redactors: Mapping[str, BodyRedactors] = {}
        self._connection: asyncpg.Connection | None = None
        self._task: asyncio.Task[None] | None = None
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
        self._queue.append((exchange, caller, self._clock.now()))

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
        written = 0
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
            try:
                await self._write([self._row(entry) for entry in batch])
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

    async def _write(self, rows: list[tuple[Any, ...]]) -> None:  # Any: values of the columns' types
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            await self._connection.execute("SET synchronous_commit = off")
        await self._connection.fetch(_INSERT, *(Column(list(column)) for column in zip(*rows, strict=True)))

    async def _hang_up(self) -> None:
        if self._connection is not None:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._connection.close(timeout=1)
            self._connection = None

    def _row(self, entry: Entry) -> tuple[Any, ...]:  # Any: values of the columns' types
        exchange, caller, at = entry
        scope, envelope = exchange.scope, exchange.envelope
        operation = operation_of(scope)
        known = self._redactors.get(operation or "")
        answer = None if known is None else known.answer
        is_problem = exchange.status >= 400
        values: dict[str, object] = {
            "id": envelope.request_id,
            "app_id": caller.app_id,
            "client_id": caller.client_id,
            "merchant_id": caller.merchant_id,
            "method": scope["method"],
            "operation": operation,
            "path": _plain(scope["path"])[:PATH_LENGTH_MAX],
            "status": exchange.status,
            "code": _code(exchange.answer_body) if is_problem else None,
            "api_version": envelope.version,
            "idempotency_key": _key(scope),
            "client_request_id": envelope.client_request_id,
            "elapsed_us": int(exchange.elapsed_s * 1e6),
            "request_body": _body(exchange.request_body, None if known is None else known.request),
            "answer_body": _body(exchange.answer_body, PROBLEM if is_problem else answer),
            "created_at": at,
        }
        return tuple(values[name] for name in _COLUMNS)


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
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
