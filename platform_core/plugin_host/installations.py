"""Plugins at merchants: installed with consent, enabled, disabled, removed. Versions are changed in `upgrades`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from platform_core.contracts.manifest import Manifest
from platform_core.contracts.rar import Detail
from platform_core.identity.consent import check_giver
from platform_core.identity.grants import Giving
from platform_core.identity.models import Mode
from platform_core.identity.principal import Principal
from platform_core.identity.rar import are_within
from platform_core.identity.schemas import GrantRead
from platform_core.kernel.commit import Plan, Remove
from platform_core.kernel.http.preconditions import check_version
from platform_core.kernel.i18n import Text
from platform_core.kernel.pagination import Page, Position
from platform_core.plugin_host import repository
from platform_core.plugin_host.config_schema import NO_SCHEMA, ConfigSchema, schema_of
from platform_core.plugin_host.enablement import stop_subject
from platform_core.plugin_host.errors import (
    ALREADY_INSTALLED,
    CONSENT_REFUSED,
    INSTALLATION_NOT_FOUND,
    INSTALLATION_STATE,
    NOT_READY,
    PLUGIN_NOT_FOUND,
    PLUGIN_SUSPENDED,
    RELEASE_STATE,
)
from platform_core.plugin_host.host_deps import Extra, HostDeps, encoded, manifest_of, nothing_else
from platform_core.plugin_host.installation_parts import changed, created, shown
from platform_core.plugin_host.models import SECRETS
from platform_core.plugin_host.permissions import details_for, required
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.schemas import (
    InstallationCreate,
    InstallationDetailed,
    InstallationRead,
    InstallationUpdate,
    SuspensionRead,
)
from platform_core.plugin_host.versions import newest

REMOVED_WHY: Final = "plugin_removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts at a merchant. `principal` None: the operator at the terminal, who gives what the merchant asked for."""

    id: str
    merchant_id: str
    principal: Principal | None = None

    @classmethod
    def of(cls, who: Principal) -> Actor:
        """Somebody at the API."""
        assert who.merchant_id is not None, "the route needs a merchant's scope"
        return cls(id=who.client_id, merchant_id=who.merchant_id, principal=who)


@dataclass(frozen=True, slots=True)
class Consented:
    """What a merchant gives a plugin: scopes, and the limits of the metered ones."""

    scopes: frozenset[str]
    details: tuple[Detail, ...]


