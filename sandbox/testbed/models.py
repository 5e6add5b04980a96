"""Tables of the testbed, and how each takes part in plans. They are the sandbox's own: no tenant's."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final

from sqlalchemy import BigInteger, DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable

_MOMENT = DateTime(timezone=True)


class SandboxClockRow(SQLModel, table=True):
    """The one row of the clock. `version` counts its changes."""

    __tablename__: ClassVar[str] = "sandbox_clock"

    id: str = Field(primary_key=True)
    ahead_us: int = Field(sa_type=BigInteger)  # business time less real time, microseconds
    stands_at: datetime | None = Field(sa_type=_MOMENT)  # business time, while it stands still
    target_at: datetime | None = Field(sa_type=_MOMENT)  # where a drain under way goes
    version: int = Field(sa_type=BigInteger)
    changed_at: datetime = Field(sa_type=_MOMENT)  # real time


CLOCKS: Final = DocumentTable(SandboxClockRow, tenant=None, version="version")


class SandboxFault(SQLModel, table=True):
    """What is to go wrong for one app, so many times. `version` counts its uses."""

    __tablename__: ClassVar[str] = "sandbox_fault"

    id: str = Field(primary_key=True)
    app_id: str
    operation: str  # `POST /v1/payments`, `*` within it stands for anything; or `webhook`
    match: Any = Field(sa_type=JSONB)  # dotted paths of the body and what they must hold
    effect: str
    argument: str
    times_left: int
    version: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=_MOMENT)  # real time


class SandboxFaultUse(SQLModel, table=True):
    """Once that it did go wrong. `subject`: the request or event that it happened to."""

    __tablename__: ClassVar[str] = "sandbox_fault_use"

    id: str = Field(primary_key=True)
    fault_id: str
    app_id: str
    effect: str
    subject: str
    used_at: datetime = Field(sa_type=_MOMENT)


FAULTS: Final = DocumentTable(SandboxFault, tenant=None, version="version")
FAULT_USES: Final = DocumentTable(SandboxFaultUse, tenant=None)


class SandboxRecording(SQLModel, table=True):
    """What an app asks until a moment is kept."""

    __tablename__: ClassVar[str] = "sandbox_recording"

    id: str = Field(primary_key=True)
    app_id: str
    until: datetime = Field(sa_type=_MOMENT)  # real time
    created_at: datetime = Field(sa_type=_MOMENT)


class SandboxExchange(SQLModel, table=True):
    """A request with its answer, as one line of JSON without secrets. Ids are in the order of the answers."""

    __tablename__: ClassVar[str] = "sandbox_exchange"

    id: str = Field(primary_key=True)
    recording_id: str
    app_id: str
    line: str


RECORDINGS: Final = DocumentTable(SandboxRecording, tenant=None)
EXCHANGES: Final = DocumentTable(SandboxExchange, tenant=None)
