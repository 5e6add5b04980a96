"""Table of customers' keys. Who is who, across keys, is membership's to say."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import DateTime
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable


class CustomerKey(SQLModel, table=True):
    """Something that a merchant knows a customer by, as keyed hash; `id` is what apps see, other for each merchant."""

    __tablename__: ClassVar[str] = "customer_key"

    id: str = Field(primary_key=True)
    merchant_id: str
    kind: str
    digest: bytes
    created_at: datetime = Field(sa_type=DateTime(timezone=True))


CUSTOMER_KEYS = DocumentTable(CustomerKey, unique=(("merchant_id", "kind", "digest"),))
