"""All queries of the plugins' life. Each takes an open read transaction; its role decides what can be seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, Select, literal, or_, select, text, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.kernel.pagination import Position
from platform_core.plugin_host.models import (
    CONFIGURATIONS,
    DELIVERIES,
    INSTALLATIONS,
    PLUGINS,
    POLICIES,
    RELEASES,
    REVIEWS,
    ROLLOUTS,
    SECRETS,
    SIGNING_SECRETS,
    SWITCHES,
)

Record = Row[Any]  # columns are named by the statement; schemas check them
_plugins, _releases, _reviews, _rollouts = PLUGINS.table, RELEASES.table, REVIEWS.table, ROLLOUTS.table
_installations, _configurations, _secrets = INSTALLATIONS.table, CONFIGURATIONS.table, SECRETS.table
_signing = SIGNING_SECRETS.table
_policies, _switches, _deliveries = POLICIES.table, SWITCHES.table, DELIVERIES.table
OPEN_STATES: Final = ("submitted", "in_review")
PUBLIC_STATES: Final = ("published", "suspended", "retired")


async def _one(connection: AsyncConnection, query: Select[Any]) -> Record | None:
    found: Record | None = (await connection.execute(query)).one_or_none()
    return found


async def _all(connection: AsyncConnection, query: Select[Any]) -> Sequence[Record]:
    found: Sequence[Record] = (await connection.execute(query)).all()
    return found


def _page(query: Select[Any], created_at: Any, id_: Any, *, after: Position | None, limit: int) -> Select[Any]:
    """Those behind `after`, the oldest first. `created_at`, `id_`: the columns of the order."""
    if after is not None:
        query = query.where(tuple_(created_at, id_) > tuple_(literal(after.created_at), literal(after.id)))
    return query.order_by(created_at, id_).limit(limit)


# ---- Plugins and releases.


async def read_plugin(connection: AsyncConnection, plugin_id: str) -> Record | None:
    """A plugin."""
    return await _one(connection, select(_plugins).where(_plugins.c.id == plugin_id))


async def read_plugins(connection: AsyncConnection) -> Sequence[Record]:
    """All plugins in the operator's order."""
    return await _all(connection, select(_plugins).order_by(_plugins.c.position, _plugins.c.id))


async def read_signing_secret(connection: AsyncConnection, plugin_id: str) -> Record | None:
    """What requests to a remote plugin are signed with, sealed."""
    return await _one(connection, select(_signing).where(_signing.c.id == plugin_id))


async def read_signing_secrets(connection: AsyncConnection, plugin_ids: Iterable[str]) -> Sequence[Record]:
    """The same of several plugins."""
    return await _all(connection, select(_signing).where(_signing.c.id.in_(tuple(plugin_ids))))


async def read_release(connection: AsyncConnection, release_id: str) -> Record | None:
    """A release by its id."""
    return await _one(connection, select(_releases).where(_releases.c.id == release_id))


async def read_version(connection: AsyncConnection, plugin_id: str, version: str) -> Record | None:
    """A release by plugin and version."""
    where = (_releases.c.plugin_id == plugin_id, _releases.c.version == version)
    return await _one(connection, select(_releases).where(*where))


async def read_releases_of(
    connection: AsyncConnection, plugin_id: str, *, states: Iterable[str] = PUBLIC_STATES
) -> Sequence[Record]:
    """The releases of a plugin in some states, in the order of their publication."""
    query = select(_releases).where(_releases.c.plugin_id == plugin_id, _releases.c.state.in_(tuple(states)))
    return await _all(connection, query.order_by(_releases.c.published_at, _releases.c.id))


async def read_releases(connection: AsyncConnection, ids: Iterable[str]) -> Mapping[str, Record]:
    """Releases by their ids."""
    rows = await _all(connection, select(_releases).where(_releases.c.id.in_(tuple(ids))))
    return {row.id: row for row in rows}


async def list_catalogue(connection: AsyncConnection, *, after: Position | None, limit: int) -> Sequence[Record]:
    """Of each plugin the release that was published last, by the plugin's age."""
    newest = (
        select(_releases)
        .where(_releases.c.state.in_(PUBLIC_STATES))
        .ext(distinct_on(_releases.c.plugin_id))
        .order_by(_releases.c.plugin_id, _releases.c.state != "published", _releases.c.published_at.desc())
        .subquery()
    )
    query = select(newest, _plugins.c.created_at.label("plugin_created_at")).join(
        _plugins, _plugins.c.id == newest.c.plugin_id
    )
    return await _all(connection, _page(query, _plugins.c.created_at, _plugins.c.id, after=after, limit=limit))


async def list_own_releases(
    connection: AsyncConnection, *, isv_id: str, after: Position | None, limit: int
) -> Sequence[Record]:
    """The releases of a publisher, the oldest first."""
    query = select(_releases).where(_releases.c.isv_id == isv_id)
    return await _all(connection, _page(query, _releases.c.created_at, _releases.c.id, after=after, limit=limit))


