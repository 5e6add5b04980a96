"""Tables of parties, apps, grants and keys, and how each takes part in plans.

Lists inside a column (scopes, stores) are sorted words with one space between, as OAuth writes them. What a value may
be is checked by the database; migrations hold the constraints.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from sqlalchemy import BigInteger, DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable

Mode = Literal["test", "live"]
Standing = Literal["active", "warned", "suspended", "evicted"]
GrantKind = Literal["merchant", "owner", "plugin", "gateway"]
Profile = Literal["confidential", "public", "money"]
"""How much an OAuth client is trusted to keep and asked to prove; `money` has the shape of the FAPI 2.0 profile."""
_MOMENT = DateTime(timezone=True)


class Merchant(SQLModel, table=True):
    """Who trades. A merchant is its own tenant: `id` is the tenant's column."""

    __tablename__: ClassVar[str] = "merchant"

    id: str = Field(primary_key=True)
    name: str
    mode: str
    industry: str  # code of the catalogue of industries, `retail.convenience`
    time_zone: str  # IANA name; its business day
    verification: str
    standing: str
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)


class Store(SQLModel, table=True):
    """One place of a merchant where customers pay."""

    __tablename__: ClassVar[str] = "store"

    id: str = Field(primary_key=True)
    merchant_id: str
    name: str
    state: str
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)


class Isv(SQLModel, table=True):
    """An independent software vendor: publishes apps, is no tenant."""

    __tablename__: ClassVar[str] = "isv"

    id: str = Field(primary_key=True)
    name: str
    verification: str
    tier: str
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)


class App(SQLModel, table=True):
    """Software that acts on the platform; owned by an ISV or by a merchant, never by both."""

    __tablename__: ClassVar[str] = "app"

    id: str = Field(primary_key=True)
    isv_id: str | None
    merchant_id: str | None
    name: str
    state: str
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)


class AppClient(SQLModel, table=True):
    """An app's OAuth client in one mode; `id` is the `client_id`. `version` orders changes of its secrets."""

    __tablename__: ClassVar[str] = "app_client"

    id: str = Field(primary_key=True)
    app_id: str
    merchant_id: str | None  # the app's owner, where that is a merchant
    mode: str
    state: str
    api_version: str  # the date that the app was written against
    profile: str
    redirect_uris: str
    grant_types: str
    requires_par: bool
    may_introspect_any: bool  # a resource server of the operator
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)


class AppSecret(SQLModel, table=True):
    """A client's secret as keyed hash; at most two are live at a time."""

    __tablename__: ClassVar[str] = "app_secret"

    id: str = Field(primary_key=True)
    client_id: str
    merchant_id: str | None
    digest: bytes
    hint: str  # its last four characters, so that a person can tell two apart
    created_at: datetime = Field(sa_type=_MOMENT)
    expires_at: datetime | None = Field(sa_type=_MOMENT)
    last_used_at: datetime | None = Field(sa_type=_MOMENT)  # at most an hour behind


class AccessGrant(SQLModel, table=True):
    """What an app may do for a merchant. One active grant per app and merchant.

    `floor_version`: the last version that took something away; tokens of it and of later ones hold.
    """

    __tablename__: ClassVar[str] = "access_grant"

    id: str = Field(primary_key=True)
    app_id: str
    merchant_id: str
    kind: str
    state: str
    scopes: str
    stores: str | None  # None: all stores, also future ones
    details: Any = Field(default=None, sa_type=JSONB, nullable=True)  # of `rar`; encoded text where a plan writes it
    version: int
    floor_version: int
    given_by: str
    created_at: datetime = Field(sa_type=_MOMENT)
    expires_at: datetime | None = Field(sa_type=_MOMENT)
    revoked_at: datetime | None = Field(sa_type=_MOMENT)
    revoked_by: str | None
    revoked_why: str | None


