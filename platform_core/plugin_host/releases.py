"""Releases: submitted by their publisher, reviewed by others, published, retired."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from platform_core.contracts.manifest import Manifest
from platform_core.contracts.manifest_findings import ManifestRefused, errors
from platform_core.contracts.manifest_rules import read
from platform_core.kernel.commit import Audit, Change, Due, Event, Insert, Plan
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.i18n import Text
from platform_core.kernel.pagination import Page, Position
from platform_core.plugin_host import repository
from platform_core.plugin_host.config_schema import SchemaRefused, read_schema
from platform_core.plugin_host.errors import (
    CHECK_FAILED,
    MANIFEST_REFUSED,
    PLUGIN_NOT_FOUND,
    PUBLISHER_REFUSED,
    RELEASE_EXISTS,
    RELEASE_NOT_FOUND,
    RELEASE_STATE,
    REVIEWER_REFUSED,
    SCHEMA_REFUSED,
    SIGNING_SECRET_NEEDED,
)
from platform_core.plugin_host.host_deps import (
    EVERYBODY,
    Extra,
    HostDeps,
    Unpacked,
    encoded,
    manifest_of,
    nothing_else,
)
from platform_core.plugin_host.models import PLUGINS, RELEASES, REVIEWS, ReleaseState
from platform_core.plugin_host.permissions import attention_for, difference, record
from platform_core.plugin_host.release_shapes import detailed, listed, release_detailed, release_read
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.retirement import RETIREMENT
from platform_core.plugin_host.schemas import (
    PluginDetailed,
    PluginListed,
    ReleaseDetailed,
    ReleaseRead,
    ReviewWrite,
)
from platform_core.plugin_host.versions import newest

NOTICE_MIN: Final = timedelta(days=90)
_EVENTS: Final[dict[str, str]] = {
    "in_review": "plugin_release.submitted",
    "approved": "plugin_release.approved",
    "changes_asked": "plugin_release.changes_asked",
    "rejected": "plugin_release.rejected",
    "published": "plugin_release.published",
    "retired": "plugin_release.retired",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """An unpacked bundle on its way into review. `isv_id` is who submits, `by` the person or client."""

    unpacked: Unpacked
    isv_id: str
    by: str
    change_log: str = ""
    test_account: str = ""
    is_from_host: bool = False


@dataclass(frozen=True, slots=True)
class Admitted:
    """A submission that may be taken, and what is there of its plugin already."""

    manifest: Manifest
    plugin: Record | None
    before: Record | None
    """The version, in `changes_asked`: this is another round of it."""

    @property
    def plugin_id(self) -> str:
        """The plugin."""
        return self.manifest.plugin.id

    @property
    def version(self) -> str:
        """Its version."""
        return self.manifest.plugin.version


@dataclass(frozen=True, slots=True)
class Releases:
    """What publishers submit and reviewers decide. Every step is one plan with its audit row and its event."""

    deps: HostDeps

    async def submit(self, wanted: Submission, *, extra: Extra = nothing_else) -> ReleaseRead:
        """A release in review, or approved where nobody needs to look (plugins.md section 9).

        403 `plugins.publisher_refused`; 409 `plugins.release_exists` (one in `changes_asked` takes the new contents, as
        another round); 422 `plugins.manifest_refused`, `plugins.schema_refused`, `plugins.check_failed`.
        """
        admitted = await self.admit(wanted)
        manifest, plugin_id = admitted.manifest, admitted.plugin_id
        plugin, before = admitted.plugin, admitted.before
        schema = _checked_schema(manifest, wanted.unpacked)
        async with self.deps.database.read_auth() as connection:
            published = await repository.read_releases_of(connection, plugin_id, states=("published", "suspended"))
        row = self._row(wanted, manifest, schema=schema, last=newest(published), before=before)
        plan = Plan(None)
        if plugin is None:
            row["app_id"] = self._add_plugin(plan, manifest, by=wanted.by)
        else:
            row["app_id"] = plugin.app_id
        answer = release_read(_as_row(row), allow_list=self.deps.allow_list)
        plan.add(_written(row, before), *self._told(row, answer, by=wanted.by), *extra(answer, row["id"]))
        await self.deps.commit(plan, subject=plugin_id)
        return answer

    async def draft(self, wanted: Submission) -> str:
        """Enter what only its developer runs: never listed, reviewed or published. The release's id.

        403 `plugins.publisher_refused`; 422 as `submit`.
        """
        manifest = read_manifest(wanted.unpacked.manifest)
        schema = _checked_schema(manifest, wanted.unpacked)
        _check_findings(wanted.unpacked)
        async with self.deps.database.read_auth() as connection:
            plugin = await repository.read_plugin(connection, manifest.plugin.id)
        if (plugin is not None and plugin.isv_id != wanted.isv_id) or manifest.plugin.publisher != wanted.isv_id:
            raise PUBLISHER_REFUSED.error({"plugin_id": manifest.plugin.id})
        row = self._row(wanted, manifest, schema=schema, last=None, before=None) | {"state": "draft"}
        plan = Plan(None)
        row["app_id"] = self._add_plugin(plan, manifest, by=wanted.by) if plugin is None else plugin.app_id
        facts = {"plugin": manifest.plugin.id, "version": manifest.plugin.version, "tree_hash": row["tree_hash"]}
        plan.add(
            Insert(RELEASES, row),
            Audit("plugin_release.drafted", wanted.by, row["id"], None, facts),
            self.deps.news(EVERYBODY, merchant_id=None, kind="plugins"),
        )
        await self.deps.commit(plan, subject=manifest.plugin.id)
        return str(row["id"])

    async def admit(self, wanted: Submission) -> Admitted:
        """Whether `submit` would take it, as far as can be known beforehand; raises what it raises."""
        manifest = read_manifest(wanted.unpacked.manifest)
        plugin_id, version = manifest.plugin.id, manifest.plugin.version
        _checked_schema(manifest, wanted.unpacked)
        _check_findings(wanted.unpacked)
        async with self.deps.database.read_auth() as connection:
            plugin = await repository.read_plugin(connection, plugin_id)
            before = await repository.read_version(connection, plugin_id, version)
        owner = plugin.isv_id if plugin is not None else wanted.isv_id
        if manifest.plugin.publisher != wanted.isv_id or owner != wanted.isv_id:
            raise PUBLISHER_REFUSED.error({"plugin_id": plugin_id})
        if before is not None and before.state != "changes_asked":
            raise RELEASE_EXISTS.error({"plugin_id": plugin_id, "version": version, "state": before.state})
        return Admitted(manifest, plugin, before)

    async def known(self, wanted: Submission) -> ReleaseRead | None:
        """The publisher's release that was made of this very bundle; None where there is none."""
        about = read_manifest(wanted.unpacked.manifest).plugin
        async with self.deps.database.read_auth() as connection:
            row = await repository.read_version(connection, about.id, about.version)
        if row is None or row.isv_id != wanted.isv_id or row.bundle_hash != wanted.unpacked.bundle_hash:
            return None
        return release_read(row, allow_list=self.deps.allow_list)

    def _row(
        self,
        wanted: Submission,
        manifest: Manifest,
        *,
        schema: bytes | None,
        last: Record | None,
        before: Record | None,
    ) -> dict[str, Any]:
        """The columns of a submitted release; `last` is the version published last."""
        known = None if last is None else manifest_of(last.manifest)
        attention = attention_for(known, manifest)
        needs = attention.reviews
        if any(finding.outcome == "needs_human" for finding in wanted.unpacked.findings):
            needs = max(needs, 1)
        now = self.deps.clock.now()
        hooks = {use.name for use in manifest.hooks} | {use.hook for use in manifest.providers}
        return {
            "id": self.deps.ids.mint("prl") if before is None else before.id,
            "plugin_id": manifest.plugin.id,
            "isv_id": wanted.isv_id,
            "version": manifest.plugin.version,
            "state": "in_review" if needs else "approved",
            "manifest": encoded(record(manifest)),
            "config_schema": None if schema is None else schema.decode(),
            "hooks": " ".join(sorted(hooks)),
            "tree_hash": wanted.unpacked.tree_hash,
            "bundle_hash": wanted.unpacked.bundle_hash,
            "is_from_host": wanted.is_from_host,
            "change_log": wanted.change_log,
            "test_account": wanted.test_account,
            "checks": encoded([_shown(finding) for finding in wanted.unpacked.findings]),
            "difference": encoded(difference(known, manifest)),
            "round": 1 if before is None else before.round + 1,
            "reviews_needed": needs,
            "row_version": 1 if before is None else before.row_version + 1,
            "created_at": now if before is None else before.created_at,
            "published_at": None,
            "retires_at": None,
        }

    def _add_plugin(self, plan: Plan, manifest: Manifest, *, by: str) -> str:
        app_id, parts = self.deps.apps.plugin_parts(
            isv_id=manifest.plugin.publisher, name=manifest.plugin.name.en, by=by
        )
        row = {
            "id": manifest.plugin.id,
            "app_id": app_id,
            "isv_id": manifest.plugin.publisher,
            "position": 1000,
            "row_version": 1,
            "created_at": self.deps.clock.now(),
        }
        plan.add(*parts, Insert(PLUGINS, row))
        return app_id

    async def review(
        self, release_id: str, wanted: ReviewWrite, *, reviewer: str, extra: Extra = nothing_else
    ) -> ReleaseDetailed:
        """One person's decision: one refusal or question decides; as many approvals as are needed approve.

        404 `plugins.release_not_found`, 409 `plugins.release_state`, 403 `plugins.reviewer_refused`.
        """
        row, reviews = await self._with_reviews(release_id)
        _check_state(row, ("in_review",))
        of_round = [review for review in reviews if review.round == row.round]
        if any(review.reviewer == reviewer for review in of_round):
            raise REVIEWER_REFUSED.error()
        if await self._belongs_to(reviewer, row.isv_id):
            raise REVIEWER_REFUSED.error()
        review = {
            "id": self.deps.ids.mint("prv"),
            "release_id": row.id,
            "app_id": row.app_id,
            "round": row.round,
            "reviewer": reviewer,
            "decision": wanted.decision,
            "rules": " ".join(wanted.rules),
            "note": wanted.note,
            "created_at": self.deps.clock.now(),
        }
        approvals = 1 + sum(given.decision == "approve" for given in of_round)
        state: ReleaseState = row.state
        if wanted.decision != "approve":
            state = "changes_asked" if wanted.decision == "ask" else "rejected"
        elif approvals >= row.reviews_needed:
            state = "approved"
        after = _changed(row, {"state": state})
        answer = release_detailed(after, [*reviews, _as_row(review)], allow_list=self.deps.allow_list)
        facts = {"decision": wanted.decision, "rules": list(wanted.rules), "round": row.round}
        plan = Plan(None).add(
            Insert(REVIEWS, review),
            Change(RELEASES, row.id, {"state": state}, expected=row.row_version),
            Audit("plugin_release.reviewed", reviewer, row.id, None, facts, reason=wanted.note),
            self._event(_EVENTS[state] if state != row.state else "plugin_release.reviewed", after, answer),
            *extra(answer, row.id),
        )
        await self.deps.commit(plan, subject=row.id)
        return answer

    async def _belongs_to(self, person_id: str, isv_id: str) -> bool:
        """Whether a reviewer is on the publisher's staff."""
        async with self.deps.database.read_auth() as connection:
            return await repository.is_member(connection, person_id, isv_id=isv_id)

    async def approve_of_host(self, release_id: str) -> None:
        """Approve what came with the host's environment: whoever installs there has more rights than a reviewer."""
        row = await self._release(release_id, None)
        assert row.is_from_host, "only what the host brings itself goes past review"
        after = _changed(row, {"state": "approved"})
        answer = release_read(after, allow_list=self.deps.allow_list)
        plan = Plan(None).add(
            Change(RELEASES, row.id, {"state": "approved"}, expected=row.row_version),
            Audit("plugin_release.admitted", PLATFORM, row.id, None, {"tree_hash": row.tree_hash}),
            self._event("plugin_release.approved", after, answer),
        )
        await self.deps.commit(plan, subject=row.id)

    async def publish(
        self, release_id: str, *, by: str, isv_id: str | None, extra: Extra = nothing_else
    ) -> ReleaseRead:
        """Let merchants see an approved release. `isv_id`: the publisher who asks; None for the operator.

        404 `plugins.release_not_found`; 409 `plugins.release_state`, `plugins.signing_secret_needed`.
        """
        row = await self._release(release_id, isv_id)
        _check_state(row, ("approved",))
        await self._check_signed(row)
        values = {"state": "published", "published_at": self.deps.clock.now()}
        return await self._step(row, values, by=by, extra=extra)

    async def _check_signed(self, row: Record) -> None:
        """A remote plugin is asked by signed requests alone, so its server must be able to check them."""
        if manifest_of(row.manifest).remote is None:
            return
        async with self.deps.database.read_auth() as connection:
            if await repository.read_signing_secret(connection, row.plugin_id) is None:
                raise SIGNING_SECRET_NEEDED.error({"plugin_id": row.plugin_id})

    async def retire(
        self, release_id: str, *, retires_at: datetime, by: str, isv_id: str | None, extra: Extra = nothing_else
    ) -> ReleaseRead:
        """No new installations; it ends at `retires_at`, at least 90 days ahead. Merchants are told by due work.

        404 `plugins.release_not_found`, 409 `plugins.release_state`.
        """
        row = await self._release(release_id, isv_id)
        _check_state(row, ("published",))
        now = self.deps.clock.now()
        values = {"state": "retired", "retires_at": max(retires_at, now + NOTICE_MIN)}

        def told(answer: BaseModel, id_: str) -> Iterable[object]:
            yield Due(RETIREMENT, id_, now)
            yield from extra(answer, id_)

        return await self._step(row, values, by=by, extra=told)

    async def _step(self, row: Record, values: dict[str, Any], *, by: str, extra: Extra) -> ReleaseRead:
        after = _changed(row, values)
        answer = release_read(after, allow_list=self.deps.allow_list)
        kind = _EVENTS[values["state"]]
        plan = Plan(None).add(
            Change(RELEASES, row.id, values, expected=row.row_version),
            Audit(kind, by, row.id, None, {"plugin": row.plugin_id, "version": row.version}),
            self._event(kind, after, answer),
            self.deps.news(EVERYBODY, merchant_id=None, kind="plugins"),
            *extra(answer, row.id),
        )
        await self.deps.commit(plan, subject=row.id)
        return answer

    async def reorder(self, plugin_ids: Sequence[str], *, by: str) -> None:
        """Put plugins in the operator's order; those not named come behind, by their ids.

        404 `plugins.not_found`.
        """
        async with self.deps.database.read_auth() as connection:
            rows = {row.id: row for row in await repository.read_plugins(connection)}
        unknown = [plugin_id for plugin_id in plugin_ids if plugin_id not in rows]
        if unknown:
            raise PLUGIN_NOT_FOUND.error({"plugin_id": unknown[0]})
        places = {plugin_id: place for place, plugin_id in enumerate(dict.fromkeys(plugin_ids))}
        plan = Plan(None)
        for row in rows.values():
            position = places.get(row.id, 1000)
            if position != row.position:
                plan.add(Change(PLUGINS, row.id, {"position": position}, expected=row.row_version))
        plan.add(
            Audit("plugin.reordered", by, "plugins", None, {"order": list(places)}),
            self.deps.news(EVERYBODY, merchant_id=None, kind="plugins"),
        )
        await self.deps.commit(plan, subject="plugins")

    async def catalogue(self, *, cursor: str | None, limit: int) -> Page[PluginListed]:
        """What merchants can install, by the plugin's age."""
        bound_to = {"list": "plugins"}
        after = self.deps.cursors.read(cursor, bound_to=bound_to) if cursor else None
        async with self.deps.database.read(None) as connection:
            rows = await repository.list_catalogue(connection, after=after, limit=limit + 1)
        return self.deps.cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.plugin_created_at, row.plugin_id),
            show=listed,
        )

    async def plugin(self, plugin_id: str, *, version: str | None = None) -> PluginDetailed:
        """What the consent page says of a plugin's newest published release, or of one version.

        404 `plugins.not_found`.
        """
        async with self.deps.database.read(None) as connection:
            rows = await repository.read_releases_of(connection, plugin_id)
        row = newest(rows, version=version)
        if row is None:
            raise PLUGIN_NOT_FOUND.error({"plugin_id": plugin_id})
        return detailed(row, deps=self.deps)

    async def own(self, isv_id: str, *, cursor: str | None, limit: int) -> Page[ReleaseRead]:
        """A publisher's releases, the oldest first."""
        bound_to: dict[str, object] = {"list": "plugin-releases", "isv": isv_id}
        after = self.deps.cursors.read(cursor, bound_to=bound_to) if cursor else None
        async with self.deps.database.read_auth() as connection:
            rows = await repository.list_own_releases(connection, isv_id=isv_id, after=after, limit=limit + 1)
        return self._shown_page(rows, limit=limit, bound_to=bound_to)

    async def queue(self, *, cursor: str | None, limit: int) -> Page[ReleaseRead]:
        """What waits for a reviewer, the oldest first."""
        bound_to: dict[str, object] = {"list": "plugin-reviews"}
        after = self.deps.cursors.read(cursor, bound_to=bound_to) if cursor else None
        async with self.deps.database.read_auth() as connection:
            rows = await repository.list_queue(connection, after=after, limit=limit + 1)
        return self._shown_page(rows, limit=limit, bound_to=bound_to)

    def _shown_page(self, rows: Sequence[Record], *, limit: int, bound_to: dict[str, object]) -> Page[ReleaseRead]:
        return self.deps.cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.created_at, row.id),
            show=lambda row: release_read(row, allow_list=self.deps.allow_list),
        )

    async def get(self, release_id: str, *, isv_id: str | None) -> ReleaseDetailed:
        """One release with its review. Another publisher's is 404 `plugins.release_not_found`."""
        row, reviews = await self._with_reviews(release_id)
        if isv_id is not None and row.isv_id != isv_id:
            raise RELEASE_NOT_FOUND.error({"release": release_id})
        return release_detailed(row, reviews, allow_list=self.deps.allow_list)

    async def _with_reviews(self, release_id: str) -> tuple[Record, list[Record]]:
        async with self.deps.database.read_auth() as connection:
            row = await repository.read_release(connection, release_id)
            reviews = await repository.read_reviews(connection, release_id)
        if row is None:
            raise RELEASE_NOT_FOUND.error({"release": release_id})
        return row, list(reviews)

    async def _release(self, release_id: str, isv_id: str | None) -> Record:
        async with self.deps.database.read_auth() as connection:
            row = await repository.read_release(connection, release_id)
        if row is None or (isv_id is not None and row.isv_id != isv_id):
            raise RELEASE_NOT_FOUND.error({"release": release_id})
        return row

    def _told(self, row: dict[str, Any], answer: ReleaseRead, *, by: str) -> Iterable[object]:
        facts = {
            "plugin": row["plugin_id"],
            "version": row["version"],
            "tree_hash": row["tree_hash"],
            "bundle_hash": row["bundle_hash"],
            "reviews_needed": row["reviews_needed"],
        }
        yield Audit("plugin_release.submitted", by, row["id"], None, facts)
        yield self._event(_EVENTS[row["state"]], _as_row(row), answer)

    def _event(self, kind: str, row: Any, answer: ReleaseRead) -> Event:  # Any: a row, or what stands for one
        body = answer.model_dump_json()
        return Event(self.deps.ids.mint("evt"), kind, row.id, row.row_version, self.deps.clock.now(), body)


