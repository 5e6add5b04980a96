"""What a call did to its plugin's store, as a part of a plan, and the rules by which it is applied.

The rules are pure: `applied` is asked once while the plugin runs, with what it read, and once more by the writer, with
what stands there then. So two calls that increment one key at once both count, whatever each of them saw.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from platform_core.kernel.commit import Refusal
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host.gate_errors import STATE_CHANGED, STATE_FULL, STATE_NUMBER, STATE_VALUE

KEY_LENGTH_MAX: Final = 128
VALUE_BYTES_MAX: Final = 16 * 1024
COUNT_MAX: Final = 2**53
"""Beyond it readers of doubles lose digits."""
_COUNT_BYTES: Final = 20  # what any whole number counts for, so that counting up does not change what is held
_COUNT: Final = re.compile(r"-?[0-9]{1,17}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Stored:
    """One value as it stands in the store; `value` is JSON."""

    value: str
    version: int
    expires_at: datetime | None

    def holds(self, now: datetime) -> bool:
        """Whether it is not expired."""
        return self.expires_at is None or self.expires_at > now


@dataclass(frozen=True, slots=True)
class Put:
    """Store a value. `expected`: the version that was decided on; 0: it was not there; None: whatever stands there."""

    key: str
    value: str
    expected: int | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Add:
    """Add to a whole number that begins at 0; `ttl_s` counts from the increment that makes it."""

    key: str
    by: int
    ttl_s: int | None


@dataclass(frozen=True, slots=True)
class Forget:
    """Take a key away."""

    key: str


StateChange = Put | Add | Forget


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that one merchant's store may hold."""

    bytes_max: int
    keys_max: int


@dataclass(frozen=True, slots=True)
class Use:
    """What a store holds."""

    bytes: int = 0
    keys: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StateWrite:
    """Everything that one call did to its plugin's store, all or none of it.

    `may_refuse`: whether the plan is refused (`StateRefused`) when it cannot be applied any more. Otherwise it is left
    out of the plan, which stands: a payment does not fail because a plugin's store is full.
    """

    plugin_id: str
    merchant_id: str
    changes: tuple[StateChange, ...]
    quota: Quota
    may_refuse: bool


@dataclass(frozen=True, slots=True)
class StateRefused(Refusal):
    """The store has moved on, or is full; `code` is the gate's."""

    plugin_id: str
    key: str
    code: str


def encoded(value: Any) -> str:  # Any: whatever JSON the plugin gave
    """A value as it is stored. Raises 422 `plugin.state_value` for what is no JSON or too large."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if len(text.encode()) <= VALUE_BYTES_MAX:
            return text
    except (TypeError, ValueError, RecursionError):  # UnicodeEncodeError, of half a surrogate pair, is a ValueError
        pass
    raise STATE_VALUE.error({"max": VALUE_BYTES_MAX})


def decoded(text: str) -> Any:  # Any: JSON
    """A stored value back."""
    return msgspec.json.decode(text)


def size_of(key: str, value: str) -> int:
    """What a value counts for against the quota, bytes."""
    return len(key.encode()) + (_COUNT_BYTES if _COUNT.fullmatch(value) else len(value.encode()))


def applied(found: Stored | None, change: StateChange, *, now: datetime) -> Stored | None:
    """What stands under the key afterwards; None: nothing. `found` may be expired.

    Raises 409 `plugin.state_changed`, `plugin.state_number`.
    """
    standing = found if found is not None and found.holds(now) else None
    if isinstance(change, Forget):
        return None
    version = standing.version if standing is not None else 0
    if isinstance(change, Put):
        if change.expected is not None and change.expected != version:
            raise STATE_CHANGED.error({"expected": change.expected, "found": version})
        return Stored(change.value, version + 1, change.expires_at)
    if standing is None:
        expires_at = None if change.ttl_s is None else now + timedelta(seconds=change.ttl_s)
        return Stored(_sum(0, change.by), 1, expires_at)
    if _COUNT.fullmatch(standing.value) is None:
        raise STATE_NUMBER.error({"max": COUNT_MAX})
    return Stored(_sum(int(standing.value), change.by), version + 1, standing.expires_at)


def _sum(before: int, by: int) -> str:
    total = before + by
    if abs(total) > COUNT_MAX:
        raise STATE_NUMBER.error({"max": COUNT_MAX})
    return str(total)


def held_after(use: Use, key: str, before: Stored | None, after: Stored | None) -> Use:
    """What the store holds once `before` has become `after`. An expired value is held until it is swept."""
    size = use.bytes - (size_of(key, before.value) if before is not None else 0)
    size += size_of(key, after.value) if after is not None else 0
    return Use(size, use.keys + (after is not None) - (before is not None))


def check_quota(before: Use, after: Use, quota: Quota) -> None:
    """Raise 409 `plugin.state_full` for what makes a store larger than it may be. Shrinking is always allowed."""
    is_larger = after.bytes > before.bytes and after.bytes > quota.bytes_max
    if is_larger or (after.keys > before.keys and after.keys > quota.keys_max):
        raise STATE_FULL.error({"keys_max": quota.keys_max, "bytes_max": quota.bytes_max})


def apply_all(
    write: StateWrite, found: Mapping[str, Stored | None], use: Use, *, now: datetime
) -> tuple[dict[str, Stored | None], Use]:
    """The keys that the write touches as they stand afterwards, and what the store then holds. Raises PlatformError."""
    values: dict[str, Stored | None] = {}
    for change in write.changes:
        before = values[change.key] if change.key in values else found.get(change.key)
        after = applied(before, change, now=now)
        later = held_after(use, change.key, before, after)
        check_quota(use, later, write.quota)
        values[change.key], use = after, later
    return values, use


def refusal_of(write: StateWrite, error: PlatformError) -> StateRefused:
    """An error of `apply_all` as the writer's refusal."""
    return StateRefused(write.plugin_id, write.changes[0].key, error.code)