class GrantVersion(SQLModel, table=True):
    """A grant as one decision left it, and how that differs from before. Never changed."""

    __tablename__: ClassVar[str] = "grant_version"

    id: str = Field(primary_key=True)
    grant_id: str
    merchant_id: str
    version: int
    kind: str  # created, changed, narrowed, revoked, expired
    scopes: str
    stores: str | None
    details: Any = Field(default=None, sa_type=JSONB, nullable=True)
    expires_at: datetime | None = Field(sa_type=_MOMENT)
    difference: Any = Field(default=None, sa_type=JSONB, nullable=True)
    changed_by: str
    changed_at: datetime = Field(sa_type=_MOMENT)


class GrantMeter(SQLModel, table=True):
    """The turnstile of a grant with limits; `id` is the grant's.

    Whoever opens a window and whoever changes the grant raises `version`, so that neither happens by what the other
    has made stale.
    """

    __tablename__: ClassVar[str] = "grant_meter"

    id: str = Field(primary_key=True)
    merchant_id: str
    version: int = Field(sa_type=BigInteger)


class LimitWindow(SQLModel, table=True):
    """A window of a metered limit that was opened; what is in it stands in the ledger, under `unit` and `bucket`."""

    __tablename__: ClassVar[str] = "limit_window"

    id: str = Field(primary_key=True)  # a hash of unit and bucket
    merchant_id: str
    grant_id: str
    detail_id: str
    unit: str
    bucket: str
    opened_at: datetime = Field(sa_type=_MOMENT)
    resets_at: datetime | None = Field(sa_type=_MOMENT)  # None: with the grant
    exhausted_at: datetime | None = Field(sa_type=_MOMENT)  # when that was told, once
    swept_at: datetime | None = Field(sa_type=_MOMENT)
    version: int


class AppScope(SQLModel, table=True):
    """What an app says of a scope that it asks for: why, in its own words, and whether it works without."""

    __tablename__: ClassVar[str] = "app_scope"

    id: str = Field(primary_key=True)  # of app and scope
    app_id: str
    merchant_id: str | None  # the app's owner, where that is a merchant
    scope: str
    is_optional: bool
    purpose_en: str | None
    purpose_zh: str | None


class SigningKey(SQLModel, table=True):
    """A key that signs access tokens; `id` is its RFC 7638 thumbprint, the tokens' `kid`."""

    __tablename__: ClassVar[str] = "signing_key"

    id: str = Field(primary_key=True)
    generation: int
    state: str  # next > current > retired; revoked in an emergency
    sealed: bytes  # the private JWK, AES-256-GCM with the id as associated data
    public_jwk: str
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    retired_at: datetime | None = Field(sa_type=_MOMENT)


class Revocation(SQLModel, table=True):
    """News for every process: what it cached about this subject is no longer true. The database numbers the rows."""

    __tablename__: ClassVar[str] = "revocation"

    id: str = Field(primary_key=True)
    merchant_id: str | None
    kind: str
    subject_id: str
    created_at: datetime = Field(sa_type=_MOMENT)
    until: datetime = Field(sa_type=_MOMENT)


MERCHANTS = DocumentTable(Merchant, tenant="id", version="version")
STORES = DocumentTable(Store, version="version")
ISVS = DocumentTable(Isv, tenant=None, version="version", unique=(("id",),))
APPS = DocumentTable(App, version="version")
APP_CLIENTS = DocumentTable(AppClient, version="version", unique=(("app_id", "mode"),))
APP_SECRETS = DocumentTable(AppSecret)
# Inserted as active only, so this claims "the active grant" and leaves revoked ones alone.
ACCESS_GRANTS = DocumentTable(AccessGrant, version="version", unique=(("app_id", "merchant_id", "state"),))
GRANT_VERSIONS = DocumentTable(GrantVersion, unique=(("grant_id", "version"),))
GRANT_METERS = DocumentTable(GrantMeter, version="version")
LIMIT_WINDOWS = DocumentTable(LimitWindow, version="version", unique=(("id",),))
APP_SCOPES = DocumentTable(AppScope, unique=(("app_id", "scope"),))
SIGNING_KEYS = DocumentTable(SigningKey, tenant=None, version="version", unique=(("generation",),))
REVOCATIONS = DocumentTable(Revocation)
