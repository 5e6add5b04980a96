"""One change of an installation as parts of a plan: the row, its event, its audit row, the news."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from platform_core.kernel.commit import Audit, Change, Event, Insert
from platform_core.plugin_host.host_deps import HostDeps
from platform_core.plugin_host.models import INSTALLATIONS
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.schemas import InstallationRead

_OF_VERSIONS: Final = ("upgraded", "rolled_back")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a change leaves, and the parts that write it."""

    answer: InstallationRead
    parts: list[object]


def shown(columns: Any) -> InstallationRead:  # Any: a mapping of the table's columns, or a row's
    """An installation as it is told to others."""
    return InstallationRead(
        id=columns["id"],
        object="plugin_installation",
        merchant_id=columns["merchant_id"],
        plugin_id=columns["plugin_id"],
        plugin_version=columns["version"],
        state=columns["state"],
        is_dry_run=columns["is_dry_run"],
        config_revision=columns["config_revision"],
        last_change=columns["last_change"],
        from_version=columns["from_version"],
        version=columns["row_version"],
        created_at=columns["created_at"],
        updated_at=columns["updated_at"],
    )


def created(deps: HostDeps, row: dict[str, Any], *, by: str, facts: Mapping[str, object]) -> Changed:
    """A new installation."""
    answer = shown(row)
    return Changed(
        answer=answer,
        parts=[Insert(INSTALLATIONS, row), *_told(deps, None, answer, change="installed", by=by, facts=facts)],
    )


def changed(
    deps: HostDeps,
    row: Record,
    values: Mapping[str, Any],
    *,
    change: str,
    by: str,
    facts: Mapping[str, object] = {},
    reason: str | None = None,
) -> Changed:
    """A change of one that is there. `change` is the event's verb; the plan is refused if the row has moved on."""
    from_version = row.version if change in _OF_VERSIONS else None
    values = {**values, "last_change": change, "from_version": from_version, "updated_at": deps.clock.now()}
    before = shown(row._mapping)
    answer = shown({**row._mapping, **values, "row_version": row.row_version + 1})
    write = Change(INSTALLATIONS, row.id, values, expected=row.row_version)
    told = _told(deps, before, answer, change=change, by=by, facts=facts, reason=reason)
    return Changed(answer=answer, parts=[write, *told])


def _told(
    deps: HostDeps,
    before: InstallationRead | None,
    answer: InstallationRead,
    *,
    change: str,
    by: str,
    facts: Mapping[str, object],
    reason: str | None = None,
) -> list[object]:
    kind = f"plugin.{change}"
    all_facts = {"plugin": answer.plugin_id, "version": answer.plugin_version, **facts}
    audit = Audit(
        kind,
        by,
        answer.id,
        answer.merchant_id,
        all_facts,
        reason=reason,
        before_digest=None if before is None else _digest(before),
        after_digest=_digest(answer),
    )
    body = answer.model_dump_json()
    event = Event(deps.ids.mint("evt"), kind, answer.id, answer.version, deps.clock.now(), body)
    return [audit, event, deps.news(answer.merchant_id, merchant_id=answer.merchant_id, kind="plugins")]


def _digest(answer: InstallationRead) -> bytes:
    return sha256(answer.model_dump_json().encode()).digest()
