"""Versions that end: merchants who run one are told, 90 days ahead and once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from platform_core.kernel.commit import DueDone, Plan
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host import repository
from platform_core.plugin_host.host_deps import HostDeps
from platform_core.plugin_host.installation_parts import changed

log = structlog.get_logger(__name__)

RETIREMENT: Final = "plugins.retirement"
BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class Retirement:
    """The due work that a retired release leaves."""

    deps: HostDeps

    async def step(self, work: DueWork) -> Plan:
        """Tell every merchant who runs the release (due kind `plugins.retirement`; its subject is the release).

        Emits `plugin.retiring` for each. Whom it told it passes over: it may be done again.
        """
        async with self.deps.database.read_all() as connection:
            release = await repository.read_release(connection, work.subject_id)
        done = Plan(None, [DueDone(RETIREMENT, work.subject_id)])
        if release is None or release.state != "retired":
            return done
        after_id = ""
        while True:
            async with self.deps.database.read_all() as connection:
                rows = await repository.list_installed_everywhere(
                    connection, plugin_id=release.plugin_id, release_id=release.id, after_id=after_id, limit=BATCH
                )
            for row in rows:
                if row.last_change != "retiring":
                    await self._tell(row, ends_at=release.retires_at.isoformat())
            if len(rows) < BATCH:
                return done
            after_id = rows[-1].id

    async def _tell(self, row: repository.Record, *, ends_at: str) -> None:
        made = changed(self.deps, row, {}, change="retiring", by=PLATFORM, facts={"ends_at": ends_at})
        try:
            await self.deps.commit(Plan(row.merchant_id, made.parts), subject=row.id)
        except PlatformError as error:  # somebody changed it at this moment, and will see the date where it reads
            log.info("plugins.retirement_skipped", installation=row.id, code=error.code)
