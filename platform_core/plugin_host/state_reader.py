"""Reads of plugins' stores over the driver itself. Reads of one merchant that come while one is under way share the
next, so that a busy till asks the database once for many calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from platform_core.kernel.database.pools import Database
from platform_core.plugin_host.state_parts import Stored, Use

_READ: Final = "SELECT * FROM plugin_state_read(:merchant_id, :plugin_ids, :keys)"
_LIST: Final = (
    "SELECT key, value, version, expires_at FROM plugin_state WHERE merchant_id = $1 AND plugin_id = $2 "
    "AND key >= $3 AND key < $4 AND (expires_at IS NULL OR expires_at > $5) ORDER BY key LIMIT $6"
)
_BEYOND: Final = "\U0010ffff"  # sorts behind every character that a key may hold
READ_KEYS_MAX: Final = 500
Wanted = tuple[str, str]  # plugin and key


@dataclass(frozen=True, slots=True)
class Found:
    """What a read saw: the value, expired or not, and what its store holds."""

    stored: Stored | None
    use: Use


class StateReader:
    """One per process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queues: dict[str, dict[Wanted, asyncio.Future[Found]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def read(self, merchant_id: str, plugin_id: str, key: str) -> Found:
        """One key, as it stands no earlier than now. Raises what the driver raises."""
        queue = self._queues.get(merchant_id)
        if queue is None:
            queue = self._queues[merchant_id] = {}
            task = asyncio.create_task(self._drain(merchant_id), name="plugin_host.state_reader")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        future = queue.get((plugin_id, key))
        if future is None:
            future = queue[plugin_id, key] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_heed)
        return await asyncio.shield(future)  # another call may wait for the same

    async def range(
        self, merchant_id: str, plugin_id: str, *, prefix: str, now: datetime, limit: int
    ) -> list[tuple[str, Stored]]:
        """The first keys that begin so and have not expired, in the order of their bytes."""
        async with self._database.read_plainly(merchant_id) as connection:
            rows = await connection.fetch(_LIST, merchant_id, plugin_id, prefix, prefix + _BEYOND, now, limit)
        return [(row[0], Stored(row[1], row[2], row[3])) for row in rows]

    async def _drain(self, merchant_id: str) -> None:
        while True:
            wanted = self._queues[merchant_id]
            if not wanted:
                del self._queues[merchant_id]
                return
            self._queues[merchant_id] = dict(list(wanted.items())[READ_KEYS_MAX:])
            await self._answer(merchant_id, dict(list(wanted.items())[:READ_KEYS_MAX]))

    async def _answer(self, merchant_id: str, wanted: dict[Wanted, asyncio.Future[Found]]) -> None:
        try:
            plugin_ids, keys = (list(values) for values in zip(*wanted, strict=True))
            values = {"merchant_id": merchant_id, "plugin_ids": plugin_ids, "keys": keys}
            rows = await self._database.singles("app").rows(_READ, values)
        except BaseException as error:  # also when this task is cancelled: nobody may wait for ever
            if not isinstance(error, Exception):
                _fail([*wanted.values(), *self._queues.pop(merchant_id).values()], ConnectionAbortedError("closing"))
                raise
            _fail(wanted.values(), error)
            return
        for plugin_id, key, value, version, expires_at, size, count in rows:
            stored = None if value is None else Stored(value, version, expires_at)
            future = wanted[plugin_id, key]
            if not future.done():
                future.set_result(Found(stored, Use(size or 0, count or 0)))


def _fail(futures: Iterable[asyncio.Future[Found]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)


def _heed(future: asyncio.Future[Found]) -> None:
    if not future.cancelled():
        future.exception()  # whoever asked may have left
