"""Tables of developing: sessions, traces, and the calls that were seen."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable

_MOMENT = DateTime(timezone=True)


class PluginDevSession(SQLModel, table=True):
    """Somebody develops a plugin at a merchant. `before`: what comes back when it ends; `alive_until`: or else then."""

    __tablename__: ClassVar[str] = "plugin_dev_session"

    id: str = Field(primary_key=True)
    merchant_id: str
    plugin_id: str
    installation_id: str
    before: Any = Field(sa_type=JSONB)
    began_by: str
    began_at: datetime = Field(sa_type=_MOMENT)
    alive_until: datetime = Field(sa_type=_MOMENT)
    version: int = Field(sa_type=BigInteger)


class PluginTrace(SQLModel, table=True):
    """Somebody watches a merchant's hooks until a moment; None: every plugin, every hook."""

    __tablename__: ClassVar[str] = "plugin_trace"

    id: str = Field(primary_key=True)
    merchant_id: str
    plugin_id: str | None
    hook: str | None
    began_by: str
    began_at: datetime = Field(sa_type=_MOMENT)
    until: datetime = Field(sa_type=_MOMENT)
    version: int = Field(sa_type=BigInteger)


class PluginTraced(SQLModel, table=True):
    """What a process saw while somebody watched. Never changed; the database numbers the rows (`position`).

    `kind`: `here`, the process heard of the trace; `ready`, it can ask a version; `heard`, it knows of a change of
    what the merchant has enabled; `call`, it asked a plugin. `payload`
    is JSON without what is personal.
    """

    __tablename__: ClassVar[str] = "plugin_traced"

    id: str = Field(primary_key=True)
    merchant_id: str
    kind: str
    process: str
    is_development: bool
    seen_at: datetime = Field(sa_type=_MOMENT)
    plugin_id: str
    plugin_version: str
    tier: str
    hook: str
    call_id: str
    object_id: str
    store_id: str | None
    idempotency_key: str
    installation_id: str
    config_revision: int
    fields: str
    withheld: str
    payload: str | None
    outcome: str
    detail: str
    answer: str | None
    result: str
    took_us: int = Field(sa_type=BigInteger)
    deadline_ms: int
    is_used: bool


DEV_SESSIONS = DocumentTable(PluginDevSession, version="version", unique=(("merchant_id", "plugin_id"),))
TRACES = DocumentTable(PluginTrace, version="version")
TRACED = DocumentTable(PluginTraced)
