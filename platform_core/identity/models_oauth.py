"""Tables of the authorization server: what was pushed, codes, token families, refresh tokens, and what was used once.

Secrets are kept as keyed hashes (`Vault.digest`, bound to the row). Only the authorization server's role reads here.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import DateTime
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable

_MOMENT = DateTime(timezone=True)


class PushedRequest(SQLModel, table=True):
    """An authorization request that a client pushed (RFC 9126); never changed, consumed by a `UsedOnce` row."""

    __tablename__: ClassVar[str] = "oauth_pushed_request"

    id: str = Field(primary_key=True)
    merchant_id: str | None  # the owner of a merchant's own app
    client_id: str
    digest: bytes
    parameters: str  # JSON object of the form's parameters
    created_at: datetime = Field(sa_type=_MOMENT)
    expires_at: datetime = Field(sa_type=_MOMENT)


class AuthorizationCode(SQLModel, table=True):
    """A code, bound to everything that it was given for. `used_at` is set by the one exchange, or by a failed one."""

    __tablename__: ClassVar[str] = "oauth_code"

    id: str = Field(primary_key=True)
    merchant_id: str
    client_id: str
    digest: bytes
    family_id: str  # the family that its exchange makes
    grant_id: str
    person_id: str
    redirect_uri: str
    code_challenge: str  # S256 (RFC 7636)
    scopes: str
    details: str  # JSON list of `authorization_details`
    resource: str
    nonce: str | None
    dpop_jkt: str | None
    acr: str | None
    auth_time: int | None  # seconds since the epoch, UTC
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    expires_at: datetime = Field(sa_type=_MOMENT)
    used_at: datetime | None = Field(sa_type=_MOMENT)


class TokenFamily(SQLModel, table=True):
    """All tokens born of one code or device code; revoking it ends them. Access tokens name it as `fam`."""

    __tablename__: ClassVar[str] = "oauth_token_family"

    id: str = Field(primary_key=True)
    merchant_id: str
    client_id: str
    grant_id: str
    person_id: str
    scopes: str
    details: str
    resource: str
    stores: str | None  # narrower than the grant's, for a device that stands in one
    nonce: str | None
    dpop_jkt: str | None  # the key that refresh tokens of a public client are bound to
    acr: str | None
    auth_time: int | None
    state: str
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    expires_at: datetime = Field(sa_type=_MOMENT)  # no refresh token of it lives longer
    revoked_at: datetime | None = Field(sa_type=_MOMENT)
    revoked_why: str | None


class RefreshToken(SQLModel, table=True):
    """One refresh token. A public client's is used once and then names its successor."""

    __tablename__: ClassVar[str] = "oauth_refresh_token"

    id: str = Field(primary_key=True)
    merchant_id: str
    family_id: str
    digest: bytes
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    expires_at: datetime = Field(sa_type=_MOMENT)
    used_at: datetime | None = Field(sa_type=_MOMENT)
    successor_id: str | None


class UsedOnce(SQLModel, table=True):
    """The mark of something that may be used once and whose own row belongs to another tenant or to none."""

    __tablename__: ClassVar[str] = "oauth_used_once"

    id: str = Field(primary_key=True)
    merchant_id: str | None
    until: datetime = Field(sa_type=_MOMENT)


PUSHED_REQUESTS = DocumentTable(PushedRequest)
CODES = DocumentTable(AuthorizationCode, version="version")
FAMILIES = DocumentTable(TokenFamily, version="version")
REFRESH_TOKENS = DocumentTable(RefreshToken, version="version")
USED_ONCE = DocumentTable(UsedOnce, unique=(("id",),))
