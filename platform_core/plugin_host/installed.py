"""Releases, and what a merchant has enabled: the facts that dispatch and gate work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from platform_core.contracts.manifest import Manifest
from platform_core.contracts.plugin import Mode

Tier = Literal["trusted", "confined", "remote"]
"""Where a release runs; the operator decides (plugins.md section 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One published version of a plugin. It never changes."""

    plugin_id: str
    version: str
    tier: Tier
    manifest: Manifest = field(repr=False)
    tree_hash: str = ""
    """SHA-256 over its files, in hex; empty for remote plugins."""

    @property
    def key(self) -> tuple[str, str]:
        """Plugin and version."""
        return self.plugin_id, self.version


@dataclass(frozen=True, slots=True, kw_only=True)
class Enabled:
    """One plugin at one merchant."""

    release: Release
    installation_id: str
    grant_id: str | None
    """The OAuth grant that the merchant gave it; None for a plugin of the operator's own that needs no scope."""
    scopes: frozenset[str]
    """Those of the manifest that the merchant granted."""
    revision: int
    """Of the configuration."""
    config: bytes
    """JSON object, valid by the release's schema."""
    is_dry_run: bool = False
    """Asked, counted and shown, but its answers change nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookPolicy:
    """What a merchant decided about hooks."""

    check_deny_above_minor: Mapping[str, int] = field(default_factory=dict)
    """By `check_` hook: from this amount on a failing plugin counts as deny instead of review."""
    amend_discount_max_bp: int = 5_000
    """The most that all discounts of plugins together may take off a basket, basis points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MerchantPlugins:
    """Everything that is enabled for one merchant, in the operator's order: total, ties by plugin id."""

    merchant_id: str
    mode: Mode
    locale: str
    plugins: tuple[Enabled, ...]
    policy: HookPolicy
    digest: str
    """Of plugins and versions, in order: what a cached caller is kept under."""
    suspended: tuple[Enabled, ...] = ()
    """Enabled, and stopped by a kill switch: never called; `check_` hooks count each as its failure policy says."""
    draining: frozenset[str] = frozenset()
    """Ids of plugins whose providers get no new payments, be they among `plugins` or of the operator's own, which no
    merchant installs. Queries, notices and refunds go on where the plugin itself goes on."""


class EnablementUnreadable(Exception):
    """Nobody can say what is enabled: `check_` hooks read this as review, the other kinds as their failure policy."""


class Enablement(Protocol):
    """Where dispatch learns who is to be asked."""

    async def of(self, merchant_id: str) -> MerchantPlugins:
        """What is enabled now; news of a change arrives within a second. Raises EnablementUnreadable."""
        ...
