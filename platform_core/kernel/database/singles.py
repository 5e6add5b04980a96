"""Statements over the driver itself: what the hottest reads use instead of SQLAlchemy's asynchronous layer.

A read of one row costs a third of the CPU that it costs through an engine. A single statement sees one moment by
itself; there is no transaction around it, and no session state to reset. A tenant's reads are a transaction, as
everywhere.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final

import asyncpg

WAIT_S: Final = 5.0
_SESSION_OVER: Final = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)
_ID: Final = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)  # may stand in a statement as it is
_NAME: Final = re.compile(r"(?<!:):([a-z_]+)\b")


@lru_cache(maxsize=256)
def positional(sql: str) -> tuple[str, tuple[str, ...]]:
    """A statement with `:names` as the driver takes it, and the names in the order of its numbers. Casts are `::`."""
    names = tuple(dict.fromkeys(_NAME.findall(sql)))
    numbers = {name: n + 1 for n, name in enumerate(names)}
    return _NAME.sub(lambda match: f"${numbers[match[1]]}", sql), names


class Singles:
    """A few connections of one role, the last used first. Opened when first needed."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection[Any]]], *, size: int) -> None:
        self._connect = connect
        self._idle: list[asyncpg.Connection[Any]] = []
        self._free = asyncio.Semaphore(size)
        self._is_closed = False

    async def rows(self, sql: str, values: Mapping[str, object]) -> list[Any]:  # Any: records of the driver
        """All rows of a statement with `:names`.

        Raises what the driver raises, and TimeoutError when no connection was free for 5 seconds.
        """
        text, names = positional(sql)
        async with self._lent() as connection:
            return list(await connection.fetch(text, *[values[name] for name in names]))

    async def row(self, sql: str, values: Mapping[str, object]) -> Any | None:  # Any: a record of the driver
        """The first row, or None; raises as `rows`."""
        text, names = positional(sql)
        async with self._lent() as connection:
            return await connection.fetchrow(text, *[values[name] for name in names])

    @asynccontextmanager
    async def tenant(self, merchant_id: str) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A read transaction that sees what `merchant_id` may see; the variable is set for it alone.

        Raises as `rows`; ValueError for what is no id.
        """
        if _ID.fullmatch(merchant_id) is None:
            raise ValueError("not an id")
        async with self._lent() as connection:
            await connection.execute(f"BEGIN READ ONLY; SELECT set_config('arsenal.merchant', '{merchant_id}', true)")
            try:
                yield connection
            except asyncpg.PostgresError:
                if not connection.is_closed():
                    await connection.execute("ROLLBACK")
                raise
            await connection.execute("COMMIT")  # whatever else is raised in the block ends the connection

    async def close(self) -> None:
        """Close what idles; what is lent is closed when it comes back."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close(timeout=1)

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        if self._free.locked():
            async with asyncio.timeout(WAIT_S):
                await self._free.acquire()
        else:
            await self._free.acquire()
        try:
            connection = self._idle.pop() if self._idle else None
            if connection is None or connection.is_closed():
                connection = await self._connect()
            is_sound = False
            try:
                yield connection
                is_sound = True
            except asyncpg.PostgresError as error:
                is_sound = not isinstance(error, _SESSION_OVER)
                if not is_sound:
                    self._drop_idle()  # the server went away, and with it the other connections
                raise
            except asyncpg.InternalClientError as error:  # its last words came while nobody was listening
                self._drop_idle()
                raise ConnectionResetError("the database ended the connection") from error
            finally:  # a cancelled caller's answer may be under way: that connection is not lent again
                if is_sound and not self._is_closed and not connection.is_closed():
                    self._idle.append(connection)
                else:
                    connection.terminate()
        finally:
            self._free.release()

    def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.terminate()