@dataclass(frozen=True, slots=True)
class Installations:
    """Installations of one merchant at a time. Every change is one plan with its audit row, its event and its news."""

    deps: HostDeps

    async def install(
        self, actor: Actor, wanted: InstallationCreate, *, extra: Extra = nothing_else
    ) -> InstallationRead:
        """A plugin with the grant that it needs, in one plan; it does nothing until it is enabled.

        404 `plugins.not_found`; 409 `plugins.already_installed`, `plugins.suspended`, `plugins.release_state`; 422
        `plugins.consent_refused`, `identity.grant_refused`; 403 `identity.consent_refused`.
        """
        release, before, mode = await self._to_install(actor, wanted)
        manifest = manifest_of(release.manifest)
        consented = consent_of(manifest, scopes=wanted.scopes, details=wanted.authorization_details)
        plan = Plan(actor.merchant_id)
        giving = Giving(
            app_id=release.app_id,
            merchant_id=actor.merchant_id,
            mode=mode,
            scopes=consented.scopes,
            stores=wanted.stores,
            details=consented.details,
            expires_at=wanted.expires_at,
            by=actor.id,
            action="replace",
            is_plugin=True,
        )
        await self.add_grant(plan, actor, giving)
        facts = {"scopes": sorted(consented.scopes)}
        values = {
            "release_id": release.id,
            "version": release.version,
            "before_release_id": None,
            "skipped_release_id": None,
            "rollout_id": None,
            "state": "consented",
            "config_revision": 0,
            "is_dry_run": False,
        }
        if before is None:
            made = created(self.deps, self.new_row(release, actor, values), by=actor.id, facts=facts)
        else:
            values["config_revision"] = before.config_revision
            made = changed(self.deps, before, values, change="installed", by=actor.id, facts=facts)
        plan.add(*made.parts, *extra(made.answer, made.answer.id))
        await self.deps.commit(plan, subject=wanted.plugin_id)
        return made.answer

    async def _to_install(self, actor: Actor, wanted: InstallationCreate) -> tuple[Record, Record | None, Mode]:
        """The release, a removed installation to take up again, and the merchant's mode."""
        plugin_id, version = wanted.plugin_id, wanted.plugin_version
        async with self.deps.database.read(actor.merchant_id) as connection:
            rows = await repository.read_releases_of(connection, plugin_id)
            before = await repository.read_installed(connection, plugin_id, merchant_id=actor.merchant_id)
        release = newest(rows, version=version)
        if release is None:
            raise PLUGIN_NOT_FOUND.error({"plugin_id": plugin_id})
        if before is not None and before.state != "removed":
            raise ALREADY_INSTALLED.error({"plugin_id": plugin_id, "installation_id": before.id})
        await self.check_running(release, actor.merchant_id)
        if release.state != "published":
            raise RELEASE_STATE.error({"release": release.id, "state": release.state, "needed": "published"})
        merchant = await self.deps.parties.merchant(actor.merchant_id)
        return release, before, merchant.mode

    def new_row(self, release: Record, actor: Actor, values: dict[str, Any]) -> dict[str, Any]:
        """The columns of a first installation; `values`: those that say what it is at."""
        now = self.deps.clock.now()
        return values | {
            "id": self.deps.ids.mint("pin"),
            "merchant_id": actor.merchant_id,
            "plugin_id": release.plugin_id,
            "app_id": release.app_id,
            "last_change": "installed",
            "from_version": None,
            "row_version": 1,
            "created_at": now,
            "updated_at": now,
        }

    async def add_grant(self, plan: Plan, actor: Actor, giving: Giving) -> None:
        """The parts of the grant. Nobody gives what he does not hold; a plugin that asks no scope gets no grant."""
        if not giving.scopes:
            return
        if actor.principal is not None:
            check_giver(actor.principal, scopes=giving.scopes, stores=giving.stores)
        plan.add(*(await self.deps.grants.give(giving)).parts)

    async def check_running(self, release: Record, merchant_id: str) -> None:
        """409 `plugins.suspended` while a switch is pulled on this version at this merchant."""
        await self.check_not_suspended(release.plugin_id, release.version, merchant_id)

    async def check_not_suspended(self, plugin_id: str, version: str, merchant_id: str) -> None:
        """The same for a version that is no release yet."""
        suspension = await self._suspension(plugin_id, version, merchant_id)
        if suspension is not None and suspension.mode == "stop":
            words = {"plugin_id": plugin_id, "rule": suspension.rule, "reason": suspension.reason}
            raise PLUGIN_SUSPENDED.error(words)

    async def _suspension(self, plugin_id: str, version: str, merchant_id: str) -> SuspensionRead | None:
        async with self.deps.database.read(merchant_id) as connection:
            rows = await repository.switches_on(connection, plugin_id, version=version, merchant_id=merchant_id)
        if not rows:
            return None
        return SuspensionRead(mode=rows[0].mode, rule=rows[0].rule, reason=rows[0].reason, since=rows[0].pulled_at)

    async def enable(self, actor: Actor, installation_id: str, *, extra: Extra = nothing_else) -> InstallationRead:
        """Let it be asked.

        404 `plugins.installation_not_found`; 409 `plugins.not_ready` (scope, secret or configuration that is required
        and not there), `plugins.suspended`, `plugins.installation_state`.
        """
        row, release = await self.find(installation_id, actor.merchant_id)
        if row.state == "enabled":
            raise INSTALLATION_STATE.error({"installation_id": row.id, "state": row.state})
        await self.check_running(release, actor.merchant_id)
        missing = await self.missing(row, release)
        if missing:
            raise NOT_READY.error({"plugin_id": row.plugin_id, "missing": ", ".join(missing)})
        return await self._change(actor, row, {"state": "enabled"}, change="enabled", extra=extra)

    async def disable(self, actor: Actor, installation_id: str, *, extra: Extra = nothing_else) -> InstallationRead:
        """Ask it no more; grant, configuration, secrets and state stay. 404 `plugins.installation_not_found`."""
        row, _ = await self.find(installation_id, actor.merchant_id)
        if row.state != "enabled":
            raise INSTALLATION_STATE.error({"installation_id": row.id, "state": row.state})
        return await self._change(actor, row, {"state": "disabled"}, change="disabled", extra=extra)

    async def update(
        self, actor: Actor, installation_id: str, wanted: InstallationUpdate, *, expected: int
    ) -> InstallationRead:
        """Begin or end a dry run. 404 `plugins.installation_not_found`; `expected` as in `If-Match`."""
        row, _ = await self.find(installation_id, actor.merchant_id)
        check_expected(row, expected)
        if row.is_dry_run == wanted.is_dry_run:
            return shown(row._mapping)
        values = {"is_dry_run": wanted.is_dry_run}
        return await self._change(actor, row, values, change="changed", extra=nothing_else)

    async def remove(self, actor: Actor, installation_id: str, *, expected: int | None = None) -> None:
        """Take it away: its grant ends, its secrets are destroyed; state is kept for 30 days.

        404 `plugins.installation_not_found`.
        """
        row, _ = await self.find(installation_id, actor.merchant_id)
        if expected is not None:
            check_expected(row, expected)
        plan = Plan(actor.merchant_id)
        grant = await self.deps.grants.active_of(row.app_id, actor.merchant_id)
        if grant is not None:
            plan.add(
                *await self.deps.grants.ending(grant.id, merchant_id=actor.merchant_id, by=actor.id, why=REMOVED_WHY)
            )
        async with self.deps.database.read(actor.merchant_id) as connection:
            secrets = await repository.read_secrets(connection, row.plugin_id, merchant_id=actor.merchant_id)
        plan.add(*(Remove(SECRETS, secret.id) for secret in secrets.values()))
        gone = changed(self.deps, row, {"state": "removed"}, change="removed", by=actor.id)
        plan.add(*gone.parts, self._stop_work(row))
        await self.deps.commit(plan, subject=row.id)

    def _stop_work(self, row: Record) -> object:
        from_here = stop_subject(row.plugin_id, version=None, merchant_id=row.merchant_id)
        return self.deps.news(from_here, merchant_id=row.merchant_id, kind="plugin_stop")

    async def _change(
        self, actor: Actor, row: Record, values: dict[str, Any], *, change: str, extra: Extra
    ) -> InstallationRead:
        made = changed(self.deps, row, values, change=change, by=actor.id)
        plan = Plan(actor.merchant_id, [*made.parts, *extra(made.answer, row.id)])
        await self.deps.commit(plan, subject=row.id)
        return made.answer

    async def find(self, installation_id: str, merchant_id: str) -> tuple[Record, Record]:
        """The installation and its release. 404 `plugins.installation_not_found`, also for a removed one."""
        async with self.deps.database.read(merchant_id) as connection:
            row = await repository.read_installation(connection, installation_id, merchant_id=merchant_id)
            if row is None or row.state == "removed":
                raise INSTALLATION_NOT_FOUND.error({"installation_id": installation_id})
            release = await repository.read_release(connection, row.release_id)
        assert release is not None, "an installed release stays readable"
        return row, release

    async def missing(self, row: Record, release: Record) -> list[str]:
        """What is required before it can run: scopes, secrets, a configuration."""
        manifest = manifest_of(release.manifest)
        grant = await self._grant(row)
        granted = frozenset(grant.scopes) if grant is not None else frozenset()
        found = [f"scope {name}" for name in sorted(required(manifest) - granted)]
        async with self.deps.database.read(row.merchant_id) as connection:
            secrets = await repository.read_secrets(connection, row.plugin_id, merchant_id=row.merchant_id)
            config = await stored_config(connection, row)
        found += [f"secret {use.name}" for use in manifest.secrets if use.is_required and use.name not in secrets]
        if schema_for(release).check(config):
            found.append("configuration")
        return found

    async def _grant(self, row: Record) -> GrantRead | None:
        """The plugin's grant, unless its time is over."""
        grant = await self.deps.grants.active_of(row.app_id, row.merchant_id)
        if grant is None or (grant.expires_at is not None and grant.expires_at <= self.deps.real_clock.now()):
            return None
        return grant

    async def get(self, merchant_id: str, installation_id: str) -> InstallationDetailed:
        """One installation with what it is allowed and what it lacks. 404 `plugins.installation_not_found`."""
        row, release = await self.find(installation_id, merchant_id)
        grant = await self._grant(row)
        manifest = manifest_of(release.manifest)
        async with self.deps.database.read(merchant_id) as connection:
            releases = await repository.read_releases_of(connection, row.plugin_id)
        before = next((one for one in releases if one.id == row.before_release_id), None)
        latest = newest(one for one in releases if one.state == "published")
        return InstallationDetailed(
            **shown(row._mapping).model_dump(),
            grant_id=None if grant is None else grant.id,
            scopes=[] if grant is None else sorted(set(grant.scopes) & manifest.scope_names),
            authorization_details=[] if grant is None else list(grant.authorization_details),
            missing=await self.missing(row, release),
            suspension=await self._suspension(row.plugin_id, row.version, merchant_id),
            rolls_back_to=None if before is None else before.version,
            newest_version=None if latest is None or latest.id == row.release_id else latest.version,
            lowered_confinement=self.deps.lowered_for(manifest, release.tree_hash),
        )

    async def page(
        self, merchant_id: str, *, state: str | None, cursor: str | None, limit: int
    ) -> Page[InstallationRead]:
        """A merchant's installations, the oldest first; removed ones where `state` asks for them."""
        bound_to: dict[str, object] = {"list": "plugin-installations", "merchant": merchant_id, "state": state}
        after = self.deps.cursors.read(cursor, bound_to=bound_to) if cursor else None
        async with self.deps.database.read(merchant_id) as connection:
            rows = await repository.list_installations(
                connection, merchant_id=merchant_id, state=state, after=after, limit=limit + 1
            )
        return self.deps.cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.created_at, row.id),
            show=lambda row: shown(row._mapping),
        )


