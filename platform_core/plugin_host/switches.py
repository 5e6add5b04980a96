"""Kill switches: one person pulls, two lift. Within a second nobody asks what is stopped, and its workers are dead."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import text

from platform_core.contracts.manifest import Manifest
from platform_core.identity.models import APPS
from platform_core.identity.revocation import news
from platform_core.kernel.commit import Audit, Change, Event, Insert, Plan
from platform_core.kernel.i18n import Text
from platform_core.kernel.pagination import Page, Position
from platform_core.plugin_host import repository
from platform_core.plugin_host.enablement import stop_subject
from platform_core.plugin_host.errors import (
    PLUGIN_NOT_FOUND,
    RELEASE_NOT_FOUND,
    SECOND_PERSON_NEEDED,
    SWITCH_LIFTED,
    SWITCH_NOT_FOUND,
    SWITCH_REFUSED,
)
from platform_core.plugin_host.host_deps import EVERYBODY, Extra, HostDeps, manifest_of, nothing_else
from platform_core.plugin_host.models import RELEASES, SWITCHES
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.schemas import SwitchLift, SwitchPull, SwitchRead

_APP = text("SELECT state, version FROM app WHERE id = :id")


@dataclass(frozen=True, slots=True)
class Switches:
    """The operator's brake. Every act is one plan with its audit row and its event."""

    deps: HostDeps

    async def pull(self, wanted: SwitchPull, *, by: str, extra: Extra = nothing_else) -> SwitchRead:
        """Suspend a plugin, a version, either of them at one merchant.

        404 `plugins.not_found`, `plugins.release_not_found`, `identity.merchant_not_found`; 422
        `plugins.switch_refused` for draining what provides nothing.
        """
        plugin, releases = await self._concerned(wanted)
        row: dict[str, Any] = {
            "id": self.deps.ids.mint("psw"),
            "plugin_id": wanted.plugin_id,
            "version": wanted.plugin_version,
            "merchant_id": wanted.merchant_id,
            "mode": wanted.mode,
            "state": "pulled",
            "rule": wanted.rule,
            "reason": wanted.reason,
            "pulled_by": by,
            "pulled_at": self.deps.clock.now(),
            "lift_proposed_by": None,
            "lift_reason": None,
            "lifted_by": None,
            "lifted_at": None,
            "row_version": 1,
        }
        answer = _read(row)
        plan = Plan(None).add(
            Insert(SWITCHES, row),
            Audit("plugin_switch.pulled", by, row["id"], None, _facts(row), reason=wanted.reason, rule=wanted.rule),
            self._event("plugin_switch.pulled", answer),
            *self._news(row),
        )
        if wanted.merchant_id is None and wanted.mode == "stop":
            for release in releases:
                if release.state == "published":
                    plan.add(Change(RELEASES, release.id, {"state": "suspended"}, expected=release.row_version))
            if wanted.plugin_version is None:
                await self._set_app(plan, plugin.app_id, state="disabled")
        plan.add(*extra(answer, row["id"]))
        await self.deps.commit(plan, subject=wanted.plugin_id)
        return answer

    async def _concerned(self, wanted: SwitchPull) -> tuple[Record, list[Record]]:
        async with self.deps.database.read_auth() as connection:
            plugin = await repository.read_plugin(connection, wanted.plugin_id)
            releases = await repository.read_releases_of(connection, wanted.plugin_id)
        if plugin is None:
            raise PLUGIN_NOT_FOUND.error({"plugin_id": wanted.plugin_id})
        if wanted.plugin_version is not None:
            releases = [release for release in releases if release.version == wanted.plugin_version]
            if not releases:
                raise RELEASE_NOT_FOUND.error({"release": f"{wanted.plugin_id} {wanted.plugin_version}"})
        if wanted.merchant_id is not None:
            await self.deps.parties.merchant(wanted.merchant_id)
        if wanted.mode == "drain" and not any(_provides(manifest_of(release.manifest)) for release in releases):
            raise _refused("only a plugin that provides something can be drained", "仅提供方插件可排空")
        return plugin, list(releases)

    async def lift(self, switch_id: str, wanted: SwitchLift, *, by: str, extra: Extra = nothing_else) -> SwitchRead:
        """Propose to lift, or lift what another person proposed.

        404 `plugins.switch_not_found`; 409 `plugins.switch_lifted`; 403 `plugins.second_person_needed`.
        """
        row = await self._switch(switch_id)
        if row.state == "lifted":
            raise SWITCH_LIFTED.error({"switch_id": switch_id})
        if row.lift_proposed_by == by:
            raise SECOND_PERSON_NEEDED.error({"switch_id": switch_id})
        if row.lift_proposed_by is None:
            values: dict[str, Any] = {"lift_proposed_by": by, "lift_reason": wanted.reason}
            kind = "plugin_switch.lift_proposed"
        else:
            values = {"state": "lifted", "lifted_by": by, "lifted_at": self.deps.clock.now()}
            kind = "plugin_switch.lifted"
        after = {**row._mapping, **values, "row_version": row.row_version + 1}
        answer = _read(after)
        plan = Plan(None).add(
            Change(SWITCHES, switch_id, values, expected=row.row_version),
            Audit(kind, by, switch_id, None, _facts(after), reason=wanted.reason, rule=row.rule),
            self._event(kind, answer),
        )
        if answer.state == "lifted":
            await self._resume(plan, row)
            plan.add(self.deps.news(EVERYBODY, merchant_id=None, kind="plugins"))
        plan.add(*extra(answer, switch_id))
        await self.deps.commit(plan, subject=switch_id)
        return answer

    async def _resume(self, plan: Plan, row: Record) -> None:
        """Releases and app come back unless another switch still holds them."""
        if row.merchant_id is not None or row.mode != "stop":
            return
        async with self.deps.database.read_auth() as connection:
            plugin = await repository.read_plugin(connection, row.plugin_id)
            releases = await repository.read_releases_of(connection, row.plugin_id, states=("suspended",))
            held = await repository.pulled_everywhere(connection, row.plugin_id)
        others = [one for one in held if one.id != row.id]
        assert plugin is not None, "a switch names a plugin that is there"
        for release in releases:
            if not any(one.version in (None, release.version) for one in others):
                values = {"state": "published" if release.retires_at is None else "retired"}
                plan.add(Change(RELEASES, release.id, values, expected=release.row_version))
        if row.version is None and not any(one.version is None for one in others):
            await self._set_app(plan, plugin.app_id, state="active")

    async def _set_app(self, plan: Plan, app_id: str, *, state: str) -> None:
        """A plugin that is stopped altogether has no living token either."""
        async with self.deps.database.read_auth() as connection:
            app = (await connection.execute(_APP, {"id": app_id})).one()
        if app.state != state:
            told = news(self.deps.ids, kind="app", subject_id=app_id, merchant_id=None, now=self.deps.clock.now())
            plan.add(Change(APPS, app_id, {"state": state}, expected=app.version), told)

    async def get(self, switch_id: str) -> SwitchRead:
        """One switch. 404 `plugins.switch_not_found`."""
        return _read((await self._switch(switch_id))._mapping)

    async def page(self, *, cursor: str | None, limit: int) -> Page[SwitchRead]:
        """All switches, the oldest first."""
        bound_to = {"list": "plugin-switches"}
        after = self.deps.cursors.read(cursor, bound_to=bound_to) if cursor else None
        async with self.deps.database.read_auth() as connection:
            rows = await repository.list_switches(connection, after=after, limit=limit + 1)
        return self.deps.cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.pulled_at, row.id),
            show=lambda row: _read(row._mapping),
        )

    async def _switch(self, switch_id: str) -> Record:
        async with self.deps.database.read_auth() as connection:
            row = await repository.read_switch(connection, switch_id)
        if row is None:
            raise SWITCH_NOT_FOUND.error({"switch_id": switch_id})
        return row

    def _news(self, row: dict[str, Any]) -> list[object]:
        subject = stop_subject(row["plugin_id"], version=row["version"], merchant_id=row["merchant_id"])
        told: list[object] = [self.deps.news(row["merchant_id"] or EVERYBODY, merchant_id=None, kind="plugins")]
        if row["mode"] == "stop":
            told.append(self.deps.news(subject, merchant_id=None, kind="plugin_stop"))
        return told

    def _event(self, kind: str, answer: SwitchRead) -> Event:
        body = answer.model_dump_json()
        return Event(self.deps.ids.mint("evt"), kind, answer.id, answer.version, self.deps.clock.now(), body)


def _provides(manifest: Manifest) -> bool:
    return bool(manifest.providers)


def _facts(row: Any) -> dict[str, object]:  # Any: columns of the table
    names = ("plugin_id", "version", "merchant_id", "mode", "pulled_by", "lift_proposed_by")
    digest = sha256(str(row["reason"]).encode()).hexdigest()
    return {name: row[name] for name in names} | {"reason_digest": digest}


def _read(row: Any) -> SwitchRead:  # Any: columns of the table
    shared = {name: row[name] for name in SwitchRead.model_fields if name in row and name != "version"}
    return SwitchRead(**shared, object="plugin_switch", plugin_version=row["version"], version=row["row_version"])


def _refused(en: str, zh: str) -> Exception:
    return SWITCH_REFUSED.error({"reason": Text(en=en, zh=zh)})
