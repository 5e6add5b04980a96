"""How many workers there may be, how long they live, and what waits for them (isolation.md section 8)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


def _quarter_of_the_machine() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (4 * 1024 * 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """Bounds of one host process."""

    workers_max: int = 64
    workers_per_plugin_max: int = 8
    memory_mb_max: int = field(default_factory=_quarter_of_the_machine)
    """Sum of all workers' address spaces; a quarter of the machine by default."""
    spawning_max: int = 4
    """Workers that start at the same time."""
    waiting_per_key_max: int = 64
    """A group commit lets many orders of one merchant go on in the same moment."""
    wait_share: float = 0.2
    """Of a call's deadline: how long it may wait for a busy worker. For a worker that is starting it waits on."""
    boot_s: float = 2.0
    """From the spawn to `ready`."""
    calls_max: int = 10_000
    age_s_max: float = 3600.0
    cpu_s_max: float = 48.0
    """80 % of a worker's CPU limit."""
    idle_s_max: float = 60.0
    backoff_s: float = 0.1
    """After a failed load; doubles up to `backoff_s_max`."""
    backoff_s_max: float = 30.0
    kills_burst: int = 30
    """So many workers of a version that failed in a call are replaced at once ..."""
    kills_per_s: float = 4.0
    """... and so many a second from then on: each new one costs the machine as much as a hundred orders."""
    tree_check_s: float = 3600.0
    """How often the files of releases in use are compared with their hash."""