def consent_of(manifest: Manifest, *, scopes: frozenset[str] | None, details: Sequence[Detail] | None) -> Consented:
    """What is given: at most what is asked for, at least what is required. 422 `plugins.consent_refused`."""
    given, name = required(manifest) if scopes is None else scopes, manifest.plugin.id
    if more := sorted(given - manifest.scope_names):
        raise _refused(name, f"the plugin does not ask for {', '.join(more)}", f"插件未申请 {', '.join(more)}")
    if less := sorted(required(manifest) - given):
        raise _refused(name, f"it does not run without {', '.join(less)}", f"缺少必需的权限 {', '.join(less)}")
    offered = details_for(manifest, given)
    if details is None:
        return Consented(given, offered)
    chosen = tuple(details)
    if not are_within(chosen, offered) or {one.type for one in chosen} != {one.type for one in offered}:
        raise _refused(name, "a limit is above what is asked for, or one is missing", "限额高于申请值或有缺失")
    return Consented(given, chosen)


def schema_for(release: Record) -> ConfigSchema:
    """The configuration schema of a release."""
    return NO_SCHEMA if release.config_schema is None else schema_of(release.config_schema)


async def stored_config(connection: Any, row: Record) -> bytes:  # Any: an open read transaction
    """The configuration as it was stored; the empty object where there is none."""
    if row.config_revision == 0:
        return b"{}"
    found = await repository.read_configuration(
        connection, row.id, merchant_id=row.merchant_id, revision=row.config_revision
    )
    assert found is not None, "revisions are kept"
    return encoded(found.value).encode()


def check_expected(row: Record, expected: int) -> None:
    """Raise 412 `kernel.precondition_failed` unless the installation stands where the change was decided on."""
    check_version(row.row_version, expected, object_id=row.id)


def _refused(plugin_id: str, en: str, zh: str) -> Exception:
    return CONSENT_REFUSED.error({"reason": Text(en=en, zh=zh), "plugin_id": plugin_id})
