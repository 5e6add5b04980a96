"""Developing a plugin at one merchant: drafts that replace what runs there, and bring it back when the session ends.

A draft is confined as any other plugin, is asked by processes in development mode alone and at merchants in test mode
alone, and is never reviewed, listed or published. Suspensions and quarantines of its version hold for it. A session
that nobody keeps alive ends by itself (due kind `plugins.dev_session`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import text

from platform_core.identity.grants import Giving
from platform_core.identity.models import ISVS
from platform_core.identity.rar import granted_of
from platform_core.identity.schemas import GrantRead
from platform_core.kernel.commit import Audit, Change, Due, DueDone, Insert, Plan, PlanRefused, Remove
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.commit.due import DueWork
from platform_core.plugin_host import repository
from platform_core.plugin_host.enablement import stop_subject
from platform_core.plugin_host.errors import (
    DEV_MERCHANT_LIVE,
    DEV_SESSION_HELD,
    DEV_VERSION_QUARANTINED,
    NOT_READY,
)
from platform_core.plugin_host.host_deps import EVERYBODY, HostDeps, encoded, manifest_of
from platform_core.plugin_host.installation_parts import changed, created
from platform_core.plugin_host.installations import Actor, Installations, consent_of, schema_for, stored_config
from platform_core.plugin_host.models import RELEASES
from platform_core.plugin_host.models_development import DEV_SESSIONS
from platform_core.plugin_host.releases import Releases, Submission, read_manifest
from platform_core.plugin_host.repository import Record

DEV_SESSION: Final = "plugins.dev_session"
LASTS: Final = timedelta(seconds=60)
_DRAFT: Final = re.compile(r"[-.]dev\.[0-9]+$")
_SESSION: Final = text("SELECT * FROM plugin_dev_session WHERE merchant_id = :merchant_id AND plugin_id = :plugin_id")
_SESSION_BY_ID: Final = text("SELECT * FROM plugin_dev_session WHERE id = :id")
_QUARANTINED: Final = text(
    "SELECT EXISTS (SELECT FROM plugin_quarantine WHERE slot = :slot)"  # a slot is of one that stands
)
_IDLE_DRAFTS: Final = text(
    "SELECT id, version, EXISTS (SELECT FROM plugin_installation AS i WHERE i.release_id = r.id) AS is_named "
    "FROM plugin_release AS r WHERE plugin_id = :plugin_id AND state = 'draft' AND id <> :kept "
    "AND (id = ANY(:own) OR created_at < :before) "
    "AND NOT EXISTS (SELECT FROM plugin_installation AS i WHERE i.release_id = r.id AND i.state <> 'removed')"
)
_KEPT_COLUMNS: Final = (
    "release_id", "version", "before_release_id", "skipped_release_id", "rollout_id", "state", "config_revision",
    "is_dry_run",
)  # fmt: skip
_ENDS_AS: Final = {"enabled": "rolled_back", "disabled": "disabled", "removed": "removed", "consented": "changed"}
"""By the state that comes back: the change that it is."""


def draft_version(version: str, *, number: int) -> str:
    """The version under which a draft of `version` runs: SemVer, lower than the version itself."""
    return f"{version}{'.' if '-' in version else '-'}dev.{number}"


def base_version(draft: str) -> str:
    """The version that a draft is of."""
    return _DRAFT.sub("", draft)


@dataclass(frozen=True, slots=True)
class Development:
    """Sessions of development. Who may begin one is decided by the caller: the operator's terminal."""

    deps: HostDeps
    installations: Installations
    releases: Releases

    async def check(self, merchant_id: str, plugin_id: str, *, version: str) -> None:
        """Whether a draft of this version may run at this merchant.

        409 `plugins.dev_merchant_live`, `plugins.dev_session_held`, `plugins.dev_version_quarantined`,
        `plugins.suspended`; 404 `identity.merchant_not_found`.
        """
        merchant = await self.deps.parties.merchant(merchant_id)
        if merchant.mode != "test":
            raise DEV_MERCHANT_LIVE.error({"merchant_id": merchant_id})
        session = await self._session(merchant_id, plugin_id)
        if session is not None and session.alive_until > self.deps.real_clock.now():
            raise DEV_SESSION_HELD.error({"plugin_id": plugin_id, "by": session.began_by})
        await self.check_version(merchant_id, plugin_id, version=version)

    async def check_version(self, merchant_id: str, plugin_id: str, *, version: str) -> None:
        """Nobody gets round a suspension or a quarantine by a draft of the same version."""
        async with self.deps.database.read_all() as connection:
            is_held = (await connection.execute(_QUARANTINED, {"slot": f"{plugin_id}/{version}"})).scalar_one()
        if is_held:
            raise DEV_VERSION_QUARANTINED.error({"plugin_id": plugin_id, "version": version})
        await self.installations.check_not_suspended(plugin_id, version, merchant_id)

    async def draft(self, wanted: Submission) -> str:
        """Enter a draft, so that processes load it; returns the release's id. Nobody is asked by it yet.

        403 `plugins.publisher_refused`; 422 as for a submission.
        """
        about = read_manifest(wanted.unpacked.manifest).plugin
        await self._ensure_publisher(about.publisher, by=wanted.by)
        return await self.releases.draft(wanted)

    async def _ensure_publisher(self, isv_id: str, *, by: str) -> None:
        """A publisher that nobody knows becomes an unverified one of the lowest tier."""
        now = self.deps.clock.now()
        row = {"id": isv_id, "name": isv_id, "verification": "unverified", "tier": "sandbox", "version": 1,
               "created_at": now}  # fmt: skip
        told = Audit("isv.created", by, isv_id, None, {"tier": "sandbox", "verification": "unverified"})
        try:
            await self.deps.committer.commit(Plan(None, [Insert(ISVS, row), told]))
        except PlanRefused:  # it is there
            return

    async def swap(self, actor: Actor, release_id: str) -> None:
        """Let the merchant's orders be decided by a draft from now on; begins the session, or renews it.

        409 `plugins.not_ready` for a secret or configuration that is required and not there; whatever `check_version`
        raises. Emits `plugin.installed` or `plugin.upgraded`, as any change of version does.
        """
        async with self.deps.database.read_all() as connection:
            release = await repository.read_release(connection, release_id)
        assert release is not None, "it was entered a moment ago"
        assert release.state == "draft", "only drafts are swapped in"
        await self.check_version(actor.merchant_id, release.plugin_id, version=base_version(release.version))
        async with self.deps.database.read(actor.merchant_id) as connection:
            row = await repository.read_installed(connection, release.plugin_id, merchant_id=actor.merchant_id)
        session = await self._session(actor.merchant_id, release.plugin_id)
        plan = Plan(actor.merchant_id)
        before_grant = await self.deps.grants.active_of(release.app_id, actor.merchant_id)
        await self._add_grant(plan, actor, release, before_grant)
        installation_id = await self._add_version(plan, actor, release, row)
        before = {
            "installation": None if row is None else {name: row._mapping[name] for name in _KEPT_COLUMNS},
            "grant": None if before_grant is None else before_grant.model_dump(mode="json"),
        }
        plan.add(*self._session_parts(actor, release, session, before=before, installation_id=installation_id))
        await self.deps.commit(plan, subject=release.plugin_id)

    async def _add_version(self, plan: Plan, actor: Actor, release: Record, row: Record | None) -> str:
        """The installation at the draft, enabled."""
        values = {
            "release_id": release.id,
            "version": release.version,
            "rollout_id": None,
            "state": "enabled",
            "is_dry_run": False,
        }
        facts: dict[str, object] = {"to": release.version, "tree_hash": release.tree_hash, "is_draft": True}
        if row is None:
            none = {"before_release_id": None, "skipped_release_id": None, "config_revision": 0}
            new = self.installations.new_row(release, actor, values | none)
            await self._check_ready(actor, release, None)
            made = created(self.deps, new, by=actor.id, facts=facts)
        else:
            await self._check_ready(actor, release, row)
            facts["from"] = row.version
            change = "installed" if row.state == "removed" else "upgraded"
            made = changed(self.deps, row, values, change=change, by=actor.id, facts=facts)
        plan.add(*made.parts)
        return made.answer.id

    async def _check_ready(self, actor: Actor, release: Record, row: Record | None) -> None:
        manifest = manifest_of(release.manifest)
        async with self.deps.database.read(actor.merchant_id) as connection:
            secrets = await repository.read_secrets(connection, release.plugin_id, merchant_id=actor.merchant_id)
            config = b"{}" if row is None else await stored_config(connection, row)
        missing = [f"secret {use.name}" for use in manifest.secrets if use.is_required and use.name not in secrets]
        if schema_for(release).check(config):
            missing.append("configuration")
        if missing:
            raise NOT_READY.error({"plugin_id": release.plugin_id, "missing": ", ".join(missing)})

    async def _add_grant(self, plan: Plan, actor: Actor, release: Record, had: GrantRead | None) -> None:
        """The scopes that the draft asks for, all of them; what the merchant gave before stays in it."""
        manifest = manifest_of(release.manifest)
        if not manifest.scope_names or (had is not None and manifest.scope_names <= set(had.scopes)):
            return
        consented = consent_of(manifest, scopes=manifest.scope_names, details=None)
        merchant = await self.deps.parties.merchant(actor.merchant_id)
        giving = Giving(
            app_id=release.app_id,
            merchant_id=actor.merchant_id,
            mode=merchant.mode,
            scopes=consented.scopes,
            stores=None if had is None or had.stores is None else frozenset(had.stores),
            details=consented.details,
            expires_at=None if had is None else had.expires_at,
            by=actor.id,
            action="replace" if had is None else "merge",
            is_plugin=True,
        )
        await self.installations.add_grant(plan, actor, giving)

    def _session_parts(
        self,
        actor: Actor,
        release: Record,
        session: Record | None,
        *,
        before: Mapping[str, object],
        installation_id: str,
    ) -> Sequence[object]:
        now = self.deps.real_clock.now()
        alive = {"alive_until": now + LASTS}
        facts = {"plugin": release.plugin_id, "version": release.version, "tree_hash": release.tree_hash}
        told = Audit("plugin.draft_swapped_in", actor.id, installation_id, actor.merchant_id, facts)
        if session is not None:
            return [Change(DEV_SESSIONS, session.id, alive, expected=session.version), told]
        new = {
            "id": self.deps.ids.mint("pds"),
            "merchant_id": actor.merchant_id,
            "plugin_id": release.plugin_id,
            "installation_id": installation_id,
            "before": encoded(before),
            "began_by": actor.id,
            "began_at": now,
            "version": 1,
            **alive,
        }
        return [Insert(DEV_SESSIONS, new), Due(DEV_SESSION, new["id"], self.deps.clock.now() + LASTS), told]

    async def renew(self, merchant_id: str, plugin_id: str) -> None:
        """Keep the session alive for another minute; nothing when there is none."""
        session = await self._session(merchant_id, plugin_id)
        if session is not None:
            change = Change(DEV_SESSIONS, session.id, {"alive_until": self.deps.real_clock.now() + LASTS})
            await self.deps.commit(Plan(merchant_id, [change]), subject=session.id)

    async def end(self, merchant_id: str, plugin_id: str, *, by: str) -> bool:
        """Bring back what was there before; False when there is no session. Done again it changes nothing."""
        session = await self._session(merchant_id, plugin_id)
        if session is None:
            return False
        await self.deps.commit(await self._ending(session, by=by), subject=session.id)
        return True

    async def step(self, work: DueWork) -> Plan:
        """End a session that nobody keeps alive (due kind `plugins.dev_session`)."""
        async with self.deps.database.read_all() as connection:
            session = (await connection.execute(_SESSION_BY_ID, {"id": work.subject_id})).one_or_none()
        if session is None:
            return Plan(work.merchant_id, [DueDone(DEV_SESSION, work.subject_id)])
        left = session.alive_until - self.deps.real_clock.now()
        if left > timedelta(0):
            return Plan(session.merchant_id, [Due(DEV_SESSION, session.id, self.deps.clock.now() + left)])
        return await self._ending(session, by=PLATFORM)

    async def _ending(self, session: Record, *, by: str) -> Plan:
        merchant_id, plugin_id = session.merchant_id, session.plugin_id
        async with self.deps.database.read(merchant_id) as connection:
            row = await repository.read_installed(connection, plugin_id, merchant_id=merchant_id)
        assert row is not None, "a session has its installation"
        plan = Plan(merchant_id, [Remove(DEV_SESSIONS, session.id), DueDone(DEV_SESSION, session.id)])
        kept = session.before["installation"]
        values: dict[str, Any] = {"state": "removed", "version": row.version} if kept is None else dict(kept)
        facts = {"from": row.version, "to": values["version"], "is_draft": True}
        plan.add(*changed(self.deps, row, values, change=_ENDS_AS[values["state"]], by=by, facts=facts).parts)
        plan.add(Audit("plugin.draft_taken_out", by, row.id, merchant_id, {"plugin": plugin_id, **facts}))
        await self._restore_grant(plan, session, row, by=by)
        return plan

    async def _restore_grant(self, plan: Plan, session: Record, row: Record, *, by: str) -> None:
        grant = await self.deps.grants.active_of(row.app_id, row.merchant_id)
        if grant is None:
            return
        had = session.before["grant"]
        if had is None:
            ending = await self.deps.grants.ending(grant.id, merchant_id=row.merchant_id, by=by, why="dev_ended")
            plan.add(*ending)
            return
        if set(grant.scopes) == set(had["scopes"]):
            return
        before = GrantRead.model_validate(had)
        giving = Giving(
            app_id=row.app_id,
            merchant_id=row.merchant_id,
            mode="test",
            scopes=frozenset(before.scopes),
            stores=None if before.stores is None else frozenset(before.stores),
            details=tuple(one.detail for one in granted_of(before.authorization_details)),
            expires_at=before.expires_at,
            by=by,
            action="replace",
            is_plugin=True,
        )
        plan.add(*(await self.deps.grants.give(giving)).parts)

    async def sweep(self, plugin_id: str, *, own: Collection[str], kept: str = "", by: str) -> list[str]:
        """Take drafts away that no merchant runs: those of this session (`own`) but `kept`, and old ones that another
        session left. Their workers are killed. Returns their versions.
        """
        before = self.deps.clock.now() - LASTS
        values = {"plugin_id": plugin_id, "kept": kept, "own": [*own], "before": before}
        async with self.deps.database.read_all() as connection:
            rows = (await connection.execute(_IDLE_DRAFTS, values)).all()
        for row in rows:
            stop = stop_subject(plugin_id, version=row.version, merchant_id=None)
            plan = Plan(None)
            if not row.is_named:  # a removed installation keeps naming the last release that it was at
                plan.add(Remove(RELEASES, row.id))
            plan.add(
                Audit("plugin_release.draft_removed", by, row.id, None, {"plugin": plugin_id, "version": row.version}),
                self.deps.news(EVERYBODY, merchant_id=None, kind="plugins"),
                self.deps.news(stop, merchant_id=None, kind="plugin_stop"),
            )
            await self.deps.commit(plan, subject=row.id)
        return [row.version for row in rows]

    async def _session(self, merchant_id: str, plugin_id: str) -> Record | None:
        async with self.deps.database.read(merchant_id) as connection:
            values = {"merchant_id": merchant_id, "plugin_id": plugin_id}
            return (await connection.execute(_SESSION, values)).one_or_none()
