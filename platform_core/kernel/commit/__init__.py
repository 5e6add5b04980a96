"""Decide, then commit: plans, the one writer that applies them in batches, and what may stand in a plan.

A service returns a `Plan`; `Committer.commit` is the only way in which anything gets written. Plans that arrive while
a batch is under way form the next batch (group commit): a few set-based statements and one fsync for all of them. A
refusal rolls back nothing, because nothing is written before everything is judged; the refused plan alone is left out.
"""

from platform_core.kernel.commit.audit import Audit
from platform_core.kernel.commit.documents import Change, DocumentTable, Insert, Remove
from platform_core.kernel.commit.due import Due, DueDone
from platform_core.kernel.commit.events import Event
from platform_core.kernel.commit.idempotency import IdempotencyAnswer, IdempotencyClaim, Replayed
from platform_core.kernel.commit.plan import (
    Applier,
    BatchWork,
    Duplicate,
    Missing,
    Plan,
    PlanRefused,
    Refusal,
    Statement,
    TenantViolation,
    VersionConflict,
)
from platform_core.kernel.commit.report import BatchReport
from platform_core.kernel.commit.writer import Committer

__all__ = [
    "Applier",
    "Audit",
    "BatchReport",
    "BatchWork",
    "Change",
    "Committer",
    "DocumentTable",
    "Due",
    "DueDone",
    "Duplicate",
    "Event",
    "IdempotencyAnswer",
    "IdempotencyClaim",
    "Insert",
    "Missing",
    "Plan",
    "PlanRefused",
    "Refusal",
    "Remove",
    "Replayed",
    "Statement",
    "TenantViolation",
    "VersionConflict",
]
