"""The book of merchants' secrets for plugins, read for each use: a rotation or a removal counts with the next one."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import structlog

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Change, Committer, Plan, PlanRefused
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host.models import SECRETS
from platform_core.plugin_host.secrets import StoredSecret

log = structlog.get_logger(__name__)

USED_EVERY: Final = timedelta(hours=1)
"""How far behind the moment of last use may be."""
NOTED_MAX: Final = 10_000
_READ: Final = (
    "SELECT id, name, kind, boxes, retires_at, used_at FROM plugin_secret WHERE merchant_id = $1 AND plugin_id = $2"
)
_Name = tuple[str, str, str]  # plugin, merchant, name of the secret


class SecretRows:
    """`secrets.SecretBook`. `clock` is the real one, by which keys retire."""

    def __init__(self, *, database: Database, committer: Committer, clock: Clock) -> None:
        self._database = database
        self._committer = committer
        self._clock = clock
        self._seen: OrderedDict[_Name, tuple[str, datetime | None]] = OrderedDict()  # row, and last use as noted
        self._tasks: set[asyncio.Task[None]] = set()

    async def secrets_of(self, plugin_id: str, merchant_id: str) -> Mapping[str, StoredSecret]:
        """By name; a box past its `retires_at` is not among them. Raises what the driver raises."""
        async with self._database.read_plainly(merchant_id) as connection:
            rows = await connection.fetch(_READ, merchant_id, plugin_id)
        now, found = self._clock.now(), {}
        for id_, name, kind, boxes, retires_at, used_at in rows:
            living = boxes if retires_at is not None and retires_at > now else boxes[:1]
            found[name] = StoredSecret(kind, tuple(b64decode(box) for box in living))
            self._see((plugin_id, merchant_id, name), id_, used_at)
        return found

    def used(self, plugin_id: str, merchant_id: str, name: str) -> None:
        """Note the use, at most once an hour for each secret; what cannot be noted now is with a later use."""
        key, now = (plugin_id, merchant_id, name), self._clock.now()
        id_, noted = self._seen[key]
        if noted is not None and now - noted < USED_EVERY:
            return
        self._seen[key] = (id_, now)
        task = asyncio.create_task(self._write(key, now), name="plugin_host.secret_rows")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Wait for what is being written."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _see(self, key: _Name, id_: str, used_at: datetime | None) -> None:
        before = self._seen.get(key)
        noted = used_at if before is None or before[0] != id_ else before[1]
        self._seen[key] = (id_, noted)
        self._seen.move_to_end(key)
        if len(self._seen) > NOTED_MAX:
            self._seen.popitem(last=False)

    async def _write(self, key: _Name, now: datetime) -> None:
        id_, _ = self._seen[key]
        try:
            await self._committer.commit(Plan(key[1], [Change(SECRETS, id_, {"used_at": now})]))
        except PlanRefused:  # removed in this moment
            return
        except PlatformError as error:
            log.info("plugin.secret_use_not_noted", plugin=key[0], error=error.code)
            self._seen[key] = (id_, None)
