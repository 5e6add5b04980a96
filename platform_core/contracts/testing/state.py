"""A plugin's store in memory, with the versions, windows and bounds of the real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from platform_core.contracts.manifest import StateQuota
from platform_core.contracts.plugin import Refused, StateItem

KEY_LENGTH_MAX: Final = 128
VALUE_BYTES_MAX: Final = 16 * 1024
LIST_MAX: Final = 100
NUMBER_MAX: Final = 2**53 - 1
"""What every JSON reader keeps whole (RFC 8259 section 6)."""


@dataclass(frozen=True, slots=True)
class _Stored:
    text: str
    version: int
    expires_at: datetime | None


class FakeState:
    """`contracts.plugin.State` for one merchant. Values are copied through JSON, as they would be."""

    def __init__(self, *, now: Callable[[], datetime], quota: StateQuota | None = None) -> None:
        self._now = now
        self._quota = StateQuota() if quota is None else quota
        self._stored: dict[str, _Stored] = {}

    def get(self, key: str) -> StateItem | None:
        """What is stored and not expired."""
        found = self._living(_checked(key))
        return None if found is None else StateItem(key, json.loads(found.text), found.version)

    def list(self, prefix: str, *, limit: int = LIST_MAX) -> tuple[StateItem, ...]:
        """Items by prefix, ordered by key."""
        keys = [key for key in sorted(self._stored) if key.startswith(prefix) and self._living(key) is not None]
        items = (self.get(key) for key in keys[: min(limit, LIST_MAX)])
        return tuple(item for item in items if item is not None)

    def put(self, key: str, value: Any, *, expected_version: int | None = None, ttl_s: int | None = None) -> int:
        """Store a value; returns its version."""
        found = self._living(_checked(key))
        version = 0 if found is None else found.version
        if expected_version is not None and expected_version != version:
            said = f"Version {expected_version} was expected and {version} stands there. Read it again and decide anew."
            raise Refused("plugin.state_changed", said)
        expires_at = None if ttl_s is None else self._now() + timedelta(seconds=ttl_s)
        self._keep(key, _Stored(_encoded(value), version + 1, expires_at))
        return version + 1

    def increment(self, key: str, by: int = 1, *, ttl_s: int | None = None) -> int:
        """Add to a whole number; the window begins with the first increment."""
        found = self._living(_checked(key))
        before = 0 if found is None else json.loads(found.text)
        if not isinstance(before, int) or isinstance(before, bool) or abs(before + by) > NUMBER_MAX:
            raise Refused("plugin.state_number", "The value is no whole number, or the sum is too large.")
        if found is None:
            expires_at = None if ttl_s is None else self._now() + timedelta(seconds=ttl_s)
        else:
            expires_at = found.expires_at
        self._keep(key, _Stored(str(before + by), 1 if found is None else found.version + 1, expires_at))
        return before + by

    def delete(self, key: str) -> None:
        """Forget a key."""
        self._stored.pop(_checked(key), None)

    def contents(self) -> Mapping[str, Any]:  # Any: JSON
        """Everything that is stored and not expired, for comparisons."""
        return {item.key: item.value for key in sorted(self._stored) if (item := self.get(key)) is not None}

    def _living(self, key: str) -> _Stored | None:
        found = self._stored.get(key)
        return None if found is None or (found.expires_at is not None and found.expires_at <= self._now()) else found

    def _keep(self, key: str, stored: _Stored) -> None:
        others = {name: one for name in self._stored if name != key and (one := self._living(name)) is not None}
        after = others | {key: stored}
        held = sum(len(name.encode()) + len(one.text.encode()) for name, one in after.items())
        if len(after) > self._quota.keys_max or held > self._quota.bytes_max:
            said = f"This merchant's store may hold {self._quota.keys_max} keys and {self._quota.bytes_max} bytes."
            raise Refused("plugin.state_full", said)
        self._stored = after


def _checked(key: str) -> str:
    if not 1 <= len(key) <= KEY_LENGTH_MAX or not key.isprintable():
        raise Refused("plugin.state_key", f"A key has 1 to {KEY_LENGTH_MAX} printable characters.")
    return key


def _encoded(value: Any) -> str:  # Any: whatever the plugin wants to keep
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise Refused("plugin.state_value", f"A value is JSON of at most {VALUE_BYTES_MAX} bytes.") from error
    if len(text.encode()) > VALUE_BYTES_MAX:
        raise Refused("plugin.state_value", f"A value is JSON of at most {VALUE_BYTES_MAX} bytes.")
    return text