def read_manifest(text: str) -> Manifest:
    """A plugin.toml by the rules that hold at home too. 422 `plugins.manifest_refused`, naming each fault's line."""
    try:
        return read(text)
    except ManifestRefused as refused:
        faults = "; ".join(str(finding) for finding in errors(refused.findings))
        raise _refused(faults, faults) from refused


def _refused(en: str, zh: str) -> Exception:
    plain = [words.replace("{", "(").replace("}", ")")[:2000] for words in (en, zh)]
    return MANIFEST_REFUSED.error({"reason": Text(en=plain[0], zh=plain[1])})


def _checked_schema(manifest: Manifest, unpacked: Unpacked) -> bytes | None:
    if (manifest.config is None) != (unpacked.config_schema is None):
        raise _refused("[config] schema names a file that is not in the bundle", "[config] 所指的文件不在安装包内")
    if unpacked.config_schema is None:
        return None
    try:
        read_schema(unpacked.config_schema)
    except SchemaRefused as refused:
        words = {"where": refused.where or "/", "found": refused.found, "next_step": refused.next_step}
        raise SCHEMA_REFUSED.error(words) from refused
    return unpacked.config_schema


def _check_findings(unpacked: Unpacked) -> None:
    failed = sorted({finding.rule for finding in unpacked.findings if finding.outcome == "fail"})
    if failed:
        shown = [_shown(finding) for finding in unpacked.findings if finding.outcome == "fail"]
        raise CHECK_FAILED.error({"count": len(failed), "rules": ", ".join(failed)}, members={"checks": shown})


