"""Requests and answers of stickers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from platform_core.capabilities.payments.schemas import Number, PaymentCreate, Request
from platform_core.kernel.money import AmountMinor, CurrencyCode


class StickerCreate(Request):
    """A new static code. Without `amount_minor` its customers type the amount."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"store_id": "sto_01k0000000000000000000000a", "name": "Counter 2"}]}
    )

    store_id: Annotated[str, StringConstraints(pattern=r"^sto_[0-9a-z]{26}$")]
    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    terminal_id: Number | None = None
    currency: CurrencyCode = "CNY"
    amount_minor: AmountMinor | None = None


class StickerRead(BaseModel):
    """A static code. `url` is what it leads to; the picture is at `/v1/stickers/{id}/picture`."""

    id: str
    object: Literal["sticker"]
    merchant_id: str
    store_id: str
    terminal_id: str | None
    name: str
    code: str
    url: str
    currency: str
    amount_minor: int | None
    state: Literal["active", "revoked"]
    created_at: datetime
    revoked_at: datetime | None


class StickerList(BaseModel):
    """Stickers, newest first."""

    data: list[StickerRead]
    next_cursor: str | None


class StickerOrder(PaymentCreate):
    """What a sticker's page asks for; no app asks in this form."""

    form: Literal["sticker"]  # type: ignore[assignment]  # one more than an app's, by design
