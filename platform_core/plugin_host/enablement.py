"""What is enabled for a merchant, kept in each process and forgotten within a second of a change.

A grant that is revoked or narrowed, a switch that is pulled, a new configuration: each carries news in its plan. Behind
the feed everything is read again after 30 s.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec
import structlog

from platform_core.contracts.runtime import Runtime
from platform_core.identity.feed_cache import FeedCache
from platform_core.identity.revocation import DATABASE_AWAY, RevocationFeed
from platform_core.kernel.clock import Clock
from platform_core.kernel.database.pools import Database
from platform_core.plugin_host import repository
from platform_core.plugin_host.allow_list import AllowList
from platform_core.plugin_host.config_schema import NO_SCHEMA, ConfigSchema, schema_of
from platform_core.plugin_host.host_deps import EVERYBODY, manifest_of
from platform_core.plugin_host.installed import (
    Enabled,
    EnablementUnreadable,
    HookPolicy,
    MerchantPlugins,
    Release,
)
from platform_core.plugin_host.permissions import required
from platform_core.plugin_host.repository import Record

log = structlog.get_logger(__name__)

REREAD_S: Final = 30.0
RELEASES_MAX: Final = 1_000
_NOTHING: Final = b"{}"


@dataclass(frozen=True, slots=True)
class _Known:
    """A release as it was read; parsing its manifest again for every merchant would cost more than the query."""

    release: Release
    schema: ConfigSchema
    required: frozenset[str]


class FeedEnablement:
    """`installed.Enablement` over the database. One per process."""

    def __init__(
        self,
        *,
        database: Database,
        feed: RevocationFeed,
        feed_clock: Clock,
        allow_list: AllowList,
        locale: str,
        is_development: bool = False,
    ) -> None:
        """`feed_clock`: the real one, by which grants end too. `locale`: what plugins are told to speak.

        `is_development`: whether drafts are asked, at merchants in test mode; anywhere else one counts as suspended.
        """
        self._database = database
        self._clock = feed_clock
        self._allow_list = allow_list
        self._locale = locale
        self._is_development = is_development
        self._releases: OrderedDict[tuple[str, int], _Known] = OrderedDict()
        self._prepare: Callable[[MerchantPlugins], Awaitable[None]] | None = None
        self._merchants: FeedCache[MerchantPlugins] = FeedCache(
            self._read, kind="plugins", feed=feed, clock=feed_clock, kept_s=REREAD_S, everybody=EVERYBODY
        )

    def prepare_with(self, prepare: Callable[[MerchantPlugins], Awaitable[None]]) -> None:
        """Have what was read made ready before anything is decided by it. `prepare` is bounded and never raises."""
        self._prepare = prepare

    async def of(self, merchant_id: str) -> MerchantPlugins:
        """What is enabled now. Raises EnablementUnreadable, also for a merchant that is not there."""
        try:
            return await self._merchants.get(merchant_id)
        except DATABASE_AWAY as error:
            raise EnablementUnreadable(f"{merchant_id}: {type(error).__name__}") from error

    async def last_of(self, merchant_id: str, installation_id: str) -> Enabled | None:
        """An installation as it ran last, disabled or not: for telling a plugin that it was disabled.

        None while it is stopped by a switch, or without what it cannot run without. Raises EnablementUnreadable.
        """
        try:
            async with self._database.read(merchant_id) as connection:
                rows = await repository.read_enabled(
                    connection, merchant_id, now=self._clock.now(), also=installation_id
                )
        except DATABASE_AWAY as error:
            raise EnablementUnreadable(f"{merchant_id}: {type(error).__name__}") from error
        row = next((row for row in rows if row.installation_id == installation_id), None)
        return None if row is None or row.switch_mode == "stop" else self._enabled(row)

    async def _read(self, merchant_id: str) -> MerchantPlugins:
        async with self._database.read(merchant_id) as connection:
            rows = await repository.read_enabled(connection, merchant_id, now=self._clock.now())
            switched = await repository.switched_at(connection, merchant_id)
        if not rows:
            raise EnablementUnreadable(f"there is no merchant {merchant_id}")
        first = rows[0]
        plugins: list[Enabled] = []
        stopped: list[Enabled] = []
        draining = switched - {row.plugin_id for row in rows}
        for row in rows:
            enabled = self._enabled(row) if row.installation_id is not None else None
            if enabled is None:
                continue
            if row.switch_mode is not None:
                draining.add(row.plugin_id)
            is_stopped = row.switch_mode == "stop" or (row.release_state == "draft" and not self._may_run(row))
            (stopped if is_stopped else plugins).append(enabled)
        found = MerchantPlugins(
            merchant_id=merchant_id,
            mode=first.mode,
            locale=self._locale,
            plugins=tuple(plugins),
            policy=_policy(first),
            digest=digest_of(plugins),
            suspended=tuple(stopped),
            draining=frozenset(draining),
        )
        if plugins and self._prepare is not None:
            await self._prepare(found)
        return found

    def _may_run(self, draft: Record) -> bool:
        return self._is_development and draft.mode == "test"

    def _enabled(self, row: Record) -> Enabled | None:
        """None where the merchant took back what the plugin cannot run without."""
        known = self._known(row)
        granted = frozenset(row.scopes.split()) if row.scopes else frozenset()
        if not known.required <= granted:
            return None
        return Enabled(
            release=known.release,
            installation_id=row.installation_id,
            grant_id=row.grant_id,
            scopes=granted & known.release.manifest.scope_names,
            revision=row.config_revision,
            config=_config(row, known.schema),
            is_dry_run=row.is_dry_run,
        )

    def _known(self, row: Record) -> _Known:
        key = (row.release_id, row.release_row_version)
        known = self._releases.get(key)
        if known is None:
            manifest = manifest_of(row.manifest)
            release = Release(
                plugin_id=row.plugin_id,
                version=row.version,
                tier=self._allow_list.tier_of(manifest, row.tree_hash),
                manifest=manifest,
                tree_hash=row.tree_hash,
            )
            schema = NO_SCHEMA if row.config_schema is None else schema_of(row.config_schema)
            known = self._releases[key] = _Known(release, schema, required(manifest))
        self._releases.move_to_end(key)
        if len(self._releases) > RELEASES_MAX:
            self._releases.popitem(last=False)
        return known


def digest_of(plugins: Sequence[Enabled]) -> str:
    """What a cached caller is kept under: plugins and versions, in order."""
    names = "\n".join(f"{enabled.release.plugin_id} {enabled.release.version}" for enabled in plugins)
    return sha256(names.encode()).hexdigest()


def _policy(row: Record) -> HookPolicy:
    if row.check_deny_above is None:
        return HookPolicy()
    return HookPolicy(
        check_deny_above_minor=dict(row.check_deny_above), amend_discount_max_bp=row.amend_discount_max_bp
    )


def _config(row: Record, schema: ConfigSchema) -> bytes:
    stored = _NOTHING if row.config is None else msgspec.json.encode(row.config)
    try:
        return schema.complete(stored)
    except ValueError:  # a revision is checked before it is stored and before a version is used: somebody wrote by hand
        log.warning("plugins.config_unfit", installation=row.installation_id, revision=row.config_revision)
        return stored


class Stops:
    """Ends a plugin's work in this process as soon as somebody pulls its switch."""

    def __init__(self, feed: RevocationFeed) -> None:
        self._ends: list[Callable[..., Awaitable[None]]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        feed.listen("plugin_stop", self._heard)

    def add(self, runtime: Runtime) -> None:
        """Tell this runtime too."""
        self._ends.append(runtime.end)

    async def _heard(self, subject: str) -> None:
        """Begin to end it; the feed does not wait for workers to die."""
        plugin_id, version, merchant_id = split_stop(subject)
        for end in self._ends:
            task = asyncio.ensure_future(_quietly(end(plugin_id, version=version, merchant_id=merchant_id), plugin_id))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)


async def _quietly(ending: Awaitable[None], plugin_id: str) -> None:
    try:
        await ending
    except Exception:  # a runtime that cannot be told is gone, and its workers with it
        log.exception("plugins.end_failed", plugin=plugin_id)


def stop_subject(plugin_id: str, *, version: str | None, merchant_id: str | None) -> str:
    """What `plugin_stop` news name: which plugin, version and merchant; `*` for all of them."""
    return f"{plugin_id}/{version or EVERYBODY}/{merchant_id or EVERYBODY}"


def split_stop(subject: str) -> tuple[str, str | None, str | None]:
    """Plugin, version and merchant of such news."""
    plugin_id, version, merchant_id = subject.split("/")
    return plugin_id, None if version == EVERYBODY else version, None if merchant_id == EVERYBODY else merchant_id
