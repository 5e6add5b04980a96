"""What may stand in a plan: each kind of part with its applier, in the order in which locks are taken."""

from __future__ import annotations

from platform_core.identity.seen_jti import OnceOnlyApplier
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit.audit import AuditApplier
from platform_core.kernel.commit.documents import DocumentApplier
from platform_core.kernel.commit.due import DueApplier
from platform_core.kernel.commit.events import EventApplier
from platform_core.kernel.commit.idempotency import IdempotencyApplier
from platform_core.kernel.commit.plan import Applier
from platform_core.ledger.applier import LedgerApplier
from platform_core.plugin_host.state_applier import StateApplier


def make_appliers(clock: Clock, *, audit_clock: Clock | None = None) -> list[Applier]:
    """Keys, then rows, then accounts: all processes take locks in this order, so none waits for another in a ring.

    `audit_clock` dates audit rows; without it `clock` does.
    """
    return [
        IdempotencyApplier(),
        OnceOnlyApplier(),
        DocumentApplier(),
        StateApplier(clock),
        LedgerApplier(clock),
        DueApplier(),
        EventApplier(),
        AuditApplier(audit_clock or clock),
    ]
