"""One call's view of its plugin's store: what stands there, and over it what the call itself has written."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from platform_core.kernel.clock import Clock
from platform_core.plugin_host.gate_errors import STATE_CHANGED, STATE_KEY
from platform_core.plugin_host.state_parts import (
    KEY_LENGTH_MAX,
    Add,
    Forget,
    Put,
    Quota,
    StateChange,
    StateWrite,
    Stored,
    Use,
    applied,
    check_quota,
    decoded,
    encoded,
    held_after,
)
from platform_core.plugin_host.state_reader import StateReader

Item = dict[str, Any]  # Any: {key, value, version}, the value being whatever JSON the plugin put there
LIST_MAX: Final = 100


class StateSession:
    """Reads and writes of one call, which makes one ask at a time. Nothing is written before the part is committed."""

    __slots__ = ("_changes", "_clock", "_merchant_id", "_own", "_plugin_id", "_quota", "_reader", "_use")

    def __init__(self, reader: StateReader, *, merchant_id: str, plugin_id: str, quota: Quota, clock: Clock) -> None:
        self._reader = reader
        self._merchant_id = merchant_id
        self._plugin_id = plugin_id
        self._quota = quota
        self._clock = clock
        self._own: dict[str, Stored | None] = {}  # what the call has read or written, as it sees it now
        self._changes: list[StateChange] = []
        self._use: Use | None = None

    async def get(self, key: str) -> Item | None:
        """The value, if there is one that has not expired."""
        stored = await self._seen(_checked(key))
        return _item(key, stored) if stored is not None and stored.holds(self._clock.now()) else None

    async def items(self, prefix: str, limit: int) -> list[Item]:
        """Values whose keys begin so, by key, at most `limit`; this call's writes among them."""
        if prefix:
            _checked(prefix)
        own = {key: stored for key, stored in self._own.items() if key.startswith(prefix)}
        now = self._clock.now()
        rows = await self._reader.range(
            self._merchant_id, self._plugin_id, prefix=prefix, now=now, limit=limit + len(own)
        )
        found = {**dict(rows), **own}
        held = {key: stored for key, stored in found.items() if stored is not None and stored.holds(now)}
        return [_item(key, held[key]) for key in sorted(held, key=str.encode)[:limit]]

    async def put(self, key: str, value: Any, expected: int | None, ttl_s: int | None) -> int:
        """Store; returns the version. Raises 409 `plugin.state_changed`, `plugin.state_full`."""
        now = self._clock.now()
        expires_at = None if ttl_s is None else now + timedelta(seconds=ttl_s)
        text = encoded(value)
        seen = await self._seen(_checked(key))
        is_first = all(change.key != key for change in self._changes)
        version = seen.version if seen is not None and seen.holds(now) else 0
        if expected is not None and expected != version:
            raise STATE_CHANGED.error({"expected": expected, "found": version})
        # What this call wrote before is its own to overwrite; what others wrote is compared again at the commit.
        after = await self._do(Put(key, text, expected if is_first else None, expires_at), seen, now)
        assert after is not None, "put"
        return after.version

    async def increment(self, key: str, by: int, ttl_s: int | None) -> int:
        """Add; returns the sum as this call sees it. Raises 409 `plugin.state_number`, `plugin.state_full`."""
        after = await self._do(Add(_checked(key), by, ttl_s), await self._seen(key), self._clock.now())
        assert after is not None, "counted"
        return int(after.value)

    async def delete(self, key: str) -> None:
        """Forget."""
        await self._do(Forget(_checked(key)), await self._seen(key), self._clock.now())

    def part(self, *, may_refuse: bool) -> StateWrite | None:
        """What the call wrote, for a plan; None: nothing."""
        if not self._changes:
            return None
        return StateWrite(
            plugin_id=self._plugin_id,
            merchant_id=self._merchant_id,
            changes=tuple(self._changes),
            quota=self._quota,
            may_refuse=may_refuse,
        )

    async def _seen(self, key: str) -> Stored | None:
        if key not in self._own:
            found = await self._reader.read(self._merchant_id, self._plugin_id, key)
            self._own.setdefault(key, found.stored)  # another ask of this call may have written it meanwhile
            if self._use is None:
                self._use = found.use
        return self._own[key]

    async def _do(self, change: StateChange, before: Stored | None, now: datetime) -> Stored | None:
        assert self._use is not None, "every change reads its key first"
        after = applied(before, change, now=now)
        later = held_after(self._use, change.key, before, after)
        check_quota(self._use, later, self._quota)
        self._own[change.key], self._use = after, later
        self._changes.append(change)
        return after


def _checked(key: str) -> str:
    if not 1 <= len(key) <= KEY_LENGTH_MAX or not key.isprintable():
        raise STATE_KEY.error({"max": KEY_LENGTH_MAX})
    return key


def _item(key: str, stored: Stored) -> Item:
    return {"key": key, "value": decoded(stored.value), "version": stored.version}
