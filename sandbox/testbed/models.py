"""Tables of the testbed, and how each takes part in plans. They are the sandbox's own: no tenant's."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final

from sqlalchemy import BigInteger, DateTime
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
