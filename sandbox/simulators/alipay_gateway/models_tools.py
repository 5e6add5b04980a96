"""Tables of the gateway's tools: keys, authorisations, notices, inboxes.

JSON columns hold encoded text. Moments are aware, UTC: by the sandbox's clock, but those of authorisations by the real
one, as all tokens.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Column, DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable

_MOMENT = DateTime(timezone=True)


def _json(*, nullable: bool = False) -> Any:  # SQLModel types Field() by its default
    return Field(default=None, sa_column=Column(JSONB, nullable=nullable))


class AlipayKey(SQLModel, table=True):
    """A key, never changed: of one role and app the newest generation counts, those before it are remembered.

    `role`: `app` (an app's own, public alone), `platform` (what the gateway signs with), `root` and `issuer` (of
    certificates). `app_id` is blank for what all apps share. `sealed` is the private key, where it is ours.
    """

    __tablename__: ClassVar[str] = "sim_alipay_key"

    id: str = Field(primary_key=True)
    role: str
    app_id: str
    generation: int
    public_key: str  # SPKI, one line of base64
    sealed: bytes | None
    certificate: str | None  # PEM
    certificate_sn: str | None
    created_at: datetime = Field(sa_type=_MOMENT)


class AlipayAppSetting(SQLModel, table=True):
    """What an app told the tools. `id` is its number; `gateway_url` gets notices of authorisations."""

    __tablename__: ClassVar[str] = "sim_alipay_app_setting"

    id: str = Field(primary_key=True)
    gateway_url: str | None
    inbox_answer: str
    version: int = Field(sa_type=BigInteger)


class AlipayAuthCode(SQLModel, table=True):
    """A code that is exchanged for a token once. `kind`: merchant (app_auth_code) or customer (auth_code)."""

    __tablename__: ClassVar[str] = "sim_alipay_auth_code"

    id: str = Field(primary_key=True)
    merchant_id: str | None
    kind: str
    app_id: str
    grant_id: str | None
    user_id: str
    scopes: str
    digest: bytes
    created_at: datetime = Field(sa_type=_MOMENT)
    expires_at: datetime = Field(sa_type=_MOMENT)


class AlipayAuthToken(SQLModel, table=True):
    """A token and the one that refreshes it, as keyed hashes.

    `source`: the code or the token before that it came of; it can come of each once. `state`: active, or replaced by a
    later one.
    """

    __tablename__: ClassVar[str] = "sim_alipay_auth_token"

    id: str = Field(primary_key=True)
    merchant_id: str | None
    kind: str
    source: str
    app_id: str
    grant_id: str | None
    user_id: str
    scopes: str
    access_digest: bytes
    refresh_digest: bytes
    state: str
    version: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=_MOMENT)
    expires_at: datetime = Field(sa_type=_MOMENT)
    refresh_expires_at: datetime = Field(sa_type=_MOMENT)


class AlipayNotice(SQLModel, table=True):
    """One event for one address. `fields`: what is sent, but for notify_time, sign_type and sign.

    `id` is the notify_id. `sequence`: the event's, by which a shop orders what it hears of a trade. `attempts`: the
    latest ones, each with time, status, the answer's first kilobyte or what went wrong.
    """

    __tablename__: ClassVar[str] = "sim_alipay_notice"

    id: str = Field(primary_key=True)
    merchant_id: str
    app_id: str
    event_id: str
    sequence: int = Field(sa_type=BigInteger)
    address: str
    sign_type: str
    fields: Any = _json()
    state: str
    tries: int
    attempts: Any = _json()
    version: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=_MOMENT)
    due_at: datetime | None = Field(sa_type=_MOMENT)  # of the next attempt
    ended_at: datetime | None = Field(sa_type=_MOMENT)


class AlipayInboxMessage(SQLModel, table=True):
    """Something that reached an app's inbox. `finding`: what the signature's doctor says of it."""

    __tablename__: ClassVar[str] = "sim_alipay_inbox_message"

    id: str = Field(primary_key=True)
    app_number: str
    path: str
    headers: Any = _json()
    body: bytes
    is_verified: bool
    finding: Any = _json(nullable=True)
    answer: str
    received_at: datetime = Field(sa_type=_MOMENT)


KEYS = DocumentTable(AlipayKey, tenant=None, unique=(("role", "app_id", "generation"),))
APP_SETTINGS = DocumentTable(AlipayAppSetting, tenant=None, version="version", unique=(("id",),))
AUTH_CODES = DocumentTable(AlipayAuthCode)
AUTH_TOKENS = DocumentTable(AlipayAuthToken, version="version", unique=(("source",),))
NOTICES = DocumentTable(AlipayNotice, version="version", unique=(("event_id", "address"),))
INBOX = DocumentTable(AlipayInboxMessage, tenant=None)
