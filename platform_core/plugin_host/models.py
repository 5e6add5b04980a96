"""Tables of the plugins' life, and how each takes part in plans.

Lists inside a column are words with one space between; JSON is encoded text where a plan writes it. What a value may
be is checked by the database; migrations hold the constraints. A plugin's own version is SemVer in `version`; what
counts the changes of a row is `row_version`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final, Literal

from sqlalchemy import BigInteger, DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable

ReleaseState = Literal[
    "draft",
    "checked",
    "submitted",
    "in_review",
    "changes_asked",
    "rejected",
    "approved",
    "published",
    "suspended",
    "retired",
]
InstallationState = Literal["consented", "enabled", "disabled", "removed"]
"""As the merchant left it; whether it is suspended besides is said by the switches."""
SwitchMode = Literal["stop", "drain"]
"""`drain`: a provider's queries, notices and refunds go on, new payments do not."""
ReviewDecision = Literal["approve", "ask", "reject"]
DeliveryState = Literal["pending", "done", "dead", "dropped"]
_MOMENT = DateTime(timezone=True)


class Plugin(SQLModel, table=True):
    """A plugin by its id, the app that it is in identity, and its place in the operator's order."""

    __tablename__: ClassVar[str] = "plugin"

    id: str = Field(primary_key=True)
    app_id: str
    isv_id: str
    position: int
    row_version: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=_MOMENT)


class PluginRelease(SQLModel, table=True):
    """One version of a plugin. From `approved` on its contents never change."""

    __tablename__: ClassVar[str] = "plugin_release"

    id: str = Field(primary_key=True)
    plugin_id: str
    app_id: str
    isv_id: str
    version: str
    state: str
    manifest: Any = Field(sa_type=JSONB)
    config_schema: Any = Field(default=None, sa_type=JSONB, nullable=True)
    hooks: str
    tree_hash: str  # SHA-256 over its files, in hex; empty for remote plugins
    bundle_hash: str  # SHA-256 of what was submitted; empty for what came with the host
    is_from_host: bool  # of the host's own environment, found by its entry point
    change_log: str
    test_account: str
    checks: Any = Field(sa_type=JSONB)  # of the automated review
    difference: Any = Field(sa_type=JSONB)  # to the version published before
    round: int  # of review
    reviews_needed: int
    row_version: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=_MOMENT)
    published_at: datetime | None = Field(sa_type=_MOMENT)
    retires_at: datetime | None = Field(sa_type=_MOMENT)


class PluginReview(SQLModel, table=True):
    """One reviewer's decision on one round of a release. Never changed."""

    __tablename__: ClassVar[str] = "plugin_review"

    id: str = Field(primary_key=True)
    release_id: str
    app_id: str
    round: int
    reviewer: str
    decision: str
    rules: str  # ids of the rules that it cites
    note: str
    created_at: datetime = Field(sa_type=_MOMENT)


class PluginRollout(SQLModel, table=True):
    """A release on its way to the merchants who have the plugin, stage by stage."""

    __tablename__: ClassVar[str] = "plugin_rollout"

    id: str = Field(primary_key=True)
    plugin_id: str
    app_id: str
    release_id: str
    version: str
    state: str
    percent: int
    stage_since: datetime = Field(sa_type=_MOMENT)
    reason: str | None  # why it was halted
    row_version: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=_MOMENT)


class PluginInstallation(SQLModel, table=True):
    """A plugin at a merchant: one row for good, also when it is removed and installed again.

    `row_version` counts its changes and with them its events.
    """

    __tablename__: ClassVar[str] = "plugin_installation"

    id: str = Field(primary_key=True)
    merchant_id: str
    plugin_id: str
    app_id: str
    release_id: str
    version: str
    before_release_id: str | None  # what a rollback goes back to
    skipped_release_id: str | None  # rolled back from: no rollout brings it again
    rollout_id: str | None  # what brought the present release; None: the merchant itself
    state: str
    config_revision: int  # 0: none
    is_dry_run: bool
    last_change: str
    from_version: str | None
    row_version: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=_MOMENT)
    updated_at: datetime = Field(sa_type=_MOMENT)


class PluginConfiguration(SQLModel, table=True):
    """One revision of a merchant's configuration. Never changed."""

    __tablename__: ClassVar[str] = "plugin_configuration"

    id: str = Field(primary_key=True)
    merchant_id: str
    installation_id: str
    revision: int
    value: Any = Field(sa_type=JSONB)
    changed_by: str
    changed_at: datetime = Field(sa_type=_MOMENT)