def _shown(finding: Any) -> dict[str, str]:  # Any: a Finding
    return {"rule": finding.rule, "outcome": finding.outcome, "message": finding.message}


def _check_state(row: Record, needed: tuple[ReleaseState, ...]) -> None:
    if row.state not in needed:
        words = {"release": row.id, "state": row.state, "needed": ", ".join(needed)}
        raise RELEASE_STATE.error(words)


def _written(row: dict[str, Any], before: Record | None) -> object:
    if before is None:
        return Insert(RELEASES, row)
    kept = ("id", "plugin_id", "app_id", "isv_id", "version", "row_version", "created_at")
    values = {name: value for name, value in row.items() if name not in kept}
    return Change(RELEASES, row["id"], values, expected=before.row_version)


class _Row(dict[str, Any]):
    """Columns that read like a row: JSON columns decoded, as the database gives them back."""

    def __getattr__(self, name: str) -> Any:
        value = self[name]
        is_json = name in ("manifest", "config_schema", "checks", "difference") and isinstance(value, str)
        return msgspec.json.decode(value) if is_json else value


def _as_row(columns: dict[str, Any]) -> Any:  # Any: stands for a Row
    return _Row(columns)


def _changed(row: Record, values: dict[str, Any]) -> Any:  # Any: stands for a Row
    return _Row({**row._mapping, **values, "row_version": row.row_version + 1})
