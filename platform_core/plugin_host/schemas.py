"""What goes into and comes out of the plugins' life cycle."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from platform_core.contracts.manifest import PLUGIN_ID, SEMVER
from platform_core.contracts.rar import Detail
from platform_core.kernel.http.redaction import SECRET
from platform_core.plugin_host.installed import Tier
from platform_core.plugin_host.models import (
    DeliveryState,
    InstallationState,
    ReleaseState,
    ReviewDecision,
    SwitchMode,
)

PluginId = Annotated[str, StringConstraints(pattern=PLUGIN_ID, max_length=120), Field(examples=["example.acme.risk"])]
PluginVersion = Annotated[str, StringConstraints(pattern=SEMVER, max_length=64), Field(examples=["1.4.0"])]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
RuleRef = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,80}$"), Field(examples=["PLG-007"])]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Hook = Annotated[str, StringConstraints(pattern=r"^check_[a-z0-9_]{2,60}$"), Field(examples=["check_payment"])]
Amount = Annotated[int, Field(ge=0, le=10**13)]
DifferenceRead = Annotated[
    dict[str, dict[str, list[str]]],
    Field(description="By topic: what is `added` and what is `removed`."),
]


LoweredConfinement = Annotated[
    str | None,
    Field(
        description="Set where the operator lets this plugin run below isolation: the level that is enough, who "
        "answers for it, and why.",
        examples=["L1, Li Na: a laptop, for development"],
    ),
]


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class Words(_Read):
    """A text in both languages."""

    zh: str
    en: str


# ---- What merchants see of a plugin.


class ScopeAsked(_Read):
    """A scope that a plugin asks for; `purpose` is the publisher's word, `text` the platform's."""

    name: str
    text: Words
    purpose: Words
    is_required: bool
    is_personal: bool
    is_metered: bool
    needs_step_up: bool


class LimitAsked(_Read):
    """A metered permission that a plugin asks for; the merchant may lower it."""

    type: str
    text: Words
    purpose: Words
    is_required: bool
    detail: dict[str, Any] = Field(description="As an element of `authorization_details` (RFC 9396).")


class HostAsked(_Read):
    """A host outside that a plugin talks to."""

    host: str
    port: int
    methods: list[str]
    purpose: Words


class SecretAsked(_Read):
    """A secret that the merchant enters and the plugin never sees."""

    name: str
    kind: str
    label: Words
    hosts: list[str]
    is_required: bool


class PersonalDatum(_Read):
    """What a plugin keeps of people."""

    category: str
    purpose: Words
    retention_days: int


class PluginListed(_Read):
    """A plugin that can be installed, or is being retired."""

    id: str
    plugin_version: str = Field(description="The newest published one.")
    name: Words
    summary: Words
    publisher: str
    tags: list[str]
    state: ReleaseState
    published_at: datetime | None


class PluginDetailed(PluginListed):
    """Everything that the consent page says of a plugin."""

    tier: Tier
    license: str
    support: str
    homepage: str | None
    hooks: list[str]
    scopes: list[ScopeAsked]
    authorizations: list[LimitAsked]
    egress: list[HostAsked]
    secrets: list[SecretAsked]
    personal_data: list[PersonalDatum]
    config_schema: dict[str, Any] | None
    has_native_code: bool
    lowered_confinement: LoweredConfinement
    retires_at: datetime | None


# ---- Installations.


class InstallationCreate(_Command):
    """What a merchant agrees to. `scopes` left out: the required ones; `authorization_details` left out: as asked."""

    plugin_id: PluginId
    plugin_version: PluginVersion | None = Field(default=None, description="Left out: the newest published one.")
    scopes: frozenset[str] | None = Field(default=None, max_length=60)
    stores: frozenset[str] | None = Field(default=None, min_length=1, description="Left out: all, also future ones.")
    authorization_details: tuple[Detail, ...] | None = Field(default=None, max_length=20)
    expires_at: AwareDatetime | None = None


class InstallationUpdate(_Command):
    """Whether its answers count. In a dry run it is asked, counted and shown, and changes nothing."""

    is_dry_run: bool


class UpgradeAct(_Command):
    """Go to another version. One that asks for more names the digest of the difference that was shown."""

    plugin_version: PluginVersion | None = Field(default=None, description="Left out: the newest published one.")
    accepted_difference: Digest | None = None
    scopes: frozenset[str] | None = Field(default=None, max_length=60)
    authorization_details: tuple[Detail, ...] | None = Field(default=None, max_length=20)


class SuspensionRead(_Read):
    """Why a plugin is suspended, and how."""

    mode: SwitchMode
    rule: str
    reason: str
    since: datetime


class InstallationRead(_Read):
    """A plugin at a merchant. It runs when it is enabled, not suspended, and `missing` is empty."""

    id: str
    object: Literal["plugin_installation"]
    merchant_id: str
    plugin_id: str
    plugin_version: str
    state: InstallationState
    is_dry_run: bool
    config_revision: int = Field(description="0: nothing was configured.")
    last_change: str
    from_version: str | None = Field(description="Of the last change, where it was one of the version.")
    version: int
    created_at: datetime
    updated_at: datetime


class InstallationDetailed(InstallationRead):
    """An installation with what it is allowed and what it lacks."""

    grant_id: str | None
    scopes: list[str] = Field(description="Of those that it asks for, the granted ones.")
    authorization_details: list[dict[str, Any]]
    missing: list[str] = Field(description="Scopes and secrets that are required and not there.")
    suspension: SuspensionRead | None
    rolls_back_to: str | None
    newest_version: str | None = Field(description="The newest published one, where that is another.")
    lowered_confinement: LoweredConfinement


class UpgradeRead(_Read):
    """What another version asks for beside the present one. `digest` is what a merchant accepts by."""

    installation_id: str
    plugin_id: str
    from_version: str
    to_version: str
    is_wider: bool
    difference: DifferenceRead
    digest: str
    change_log: str
    is_config_valid: bool


class ConfigurationWrite(_Command):
    """A configuration as a whole."""

    config: dict[str, Any] = Field(description="By the plugin's schema.", examples=[{}])


class ConfigurationRead(_Read):
    """One revision of a configuration."""

    installation_id: str
    revision: int
    config: dict[str, Any]
    changed_by: str
    changed_at: datetime


class SecretWrite(_Command):
    """A secret's new value. The one before verifies, and opens, until the overlap is over."""

    value: Annotated[
        str, StringConstraints(min_length=1, max_length=16_384), Field(examples=["s3cr3t-0123456789"]), SECRET
    ]
    encoding: Literal["utf8", "base64"] = "utf8"
    overlap_s: Annotated[int, Field(ge=0, le=30 * 86_400)] = 7 * 86_400


