"""What a manifest asks for, compared: what a new version asks beyond the one before, and what a merchant gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec

from platform_core.contracts import rar
from platform_core.contracts.manifest import Authorization, Manifest
from platform_core.contracts.rar import Detail, type_of_scope
from platform_core.contracts.scopes import catalogue

Difference = Mapping[str, Mapping[str, Sequence[str]]]
"""By topic: what is added and removed, in sorted words such as `payments:read` or `payment_refund day CNY 5000`."""
_TOPICS: Final = ("hooks", "fields", "scopes", "limits", "hosts", "secrets", "resources", "personal_data")


def asked(manifest: Manifest) -> Mapping[str, frozenset[str]]:
    """Everything that a manifest asks for, by topic, as comparable words."""
    resources = manifest.resources
    return {
        "hooks": frozenset(
            [use.name for use in manifest.hooks] + [f"{use.hook}/{use.id}" for use in manifest.providers]
        ),
        "fields": frozenset(f"{use.name}.{path}" for use in manifest.hooks for path in use.fields),
        "scopes": frozenset(f"{s.name} {'required' if s.is_required else 'optional'}" for s in manifest.scopes),
        "limits": frozenset(_limits(manifest.authorizations)),
        "hosts": frozenset(
            f"{e.host}:{e.port} {method} {e.response_kib_max} KiB" for e in manifest.egress for method in e.methods
        ),
        "secrets": frozenset(f"{s.name} {s.kind} {' '.join(sorted(s.hosts))}".strip() for s in manifest.secrets),
        "resources": frozenset(
            {
                f"memory_mb {resources.memory_mb}",
                f"workers_max {resources.workers_max}",
                f"state_bytes {manifest.state.bytes_max}",
                f"state_keys {manifest.state.keys_max}",
            }
        ),
        "personal_data": frozenset(f"{d.category} {d.retention_days} days" for d in manifest.personal_data),
    }


def difference(before: Manifest | None, after: Manifest) -> dict[str, dict[str, list[str]]]:
    """What a version adds and removes; topics without any are left out. Without `before` everything is added."""
    had = asked(before) if before is not None else {}
    wants = asked(after)
    found: dict[str, dict[str, list[str]]] = {}
    for topic in _TOPICS:
        old, new = had.get(topic, frozenset()), wants[topic]
        if old != new:
            found[topic] = {"added": sorted(new - old), "removed": sorted(old - new)}
    return found


def is_wider(before: Manifest, after: Manifest) -> bool:
    """Whether a version asks for anything that the merchant has not agreed to with the one before.

    Fewer limits, hosts or scopes, lower limits and lower resources are none of that; an optional scope that becomes
    required is.
    """
    had, wants = asked(before), asked(after)
    if wants["hooks"] - had["hooks"] or wants["fields"] - had["fields"] or wants["secrets"] - had["secrets"]:
        return True
    if after.scope_names - before.scope_names or required(after) - required(before):
        return True
    if _is_limited_less(before, after) or _reaches_further(before, after):
        return True
    return _grows(before, after) or _keeps_more_of_people(before, after)


def required(manifest: Manifest) -> frozenset[str]:
    """The scopes without which the plugin does not run."""
    return frozenset(scope.name for scope in manifest.scopes if scope.is_required)


def digest_of(found: Difference) -> str:
    """What a merchant names to say that it has seen a difference: SHA-256 in hex."""
    return sha256(msgspec.json.encode(found, order="deterministic")).hexdigest()


def details_for(manifest: Manifest, scopes: Iterable[str]) -> tuple[Detail, ...]:
    """The limits that the manifest asks for, as authorization details, of the types that these scopes need."""
    kinds = {type_of_scope()[name].name for name in scopes if name in type_of_scope()}
    return tuple(
        Detail(type=use.type, limits=tuple(rar.Limit.model_validate(limit.model_dump()) for limit in use.limits))
        for use in manifest.authorizations
        if use.type in kinds
    )


@dataclass(frozen=True, slots=True)
class Attention:
    """What of a release a person must look at, and how many persons. No reasons: nobody."""

    reasons: tuple[str, ...]
    reviews: int


def attention_for(before: Manifest | None, after: Manifest) -> Attention:
    """Who must look (plugins.md section 9, governance.md section 6): at a first release, and at whatever grew."""
    reasons = []
    if before is None:
        reasons.append("first_release")
    elif is_wider(before, after):
        reasons.append("wider")
    is_new = before is None or "wider" in reasons
    heavy = []
    if after.plugin.has_native_code and (before is None or not before.plugin.has_native_code):
        heavy.append("native_code")
    if is_new and any(limit.amount_minor is not None for use in after.authorizations for limit in use.limits):
        heavy.append("money_authorization")
    if is_new and any(name in catalogue() and catalogue()[name].is_personal for name in after.scope_names):
        heavy.append("personal_scope")
    reasons += heavy
    return Attention(tuple(reasons), 2 if heavy else int(bool(reasons)))


def _limits(authorizations: Sequence[Authorization]) -> Iterable[str]:
    for use in authorizations:
        for limit in use.limits:
            value = limit.quantity if limit.amount_minor is None else f"{limit.currency} {limit.amount_minor}"
            yield f"{use.type} {limit.per} {value}"


def _heights(manifest: Manifest) -> dict[tuple[str, str, str | None], int]:
    return {
        (use.type, limit.per, limit.currency): limit.amount_minor or limit.quantity or 0
        for use in manifest.authorizations
        for limit in use.limits
    }


def _is_limited_less(before: Manifest, after: Manifest) -> bool:
    """Whether a limit rose or fell away, or a kind of act is new."""
    old, new = _heights(before), _heights(after)
    kinds_before, kinds_after = {key[0] for key in old}, {key[0] for key in new}
    if kinds_after - kinds_before:
        return True
    return any(key[0] in kinds_after and (key not in new or new[key] > height) for key, height in old.items())


def _reaches_further(before: Manifest, after: Manifest) -> bool:
    had: dict[tuple[str, int, str], int] = {
        (e.host, e.port, method): e.response_kib_max for e in before.egress for method in e.methods
    }
    wants = {(e.host, e.port, method): e.response_kib_max for e in after.egress for method in e.methods}
    endpoint = after.remote.endpoint if after.remote is not None else None
    was = before.remote.endpoint if before.remote is not None else None
    if after.plugin.runtime != before.plugin.runtime or endpoint != was:
        return True
    return any(key not in had or kib > had[key] for key, kib in wants.items())


def _grows(before: Manifest, after: Manifest) -> bool:
    pairs = (
        (before.resources.memory_mb, after.resources.memory_mb),
        (before.resources.workers_max, after.resources.workers_max),
        (before.state.bytes_max, after.state.bytes_max),
        (before.state.keys_max, after.state.keys_max),
    )
    return any(new > old for old, new in pairs)


def _keeps_more_of_people(before: Manifest, after: Manifest) -> bool:
    had: dict[str, int] = {kept.category: kept.retention_days for kept in before.personal_data}
    return any(kept.category not in had or kept.retention_days > had[kept.category] for kept in after.personal_data)


def record(manifest: Manifest) -> dict[str, Any]:  # Any: JSON
    """As a release's row keeps it."""
    return manifest.model_dump(mode="json", by_alias=True)
