"""Requests and answers of payments. Amounts: integers of the currency's minor unit. Moments: RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyAddress,
    StringConstraints,
    model_validator,
)

from platform_core.capabilities.payments.splits.schemas import OrderShares, SplitRead, SplitReturn, SplitReturnRead
from platform_core.identity.schemas import MerchantRead, StoreRead
from platform_core.kernel.errors import declare
from platform_core.kernel.fields import field_error
from platform_core.kernel.http.redaction import PERSONAL, SECRET
from platform_core.kernel.i18n import Text
from platform_core.kernel.money import AMOUNT_MINOR_MAX, CurrencyCode
from platform_core.kernel.money import AmountMinor as Amount
from platform_core.kernel.money import AmountMinorOrZero as AmountOrZero

Number = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Reason = Annotated[str, StringConstraints(max_length=256)]
TakenForm = Literal["merchant_scan", "customer_scan", "local"]


AMOUNT_MISSING = declare(
    "payments.amount_missing",
    status=422,
    title=Text(en="Amount missing", zh="缺少金额"),
    detail=Text(en="order_minor or basket is required.", zh="须提供 order_minor 或 basket。"),
)
BASKET_TOTAL = declare(
    "payments.basket_total",
    status=422,
    title=Text(en="Basket total out of bounds", zh="明细合计超出范围"),
    detail=Text(
        en="The lines must add up to between 1 and {max} minor units.", zh="明细合计须在 1 与 {max} 最小单位之间。"
    ),
)
METADATA_TOO_LARGE = declare(
    "payments.metadata_too_large",
    status=422,
    title=Text(en="Metadata too large", zh="附加数据过大"),
    detail=Text(
        en="metadata holds at most 20 keys of 1 to 40 characters with 500 bytes each.",
        zh="metadata 最多 20 个键，键长 1 至 40 个字符，每个值不超过 500 字节。",
    ),
)
REFUND_AMOUNT = declare(
    "payments.refund_amount",
    status=422,
    title=Text(en="How much to refund", zh="退款金额不明确"),
    detail=Text(
        en="Send amount_minor, or is_full true for all that is left, and not both.",
        zh="请提供 amount_minor，或将 is_full 设为 true 以退还全部余额，两者只能选其一。",
    ),
)

PaymentState = Literal[
    "created", "in_review", "processing", "unknown", "authorized", "captured", "finished", "canceled", "closed"
]


class Request(BaseModel):
    """A request's body: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class BasketLine(Request):
    """One line of the order; `quantity` times `unit_minor` is its price."""

    line_id: Number
    sku: ShortText | None = None
    name: ShortText
    quantity: Annotated[int, Field(ge=1, le=1_000_000)]
    unit_minor: AmountOrZero
    category: ShortText | None = None
    tax_code: ShortText | None = None


class Basket(Request):
    """What is bought."""

    lines: Annotated[list[BasketLine], Field(min_length=1, max_length=200)]

    @property
    def total_minor(self) -> int:
        """The sum of the lines."""
        return sum(line.quantity * line.unit_minor for line in self.lines)


class CustomerReference(Request):
    """Who pays, as far as the merchant knows."""

    id: Annotated[str, StringConstraints(pattern=r"^cus_[0-9a-z]{26}$")] | None = None
    channel: Number | None = None
    channel_user_id: Annotated[str, StringConstraints(min_length=1, max_length=128), PERSONAL] | None = None


class RiskContext(Request):
    """What the merchant knows of the customer's device and way: told to checks, and kept nowhere."""

    client_ip: Annotated[IPvAnyAddress, PERSONAL] | None = None
    device_ref: Annotated[str, StringConstraints(min_length=1, max_length=128), PERSONAL] | None = None
    account_age_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    user_agent: Annotated[str, StringConstraints(max_length=512), PERSONAL] | None = None
    ship_to_ref: Annotated[str, StringConstraints(min_length=1, max_length=128), PERSONAL] | None = None