class SecretRead(_Read):
    """A secret, without its value. `used_at` is at most an hour behind."""

    installation_id: str
    name: str
    kind: str
    is_set: bool
    is_required: bool
    rotated_at: datetime | None
    retires_at: datetime | None
    used_at: datetime | None


class HookPolicyWrite(_Command):
    """What the merchant decides about hooks."""

    check_deny_above: dict[Hook, Amount] = Field(
        default={}, max_length=20, description="By hook: from this amount on a failing plugin counts as deny."
    )
    amend_discount_max_bp: Annotated[int, Field(ge=0, le=10_000)] = 5_000


class HookPolicyRead(_Read):
    """The merchant's decisions about hooks; amounts in minor units."""

    check_deny_above: dict[str, int]
    amend_discount_max_bp: int
    version: int


class PluginDeliveryRead(_Read):
    """One event on its way to one plugin."""

    id: str
    installation_id: str
    plugin_id: str
    event_id: str
    event_type: str
    hook: str
    object_id: str
    sequence: int
    state: DeliveryState
    tries: int
    due_at: datetime | None
    told_version: str | None
    last_fault: str | None
    created_at: datetime
    finished_at: datetime | None


# ---- Releases, for publishers and reviewers.


class CheckRead(_Read):
    """What one rule of the automated review found."""

    rule: str
    outcome: Literal["pass", "fail", "needs_human"]
    message: str


