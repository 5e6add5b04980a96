"""Python's cycle collector, set up for a server: everything made at start-up lives for ever, requests leave few cycles.

With the default thresholds (CPython 3.11, module gc, read 2026-11-22) every few thousand allocations of a busy server
end in a pass over the whole heap, 50 ms and more each, in the middle of whatever request is running.
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 50_000  # allocations less deallocations that start the cheapest pass: several batches of requests
MIDDLE: Final = 20
OLD: Final = 50


def settle_collector() -> None:
    """Call once, when the process has opened everything and is about to serve."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
