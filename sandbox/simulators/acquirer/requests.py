"""What a merchant may ask, read strictly."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Key = Annotated[str, Field(min_length=1, max_length=64)]
Amount = Annotated[int, Field(strict=True, ge=1, le=10_000_000_000)]


class Question(BaseModel):
    """Asks about what stands under `key`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Key


class FollowUp(Question):
    """Ends `original_key` under a key of its own: cancel, close."""

    original_key: Key
    scenario: str = ""


class Part(FollowUp):
    """Moves an amount of `original_key`: capture, void, refund."""

    amount_minor: Amount
    currency: str = Field(pattern="^[A-Z]{3}$")
    reason: str = Field(default="", max_length=256)
    is_final: bool = True
    notify_url: str = ""


class Share(BaseModel):
    """What one receiver gets of a settle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    account: str = Field(min_length=1, max_length=128)
    amount_minor: Amount


class Settle(Part):
    """Gives shares of `original_key` to receivers; `amount_minor` is their sum."""

    shares: list[Share] = Field(min_length=1, max_length=50)


class Order(Question):
    """Money a merchant wants: pay, authorize, precreate."""

    amount_minor: Amount
    currency: str = Field(pattern="^[A-Z]{3}$")
    out_trade_no: str = Field(default="", max_length=64)
    subject: str = Field(default="", max_length=256)
    auth_code: str = Field(default="", max_length=128)
    expires_at: AwareDatetime | None = None
    notify_url: str = ""
    scenario: str = ""


class DisputeQuestion(BaseModel):
    """Asks about a dispute by the acquirer's own reference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str = Field(min_length=1, max_length=64)


class DisputeAct(DisputeQuestion):
    """Does something in a dispute, once for its key."""

    key: Key


class Evidence(DisputeAct):
    """A document that speaks for the merchant, in base64."""

    name: str = Field(max_length=256)
    media_type: str = Field(pattern="^(image/jpeg|image/png|application/pdf)$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    content: str = Field(max_length=7 * 1024 * 1024)


class Claim(BaseModel):
    """The buyer of what stands under `key` disputes an amount, all that is left by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    merchant_no: str
    key: Key
    amount_minor: int = Field(default=0, ge=0)
    reason: str = Field(default="not_received", pattern="^[a-z_]{1,40}$")
    decides: Literal["", "won", "lost"] = ""


class DisputeStep(BaseModel):
    """What the acquirer does next in a dispute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    merchant_no: str
    step: Literal["withdrawn", "won", "lost"]


class PayoutOrder(Question):
    """Money that a merchant wants in its bank account."""

    amount_minor: Amount
    currency: str = Field(pattern="^[A-Z]{3}$")
    out_payout_no: str = Field(max_length=64)
    holder: str = Field(min_length=1, max_length=200)
    bank: str = Field(min_length=1, max_length=200)
    account: str = Field(min_length=1, max_length=64)
    note: str = Field(default="", max_length=64)
    scenario: str = ""


class PayoutReturn(BaseModel):
    """The merchant's bank sends back what was paid out under `key`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    merchant_no: str
    key: Key


class BillOfDay(BaseModel):
    """A calendar day in Asia/Shanghai."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    day: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")


class Scan(BaseModel):
    """The buyer's phone scans a code and pays, or not: `scenario` says how it goes, `buyer` whose wallet it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    qr_code: str
    scenario: str = "success"
    buyer: str = ""


class Script(BaseModel):
    """The next `times` calls of `operation` about `subject` (key, original key or out_trade_no) go by `scenario`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: str = ""
    subject: str = ""
    scenario: str
    times: int = Field(default=1, ge=1, le=100_000)


class BuyerSetting(BaseModel):
    """A buyer as it is to be; what is left out stays, or is that of a ready buyer without money."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=64)
    temper: Literal["ready", "slow", "blocked"] | None = None
    balance_minor: int | None = Field(default=None, strict=True, ge=0, le=10**13)


class Merchant(BaseModel):
    """A merchant number with its signing key in hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    merchant_no: str = Field(pattern="^[0-9A-Za-z_-]{1,64}$")
    key: str = Field(pattern="^(?:[0-9a-f]{2}){16,64}$")


class ClockSetting(BaseModel):
    """Where the acquirer's clock is to stand; it runs on from there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    now: AwareDatetime


def moment(text: str) -> datetime | None:
    """A stored moment, None for an empty one."""
    return datetime.fromisoformat(text) if text else None