class ReviewRead(_Read):
    """One reviewer's decision."""

    decision: ReviewDecision
    rules: list[str]
    note: str
    round: int
    created_at: datetime


class ReleaseRead(_Read):
    """One version of a plugin on its way to merchants."""

    id: str
    object: Literal["plugin_release"]
    plugin_id: str
    plugin_version: str
    state: ReleaseState
    tier: Tier
    tree_hash: str
    bundle_hash: str
    change_log: str
    reviews_needed: int
    round: int
    version: int
    created_at: datetime
    published_at: datetime | None
    retires_at: datetime | None


class ReleaseDetailed(ReleaseRead):
    """A release with what its review found."""

    difference: DifferenceRead
    checks: list[CheckRead]
    reviews: list[ReviewRead]


class RemoteSubmit(_Command):
    """A version of a plugin that runs on its publisher's own server: its manifest is all that there is of it."""

    manifest: Annotated[
        str,
        StringConstraints(min_length=1, max_length=128 * 1024),
        Field(description='The text of plugin.toml, with `runtime = "remote"`.'),
    ]
    config_schema: Annotated[
        str | None,
        StringConstraints(max_length=32 * 1024),
        Field(description="The text of the file that [config] names, where there is one."),
    ] = None
    change_log: Annotated[str, StringConstraints(max_length=4000)] = ""
    test_account: Annotated[str, StringConstraints(max_length=2000)] = ""


class SigningSecretRotate(_Command):
    """A new signing secret. Requests carry the signature of the one before too until the overlap is over."""

    overlap_s: Annotated[int, Field(ge=0, le=30 * 86_400)] = 86_400


class SigningSecretRead(_Read):
    """What requests to a remote plugin are signed with (Standard Webhooks); the secret is shown once, when it is made.

    `retires_at`: until then the secret before signs as well.
    """

    plugin_id: str
    secret: Annotated[str | None, SECRET]
    version: int
    rotated_at: datetime | None
    retires_at: datetime | None


class ReviewWrite(_Command):
    """A reviewer's decision. `rules`: ids of what it rests on."""

    decision: ReviewDecision
    rules: tuple[RuleRef, ...] = Field(default=(), max_length=40)
    note: Reason


class RetireWrite(_Command):
    """When a version ends: at least 90 days ahead."""

    retires_at: AwareDatetime


class SwitchPull(_Command):
    """Stop a plugin: all of it, one version, at one merchant, or one version at one merchant."""

    plugin_id: PluginId
    plugin_version: PluginVersion | None = None
    merchant_id: Annotated[str, StringConstraints(max_length=40)] | None = None
    mode: SwitchMode = "stop"
    rule: RuleRef
    reason: Reason


class SwitchLift(_Command):
    """Why it may go on. The first person proposes, the second one lifts."""

    reason: Reason


class SwitchRead(_Read):
    """A kill switch."""

    id: str
    object: Literal["plugin_switch"]
    plugin_id: str
    plugin_version: str | None
    merchant_id: str | None
    mode: SwitchMode
    state: Literal["pulled", "lifted"]
    rule: str
    reason: str
    pulled_by: str
    pulled_at: datetime
    lift_proposed_by: str | None
    lift_reason: str | None
    lifted_by: str | None
    lifted_at: datetime | None
    version: int


class RolloutRead(_Read):
    """A release on its way to the merchants who have the plugin."""

    id: str
    plugin_id: str
    plugin_version: str
    state: Literal["running", "done", "halted", "rolled_back"]
    percent: int
    stage_since: datetime
    reason: str | None
    version: int
