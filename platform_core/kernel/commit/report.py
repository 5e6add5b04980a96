"""What is known about a batch once it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchReport:
    """Figures of one batch: counts, and monotonic seconds. `refused` counts by kind of refusal, `failed` by error."""

    plans: int
    refused: Mapping[str, int]
    failed: Mapping[str, int]
    wait_s: float
    commit_s: float
    queued: int
