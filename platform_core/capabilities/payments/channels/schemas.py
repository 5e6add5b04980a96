"""Requests and answers of channel accounts and routing rules."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from platform_core.capabilities.payments.schemas import Request, TakenForm
from platform_core.kernel.http.redaction import SECRET
from platform_core.kernel.money import AmountMinorOrZero

ProviderId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,63}$")]
AccountId = Annotated[str, StringConstraints(pattern=r"^cha_[0-9a-z]{26}$")]
RuleId = Annotated[str, StringConstraints(pattern=r"^rrl_[0-9a-z]{26}$")]
SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
AccountName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Hour = Annotated[int, Field(ge=0, le=23)]
RuleForm = TakenForm | Literal["sticker"]


class SecretValue(Request):
    """A secret as it is handed in; nobody reads it back."""

    value: Annotated[str, StringConstraints(min_length=1, max_length=16_384), SECRET]
    encoding: Literal["utf8", "base64"] = "utf8"


class ChannelAccountCreate(Request):
    """A contract with an acquirer, reached through a provider. `settings` are as the provider's schema says."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"provider_id": "cash", "name": "Cash drawer", "settings": {}}]}
    )

    provider_id: ProviderId
    name: AccountName
    settings: dict[str, Any] = Field(default_factory=dict, max_length=100)  # Any: JSON, checked by the schema
    secrets: dict[SecretName, SecretValue] = Field(default_factory=dict, max_length=20)


class ChannelAccountUpdate(Request):
    """What changes; `settings` as a whole, `secrets` by name: the one before still verifies, until the next change."""

    name: AccountName | None = None
    is_active: bool | None = None
    settings: Annotated[dict[str, Any], Field(max_length=100)] | None = None  # Any: as above
    secrets: dict[SecretName, SecretValue] = Field(default_factory=dict, max_length=20)


class ChannelAccountRead(BaseModel):
    """A contract with an acquirer. Of its secrets the names alone."""

    id: str
    object: Literal["channel_account"]
    merchant_id: str
    provider_id: str
    name: str
    settings: dict[str, Any]  # Any: JSON
    secret_names: list[str]
    is_active: bool
    created_at: datetime


class ChannelAccountList(BaseModel):
    """All channel accounts of a merchant, the oldest first: the order in which they are offered without a rule."""

    data: list[ChannelAccountRead]
    next_cursor: None


class Hours(Request):
    """Hours of the merchant's day, [from, until); from 22 until 6 goes over midnight."""

    since: Annotated[Hour, Field(alias="from")]
    until: Hour


class RoutingRuleCreate(Request):
    """Which channel accounts are offered, in which order, to the payments that fit; null fits all.

    With `weights`, one for each account, the order is drawn for each payment by a hash of its id. `replaces`: a rule
    that ends when this one begins.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"position": 10, "form": "page", "channel_account_ids": ["cha_01k0000000000000000000000a"]}]
        }
    )

    position: Annotated[int, Field(ge=0, le=1_000_000)]
    form: RuleForm | None = None
    store_id: Annotated[str, StringConstraints(pattern=r"^sto_[0-9a-z]{26}$")] | None = None
    amount_minor_min: AmountMinorOrZero | None = None
    amount_minor_max: AmountMinorOrZero | None = None
    hours: Hours | None = None
    channel_account_ids: Annotated[list[AccountId], Field(min_length=1, max_length=20)]
    weights: Annotated[list[Annotated[int, Field(ge=0, le=10_000)]], Field(min_length=1, max_length=20)] | None = None
    replaces: RuleId | None = None


class HoursRead(BaseModel):
    """Hours of the merchant's day, [from, until)."""

    since: int = Field(alias="from")
    until: int


class RoutingRuleRead(BaseModel):
    """A rule. Rules are never changed: one that replaces another gets an id of its own."""

    id: str
    object: Literal["routing_rule"]
    merchant_id: str
    position: int
    form: str | None
    store_id: str | None
    amount_minor_min: int | None
    amount_minor_max: int | None
    hours: HoursRead | None
    channel_account_ids: list[str]
    weights: list[int] | None
    valid_from: datetime
    valid_until: datetime | None


class RoutingRuleList(BaseModel):
    """The rules that hold now, in the order in which they are tried: the first that fits decides."""

    data: list[RoutingRuleRead]
    next_cursor: None
