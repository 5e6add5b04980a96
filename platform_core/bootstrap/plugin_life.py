"""The plugins' life over one process's parts, and whose code is trusted to run in it."""

from __future__ import annotations

from platform_core.bootstrap.bundles import InstalledBundles
from platform_core.bootstrap.loud import lowered_of
from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.grants import Grants
from platform_core.identity.parties import Parties
from platform_core.identity.revocation import RevocationFeed
from platform_core.kernel.clock import Clock
from platform_core.kernel.pagination import Cursors
from platform_core.kernel.settings import Settings
from platform_core.plugin_host.allow_list import AllowList
from platform_core.plugin_host.assembly import PluginLife, make_plugin_life
from platform_core.plugin_host.call_counts import CountedHealth
from platform_core.plugin_host.host_deps import HostDeps
from platform_core.plugin_host.host_releases import allow_list_of_host, own_points
from sandbox.runtime.levels import Level


def plugin_life(
    deps: IdentityDeps,
    feed: RevocationFeed,
    *,
    grants: Grants,
    apps: Apps,
    parties: Parties,
    cursors: Cursors,
    settings: Settings,
    clock: Clock,
) -> PluginLife:
    """Nothing is opened. `clock`: of business. Raises AllowListUnreadable."""
    host = HostDeps(
        clock=clock,
        real_clock=deps.clock,
        ids=deps.ids,
        database=deps.database,
        committer=deps.committer,
        vault=deps.vault,
        cursors=cursors,
        grants=grants,
        apps=apps,
        parties=parties,
        allow_list=allow_list(settings),
        lowered=lowered_of(settings),
    )
    bundles = InstalledBundles(settings.home / "plugins", required=Level[settings.sandbox_require])
    health = CountedHealth(database=deps.database, clock=clock, real_clock=deps.clock)
    return make_plugin_life(
        host,
        feed=feed,
        locale=settings.language,
        health=health,
        bundles=bundles,
        incoming=settings.home / "uploads",
        is_development=settings.is_development,
    )


def allow_list(settings: Settings) -> AllowList:
    """Who is trusted: the operator's file; without one, the plugins of this distribution as they are installed."""
    if settings.plugins_allow_file is not None:
        return AllowList.read(settings.plugins_allow_file)
    return allow_list_of_host(own_points())
