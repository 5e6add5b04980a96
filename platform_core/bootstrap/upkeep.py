"""Work that never ends: due rows that renew themselves. However many workers run, each turn has one holder."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import text

from platform_core.bootstrap.platform import Platform
from platform_core.capabilities.payments.bills.making import FOUND_MAX
from platform_core.capabilities.payments.exports.retention import PURGED as EXPORTS_KEPT
from platform_core.capabilities.payments.receipt_retention import purge as purge_receipts
from platform_core.delivery.plugins.purge import purge as purge_tellings
from platform_core.delivery.webhooks.purge import purge as purge_deliveries
from platform_core.governance.audit.sealer import Sealer
from platform_core.identity import seen_jti
from platform_core.identity import sweep as identity_sweep
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.commit import Due, Plan, PlanRefused
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.commit.purge import purge
from platform_core.kernel.database.retention import take_away
from platform_core.plugin_host import state_sweep
from platform_core.plugin_host.call_counts import KEPT as COUNTS_KEPT
from platform_core.plugin_host.problem_book import KEPT as PROBLEMS_KEPT
from platform_core.plugin_host.tracing import KEPT as TRACES_KEPT

log = structlog.get_logger(__name__)

PURGE: Final = "kernel.purge"
EXPIRE: Final = "ledger.expire"
SEAL: Final = "audit.seal"
BILLS: Final = "payments.bills"
EVERY: Final[Mapping[str, timedelta]] = {
    PURGE: timedelta(hours=1),
    EXPIRE: timedelta(minutes=1),
    SEAL: timedelta(seconds=1),
    BILLS: timedelta(hours=1),
}
SUBJECT: Final = "platform"
PURGED_MAX: Final = 5_000
_PLANNED: Final = text("SELECT kind FROM due WHERE kind = ANY (:kinds)")


class Upkeep:
    """Purges what has grown old, releases pending transfers past their time, chains the audit log."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def due_handlers(self) -> Mapping[str, Callable[[DueWork], Awaitable[Plan | None]]]:
        """Who does which kind of due work."""
        return {PURGE: self.purge, EXPIRE: self.expire, SEAL: self.seal, BILLS: self.bills}

    async def plan_first(self) -> None:
        """Write the rows that are not there yet; those that are keep their time."""
        async with self._platform.database.read_all() as connection:
            planned = set((await connection.execute(_PLANNED, {"kinds": list(EVERY)})).scalars())
        now = self._platform.clock.now()
        missing: list[object] = [Due(kind, SUBJECT, now) for kind in EVERY if kind not in planned]
        if missing:
            await self._platform.committer.commit(Plan(None, missing))

    async def purge(self, work: DueWork) -> Plan:
        """Delete a bounded number of old rows; again at once while there were that many, else in an hour."""
        platform = self._platform
        connection = await platform.database.connect("job")
        try:
            deleted = await purge(connection, now=platform.clock.now(), limit=PURGED_MAX)
            deleted["webhook_delivery"] = await purge_deliveries(connection, now=platform.clock.now(), limit=PURGED_MAX)
            deleted["plugin_delivery"] = await purge_tellings(connection, now=platform.clock.now(), limit=PURGED_MAX)
            deleted |= await purge_receipts(connection, now=platform.clock.now(), limit=PURGED_MAX)
            # Proofs live by the real clock, also where business time is moved.
            deleted["seen_jti"] = await seen_jti.sweep(connection, now=SystemClock().now(), limit=PURGED_MAX)
            deleted |= await identity_sweep.sweep(connection, now=SystemClock().now(), limit=PURGED_MAX)
            deleted["plugin_state"] = await state_sweep.sweep(connection, now=platform.clock.now(), limit=PURGED_MAX)
            removed = await state_sweep.sweep_removed(connection, now=platform.clock.now(), limit=PURGED_MAX)
            deleted["plugin_state_removed"] = removed
            kept = (*PROBLEMS_KEPT, *COUNTS_KEPT, *EXPORTS_KEPT)
            deleted |= await take_away(connection, kept, now=platform.clock.now(), limit=PURGED_MAX)
            deleted |= await take_away(connection, TRACES_KEPT, now=SystemClock().now(), limit=PURGED_MAX)
        finally:
            await connection.close()
        if any(deleted.values()):
            log.info("upkeep.purged", **deleted)
        is_more = max(deleted.values()) >= PURGED_MAX
        return self._again(work, timedelta(seconds=1) if is_more else EVERY[PURGE])

    async def expire(self, work: DueWork) -> Plan:
        """Release what is past its time; each is a plan of its own, and one that is gone already needs nothing."""
        platform = self._platform
        plans = await platform.ledger.expire_pending(platform.clock.now())
        for plan in plans:
            try:
                await platform.committer.commit(plan)
            except PlanRefused as refused:
                log.info("upkeep.expiry_refused", transfer=plan.answer, refusal=str(refused))
        return self._again(work, EVERY[EXPIRE])

    async def seal(self, work: DueWork) -> Plan:
        """Chain the audit rows that have come; again in a second."""
        platform = self._platform
        await Sealer(platform.database, platform.committer, clock=SystemClock(), ids=platform.ids).seal()
        return self._again(work, EVERY[SEAL])

    async def bills(self, work: DueWork) -> Plan:
        """Have the next bill made of merchants whose money has moved; again at once while many were found."""
        found = await self._platform.payments.bill_maker.find_work()
        return self._again(work, timedelta(seconds=1) if found >= FOUND_MAX else EVERY[BILLS])

    def _again(self, work: DueWork, delay: timedelta) -> Plan:
        return Plan(work.merchant_id, [Due(work.kind, work.subject_id, self._platform.clock.now() + delay)])
