"""A merchant's configuration of a plugin, and its decisions about hooks. Never a place for secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from platform_core.kernel.commit import Audit, Change, Insert, Plan
from platform_core.kernel.http.preconditions import check_version
from platform_core.plugin_host import repository
from platform_core.plugin_host.errors import CONFIG_INVALID, CONFIG_TOO_LARGE
from platform_core.plugin_host.host_deps import HostDeps, encoded
from platform_core.plugin_host.installation_parts import changed
from platform_core.plugin_host.installations import Actor, Installations, check_expected, schema_for
from platform_core.plugin_host.models import CONFIGURATIONS, POLICIES
from platform_core.plugin_host.schemas import ConfigurationRead, ConfigurationWrite, HookPolicyRead, HookPolicyWrite

CONFIG_BYTES_MAX: Final = 16 * 1024
REVISIONS_SHOWN: Final = 50
_DEFAULT: Final = HookPolicyRead(check_deny_above={}, amend_discount_max_bp=5_000, version=0)


@dataclass(frozen=True, slots=True)
class Configurations:
    """Revisions, each kept with who and when; the newest counts from the next call on."""

    deps: HostDeps
    installations: Installations

    async def set(
        self, actor: Actor, installation_id: str, wanted: ConfigurationWrite, *, expected: int
    ) -> ConfigurationRead:
        """A new revision. `expected`: the installation's version, as in `If-Match`. Emits `plugin.configured`.

        404 `plugins.installation_not_found`; 422 `plugins.config_invalid`, `plugins.config_too_large`.
        """
        row, release = await self.installations.find(installation_id, actor.merchant_id)
        check_expected(row, expected)
        raw = encoded(wanted.config).encode()
        if len(raw) > CONFIG_BYTES_MAX:
            raise CONFIG_TOO_LARGE.error({"limit": CONFIG_BYTES_MAX})
        faults = schema_for(release).check(raw)
        if faults:
            words = {"plugin_id": row.plugin_id, "version": release.version, "count": len(faults)}
            raise CONFIG_INVALID.error(words, faults=faults)
        revision = await self._last(row.id, actor.merchant_id) + 1
        now = self.deps.clock.now()
        stored = {
            "id": self.deps.ids.mint("pcf"),
            "merchant_id": actor.merchant_id,
            "installation_id": row.id,
            "revision": revision,
            "value": raw.decode(),
            "changed_by": actor.id,
            "changed_at": now,
        }
        facts = {"revision": revision}
        made = changed(self.deps, row, {"config_revision": revision}, change="configured", by=actor.id, facts=facts)
        await self.deps.commit(Plan(actor.merchant_id, [Insert(CONFIGURATIONS, stored), *made.parts]), subject=row.id)
        return ConfigurationRead(
            installation_id=row.id, revision=revision, config=wanted.config, changed_by=actor.id, changed_at=now
        )

    async def _last(self, installation_id: str, merchant_id: str) -> int:
        """The highest revision there is, also where an older one counts after a rollback."""
        async with self.deps.database.read(merchant_id) as connection:
            rows = await repository.list_configurations(connection, installation_id, merchant_id=merchant_id, limit=1)
        return rows[0].revision if rows else 0

    async def revisions(self, merchant_id: str, installation_id: str) -> Sequence[ConfigurationRead]:
        """The latest 50 revisions, the newest first. 404 `plugins.installation_not_found`."""
        await self.installations.find(installation_id, merchant_id)
        async with self.deps.database.read(merchant_id) as connection:
            rows = await repository.list_configurations(
                connection, installation_id, merchant_id=merchant_id, limit=REVISIONS_SHOWN
            )
        return [
            ConfigurationRead(
                installation_id=row.installation_id,
                revision=row.revision,
                config=row.value,
                changed_by=row.changed_by,
                changed_at=row.changed_at,
            )
            for row in rows
        ]


@dataclass(frozen=True, slots=True)
class HookPolicies:
    """What a merchant decides about hooks, whichever plugin answers them."""

    deps: HostDeps

    async def get(self, merchant_id: str) -> HookPolicyRead:
        """The merchant's decisions; the platform's own, as version 0, where there are none."""
        async with self.deps.database.read(merchant_id) as connection:
            row = await repository.read_policy(connection, merchant_id)
        if row is None:
            return _DEFAULT
        return HookPolicyRead(
            check_deny_above=row.check_deny_above,
            amend_discount_max_bp=row.amend_discount_max_bp,
            version=row.row_version,
        )

    async def set(self, actor: Actor, wanted: HookPolicyWrite, *, expected: int) -> HookPolicyRead:
        """Decide anew. 412 `kernel.precondition_failed` when `expected` is not the present version."""
        before = await self.get(actor.merchant_id)
        check_version(before.version, expected, object_id="hook-policy")
        values: dict[str, Any] = {
            "check_deny_above": encoded(wanted.check_deny_above),
            "amend_discount_max_bp": wanted.amend_discount_max_bp,
            "updated_at": self.deps.clock.now(),
        }
        part: object = Change(POLICIES, actor.merchant_id, values, expected=before.version)
        if before.version == 0:
            part = Insert(POLICIES, {**values, "id": actor.merchant_id, "row_version": 1})
        facts = wanted.model_dump()
        audit = Audit("plugin_policy.changed", actor.id, actor.merchant_id, actor.merchant_id, facts)
        told = self.deps.news(actor.merchant_id, merchant_id=actor.merchant_id, kind="plugins")
        await self.deps.commit(Plan(actor.merchant_id, [part, audit, told]), subject="hook-policy")
        return HookPolicyRead(**wanted.model_dump(), version=before.version + 1)
