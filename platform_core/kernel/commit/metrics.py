"""What the writer tells whoever collects metrics: a few comparisons a batch while nobody does."""

from __future__ import annotations

from typing import Final

from platform_core.kernel.commit.report import BatchReport
from platform_core.kernel.telemetry import counter, histogram

PLANS: Final = histogram("arsenal.commit.batch", unit="{plan}", description="Plans that shared a transaction.")
WAIT: Final = histogram("arsenal.commit.wait", unit="s", description="How long the oldest plan of a batch queued.")
COMMIT: Final = histogram("arsenal.commit.seconds", unit="s", description="From taking a batch up to knowing its end.")
QUEUED: Final = histogram("arsenal.commit.queue", unit="{plan}", description="Plans that waited when a batch ended.")
REFUSED: Final = counter("arsenal.commit.refused", unit="{plan}", description="Plans refused, by kind of refusal.")
FAILED: Final = counter("arsenal.commit.failed", unit="{plan}", description="Plans that failed, by error.")


def record(report: BatchReport) -> None:
    """Record one batch. Merchants and ids are no attributes: they would be too many."""
    PLANS.record(report.plans)
    WAIT.record(report.wait_s)
    COMMIT.record(report.commit_s)
    QUEUED.record(report.queued)
    for kind, count in report.refused.items():
        REFUSED.add(count, {"refusal": kind})
    for kind, count in report.failed.items():
        FAILED.add(count, {"error": kind})
