"""What payouts take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, model_validator

from platform_core.capabilities.payments.schemas import ErrorRead, Request
from platform_core.kernel.money import AMOUNT_MINOR_MAX, CurrencyCode

Number = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_]{1,64}$")]
Note = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{0,64}$")]
Schedule = Literal["manual", "daily", "weekly"]


class PayoutCreate(Request):
    """Pay out available money to your verified account. `out_payout_no` is your own number: one payout each."""

    out_payout_no: Annotated[Number, Field(examples=["PO20261122001"])]
    amount_minor: Annotated[int, Field(ge=1, le=AMOUNT_MINOR_MAX, examples=[500_000])]
    currency: Annotated[CurrencyCode, Field(examples=["CNY"])]
    note: Annotated[Note, Field(description="What you want to read on your statement.", examples=["November"])] = ""


class PayoutDecide(Request):
    """A second person's word on a payout above the policy's amount."""

    is_approved: bool


class PayoutTermsWrite(Request):
    """When you are paid out: `weekly` names an ISO weekday, 1 is Monday. Below the minimum nothing is paid out."""

    currency: Annotated[CurrencyCode, Field(examples=["CNY"])]
    schedule: Annotated[Schedule, Field(examples=["weekly"])]
    weekday: Annotated[int | None, Field(ge=1, le=7, examples=[1])] = None
    payout_minor_min: Annotated[int, Field(ge=1, le=AMOUNT_MINOR_MAX, examples=[10_000])] = 1

    @model_validator(mode="after")
    def _has_its_day(self) -> PayoutTermsWrite:
        if (self.schedule == "weekly") != (self.weekday is not None):
            raise ValueError("weekly names a weekday, 1 to 7; the others name none")
        return self


class PayoutRead(BaseModel):
    """A payout as it stands. Of the account only the last four characters are shown."""

    id: str
    object: Literal["payout"]
    merchant_id: str
    out_payout_no: str
    origin: Schedule
    state: Literal["created", "sent", "unknown", "paid", "failed", "returned"]
    approval: Literal["not_needed", "waiting", "approved", "refused"]
    currency: str
    amount_minor: int
    destination_id: str
    destination_hint: str
    channel_account_id: str
    provider_reference: str | None
    note: str
    requested_by: str
    decided_by: str | None
    last_error: ErrorRead | None
    sequence: int
    created_at: datetime
    updated_at: datetime
    paid_at: datetime | None
    ended_at: datetime | None


class PayoutList(BaseModel):
    """Payouts, newest first."""

    data: list[PayoutRead]
    next_cursor: str | None


class Skipped(BaseModel):
    """A scheduled payout that was not made."""

    code: str
    at: datetime


class PayoutTermsRead(BaseModel):
    """How you are paid out in one currency. Above `approval_above_minor` a second person decides; null: never."""

    object: Literal["payout_terms"]
    currency: str
    schedule: Schedule
    weekday: int | None
    payout_minor_min: int
    approval_above_minor: int | None
    last_skipped: Skipped | None
    next_payout_at: datetime | None


class PayoutTermsList(BaseModel):
    """One for each currency that has terms."""

    data: list[PayoutTermsRead]
    next_cursor: None