async def list_queue(connection: AsyncConnection, *, after: Position | None, limit: int) -> Sequence[Record]:
    """What waits for a reviewer, the oldest first."""
    query = select(_releases).where(_releases.c.state.in_(OPEN_STATES))
    return await _all(connection, _page(query, _releases.c.created_at, _releases.c.id, after=after, limit=limit))


async def read_reviews(connection: AsyncConnection, release_id: str) -> Sequence[Record]:
    """The decisions on a release, the oldest first."""
    query = select(_reviews).where(_reviews.c.release_id == release_id)
    return await _all(connection, query.order_by(_reviews.c.created_at, _reviews.c.id))


_IS_MEMBER: Final = text(
    "SELECT 1 FROM membership WHERE person_id = :person_id AND party_kind = 'isv' AND party_id = :isv_id "
    "AND state = 'active'"
)


async def is_member(connection: AsyncConnection, person_id: str, *, isv_id: str) -> bool:
    """Whether a person is on an ISV's staff."""
    found = await connection.execute(_IS_MEMBER, {"person_id": person_id, "isv_id": isv_id})
    return found.one_or_none() is not None


_APP_OWNER: Final = text("SELECT isv_id FROM app WHERE id = :id")


async def read_app_owner(connection: AsyncConnection, app_id: str) -> str | None:
    """The ISV that owns an app; None for a merchant's own."""
    isv_id: str | None = (await connection.execute(_APP_OWNER, {"id": app_id})).scalar_one_or_none()
    return isv_id


# ---- Installations and what belongs to them.


async def read_installation(connection: AsyncConnection, installation_id: str, *, merchant_id: str) -> Record | None:
    """One installation of a merchant, also a removed one."""
    where = (_installations.c.id == installation_id, _installations.c.merchant_id == merchant_id)
    return await _one(connection, select(_installations).where(*where))


async def read_installed(connection: AsyncConnection, plugin_id: str, *, merchant_id: str) -> Record | None:
    """A plugin's installation at a merchant, also a removed one."""
    where = (_installations.c.plugin_id == plugin_id, _installations.c.merchant_id == merchant_id)
    return await _one(connection, select(_installations).where(*where))


async def list_installations(
    connection: AsyncConnection, *, merchant_id: str, state: str | None, after: Position | None, limit: int
) -> Sequence[Record]:
    """A merchant's installations, the oldest first; removed ones only where they are asked for."""
    query = select(_installations).where(_installations.c.merchant_id == merchant_id)
    query = query.where(_installations.c.state == state if state else _installations.c.state != "removed")
    columns = _installations.c
    return await _all(connection, _page(query, columns.created_at, columns.id, after=after, limit=limit))


async def list_installed_everywhere(
    connection: AsyncConnection,
    *,
    plugin_id: str,
    release_id: str | None = None,
    not_release_id: str | None = None,
    after_id: str,
    limit: int,
) -> Sequence[Record]:
    """Installations of a plugin at all merchants by id, those behind `after_id`: for workers and the operator."""
    columns = _installations.c
    query = select(_installations).where(columns.plugin_id == plugin_id, columns.state != "removed")
    if release_id is not None:
        query = query.where(columns.release_id == release_id)
    if not_release_id is not None:
        query = query.where(columns.release_id != not_release_id)
    return await _all(connection, query.where(columns.id > after_id).order_by(columns.id).limit(limit))


async def read_configuration(
    connection: AsyncConnection, installation_id: str, *, merchant_id: str, revision: int
) -> Record | None:
    """One revision of a configuration."""
    columns = _configurations.c
    where = (columns.installation_id == installation_id, columns.merchant_id == merchant_id)
    return await _one(connection, select(_configurations).where(*where, columns.revision == revision))


async def list_configurations(
    connection: AsyncConnection, installation_id: str, *, merchant_id: str, limit: int
) -> Sequence[Record]:
    """The latest revisions of a configuration, the newest first."""
    columns = _configurations.c
    query = select(_configurations).where(
        columns.installation_id == installation_id, columns.merchant_id == merchant_id
    )
    return await _all(connection, query.order_by(columns.revision.desc()).limit(limit))


async def read_secrets(connection: AsyncConnection, plugin_id: str, *, merchant_id: str) -> Mapping[str, Record]:
    """A merchant's secrets for a plugin, by name."""
    query = select(_secrets).where(_secrets.c.plugin_id == plugin_id, _secrets.c.merchant_id == merchant_id)
    return {row.name: row for row in await _all(connection, query)}


async def read_policy(connection: AsyncConnection, merchant_id: str) -> Record | None:
    """What a merchant decided about hooks."""
    return await _one(connection, select(_policies).where(_policies.c.id == merchant_id))


async def list_deliveries(
    connection: AsyncConnection,
    *,
    merchant_id: str,
    filters: Mapping[str, str],
    after: Position | None,
    limit: int,
) -> Sequence[Record]:
    """A merchant's deliveries, the newest first. `filters`: columns and the value that each must have."""
    columns = _deliveries.c
    query = select(_deliveries).where(columns.merchant_id == merchant_id)
    for column, value in filters.items():
        query = query.where(columns[column] == value)
    if after is not None:
        query = query.where(
            tuple_(columns.created_at, columns.id) < tuple_(literal(after.created_at), literal(after.id))
        )
    return await _all(connection, query.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit))


