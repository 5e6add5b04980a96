"""The table of seals. The rows themselves are the kernel's (`kernel.commit.audit`)."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import BigInteger, DateTime
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable


class AuditSeal(SQLModel, table=True):
    """A link of the chain with the hashes of its rows, so that a broken one can be named."""

    __tablename__: ClassVar[str] = "audit_seal"

    id: str = Field(primary_key=True)
    number: int = Field(sa_type=BigInteger)
    first_row: int = Field(sa_type=BigInteger)
    rows: int
    last_written_in: int = Field(sa_type=BigInteger)
    last_position: int = Field(sa_type=BigInteger)
    row_hashes: bytes
    root: bytes
    previous: bytes
    digest: bytes
    sealed_at: datetime = Field(sa_type=DateTime(timezone=True))


# Two sealers at once claim the same number, and one of them is refused.
AUDIT_SEALS = DocumentTable(AuditSeal, tenant=None, unique=(("number",),))
