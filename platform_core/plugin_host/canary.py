"""How a release comes to the merchants: whom a stage takes in, and when the next one begins or all goes back.

plugins.md section 9: 1, 5, 25, 50, 100 %; each stage takes at least 24 hours and 200 calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Literal, Protocol

STAGES: Final = (1, 5, 25, 50, 100)
STAGE_TIME_MIN: Final = timedelta(hours=24)
STAGE_CALLS_MIN: Final = 200
FAULT_BP_MARGIN: Final = 50
"""Half a percentage point."""
P95_RATIO_PERCENT_MAX: Final = 150
Verdict = Literal["wait", "advance", "done", "halt"]


def is_in(merchant_id: str, *, plugin_id: str, release_id: str, percent: int) -> bool:
    """Whether a stage takes a merchant in. A higher stage takes in all that a lower one did."""
    digest = sha256(f"{plugin_id}\x1f{release_id}\x1f{merchant_id}".encode()).digest()
    return int.from_bytes(digest, "big") % 10_000 < percent * 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was counted of one version since a stage began, over all processes."""

    calls: int
    faults: int
    p95_ms: float | None
    """None while there are too few calls to say."""
    has_open_breaker: bool = False
    security_faults: int = 0


class Health(Protocol):
    """Where the figures come from."""

    async def figures(self, plugin_id: str, version: str, *, since: datetime) -> Figures:
        """Calls of a version since a moment."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do, and why where it is going back."""

    verdict: Verdict
    reason: str = ""


def judge(*, percent: int, since: datetime, now: datetime, new: Figures, old: Figures) -> Judgement:
    """Decide on a stage. What is wrong halts at once; time and calls decide about going on. Pure."""
    if new.security_faults:
        return Judgement("halt", f"{new.security_faults} security fault(s)")
    if new.has_open_breaker:
        return Judgement("halt", "a breaker opened")
    if new.calls >= STAGE_CALLS_MIN:
        if _fault_bp(new) > _fault_bp(old) + FAULT_BP_MARGIN:
            return Judgement("halt", f"faults in {_fault_bp(new)} of 10,000 calls, {_fault_bp(old)} before")
        if new.p95_ms is not None and old.p95_ms and new.p95_ms * 100 > old.p95_ms * P95_RATIO_PERCENT_MAX:
            return Judgement("halt", f"p95 {new.p95_ms:.1f} ms, {old.p95_ms:.1f} ms before")
    if now - since < STAGE_TIME_MIN or new.calls < STAGE_CALLS_MIN:
        return Judgement("wait")
    return Judgement("done" if percent >= STAGES[-1] else "advance")


def next_stage(percent: int) -> int:
    """The stage after this one."""
    return next((stage for stage in STAGES if stage > percent), STAGES[-1])


def _fault_bp(figures: Figures) -> int:
    return figures.faults * 10_000 // figures.calls if figures.calls else 0
