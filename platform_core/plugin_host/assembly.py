"""The plugins' life, put together over one process's parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from platform_core.identity.revocation import RevocationFeed
from platform_core.kernel.commit import Plan
from platform_core.kernel.commit.due import DueWork
from platform_core.plugin_host.bundle_uploads import BundleUploads
from platform_core.plugin_host.canary import Health
from platform_core.plugin_host.configuration import Configurations, HookPolicies
from platform_core.plugin_host.development import DEV_SESSION, Development
from platform_core.plugin_host.enablement import FeedEnablement, Stops
from platform_core.plugin_host.host_deps import Bundles, HostDeps
from platform_core.plugin_host.host_releases import HostReleases
from platform_core.plugin_host.installations import Installations
from platform_core.plugin_host.releases import Releases
from platform_core.plugin_host.retirement import RETIREMENT, Retirement
from platform_core.plugin_host.rollouts import ROLLOUT, NoHealth, Rollouts
from platform_core.plugin_host.secret_admin import SecretAdmin
from platform_core.plugin_host.signing_secrets import SigningSecrets
from platform_core.plugin_host.switches import Switches
from platform_core.plugin_host.upgrades import Upgrades


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginLife:
    """The services of one process."""

    deps: HostDeps
    releases: Releases
    host_releases: HostReleases
    installations: Installations
    upgrades: Upgrades
    configurations: Configurations
    policies: HookPolicies
    secrets: SecretAdmin
    signing_secrets: SigningSecrets
    switches: Switches
    rollouts: Rollouts
    retirement: Retirement
    development: Development
    enablement: FeedEnablement
    stops: Stops
    bundles: Bundles | None
    uploads: BundleUploads | None

    def due_handlers(self) -> Mapping[str, Callable[[DueWork], Awaitable[Plan | None]]]:
        """Who does which kind of due work."""
        return {ROLLOUT: self.rollouts.step, RETIREMENT: self.retirement.step, DEV_SESSION: self.development.step}


def make_plugin_life(
    deps: HostDeps,
    *,
    feed: RevocationFeed,
    locale: str,
    health: Health | None = None,
    bundles: Bundles | None = None,
    incoming: Path | None = None,
    is_development: bool = False,
) -> PluginLife:
    """Everything over `deps`; nothing is opened. Without `bundles` nothing can be submitted in this process, without
    `incoming`, a folder for what is on its way, nothing over REST. `is_development`: drafts are asked.
    """
    installations = Installations(deps)
    upgrades = Upgrades(deps, installations)
    releases = Releases(deps)
    enablement = FeedEnablement(
        database=deps.database,
        feed=feed,
        feed_clock=deps.real_clock,
        allow_list=deps.allow_list,
        locale=locale,
        is_development=is_development,
    )
    return PluginLife(
        deps=deps,
        releases=releases,
        host_releases=HostReleases(deps, releases),
        installations=installations,
        upgrades=upgrades,
        configurations=Configurations(deps, installations),
        policies=HookPolicies(deps),
        secrets=SecretAdmin(deps, installations),
        signing_secrets=SigningSecrets(deps),
        switches=Switches(deps),
        rollouts=Rollouts(deps, upgrades, health or NoHealth()),
        retirement=Retirement(deps),
        development=Development(deps, installations, releases),
        enablement=enablement,
        stops=Stops(feed),
        bundles=bundles,
        uploads=None if bundles is None or incoming is None else BundleUploads(releases, bundles, incoming),
    )
