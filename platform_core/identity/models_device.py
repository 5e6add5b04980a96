"""Tables of the device grant (RFC 8628): what a device asked for, and what a person decided about it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import DateTime
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable

_MOMENT = DateTime(timezone=True)


class DeviceCode(SQLModel, table=True):
    """A device's request; changed only by its polling. Both codes are kept as keyed hashes."""

    __tablename__: ClassVar[str] = "oauth_device_code"

    id: str = Field(primary_key=True)
    merchant_id: str | None  # the owner of a merchant's own app
    client_id: str
    app_id: str
    mode: str
    digest: bytes
    user_code_digest: bytes
    scopes: str
    details: str  # JSON list of `authorization_details`
    resource: str
    interval_s: int
    polled_at: datetime | None = Field(sa_type=_MOMENT)
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    expires_at: datetime = Field(sa_type=_MOMENT)


class DeviceDecision(SQLModel, table=True):
    """The one decision on a device code, whose `id` it bears; the merchant's, where the code may be nobody's."""

    __tablename__: ClassVar[str] = "oauth_device_decision"

    id: str = Field(primary_key=True)
    merchant_id: str
    client_id: str
    person_id: str
    outcome: str  # approved or declined
    grant_id: str | None
    family_id: str | None  # the family that its exchange makes
    stores: str | None  # the store that the device stands in
    scopes: str
    details: str
    acr: str
    auth_time: int  # seconds since the epoch, UTC
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    used_at: datetime | None = Field(sa_type=_MOMENT)


DEVICE_CODES = DocumentTable(DeviceCode, version="version", unique=(("user_code_digest",),))
DEVICE_DECISIONS = DocumentTable(DeviceDecision, version="version", unique=(("id",),))
