"""Which version a merchant runs: upgraded with its consent where more is asked for, rolled back without asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from platform_core.contracts.manifest import Manifest
from platform_core.identity.grants import Giving
from platform_core.kernel.commit import Plan
from platform_core.plugin_host import repository
from platform_core.plugin_host.config_schema import ConfigSchema
from platform_core.plugin_host.errors import (
    CONFIG_BREAKS,
    CONSENT_NEEDED,
    INSTALLATION_STATE,
    NOT_READY,
    NOTHING_BEFORE,
    PLUGIN_NOT_FOUND,
    RELEASE_STATE,
)
from platform_core.plugin_host.host_deps import Extra, HostDeps, encoded, manifest_of, nothing_else
from platform_core.plugin_host.installation_parts import Changed, changed
from platform_core.plugin_host.installations import (
    Actor,
    Installations,
    consent_of,
    schema_for,
    stored_config,
)
from platform_core.plugin_host.permissions import difference, digest_of, is_wider, required
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.schemas import InstallationRead, UpgradeAct, UpgradeRead
from platform_core.plugin_host.versions import newest

REVISIONS_LOOKED_AT: Final = 100


@dataclass(frozen=True, slots=True)
class _Step:
    """From one release to another, with both manifests."""

    row: Record
    before: Record
    after: Record
    had: Manifest
    wants: Manifest

    @property
    def is_wider(self) -> bool:
        return is_wider(self.had, self.wants)


@dataclass(frozen=True, slots=True)
class Upgrades:
    """Changes of version, one merchant at a time."""

    deps: HostDeps
    installations: Installations

    async def preview(self, merchant_id: str, installation_id: str, *, version: str | None) -> UpgradeRead:
        """What another version asks for beside the present one, which is nothing where it is the same; by default the
        newest published.

        404 `plugins.installation_not_found`, `plugins.not_found`.
        """
        step = await self._step(merchant_id, installation_id, version=version)
        found = difference(step.had, step.wants)
        async with self.deps.database.read(merchant_id) as connection:
            config = await stored_config(connection, step.row)
        return UpgradeRead(
            installation_id=step.row.id,
            plugin_id=step.row.plugin_id,
            from_version=step.before.version,
            to_version=step.after.version,
            is_wider=step.is_wider,
            difference=found,
            digest=digest_of(found),
            change_log=step.after.change_log,
            is_config_valid=not schema_for(step.after).check(config),
        )

    async def upgrade(
        self, actor: Actor, installation_id: str, wanted: UpgradeAct, *, extra: Extra = nothing_else
    ) -> InstallationRead:
        """Go to another published version. One that asks for more needs the digest of the difference.

        404 `plugins.installation_not_found`, `plugins.not_found`; 409 `plugins.consent_needed` (with `difference` and
        its digest), `plugins.config_breaks`, `plugins.not_ready`, `plugins.suspended`, `plugins.release_state`; 422
        `plugins.consent_refused`.
        """
        step = await self._step(actor.merchant_id, installation_id, version=wanted.plugin_version)
        await self._check_version(step)
        found = difference(step.had, step.wants)
        digest = digest_of(found)
        if step.is_wider and wanted.accepted_difference != digest:
            words = {"plugin_id": step.row.plugin_id, "version": step.after.version}
            raise CONSENT_NEEDED.error(words, members={"difference": found, "digest": digest})
        plan = Plan(actor.merchant_id)
        if step.is_wider:
            await self._add_consent(plan, actor, step, wanted)
        made = await self._made(step, by=actor.id)
        plan.add(*made.parts, *extra(made.answer, installation_id))
        await self.deps.commit(plan, subject=installation_id)
        return made.answer

    async def _check_version(self, step: _Step) -> None:
        """Another version, published and not suspended."""
        row, after = step.row, step.after
        if after.id == row.release_id:
            raise INSTALLATION_STATE.error({"installation_id": row.id, "state": f"at {after.version} already"})
        await self.installations.check_running(after, row.merchant_id)
        if after.state != "published":
            raise RELEASE_STATE.error({"release": after.id, "state": after.state, "needed": "published"})

    async def _add_consent(self, plan: Plan, actor: Actor, step: _Step, wanted: UpgradeAct) -> None:
        """The grant as it is, and what the version asks for beside: what it had may be needed to go back."""
        grant = await self.deps.grants.active_of(step.row.app_id, actor.merchant_id)
        had = frozenset(grant.scopes) if grant is not None else frozenset()
        chosen = required(step.wants) | (had & step.wants.scope_names)
        scopes = chosen if wanted.scopes is None else wanted.scopes
        consented = consent_of(step.wants, scopes=scopes, details=wanted.authorization_details)
        merchant = await self.deps.parties.merchant(actor.merchant_id)
        giving = Giving(
            app_id=step.row.app_id,
            merchant_id=actor.merchant_id,
            mode=merchant.mode,
            scopes=consented.scopes | (had & step.had.scope_names),
            stores=None if grant is None or grant.stores is None else frozenset(grant.stores),
            details=consented.details,
            expires_at=None if grant is None else grant.expires_at,
            by=actor.id,
            action="replace",
            is_plugin=True,
        )
        await self.installations.add_grant(plan, actor, giving)

    async def roll_forward(self, row: Record, release: Record, *, rollout_id: str, by: str) -> bool:
        """One merchant's step of a rollout. False, and nothing written, where the merchant must be asked first."""
        step = await self._between(row, release)
        if step.is_wider or row.skipped_release_id == release.id:
            return False
        async with self.deps.database.read(row.merchant_id) as connection:
            config = await stored_config(connection, row)
        if schema_for(release).check(config) or await self._lacks_secret(row, step.wants):
            return False
        made = await self._made(step, by=by, rollout_id=rollout_id)
        await self.deps.commit(Plan(row.merchant_id, made.parts), subject=row.id)
        return True

    async def rollback(
        self, actor: Actor, installation_id: str, *, reason: str | None = None, extra: Extra = nothing_else
    ) -> InstallationRead:
        """Go back to the version that ran before. Always possible; no rollout brings the left version again.

        404 `plugins.installation_not_found`; 409 `plugins.nothing_before`.
        """
        row, _ = await self.installations.find(installation_id, actor.merchant_id)
        made = await self.rolled_back(row, by=actor.id, reason=reason)
        plan = Plan(actor.merchant_id, [*made.parts, *extra(made.answer, installation_id)])
        await self.deps.commit(plan, subject=installation_id)
        return made.answer

    async def rolled_back(self, row: Record, *, by: str, reason: str | None) -> Changed:
        """What a rollback writes. 409 `plugins.nothing_before`, `plugins.suspended`."""
        if row.before_release_id is None:
            raise NOTHING_BEFORE.error({"installation_id": row.id})
        async with self.deps.database.read(row.merchant_id) as connection:
            release = await repository.read_release(connection, row.before_release_id)
        assert release is not None, "a release that was installed stays readable"
        await self.installations.check_running(release, row.merchant_id)
        values = {
            "release_id": release.id,
            "version": release.version,
            "before_release_id": None,
            "skipped_release_id": row.release_id,
            "rollout_id": None,
            "config_revision": await self._revision_for(row, schema_for(release)),
        }
        facts = {"from": row.version, "to": release.version}
        return changed(self.deps, row, values, change="rolled_back", by=by, facts=facts, reason=reason)

    async def _revision_for(self, row: Record, schema: ConfigSchema) -> int:
        """The newest revision that the older version can read: the present one, if it can."""
        if row.config_revision == 0:
            return 0
        async with self.deps.database.read(row.merchant_id) as connection:
            revisions = await repository.list_configurations(
                connection, row.id, merchant_id=row.merchant_id, limit=REVISIONS_LOOKED_AT
            )
        usable = (
            found.revision
            for found in revisions
            if found.revision <= row.config_revision and not schema.check(encoded(found.value).encode())
        )
        return next(usable, 0)

    async def _step(self, merchant_id: str, installation_id: str, *, version: str | None) -> _Step:
        row, before = await self.installations.find(installation_id, merchant_id)
        async with self.deps.database.read(merchant_id) as connection:
            releases = await repository.read_releases_of(connection, row.plugin_id)
        after = newest(releases, version=version)
        if after is None:
            raise PLUGIN_NOT_FOUND.error({"plugin_id": row.plugin_id})
        return _Step(row, before, after, manifest_of(before.manifest), manifest_of(after.manifest))

    async def _between(self, row: Record, after: Record) -> _Step:
        async with self.deps.database.read(row.merchant_id) as connection:
            before = await repository.read_release(connection, row.release_id)
        assert before is not None, "an installed release stays readable"
        return _Step(row, before, after, manifest_of(before.manifest), manifest_of(after.manifest))

    async def _made(self, step: _Step, *, by: str, rollout_id: str | None = None) -> Changed:
        row, release = step.row, step.after
        await self._check_fits(step)
        values: dict[str, Any] = {
            "release_id": release.id,
            "version": release.version,
            "before_release_id": row.release_id,
            "skipped_release_id": None,
            "rollout_id": rollout_id,
        }
        facts = {"from": row.version, "to": release.version, "rollout": rollout_id}
        return changed(self.deps, row, values, change="upgraded", by=by, facts=facts)

    async def _check_fits(self, step: _Step) -> None:
        """An enabled plugin must be able to run under the version as it is."""
        row, release = step.row, step.after
        async with self.deps.database.read(row.merchant_id) as connection:
            config = await stored_config(connection, row)
        faults = schema_for(release).check(config) if row.config_revision or row.state == "enabled" else ()
        if faults:
            raise CONFIG_BREAKS.error({"installation_id": row.id, "version": release.version}, faults=faults)
        lacking = await self._lacks_secret(row, step.wants) if row.state == "enabled" else None
        if lacking:
            raise NOT_READY.error({"plugin_id": row.plugin_id, "missing": f"secret {lacking}"})

    async def _lacks_secret(self, row: Record, wants: Manifest) -> str | None:
        async with self.deps.database.read(row.merchant_id) as connection:
            secrets = await repository.read_secrets(connection, row.plugin_id, merchant_id=row.merchant_id)
        return next((use.name for use in wants.secrets if use.is_required and use.name not in secrets), None)