def _bounded_labels(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > 20 or any(len(key) > 40 or len(value.encode()) > 500 for key, value in labels.items()):
        raise field_error(METADATA_TOO_LARGE)
    return labels


Labels = Annotated[dict[str, str], AfterValidator(_bounded_labels)]


class PaymentCreate(Request):
    """An order to be paid. Either `order_minor` or `basket`, or both if they agree."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "out_trade_no": "order_20261122_1",
                    "subject": "Two coffees",
                    "form": "merchant_scan",
                    "auth_code": "280000000000000000",
                    "currency": "CNY",
                    "order_minor": 8200,
                }
            ]
        }
    )

    out_trade_no: Number
    subject: ShortText
    form: TakenForm
    currency: CurrencyCode
    order_minor: Amount | None = None
    basket: Basket | None = None
    expected_payable_minor: AmountOrZero | None = None
    customer: CustomerReference | None = None
    channel: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,63}$")] | None = None
    auth_code: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.:-]{6,128}$"), SECRET] | None = None
    store_id: Annotated[str, StringConstraints(pattern=r"^sto_[0-9a-z]{26}$")] | None = None
    terminal_id: Number | None = None
    operator_id: Number | None = None
    is_capture: bool = True
    expires_at: AwareDatetime | None = None
    return_url: Annotated[str, StringConstraints(pattern=r"^https?://", max_length=2048)] | None = None
    metadata: Labels | None = None
    risk_context: RiskContext | None = None
    splits: OrderShares | None = None

    @property
    def order_total_minor(self) -> int:
        """What the order amounts to: `order_minor`, else the basket's sum."""
        if self.order_minor is not None:
            return self.order_minor
        assert self.basket is not None, "validated: one of the two is there"
        return self.basket.total_minor

    @model_validator(mode="after")
    def _has_an_amount(self) -> PaymentCreate:
        if self.order_minor is None and self.basket is None:
            raise field_error(AMOUNT_MISSING)
        if (
            self.order_minor is None
            and self.basket is not None
            and not 1 <= self.basket.total_minor <= AMOUNT_MINOR_MAX
        ):
            raise field_error(BASKET_TOTAL, {"max": AMOUNT_MINOR_MAX})
        return self


class AttemptCreate(Request):
    """Another try at a payment that is in state created."""

    form: TakenForm
    channel: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,63}$")] | None = None
    auth_code: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.:-]{6,128}$"), SECRET] | None = None
    risk_context: RiskContext | None = None


class ReviewDecide(Request):
    """A person's word on a payment that a check wants looked at."""

    decision: Literal["allow", "deny"]
    reason: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class CaptureCreate(Request):
    """Take the authorised money, all that is left by default; `is_final` gives the rest back to the customer."""

    amount_minor: Amount | None = None
    out_request_no: Number
    is_final: bool = True


class VoidCreate(Request):
    """Give authorised money back, all that is left by default."""

    amount_minor: Amount | None = None
    out_request_no: Number


class CancelByNumber(Request):
    """Cancel by the merchant's own number, also one that never arrived."""

    out_trade_no: Number


class Nothing(Request):
    """An act that needs no word."""


class RefundReview(Request):
    """A person's word on a refund that a check wants looked at; it needs the scope risk.cases:write."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class RefundCreate(Request):
    """Money back to the customer: an amount, or all that is left."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"out_request_no": "refund_20261122_1", "amount_minor": 1200}]}
    )

    out_request_no: Number
    amount_minor: Amount | None = None
    is_full: bool = False
    reason: Reason = ""
    review: RefundReview | None = None
    split_returns: Annotated[list[SplitReturn], Field(min_length=1, max_length=50)] | None = None
    merchant_covers_splits: bool = False

    @model_validator(mode="after")
    def _says_how_much(self) -> RefundCreate:
        if (self.amount_minor is None) != self.is_full:
            raise field_error(REFUND_AMOUNT)
        return self


