"""What goes into and comes out of identity's services and routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from platform_core.contracts.rar import Detail
from platform_core.identity.models import GrantKind, Mode, Profile, Standing
from platform_core.identity.redirects import check_redirect_uri

Verification = Literal["unverified", "pending", "verified", "rejected"]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Industry = Annotated[str, StringConstraints(pattern=r"^[a-z_]+([.][a-z_]+)*$", max_length=60)]
GrantType = Literal[
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
]
"""What a client may be allowed to use; which of them the server offers is in its metadata."""
ApiVersion = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]


def _known_time_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no IANA time zone")
    return name


TimeZone = Annotated[str, AfterValidator(_known_time_zone)]
RedirectUri = Annotated[str, AfterValidator(check_redirect_uri)]


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MerchantCreate(_Command):
    """A new merchant."""

    name: Name
    mode: Mode
    industry: Industry
    time_zone: TimeZone = "Asia/Shanghai"
    verification: Verification = "unverified"


class StoreCreate(_Command):
    """A new store of a merchant."""

    merchant_id: str
    name: Name


class IsvCreate(_Command):
    """A new independent software vendor."""

    name: Name
    verification: Verification = "unverified"


class AppCreate(_Command):
    """A new app with a client and a first secret in one mode; owned by exactly one of the two."""

    name: Name
    mode: Mode
    api_version: ApiVersion
    isv_id: str | None = None
    merchant_id: str | None = None


class ClientConfigure(_Command):
    """How a client may use the authorization server. What stands here replaces what stood before.

    `redirect_uris` are compared as strings (RFC 9700 section 2.1): https, or http on a loopback address where the
    client is a public or a test one. `requires_par`: it must push its authorization requests (RFC 9126).
    """

    profile: Profile
    redirect_uris: tuple[RedirectUri, ...] = Field(default=(), max_length=20)
    grant_types: frozenset[GrantType] = Field(min_length=1)
    requires_par: bool = False


class GrantCreate(_Command):
    """What a merchant lets an app do. `stores` None means all of them, also future ones."""

    app_id: str
    merchant_id: str
    mode: Mode
    scopes: frozenset[str] = Field(min_length=1)
    stores: frozenset[str] | None = Field(default=None, min_length=1)
    details: tuple[Detail, ...] = ()
    given_by: str
    expires_at: datetime | None = None


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class MerchantRead(_Answer):
    """A merchant."""

    id: str
    name: str
    mode: Mode
    industry: str
    time_zone: str
    verification: Verification
    standing: Standing
    version: int
    created_at: datetime


class StoreRead(_Answer):
    """A store."""

    id: str
    merchant_id: str
    name: str
    state: Literal["open", "closed"]
    version: int
    created_at: datetime


class IsvRead(_Answer):
    """An independent software vendor."""

    id: str
    name: str
    verification: Verification
    tier: str
    version: int
    created_at: datetime


class ClientRead(_Answer):
    """An app's client, without its secrets."""

    id: str
    app_id: str
    mode: Mode
    state: Literal["active", "disabled"]
    api_version: str
    profile: Profile
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    requires_par: bool
    may_introspect_any: bool
    version: int
    created_at: datetime


class SecretShown(_Answer):
    """A secret, shown this once: only its keyed hash is kept."""

    id: str
    client_id: str
    secret: str = Field(repr=False)
    created_at: datetime


class AppCreated(_Answer):
    """A new app with its client and the secret, shown this once."""

    id: str
    name: str
    isv_id: str | None
    merchant_id: str | None
    client: ClientRead
    secret: SecretShown


class GrantRead(_Answer):
    """A grant."""

    id: str
    app_id: str
    merchant_id: str
    kind: GrantKind
    state: Literal["active", "revoked"]
    scopes: list[str]
    stores: list[str] | None
    authorization_details: list[dict[str, Any]] = Field(
        description="What limits the grant's metered scopes (RFC 9396), each with the id that its metering hangs on."
    )
    version: int
    given_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    revoked_why: str | None


class GrantNarrow(_Command):
    """A grant with less: what is left out stays as it is. Nothing can be widened here; that needs a new consent."""

    scopes: frozenset[str] | None = Field(default=None, min_length=1, max_length=200)
    stores: frozenset[str] | None = Field(default=None, min_length=1, max_length=200)
    authorization_details: tuple[Detail, ...] | None = Field(default=None, max_length=20)
    expires_at: AwareDatetime | None = None


class GrantChange(_Answer):
    """One version of a grant: who made it, and how it differs from the one before."""

    version: int
    kind: Literal["created", "changed", "narrowed", "revoked", "expired"]
    difference: dict[str, Any]
    changed_by: str
    changed_at: datetime


class LimitRead(_Answer):
    """Where a limit stands in its present window. Amounts are minor units of `currency`."""

    detail_id: str
    type: str
    per: str
    measure: str
    currency: str | None
    limit: int
    left: int
    resets_at: datetime | None


class GrantDetailedRead(GrantRead):
    """A grant with what is left of its limits, and how it came to be as it is."""

    limits: list[LimitRead]
    history: list[GrantChange]
