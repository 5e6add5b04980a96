"""Tables of the gate: plugins' own stores, problems, open breakers, quarantined versions, counts of calls."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable

_MOMENT = DateTime(timezone=True)


class PluginState(SQLModel, table=True):
    """One value of one plugin's store for one merchant. `size` is what it counts for against the quota."""

    __tablename__: ClassVar[str] = "plugin_state"

    merchant_id: str = Field(primary_key=True)
    plugin_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    value: str
    size: int
    version: int = Field(sa_type=BigInteger)
    expires_at: datetime | None = Field(sa_type=_MOMENT)


class PluginStateUse(SQLModel, table=True):
    """What one plugin's store for one merchant holds in all."""

    __tablename__: ClassVar[str] = "plugin_state_use"

    merchant_id: str = Field(primary_key=True)
    plugin_id: str = Field(primary_key=True)
    bytes: int = Field(sa_type=BigInteger)
    keys: int


class PluginProblem(SQLModel, table=True):
    """Something wrong with a plugin that people should see. `slot` is of the one that repeats are counted on."""

    __tablename__: ClassVar[str] = "plugin_problem"

    id: str = Field(primary_key=True)
    plugin_id: str
    plugin_version: str
    merchant_id: str | None
    hook: str | None
    kind: str
    severity: str
    key: str
    slot: str | None
    count: int = Field(sa_type=BigInteger)
    message: dict[str, Any] = Field(sa_type=JSONB)  # {en, zh}
    hint: dict[str, Any] = Field(sa_type=JSONB)  # {en, zh}
    docs: str
    call_id: str | None
    state: str
    version: int = Field(sa_type=BigInteger)
    first_at: datetime = Field(sa_type=_MOMENT)
    last_at: datetime = Field(sa_type=_MOMENT)


class PluginBreaker(SQLModel, table=True):
    """When a breaker was opened last, by whichever process, for all. `id` is plugin and hook."""

    __tablename__: ClassVar[str] = "plugin_breaker"

    id: str = Field(primary_key=True)
    plugin_id: str
    hook: str
    plugin_version: str
    why: str
    opened_at: datetime = Field(sa_type=_MOMENT)
    open_until: datetime = Field(sa_type=_MOMENT)
    open_s: int
    version: int = Field(sa_type=BigInteger)


class PluginCallCount(SQLModel, table=True):
    """What one process saw of one version's calls in half a minute. `durations`: calls by step of `call_counts`."""

    __tablename__: ClassVar[str] = "plugin_call_count"

    id: str = Field(primary_key=True)
    plugin_id: str
    plugin_version: str
    calls: int = Field(sa_type=BigInteger)
    faults: int = Field(sa_type=BigInteger)
    durations: dict[str, int] = Field(sa_type=JSONB)
    counted_at: datetime = Field(sa_type=_MOMENT)


class PluginQuarantine(SQLModel, table=True):
    """A version that committed a security fault: it runs for nobody until two people have lifted it."""

    __tablename__: ClassVar[str] = "plugin_quarantine"

    id: str = Field(primary_key=True)
    plugin_id: str
    plugin_version: str
    slot: str | None
    fault: str
    detail: str
    merchant_id: str | None
    call_id: str | None
    began_at: datetime = Field(sa_type=_MOMENT)
    lift_asked_by: str | None
    lift_reason: str | None
    lifted_by: str | None
    lifted_at: datetime | None = Field(sa_type=_MOMENT)
    version: int = Field(sa_type=BigInteger)


PLUGIN_PROBLEMS = DocumentTable(PluginProblem, version="version", unique=(("slot",),))
PLUGIN_BREAKERS = DocumentTable(PluginBreaker, tenant=None, version="version", unique=(("id",),))
PLUGIN_CALL_COUNTS = DocumentTable(PluginCallCount, tenant=None, unique=(("id",),))
PLUGIN_QUARANTINES = DocumentTable(PluginQuarantine, tenant=None, version="version", unique=(("slot",),))
