"""When a piece of work that failed is due again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

# Of webhooks, each after the one before: identity.md section 14. The first is at once; ten tries in all, over 75 hours
# and 35 minutes.
DELAYS_S: Final = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
TRIES_MAX: Final = len(DELAYS_S)
# Plugins: plugins.md section 3, after a first try at once.
PLUGIN_DELAYS_S: Final = (0, 5, 30, 120, 600, 3600, 10_800, 21_600, 43_200)
JITTER_SHARE: Final = 0.1


def next_due(
    *,
    tries: int,
    now: datetime,
    chance: Callable[[], float],
    not_before: datetime | None = None,
    delays_s: Sequence[int] = DELAYS_S,
) -> datetime | None:
    """When to try again after `tries` tries, or None when there were enough.

    `chance` gives [0, 1) and spreads the delay by up to 10 % either way. `not_before` is the other side's Retry-After;
    `delays_s` is the schedule.
    """
    if tries >= len(delays_s):
        return None
    delay_s = delays_s[tries] * (1 + JITTER_SHARE * (2 * chance() - 1))
    due_at = now + timedelta(seconds=delay_s)
    return due_at if not_before is None else max(due_at, not_before)