async def read_delivery(connection: AsyncConnection, delivery_id: str, *, merchant_id: str) -> Record | None:
    """One delivery of a merchant."""
    columns = _deliveries.c
    return await _one(
        connection, select(_deliveries).where(columns.id == delivery_id, columns.merchant_id == merchant_id)
    )


# ---- Switches and rollouts.


async def read_switch(connection: AsyncConnection, switch_id: str) -> Record | None:
    """One kill switch."""
    return await _one(connection, select(_switches).where(_switches.c.id == switch_id))


async def list_switches(connection: AsyncConnection, *, after: Position | None, limit: int) -> Sequence[Record]:
    """All kill switches, the oldest first."""
    columns = _switches.c
    return await _all(connection, _page(select(_switches), columns.pulled_at, columns.id, after=after, limit=limit))


async def switches_on(
    connection: AsyncConnection, plugin_id: str, *, version: str | None, merchant_id: str | None
) -> Sequence[Record]:
    """The pulled switches that concern a version at a merchant, `stop` before `drain`, then the oldest first."""
    columns = _switches.c
    query = select(_switches).where(
        columns.plugin_id == plugin_id,
        columns.state == "pulled",
        or_(columns.version.is_(None), columns.version == version),
        or_(columns.merchant_id.is_(None), columns.merchant_id == merchant_id),
    )
    return await _all(connection, query.order_by(columns.mode.desc(), columns.pulled_at, columns.id))


async def pulled_everywhere(connection: AsyncConnection, plugin_id: str) -> Sequence[Record]:
    """The pulled `stop` switches of a plugin or one of its versions that hold at all merchants."""
    columns = _switches.c
    query = select(_switches).where(columns.plugin_id == plugin_id, columns.state == "pulled")
    return await _all(connection, query.where(columns.merchant_id.is_(None), columns.mode == "stop"))


async def switched_at(connection: AsyncConnection, merchant_id: str) -> set[str]:
    """Ids of the plugins that any pulled switch concerns at a merchant, whatever the version."""
    columns = _switches.c
    query = select(columns.plugin_id).where(
        columns.state == "pulled", or_(columns.merchant_id.is_(None), columns.merchant_id == merchant_id)
    )
    return set((await connection.execute(query)).scalars())


async def read_rollout(connection: AsyncConnection, rollout_id: str) -> Record | None:
    """One rollout."""
    return await _one(connection, select(_rollouts).where(_rollouts.c.id == rollout_id))


async def running_rollout(connection: AsyncConnection, plugin_id: str) -> Record | None:
    """The rollout of a plugin that is under way."""
    return await _one(
        connection, select(_rollouts).where(_rollouts.c.plugin_id == plugin_id, _rollouts.c.state == "running")
    )


# What is enabled for one merchant, in the operator's order, in one statement: the merchant's row is there in any case.
_ENABLED: Final = text(
    """
SELECT m.mode, y.check_deny_above, y.amend_discount_max_bp,
  i.id AS installation_id, i.plugin_id, i.is_dry_run, i.config_revision, c.value AS config,
  r.id AS release_id, r.version, r.state AS release_state, r.row_version AS release_row_version,
  r.manifest, r.config_schema, r.tree_hash,
  g.id AS grant_id, g.scopes, s.mode AS switch_mode
FROM merchant AS m
LEFT JOIN plugin_policy AS y ON y.id = m.id
LEFT JOIN plugin_installation AS i ON i.merchant_id = m.id AND (i.state = 'enabled' OR i.id = :also)
LEFT JOIN plugin AS p ON p.id = i.plugin_id
LEFT JOIN plugin_release AS r ON r.id = i.release_id
LEFT JOIN plugin_configuration AS c ON c.installation_id = i.id AND c.revision = i.config_revision
LEFT JOIN access_grant AS g ON g.app_id = i.app_id AND g.merchant_id = m.id AND g.state = 'active'
  AND (g.expires_at IS NULL OR g.expires_at > :now)
LEFT JOIN LATERAL (
  SELECT max(w.mode) AS mode FROM plugin_switch AS w
  WHERE w.plugin_id = i.plugin_id AND w.state = 'pulled'
    AND (w.version IS NULL OR w.version = r.version) AND (w.merchant_id IS NULL OR w.merchant_id = m.id)
) AS s ON i.id IS NOT NULL
WHERE m.id = :merchant_id
ORDER BY p.position, i.plugin_id
"""
)


async def read_enabled(
    connection: AsyncConnection, merchant_id: str, *, now: object, also: str = ""
) -> Sequence[Record]:
    """What a merchant has enabled, one row each; one row without an installation where there is nothing.

    No row at all: there is no such merchant. `switch_mode`: the most severe switch that is pulled. `also`: an
    installation that counts in whatever state it is.
    """
    values = {"merchant_id": merchant_id, "now": now, "also": also}
    return (await connection.execute(_ENABLED, values)).all()