class ReceiptCreate(Request):
    """A receipt for the customer, in one form and one language."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"media_type": "text/html", "locale": "zh"}]})

    media_type: Literal["text/html", "application/pdf"]
    locale: Literal["zh", "en"]


class Amounts(BaseModel):
    """Where the money of a payment stands."""

    order_minor: int
    discount_merchant_minor: int
    payable_minor: int
    authorized_minor: int
    capturable_minor: int
    captured_minor: int
    refunded_minor: int
    refundable_minor: int
    disputed_minor: int
    fee_minor: int
    split_minor: int
    net_minor: int


class ErrorRead(BaseModel):
    """Why the last try failed."""

    error_class: str = Field(alias="class")
    code: str
    message: str


class AttemptRead(BaseModel):
    """One try at one provider; `route` says why this one: the rule, and all that were offered, in order."""

    id: str
    object: Literal["attempt"]
    number: int
    provider_id: str
    channel_account_id: str
    form: str
    state: Literal["started", "waiting_customer", "succeeded", "failed", "canceled", "unknown"]
    route: dict[str, Any] | None  # a record for people; its fields may grow
    error: ErrorRead | None
    created_at: datetime
    ended_at: datetime | None


class TransactionRead(BaseModel):
    """One thing asked of a provider, and its word."""

    id: str
    object: Literal["transaction"]
    attempt_id: str
    kind: str
    state: Literal["pending", "succeeded", "failed", "unknown"]
    amount_minor: int
    out_request_no: str | None
    provider_id: str
    provider_reference: str | None
    error: ErrorRead | None
    created_at: datetime
    finished_at: datetime | None


class DiscountRead(BaseModel):
    """What a plugin took off a line, or off the order where `line_id` is null."""

    plugin_id: str
    rule_id: str
    label: str
    funder: str
    line_id: str | None
    amount_minor: int


class ReasonRead(BaseModel):
    """Why a verdict is not allow."""

    rule_id: str
    text: str


class RiskRead(BaseModel):
    """The last verdict on the payment; `decided_as` is the word of a person who looked at it."""

    verdict: Literal["allow", "review", "deny"]
    score: int
    reasons: list[ReasonRead]
    decided_as: Literal["allow", "deny"] | None = None


class DegradedRead(BaseModel):
    """A decision that was made without a plugin's answer, and why."""

    plugin_id: str
    version: str
    hook: str
    fault: str


class PaymentRead(BaseModel):
    """A payment. Only `captured` means paid; a decline is no HTTP error but stands in `last_error`."""

    id: str
    object: Literal["payment"]
    merchant_id: str
    out_trade_no: str
    subject: str
    form: str
    channel: str | None
    state: PaymentState
    closed_reason: str | None
    sequence: int
    currency: str
    amounts: Amounts
    discounts: list[DiscountRead]
    next_action: dict[str, Any] | None
    last_error: ErrorRead | None
    risk: RiskRead | None
    degraded: list[DegradedRead]
    store_id: str | None
    terminal_id: str | None
    operator_id: str | None
    metadata: dict[str, str] | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    captured_at: datetime | None
    canceled_at: datetime | None


class RefundRead(BaseModel):
    """Money on its way back, or there."""

    id: str
    object: Literal["refund"]
    merchant_id: str
    payment_id: str
    out_request_no: str
    state: Literal["pending", "succeeded", "failed", "unknown", "bounced"]
    amount_minor: int
    currency: str
    fee_returned_minor: int
    split_returns: list[SplitReturnRead]
    reason: str
    last_error: ErrorRead | None
    created_at: datetime
    updated_at: datetime


class DrawnByRead(BaseModel):
    """The plugin that drew a document."""

    plugin_id: str
    version: str


class ReceiptRead(BaseModel):
    """A receipt. What tells of the document is null while it is `pending`.

    The bytes are at `/v1/receipts/{id}/content`, until `kept_until`. `rendered_media_type` differs from `media_type`
    where nobody could draw what was asked for. `total_minor` is what was captured, by the ledger, and `refunded_minor`
    what had gone back of it. `drawn_by` null: the built-in template.
    """

    id: str
    object: Literal["receipt"]
    merchant_id: str
    payment_id: str
    media_type: Literal["text/html", "application/pdf"]
    rendered_media_type: Literal["text/html", "application/pdf"] | None
    locale: Literal["zh", "en"]
    state: Literal["pending", "ready"]
    currency: str
    total_minor: int | None
    refunded_minor: int | None
    size_bytes: int | None
    sha256: str | None
    drawn_by: DrawnByRead | None
    degraded: list[DegradedRead]
    created_at: datetime
    updated_at: datetime
    ready_at: datetime | None
    kept_until: datetime | None


class PaymentExpandedRead(PaymentRead):
    """A payment, with the parts that `expand` asked for; the others are left out."""

    attempts: list[AttemptRead] = Field(default_factory=list)
    transactions: list[TransactionRead] = Field(default_factory=list)
    refunds: list[RefundRead] = Field(default_factory=list)
    splits: list[SplitRead] = Field(default_factory=list)
    merchant: MerchantRead | None = None
    store: StoreRead | None = None


class RefundExpandedRead(RefundRead):
    """A refund, with the payment if `expand` asked for it."""

    payment: PaymentExpandedRead | None = None


class PaymentList(BaseModel):
    """Payments, newest first unless asked otherwise."""

    data: list[PaymentExpandedRead]
    next_cursor: str | None


class RefundList(BaseModel):
    """Refunds, newest first unless asked otherwise."""

    data: list[RefundExpandedRead]
    next_cursor: str | None
