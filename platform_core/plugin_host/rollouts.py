"""Rollouts: a release comes to merchants stage by stage, and goes back by itself when it does worse than before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog

from platform_core.kernel.commit import Audit, Change, Due, DueDone, Event, Insert, Plan
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host import repository
from platform_core.plugin_host.canary import STAGES, Figures, Health, is_in, judge, next_stage
from platform_core.plugin_host.errors import RELEASE_NOT_FOUND, RELEASE_STATE, ROLLOUT_RUNNING
from platform_core.plugin_host.host_deps import Extra, HostDeps, nothing_else
from platform_core.plugin_host.models import ROLLOUTS
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.schemas import RolloutRead
from platform_core.plugin_host.upgrades import Upgrades
from platform_core.plugin_host.versions import newest

log = structlog.get_logger(__name__)

ROLLOUT: Final = "plugins.rollout"
LOOKS_EVERY: Final = timedelta(minutes=1)
BATCH: Final = 100
NO_FIGURES: Final = Figures(calls=0, faults=0, p95_ms=None)


class NoHealth:
    """Where nobody counts: stages then wait for the operator."""

    async def figures(self, plugin_id: str, version: str, *, since: object) -> Figures:
        """Nothing was counted."""
        return NO_FIGURES


@dataclass(frozen=True, slots=True)
class Rollouts:
    """One rollout of a plugin at a time; its steps are due work, so that any worker takes them on."""

    deps: HostDeps
    upgrades: Upgrades
    health: Health

    async def start(
        self, plugin_id: str, version: str, *, by: str, percent: int = STAGES[0], extra: Extra = nothing_else
    ) -> RolloutRead:
        """Begin with the first stage; `percent` 100 brings it to everybody at once.

        404 `plugins.release_not_found`; 409 `plugins.release_state`, `plugins.rollout_running`.
        """
        async with self.deps.database.read_auth() as connection:
            release = await repository.read_version(connection, plugin_id, version)
            running = await repository.running_rollout(connection, plugin_id)
        if release is None:
            raise RELEASE_NOT_FOUND.error({"release": f"{plugin_id} {version}"})
        if release.state != "published":
            raise RELEASE_STATE.error({"release": release.id, "state": release.state, "needed": "published"})
        if running is not None:
            raise ROLLOUT_RUNNING.error({"plugin_id": plugin_id, "rollout_id": running.id})
        now = self.deps.clock.now()
        row = {
            "id": self.deps.ids.mint("pro"),
            "plugin_id": plugin_id,
            "app_id": release.app_id,
            "release_id": release.id,
            "version": version,
            "state": "running",
            "percent": percent,
            "stage_since": now,
            "reason": None,
            "row_version": 1,
            "created_at": now,
        }
        answer = _read(row)
        plan = Plan(None).add(
            Insert(ROLLOUTS, row),
            Due(ROLLOUT, row["id"], now),
            *self._told("plugin_rollout.started", answer, by=by),
            *extra(answer, row["id"]),
        )
        await self.deps.commit(plan, subject=plugin_id)
        return answer

    async def halt(self, plugin_id: str, *, by: str, reason: str) -> RolloutRead:
        """Stop the rollout that is under way and take its merchants back. 404 `plugins.release_not_found`."""
        async with self.deps.database.read_auth() as connection:
            row = await repository.running_rollout(connection, plugin_id)
        if row is None:
            raise RELEASE_NOT_FOUND.error({"release": f"{plugin_id} (no rollout is under way)"})
        plan = self._changed(row, {"state": "halted", "reason": reason}, "plugin_rollout.halted", by=by)
        plan.add(Due(ROLLOUT, row.id, self.deps.clock.now()))
        await self.deps.commit(plan, subject=row.id)
        await self.take_back(row, by=by, reason=reason)
        return await self.get(row.id)

    async def get(self, rollout_id: str) -> RolloutRead:
        """One rollout."""
        async with self.deps.database.read_auth() as connection:
            row = await repository.read_rollout(connection, rollout_id)
        assert row is not None, "its id was just read or written"
        return _read(row._mapping)

    async def step(self, work: DueWork) -> Plan:
        """Bring the stage to its merchants, judge it, go on or go back (due kind `plugins.rollout`)."""
        async with self.deps.database.read_all() as connection:
            row = await repository.read_rollout(connection, work.subject_id)
            release = None if row is None else await repository.read_release(connection, row.release_id)
        if row is None or release is None or row.state in ("done", "rolled_back"):
            return Plan(None, [DueDone(ROLLOUT, work.subject_id)])
        if row.state == "halted":
            await self.take_back(row, by=PLATFORM, reason=row.reason or "halted")
            plan = self._changed(row, {"state": "rolled_back"}, "plugin_rollout.rolled_back", by=PLATFORM)
            return plan.add(DueDone(ROLLOUT, row.id))
        if release.state != "published":
            return self._halted(row, f"the release is {release.state}")
        await self._bring(row, release)
        new, old = await self._figures(row)
        now = self.deps.clock.now()
        judged = judge(percent=row.percent, since=row.stage_since, now=now, new=new, old=old)
        if judged.verdict == "halt":
            return self._halted(row, judged.reason)
        if judged.verdict == "done":
            return self._changed(row, {"state": "done"}, "plugin_rollout.done", by=PLATFORM).add(
                DueDone(ROLLOUT, row.id)
            )
        plan = Plan(None)
        if judged.verdict == "advance":
            values = {"percent": next_stage(row.percent), "stage_since": now}
            plan = self._changed(row, values, "plugin_rollout.advanced", by=PLATFORM)
        return plan.add(Due(ROLLOUT, row.id, now if judged.verdict == "advance" else now + LOOKS_EVERY))

    def _halted(self, row: Record, reason: str) -> Plan:
        """Halt now; the next turn takes the merchants back."""
        plan = self._changed(row, {"state": "halted", "reason": reason}, "plugin_rollout.halted", by=PLATFORM)
        return plan.add(Due(ROLLOUT, row.id, self.deps.clock.now()))

    async def _bring(self, row: Record, release: Record) -> None:
        """Upgrade the merchants that the stage takes in; those who must be asked first stay as they are."""
        async for installation in self._installed(row.plugin_id, not_release_id=release.id):
            if not is_in(installation.merchant_id, plugin_id=row.plugin_id, release_id=release.id, percent=row.percent):
                continue
            try:
                await self.upgrades.roll_forward(installation, release, rollout_id=row.id, by=PLATFORM)
            except PlatformError as error:  # somebody changed it at this moment: the next turn looks again
                log.info("plugins.rollout_skipped", installation=installation.id, code=error.code)

    async def take_back(self, row: Record, *, by: str, reason: str) -> int:
        """Roll back whomever this rollout brought its release. How many; done twice it finds nobody."""
        count = 0
        async for installation in self._installed(row.plugin_id, release_id=row.release_id):
            if installation.rollout_id == row.id:
                count += await self._back(installation, by=by, reason=reason)
        return count

    async def roll_back_all(self, plugin_id: str, version: str, *, by: str, reason: str) -> int:
        """Roll back every merchant who runs a version and ran another before. How many.

        404 `plugins.release_not_found`.
        """
        async with self.deps.database.read_auth() as connection:
            release = newest(await repository.read_releases_of(connection, plugin_id), version=version)
        if release is None:
            raise RELEASE_NOT_FOUND.error({"release": f"{plugin_id} {version}"})
        count = 0
        async for installation in self._installed(plugin_id, release_id=release.id):
            count += await self._back(installation, by=by, reason=reason)
        return count

    async def _back(self, installation: Record, *, by: str, reason: str) -> int:
        if installation.before_release_id is None:
            return 0
        try:
            made = await self.upgrades.rolled_back(installation, by=by, reason=reason)
            await self.deps.commit(Plan(installation.merchant_id, made.parts), subject=installation.id)
        except PlatformError as error:
            log.warning("plugins.rollback_skipped", installation=installation.id, code=error.code)
            return 0
        return 1

    async def _installed(
        self, plugin_id: str, *, release_id: str | None = None, not_release_id: str | None = None
    ) -> AsyncIterator[Record]:
        """Installations at all merchants, in batches, so that none is read that nobody looks at."""
        after_id = ""
        while True:
            async with self.deps.database.read_all() as connection:
                rows = await repository.list_installed_everywhere(
                    connection,
                    plugin_id=plugin_id,
                    release_id=release_id,
                    not_release_id=not_release_id,
                    after_id=after_id,
                    limit=BATCH,
                )
            for row in rows:
                yield row
            if len(rows) < BATCH:
                return
            after_id = rows[-1].id

    async def _figures(self, row: Record) -> tuple[Figures, Figures]:
        """Of the new version and of the one published before it."""
        async with self.deps.database.read_all() as connection:
            releases = await repository.read_releases_of(connection, row.plugin_id, states=("published",))
        old = newest(release for release in releases if release.id != row.release_id)
        new = await self.health.figures(row.plugin_id, row.version, since=row.stage_since)
        if old is None:
            return new, NO_FIGURES
        return new, await self.health.figures(row.plugin_id, old.version, since=row.stage_since)

    def _changed(self, row: Record, values: dict[str, Any], kind: str, *, by: str) -> Plan:
        answer = _read({**row._mapping, **values, "row_version": row.row_version + 1})
        change = Change(ROLLOUTS, row.id, values, expected=row.row_version)
        return Plan(None, [change, *self._told(kind, answer, by=by)])

    def _told(self, kind: str, answer: RolloutRead, *, by: str) -> list[object]:
        facts = {"plugin": answer.plugin_id, "version": answer.plugin_version, "percent": answer.percent}
        body, now = answer.model_dump_json(), self.deps.clock.now()
        return [
            Audit(kind, by, answer.id, None, facts, reason=answer.reason),
            Event(self.deps.ids.mint("evt"), kind, answer.id, answer.version, now, body),
        ]


def _read(row: Any) -> RolloutRead:  # Any: columns of the table
    return RolloutRead(
        id=row["id"],
        plugin_id=row["plugin_id"],
        plugin_version=row["version"],
        state=row["state"],
        percent=row["percent"],
        stage_since=row["stage_since"],
        reason=row["reason"],
        version=row["row_version"],
    )
