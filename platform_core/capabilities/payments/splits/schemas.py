"""Requests and answers of splits. Amounts: integers of the currency's minor unit. Moments: RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from platform_core.capabilities.payments.splits.amounts import SHARES_MAX
from platform_core.kernel.errors import declare
from platform_core.kernel.fields import field_error
from platform_core.kernel.http.redaction import PERSONAL
from platform_core.kernel.i18n import Text
from platform_core.kernel.money import AmountMinor as Amount

Number = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")]
ReceiverId = Annotated[str, StringConstraints(pattern=r"^rcv_[0-9a-z]{26}$")]
SplitId = Annotated[str, StringConstraints(pattern=r"^spl_[0-9a-z]{26}$")]
Note = Annotated[str, StringConstraints(max_length=256)]
ReceiverType = Literal["platform_merchant", "channel_merchant", "channel_user", "channel_login", "channel_open_id"]
Mode = Literal["all_or_nothing", "partial"]
State = Literal["pending", "unknown", "frozen", "settled", "failed", "returned"]

SHARE_AMOUNT = declare(
    "payments.split_share_amount",
    status=422,
    title=Text(en="How much to share", zh="分账金额不明确"),
    detail=Text(
        en="A share has amount_minor or percent_bp, and not both.",
        zh="每个分账须提供 amount_minor 或 percent_bp 之一。",
    ),
)
SHARES_TOO_MANY = declare(
    "payments.split_shares_too_many",
    status=422,
    title=Text(en="Too many shares", zh="分账接收方过多"),
    detail=Text(en="Mode {mode} takes at most {most} shares a call.", zh="模式 {mode} 每次最多 {most} 个分账。"),
)
RECEIVER_TWICE = declare(
    "payments.split_receiver_twice",
    status=422,
    title=Text(en="A receiver is named twice", zh="接收方重复"),
    detail=Text(en="Name each receiver once.", zh="每个接收方只能出现一次。"),
)


class Request(BaseModel):
    """A request's body: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ReceiverCreate(Request):
    """Who may get shares from now on. `account`: of `platform_merchant` a merchant's id, else as the channel says."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "reference": "franchise_7",
                    "name": "Drum Tower Franchise",
                    "type": "channel_merchant",
                    "account": "2088000000000001",
                }
            ]
        }
    )

    reference: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")]
    name: Annotated[str, StringConstraints(min_length=1, max_length=128), PERSONAL]
    type: ReceiverType
    account: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$"), PERSONAL]


class ShareCreate(Request):
    """One receiver's share: an amount, or basis points of what was captured, floored."""

    receiver_id: ReceiverId
    amount_minor: Amount | None = None
    percent_bp: Annotated[int, Field(ge=1, le=10_000)] | None = None
    note: Note = ""

    @model_validator(mode="after")
    def _says_how_much(self) -> ShareCreate:
        if (self.amount_minor is None) == (self.percent_bp is None):
            raise field_error(SHARE_AMOUNT)
        return self


def distinct_receivers(shares: list[Any]) -> list[Any]:  # of any model with a receiver_id
    """Raise 422 `payments.split_receiver_twice` where two name one receiver."""
    if len({share.receiver_id for share in shares}) < len(shares):
        raise field_error(RECEIVER_TWICE)
    return shares


OrderShares = Annotated[
    list[ShareCreate], Field(min_length=1, max_length=SHARES_MAX["partial"]), AfterValidator(distinct_receivers)
]
"""`splits[]` of an order."""


class SplitCreate(Request):
    """Share what was captured, now or, with `is_frozen`, by a release within 30 days."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "out_request_no": "split_20261122_1",
                    "mode": "all_or_nothing",
                    "shares": [{"receiver_id": "rcv_01jd0000000000000000000000", "percent_bp": 1000}],
                }
            ]
        }
    )

    out_request_no: Number
    mode: Mode
    is_frozen: bool = False
    shares: Annotated[list[ShareCreate], Field(min_length=1, max_length=50), AfterValidator(distinct_receivers)]

    @model_validator(mode="after")
    def _is_within_its_mode(self) -> SplitCreate:
        most = SHARES_MAX[self.mode]
        if len(self.shares) > most:
            raise field_error(SHARES_TOO_MANY, {"mode": self.mode, "most": most})
        return self


class ReleaseShare(Request):
    """How much of a frozen share goes to its receiver; all of it unless said otherwise."""

    receiver_id: ReceiverId
    amount_minor: Amount | None = None


class SplitRelease(Request):
    """Frozen shares go to their receivers, all of them unless some are named; `is_final` gives the rest back."""

    shares: Annotated[list[ReleaseShare], Field(max_length=50), AfterValidator(distinct_receivers)] | None = None
    is_final: bool = True


class SplitReturn(Request):
    """A share, or a part of it, that comes back with a refund."""

    split_id: SplitId
    receiver_id: ReceiverId
    amount_minor: Amount


class ReceiverRead(BaseModel):
    """A receiver. One that was unbound gets nothing new and is kept for history."""

    id: str
    object: Literal["split_receiver"]
    merchant_id: str
    reference: str
    name: Annotated[str, PERSONAL]
    type: ReceiverType
    account: Annotated[str, PERSONAL]
    is_bound: bool
    created_at: datetime
    unbound_at: datetime | None


class ReceiverList(BaseModel):
    """A page of receivers."""

    data: list[ReceiverRead]
    next_cursor: str | None


class ShareErrorRead(BaseModel):
    """Why a share was not given."""

    code: str
    message: str


class ShareRead(BaseModel):
    """One share. Of `amount_minor`, `frozen` waits, `settled` stands with the receiver, `returned` came back by
    refunds, `given_back` went back to the merchant unreleased.
    """

    receiver_id: str
    state: State
    percent_bp: int | None
    amount_minor: int
    frozen_minor: int
    settled_minor: int
    returned_minor: int
    given_back_minor: int
    note: str
    error: ShareErrorRead | None


class SplitErrorRead(BaseModel):
    """What the provider said last against the split."""

    error_class: str = Field(alias="class")
    code: str
    message: str


class SplitRead(BaseModel):
    """A split. While the provider has not answered it is pending or unknown; amounts are the sums of its shares'.

    What is still frozen at `gives_back_at` goes back to the merchant.
    """

    id: str
    object: Literal["split"]
    merchant_id: str
    payment_id: str
    out_request_no: str
    mode: Mode
    state: State
    currency: str
    amount_minor: int
    frozen_minor: int
    settled_minor: int
    returned_minor: int
    given_back_minor: int
    last_error: SplitErrorRead | None
    shares: list[ShareRead]
    created_at: datetime
    updated_at: datetime
    gives_back_at: datetime | None


class SplitList(BaseModel):
    """A page of splits."""

    data: list[SplitRead]
    next_cursor: str | None


class SplitReturnRead(BaseModel):
    """What a refund took back of one share."""

    split_id: str
    receiver_id: str
    amount_minor: int
