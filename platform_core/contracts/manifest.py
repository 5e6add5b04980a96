"""The manifest `plugin.toml`: what a plugin is, which hooks it implements, and everything it may ever ask for.

The shape is plugins.md section 2. `Manifest` checks what one field or one file can tell; what needs the catalogue of
hooks and scopes is checked by `manifest_rules`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

PLUGIN_ID = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?){2,4}$"
SEMVER = r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]{1,40})?$"
HOST = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$"
HTTPS_URL = r"^https://[^\s/?#@]+(/[^\s]*)?$"

PluginId = Annotated[str, StringConstraints(pattern=PLUGIN_ID, max_length=120)]
"""Reverse DNS of a domain that the publisher proved, 3 to 5 lower-case labels; never reused."""
Version = Annotated[str, StringConstraints(pattern=SEMVER, max_length=64)]
"""SemVer 2.0.0 without build metadata; a published version never changes."""
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Part(BaseModel):
    """Part of a manifest: unknown keys are refused, and nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Words(Part):
    """A text in both languages, shown at consent."""

    zh: Annotated[str, StringConstraints(min_length=1, max_length=140, strip_whitespace=True)]
    en: Annotated[str, StringConstraints(min_length=1, max_length=140, strip_whitespace=True)]


class Name(Part):
    """A name in both languages."""

    zh: Annotated[str, StringConstraints(min_length=1, max_length=40, strip_whitespace=True)]
    en: Annotated[str, StringConstraints(min_length=1, max_length=40, strip_whitespace=True)]


class About(Part):
    """`[plugin]`: what it is and who answers for it."""

    id: PluginId
    version: Version
    name: Name
    summary: Words
    publisher: Annotated[str, StringConstraints(pattern=r"^isv_[0-9A-Za-z]{1,40}$")]
    license: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*$")]
    """SPDX expression."""
    support: Annotated[str, StringConstraints(pattern=r"^([^@\s]+@[^@\s]+\.[^@\s]+|https://\S+)$", max_length=200)]
    homepage: Annotated[str, StringConstraints(pattern=HTTPS_URL, max_length=200)] | None = None
    contract: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    """PEP 440 range of contract versions, ending below the next major."""
    tags: tuple[Slug, ...] = ()
    runtime: Literal["python", "remote"] = "python"
    has_native_code: bool = False


class HookUse(Part):
    """`[[hooks]]`: one hook that the plugin implements."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{2,60}$")]
    version: Annotated[int, Field(ge=1)] = 1
    fields: tuple[str, ...] = ()
    """Paths of the payload that are sent; everything else stays with the host."""
    deadline_ms: Annotated[int, Field(ge=5)] | None = None
    """Lower than the kind's."""


class ProviderUse(Part):
    """`[[providers]]`: an object that a `register_` hook hands over."""

    hook: Annotated[str, StringConstraints(pattern=r"^register_[a-z0-9_]{2,60}$")]
    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,39}$")]
    methods: Annotated[tuple[str, ...], Field(min_length=1)]


class ScopeUse(Part):
    """`[[scopes]]`: one scope, and what it is for in the merchant's words."""

    name: str
    purpose: Words
    is_required: bool = True


class Limit(Part):
    """The most of something that an authorisation allows, per time."""

    per: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    amount_minor: Annotated[int, Field(gt=0)] | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None
    quantity: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _measures_one_thing(self) -> Self:
        if (self.amount_minor is None) != (self.currency is None):
            raise ValueError("amount_minor and currency go together")
        if (self.amount_minor is None) == (self.quantity is None):
            raise ValueError("a limit measures an amount or a quantity, one of them")
        return self


class Authorization(Part):
    """`[[authorizations]]`: a metered permission (identity.md section 10)."""

    type: Slug
    limits: Annotated[tuple[Limit, ...], Field(min_length=1)]
    purpose: Words
    is_required: bool = True


class EgressUse(Part):
    """`[[egress]]`: one host outside that `ctx.egress.fetch` may ask, by https."""

    host: Annotated[str, StringConstraints(pattern=HOST, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)] = 443
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("POST",)
    purpose: Words
    response_kib_max: Annotated[int, Field(ge=1, le=4096)] = 256


class SecretUse(Part):
    """`[[secrets]]`: something the merchant enters once and the plugin never sees."""

    name: Slug
    kind: Literal["token", "mac_key", "signing_key", "aead_key", "public_key"]
    label: Words
    hosts: tuple[Annotated[str, StringConstraints(pattern=HOST, max_length=253)], ...] = ()
    """For a token: where it may go."""
    is_required: bool = True


class ConfigUse(Part):
    """`[config]`."""

    schema_: Annotated[str, Field(alias="schema"), StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,100}$")]
    """Path of the JSON Schema, beside the manifest."""


class RemoteUse(Part):
    """`[remote]`."""

    endpoint: Annotated[str, StringConstraints(pattern=HTTPS_URL, max_length=300)]


class StateQuota(Part):
    """`[state]`: the most that one merchant's store may hold."""

    bytes_max: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    keys_max: Annotated[int, Field(ge=1, le=100_000)] = 1000


class Resources(Part):
    """`[resources]`: of one worker, and how many there may be for a merchant."""

    memory_mb: Annotated[int, Field(ge=64, le=1024)] = 256
    workers_max: Annotated[int, Field(ge=1, le=4)] = 2
    worker_scope: Literal["per_merchant", "per_call"] = "per_merchant"


class PersonalData(Part):
    """`[[personal_data]]`: what it keeps of people."""

    category: Slug
    purpose: Words
    retention_days: Annotated[int, Field(ge=0, le=3650)]


class Manifest(Part):
    """A whole `plugin.toml`."""

    manifest: Literal[1]
    plugin: About
    hooks: Annotated[tuple[HookUse, ...], Field(min_length=1)]
    providers: tuple[ProviderUse, ...] = ()
    scopes: tuple[ScopeUse, ...] = ()
    authorizations: tuple[Authorization, ...] = ()
    egress: tuple[EgressUse, ...] = ()
    secrets: tuple[SecretUse, ...] = ()
    config: ConfigUse | None = None
    remote: RemoteUse | None = None
    state: StateQuota = StateQuota()
    resources: Resources = Resources()
    personal_data: tuple[PersonalData, ...] = ()

    @property
    def scope_names(self) -> frozenset[str]:
        """All scopes, required or not."""
        return frozenset(scope.name for scope in self.scopes)

    def hook(self, name: str) -> HookUse | None:
        """The plugin's use of a hook."""
        return next((use for use in self.hooks if use.name == name), None)
