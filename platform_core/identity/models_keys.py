"""Tables of clients' public keys."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import DateTime
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable

_MOMENT = DateTime(timezone=True)


class ClientKey(SQLModel, table=True):
    """A public key that an app's developer uploaded. Removing it takes the row away; the event remains."""

    __tablename__: ClassVar[str] = "client_key"

    id: str = Field(primary_key=True)
    client_id: str
    merchant_id: str | None  # the app's owner, where that is a merchant
    thumbprint: str  # RFC 7638
    kid: str | None  # the developer's name for it
    kind: str
    public_jwk: str  # the key's own members, `kid` and `alg`
    added_by: str
    created_at: datetime = Field(sa_type=_MOMENT)


class ClientKeySet(SQLModel, table=True):
    """Where a client publishes its keys, instead of uploading them; `id` is the client's."""

    __tablename__: ClassVar[str] = "client_key_set"

    id: str = Field(primary_key=True)
    merchant_id: str | None
    uri: str
    set_by: str
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)


class ClientSigning(SQLModel, table=True):
    """A client whose requests count signed alone; `id` is the client's. The row is the rule."""

    __tablename__: ClassVar[str] = "client_signing"

    id: str = Field(primary_key=True)
    merchant_id: str | None
    set_by: str
    created_at: datetime = Field(sa_type=_MOMENT)


CLIENT_SIGNING = DocumentTable(ClientSigning, unique=(("id",),))
CLIENT_KEYS = DocumentTable(ClientKey, unique=(("client_id", "thumbprint"),))
CLIENT_KEY_SETS = DocumentTable(ClientKeySet, version="version", unique=(("id",),))
