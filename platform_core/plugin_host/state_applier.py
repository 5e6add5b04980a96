"""Writes plugins' stores set-based. One lock for each store that a batch touches; one row for each key, whatever the
number of calls that increment it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import structlog

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Plan, Refusal, Statement, TenantViolation
from platform_core.kernel.commit.plan import Look, lock_key
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.telemetry import counter
from platform_core.plugin_host.state_parts import StateWrite, Stored, Use, apply_all, refusal_of, size_of

log = structlog.get_logger(__name__)

LEFT_OUT: Final = counter(
    "arsenal.plugin.state_left_out",
    unit="{write}",
    description="Writes to plugins' stores that no longer applied when the host's plan was committed, by code.",
)
_ROWS: Final = (
    "SELECT s.merchant_id, s.plugin_id, s.key, s.value, s.version, s.expires_at "
    "FROM unnest({0}::text[], {1}::text[], {2}::text[]) AS v(merchant_id, plugin_id, key) JOIN plugin_state AS s "
    "ON s.merchant_id = v.merchant_id AND s.plugin_id = v.plugin_id AND s.key = v.key"
)
_USES: Final = (
    "SELECT u.merchant_id, u.plugin_id, u.bytes, u.keys FROM unnest({0}::text[], {1}::text[]) "
    "AS v(merchant_id, plugin_id) JOIN plugin_state_use AS u "
    "ON u.merchant_id = v.merchant_id AND u.plugin_id = v.plugin_id"
)
_UPSERT: Final = (
    "INSERT INTO plugin_state (merchant_id, plugin_id, key, value, size, version, expires_at) SELECT * FROM unnest("
    "{0}::text[], {1}::text[], {2}::text[], {3}::text[], {4}::int[], {5}::bigint[], {6}::timestamptz[]) "
    "ON CONFLICT (merchant_id, plugin_id, key) DO UPDATE SET value = excluded.value, size = excluded.size, "
    "version = excluded.version, expires_at = excluded.expires_at RETURNING 1"
)
_DELETE: Final = (
    "DELETE FROM plugin_state AS s USING unnest({0}::text[], {1}::text[], {2}::text[]) AS v(merchant_id, plugin_id, "
    "key) WHERE s.merchant_id = v.merchant_id AND s.plugin_id = v.plugin_id AND s.key = v.key RETURNING 1"
)
_UPSERT_USE: Final = (
    "INSERT INTO plugin_state_use (merchant_id, plugin_id, bytes, keys) SELECT * FROM unnest("
    "{0}::text[], {1}::text[], {2}::bigint[], {3}::int[]) ON CONFLICT (merchant_id, plugin_id) "
    "DO UPDATE SET bytes = excluded.bytes, keys = excluded.keys RETURNING 1"
)
Store = tuple[str, str]  # merchant and plugin
Place = tuple[str, str, str]  # merchant, plugin, key


def store_lock(merchant_id: str, plugin_id: str) -> int:
    """The advisory lock of a store, which whoever writes it holds to the end of its transaction."""
    return lock_key("plugin_state", (merchant_id, plugin_id))


class StateApplier:
    """Applies `StateWrite`. `clock` is that of business, by which values expire."""

    part_types: tuple[type, ...] = (StateWrite,)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def begin(self, plans: Sequence[tuple[Plan, Sequence[object]]]) -> StateBatch:
        """Start on a batch."""
        writes = [part for _, parts in plans for part in parts if isinstance(part, StateWrite)]
        return StateBatch(writes, now=self._clock.now())


class StateBatch:
    """Stores of one batch."""

    def __init__(self, writes: Sequence[StateWrite], *, now: datetime) -> None:
        self._now = now
        self._stores: list[Store] = sorted({(write.merchant_id, write.plugin_id) for write in writes})
        self._wanted: list[Place] = sorted({(w.merchant_id, w.plugin_id, c.key) for w in writes for c in w.changes})
        self._found: dict[Place, Stored] = {}
        self._rows: dict[Place, Stored | None] = {}
        self._found_uses: dict[Store, Use] = {}
        self._uses: dict[Store, Use] = {}
        self._staged_rows: dict[Place, Stored | None] = {}
        self._staged_uses: dict[Store, Use] = {}

    def lock_keys(self) -> Iterable[int]:
        """One lock per store: what is judged still stands when it is written."""
        return [store_lock(*store) for store in self._stores]

    async def prepare(self, connection: asyncpg.Connection) -> None:
        """Nothing to prepare."""

    def looks(self) -> Sequence[Look]:
        """The values that are touched, and what the stores hold."""
        if not self._wanted:
            return ()
        return [
            Look(_ROWS, _columns(self._wanted), self._take_rows),
            Look(_USES, _columns(self._stores), self._take_uses),
        ]

    def _take_rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for merchant_id, plugin_id, key, value, version, expires_at in rows:
            self._found[merchant_id, plugin_id, key] = Stored(value, version, expires_at)

    def _take_uses(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for merchant_id, plugin_id, size, keys in rows:
            self._found_uses[merchant_id, plugin_id] = Use(size, keys)

    @property
    def has_seen_all(self) -> bool:
        """At once."""
        return True

    def judge(self, plan: Plan, parts: Sequence[object]) -> Refusal | None:
        """A write that no longer applies refuses its plan, or is left out of it, as it says itself."""
        for part in parts:
            assert isinstance(part, StateWrite)
            if part.merchant_id != plan.merchant_id:
                return TenantViolation(f"store of {part.plugin_id}")
            store = (part.merchant_id, part.plugin_id)
            found = {change.key: self._standing((*store, change.key)) for change in part.changes}
            try:
                values, use = apply_all(part, found, self._use(store), now=self._now)
            except PlatformError as error:
                if part.may_refuse:
                    return refusal_of(part, error)
                LEFT_OUT.add(1, {"plugin": part.plugin_id, "code": error.code})
                log.warning("plugin.state_left_out", plugin=part.plugin_id, merchant=part.merchant_id, code=error.code)
                continue
            self._staged_rows |= {(*store, key): value for key, value in values.items()}
            self._staged_uses[store] = use
        return None

    def _standing(self, place: Place) -> Stored | None:
        for rows in (self._staged_rows, self._rows):
            if place in rows:
                return rows[place]
        return self._found.get(place)

    def _use(self, store: Store) -> Use:
        return self._staged_uses.get(store) or self._uses.get(store) or self._found_uses.get(store) or Use()

    def keep(self) -> None:
        """What was staged counts for the plans after it."""
        self._rows |= self._staged_rows
        self._uses |= self._staged_uses
        self.drop()

    def drop(self) -> None:
        """Forget what was staged."""
        self._staged_rows = {}
        self._staged_uses = {}

    def statements(self) -> list[Statement]:
        """One upsert, one deletion, and what the stores hold where that has changed."""
        put = {place: row for place, row in self._rows.items() if row is not None}
        gone = [place for place, row in self._rows.items() if row is None and place in self._found]
        uses = {store: use for store, use in self._uses.items() if use != self._found_uses.get(store)}
        statements = []
        if put:
            statements.append(_upsert(put))
        if gone:
            statements.append(Statement(_DELETE, _columns(gone), len(gone)))
        if uses:
            arrays = (*_columns(list(uses)), [use.bytes for use in uses.values()], [use.keys for use in uses.values()])
            statements.append(Statement(_UPSERT_USE, arrays, len(uses)))
        return statements


def _upsert(put: Mapping[Place, Stored]) -> Statement:
    arrays = (
        *_columns(list(put)),
        [row.value for row in put.values()],
        [size_of(place[2], row.value) for place, row in put.items()],
        [row.version for row in put.values()],
        [row.expires_at for row in put.values()],
    )
    return Statement(_UPSERT, arrays, len(put))


def _columns(rows: Sequence[tuple[str, ...]]) -> tuple[list[str], ...]:
    return tuple(list(values) for values in zip(*rows, strict=True))