class PluginSecret(SQLModel, table=True):
    """A merchant's secret for a plugin, sealed. `boxes`: base64, the newest first; a second one retires."""

    __tablename__: ClassVar[str] = "plugin_secret"

    id: str = Field(primary_key=True)
    merchant_id: str
    plugin_id: str
    name: str
    kind: str
    boxes: Any = Field(sa_type=JSONB)
    retires_at: datetime | None = Field(sa_type=_MOMENT)  # of the second box
    used_at: datetime | None = Field(sa_type=_MOMENT)  # at most an hour behind
    row_version: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=_MOMENT)
    rotated_at: datetime = Field(sa_type=_MOMENT)


class PluginSigningSecret(SQLModel, table=True):
    """What requests to a remote plugin are signed with, sealed; `id` is the plugin's.

    `boxes`: base64, the newest first; a second one signs too until `retires_at`.
    """

    __tablename__: ClassVar[str] = "plugin_signing_secret"

    id: str = Field(primary_key=True)
    app_id: str
    boxes: Any = Field(sa_type=JSONB)
    retires_at: datetime | None = Field(sa_type=_MOMENT)  # of the second box
    row_version: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=_MOMENT)
    rotated_at: datetime = Field(sa_type=_MOMENT)


class PluginPolicy(SQLModel, table=True):
    """What a merchant decided about hooks; `id` is the merchant's."""

    __tablename__: ClassVar[str] = "plugin_policy"

    id: str = Field(primary_key=True)
    check_deny_above: Any = Field(sa_type=JSONB)  # minor units by hook
    amend_discount_max_bp: int
    row_version: int = Field(sa_type=BigInteger)
    updated_at: datetime = Field(sa_type=_MOMENT)


class PluginSwitch(SQLModel, table=True):
    """A kill switch: of a plugin, of one version, at one merchant, or of both. One person pulls, two lift."""

    __tablename__: ClassVar[str] = "plugin_switch"

    id: str = Field(primary_key=True)
    plugin_id: str
    version: str | None
    merchant_id: str | None
    mode: str
    state: str
    rule: str
    reason: str
    pulled_by: str
    pulled_at: datetime = Field(sa_type=_MOMENT)
    lift_proposed_by: str | None
    lift_reason: str | None
    lifted_by: str | None
    lifted_at: datetime | None = Field(sa_type=_MOMENT)
    row_version: int = Field(sa_type=BigInteger)


class PluginDelivery(SQLModel, table=True):
    """One event on its way to one plugin of one merchant.

    `version` counts claims and outcomes: who claimed an older one has lost it.
    """

    __tablename__: ClassVar[str] = "plugin_delivery"

    id: str = Field(primary_key=True)
    merchant_id: str
    installation_id: str
    plugin_id: str
    event_id: str
    event_type: str
    hook: str
    object_id: str
    sequence: int = Field(sa_type=BigInteger)
    state: str
    tries: int
    due_at: datetime = Field(sa_type=_MOMENT)
    wake_at: datetime = Field(sa_type=_MOMENT)
    leased_until: datetime | None = Field(sa_type=_MOMENT)
    version: int = Field(sa_type=BigInteger)
    told_version: str | None  # of the plugin that was told last
    last_fault: str | None
    traceparent: str | None
    created_at: datetime = Field(sa_type=_MOMENT)
    finished_at: datetime | None = Field(sa_type=_MOMENT)


_V: Final = "row_version"
PLUGINS = DocumentTable(Plugin, tenant=None, version=_V, unique=(("id",),))
RELEASES = DocumentTable(PluginRelease, tenant=None, version=_V, unique=(("plugin_id", "version"),))
REVIEWS = DocumentTable(PluginReview, tenant=None, unique=(("release_id", "round", "reviewer"),))
# Inserted as running only, so this claims "the rollout of the plugin" and leaves ended ones alone.
ROLLOUTS = DocumentTable(PluginRollout, tenant=None, version=_V, unique=(("plugin_id", "state"),))
INSTALLATIONS = DocumentTable(PluginInstallation, version=_V, unique=(("merchant_id", "plugin_id"),))
CONFIGURATIONS = DocumentTable(PluginConfiguration, unique=(("installation_id", "revision"),))
SECRETS = DocumentTable(PluginSecret, version=_V, unique=(("merchant_id", "plugin_id", "name"),))
SIGNING_SECRETS = DocumentTable(PluginSigningSecret, tenant=None, version=_V, unique=(("id",),))
POLICIES = DocumentTable(PluginPolicy, tenant="id", version=_V, unique=(("id",),))
SWITCHES = DocumentTable(PluginSwitch, tenant=None, version=_V)
DELIVERIES = DocumentTable(PluginDelivery, version="version")


def secret_seal(merchant_id: str, plugin_id: str, name: str) -> str:
    """What binds a secret's box to its place, for `Vault.seal` and `Vault.open`."""
    return f"plugin_secret:{merchant_id}:{plugin_id}:{name}"


def signing_seal(plugin_id: str) -> str:
    """What binds a signing secret's box to its plugin, for `Vault.seal` and `Vault.open`."""
    return f"plugin_signing_secret:{plugin_id}"
