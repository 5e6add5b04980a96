"""Releases as they are shown: to merchants, to their publisher, to reviewers."""

from __future__ import annotations

from typing import Any

from platform_core.contracts.manifest import Manifest
from platform_core.contracts.rar import detail_types
from platform_core.contracts.scopes import catalogue
from platform_core.plugin_host.allow_list import AllowList
from platform_core.plugin_host.host_deps import HostDeps, manifest_of
from platform_core.plugin_host.permissions import details_for
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.schemas import (
    CheckRead,
    HostAsked,
    LimitAsked,
    PersonalDatum,
    PluginDetailed,
    PluginListed,
    ReleaseDetailed,
    ReleaseRead,
    ReviewRead,
    ScopeAsked,
    SecretAsked,
    Words,
)


def listed(row: Record) -> PluginListed:
    """A line of the catalogue."""
    return PluginListed(**_head(row, manifest_of(row.manifest)))


def detailed(row: Record, *, deps: HostDeps) -> PluginDetailed:
    """What the consent page says. Purposes are the publisher's words, texts the platform's."""
    manifest = manifest_of(row.manifest)
    about = manifest.plugin
    return PluginDetailed(
        **_head(row, manifest),
        tier=deps.allow_list.tier_of(manifest, row.tree_hash),
        lowered_confinement=deps.lowered_for(manifest, row.tree_hash),
        license=about.license,
        support=about.support,
        homepage=about.homepage,
        hooks=sorted({use.name for use in manifest.hooks} | {use.hook for use in manifest.providers}),
        scopes=_scopes(manifest),
        authorizations=_limits(manifest),
        egress=[
            HostAsked(host=use.host, port=use.port, methods=list(use.methods), purpose=_words(use.purpose))
            for use in manifest.egress
        ],
        secrets=[
            SecretAsked(
                name=use.name,
                kind=use.kind,
                label=_words(use.label),
                hosts=list(use.hosts),
                is_required=use.is_required,
            )
            for use in manifest.secrets
        ],
        personal_data=[
            PersonalDatum(category=use.category, purpose=_words(use.purpose), retention_days=use.retention_days)
            for use in manifest.personal_data
        ],
        config_schema=row.config_schema,
        has_native_code=about.has_native_code,
        retires_at=row.retires_at,
    )


def release_read(row: Record, *, allow_list: AllowList) -> ReleaseRead:
    """A release as its publisher sees it in a list."""
    return ReleaseRead(**_release(row, allow_list))


def release_detailed(row: Record, reviews: list[Record], *, allow_list: AllowList) -> ReleaseDetailed:
    """A release with what its review found."""
    return ReleaseDetailed(
        **_release(row, allow_list),
        difference=row.difference,
        checks=[CheckRead.model_validate(check) for check in row.checks],
        reviews=[
            ReviewRead(
                decision=review.decision,
                rules=review.rules.split(),
                note=review.note,
                round=review.round,
                created_at=review.created_at,
            )
            for review in reviews
        ],
    )


def _head(row: Record, manifest: Manifest) -> dict[str, Any]:  # Any: fields of PluginListed
    about = manifest.plugin
    return {
        "id": row.plugin_id,
        "plugin_version": row.version,
        "name": _words(about.name),
        "summary": _words(about.summary),
        "publisher": about.publisher,
        "tags": list(about.tags),
        "state": row.state,
        "published_at": row.published_at,
    }


def _release(row: Record, allow_list: AllowList) -> dict[str, Any]:  # Any: fields of ReleaseRead
    return {
        "id": row.id,
        "object": "plugin_release",
        "plugin_id": row.plugin_id,
        "plugin_version": row.version,
        "state": row.state,
        "tier": allow_list.tier_of(manifest_of(row.manifest), row.tree_hash),
        "tree_hash": row.tree_hash,
        "bundle_hash": row.bundle_hash,
        "change_log": row.change_log,
        "reviews_needed": row.reviews_needed,
        "round": row.round,
        "version": row.row_version,
        "created_at": row.created_at,
        "published_at": row.published_at,
        "retires_at": row.retires_at,
    }


def _scopes(manifest: Manifest) -> list[ScopeAsked]:
    found = []
    for use in manifest.scopes:
        scope = catalogue()[use.name]
        found.append(
            ScopeAsked(
                name=use.name,
                text=Words(zh=scope.text.zh, en=scope.text.en),
                purpose=_words(use.purpose),
                is_required=use.is_required,
                is_personal=scope.is_personal,
                is_metered=scope.is_metered,
                needs_step_up=scope.needs_step_up,
            )
        )
    return found


def _limits(manifest: Manifest) -> list[LimitAsked]:
    by_type = {detail.type: detail for detail in details_for(manifest, manifest.scope_names)}
    found = []
    for use in manifest.authorizations:
        detail = by_type.get(use.type)
        if detail is not None:
            text = detail_types()[use.type].text
            found.append(
                LimitAsked(
                    type=use.type,
                    text=Words(zh=text.zh, en=text.en),
                    purpose=_words(use.purpose),
                    is_required=use.is_required,
                    detail=detail.model_dump(mode="json", exclude_none=True),
                )
            )
    return found


def _words(text: Any) -> Words:  # Any: a manifest's Words or Name
    return Words(zh=text.zh, en=text.en)
