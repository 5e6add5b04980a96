"""What the services of the plugins' life are handed by bootstrap, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import msgspec
from pydantic import BaseModel

from platform_core.contracts.manifest import Manifest
from platform_core.identity.apps import Apps
from platform_core.identity.grants import Grants
from platform_core.identity.parties import Parties
from platform_core.identity.revocation import news
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer, Insert, Plan, PlanRefused, Replayed
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from platform_core.kernel.pagination import Cursors
from platform_core.plugin_host.allow_list import AllowList
from platform_core.plugin_host.errors import CHANGED_MEANWHILE

EVERYBODY: Final = "*"
"""The subject of `plugins` news that concern every merchant."""
Extra = Callable[[BaseModel, str], Iterable[object]]
"""Further parts for a plan, out of the answer and the id of what it is about."""
Outcome = Literal["pass", "fail", "needs_human"]


def nothing_else(_: BaseModel, __: str) -> Iterable[object]:
    """No further part."""
    return ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule of the automated review (`REV-nnn`) found."""

    rule: str
    outcome: Outcome
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A bundle whose files are in place. Nothing of it was executed."""

    manifest: str
    """The text of plugin.toml."""
    config_schema: bytes | None
    tree_hash: str
    bundle_hash: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """The operator accepts less confinement than isolation, and somebody answers for it."""

    required: str
    """The level that is enough, L0 or L1."""
    accepted_by: str
    reason: str

    @property
    def words(self) -> str:
        """Who, and why."""
        return f"{self.accepted_by}: {self.reason}"


class BundleRefused(Exception):
    """A bundle that cannot be unpacked, and why; English, for its publisher."""


class Bundles(Protocol):
    """Where bundles are unpacked and kept, one folder for each plugin and version."""

    async def unpack(self, bundle: Path) -> Unpacked:
        """Check and unpack. The same bundle again gives the same answer. Raises BundleRefused, and leaves nothing."""
        ...

    async def place(self, bundle: Path, *findings: Finding) -> Unpacked:
        """As `unpack`, of what is tried elsewhere: drafts in their developer's session. `findings`: how that went."""
        ...

    async def look(self, bundle: Path) -> Unpacked:
        """What `unpack` would answer, wherever the version stands; leaves nothing. Raises BundleRefused."""
        ...

    async def discard(self, plugin_id: str, version: str) -> None:
        """Take away what was unpacked of a version that nobody runs; nothing where there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDeps:
    """Time, ids, reads, the one writer, and what identity knows.

    `clock` is the clock of business, which a test may move; news and grants live by `real_clock`.
    """

    clock: Clock
    real_clock: Clock
    ids: Ids
    database: Database
    committer: Committer
    vault: Vault
    cursors: Cursors
    grants: Grants
    apps: Apps
    parties: Parties
    allow_list: AllowList
    lowered: Lowered | None = None
    """None: confined plugins run isolated or not at all."""

    def lowered_for(self, manifest: Manifest, tree_hash: str) -> str | None:
        """The mark of a confined plugin where less than isolation is accepted: who answers for it, and why."""
        if self.lowered is None or self.allow_list.tier_of(manifest, tree_hash) != "confined":
            return None
        return f"{self.lowered.required}, {self.lowered.words}"

    def news(
        self, subject_id: str, *, merchant_id: str | None, kind: Literal["plugins", "plugin_stop", "plugin_trace"]
    ) -> Insert:
        """The part that tells every process. `merchant_id`: the plan's."""
        now = self.real_clock.now()
        return news(self.ids, kind=kind, subject_id=subject_id, merchant_id=merchant_id, now=now)

    async def commit(self, plan: Plan, *, subject: str) -> None:
        """Commit; a refusal that is no replay reads as 409 `plugins.changed_meanwhile`."""
        try:
            await self.committer.commit(plan)
        except PlanRefused as refused:
            if isinstance(refused.refusal, Replayed):
                raise
            raise CHANGED_MEANWHILE.error({"id": subject}, retry_after_s=1) from refused


def encoded(value: object) -> str:
    """JSON as plans write it."""
    return msgspec.json.encode(value).decode()


def manifest_of(document: Any) -> Manifest:  # Any: JSON
    """A manifest as a release's row keeps it."""
    return Manifest.model_validate_json(msgspec.json.encode(document))
