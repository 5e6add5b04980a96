"""What goes into and comes out of the administration of people, apps and payout destinations."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from platform_core.identity.models import Mode
from platform_core.identity.schemas import ApiVersion, Industry, Name, TimeZone
from platform_core.kernel.http.redaction import SECRET
from platform_core.kernel.i18n import Language
from platform_core.kernel.ids import id_pattern

_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f.]+([.][^\s@\x00-\x1f\x7f.]+)*")


def _an_address(text: str) -> str:
    if _EMAIL.fullmatch(text) is None:
        raise ValueError("this is no e-mail address")
    return text


Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=3, max_length=254),
    AfterValidator(_an_address),
    Field(examples=["wang@shop.example"]),
]
RoleName = Annotated[str, StringConstraints(pattern=r"^[a-z_]+$", max_length=40), Field(examples=["cashier"])]
StoreId = Annotated[str, StringConstraints(pattern=id_pattern("sto"))]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class MerchantUpdate(_Command):
    """What a merchant changes about itself; what is left out stays. Name and industry are verified anew."""

    name: Name | None = None
    industry: Industry | None = None
    time_zone: TimeZone | None = None


class StoreWrite(_Command):
    """A new store."""

    name: Name


class StoreUpdate(_Command):
    """Changes of a store; what is left out stays."""

    name: Name | None = None
    state: Literal["open", "closed"] | None = None


class StaffInvite(_Command):
    """A place offered to an address. `stores` left out: every store, also future ones."""

    email: Email
    roles: list[RoleName] = Field(min_length=1, max_length=10)
    stores: list[StoreId] | None = Field(default=None, min_length=1, max_length=200)
    locale: Language = "en"


class StaffUpdate(_Command):
    """The roles and stores that hold from now on."""

    roles: list[RoleName] = Field(min_length=1, max_length=10)
    stores: list[StoreId] | None = Field(default=None, min_length=1, max_length=200)


class StaffRead(_Answer):
    """Somebody's place in a party."""

    id: str
    person_id: str
    email: str
    name: str
    roles: list[str]
    stores: list[str] | None
    given_by: str
    version: int
    created_at: datetime
    expires_at: datetime | None


class InvitationRead(_Answer):
    """An invitation that stands. Its link goes to the invited person alone."""

    id: str
    email: str
    roles: list[str]
    stores: list[str] | None
    state: Literal["pending", "accepted", "withdrawn"]
    given_by: str
    created_at: datetime
    expires_at: datetime


class AppWrite(_Command):
    """A new app of one's own, with a client and a first secret in one mode."""

    name: Name
    mode: Mode
    api_version: ApiVersion | None = Field(default=None, description="Left out: the newest.")


class AppUpdate(_Command):
    """Changes of an app; what is left out stays."""

    name: Name | None = None
    state: Literal["active", "disabled"] | None = None


class AppClientRead(_Answer):
    """An app's client in one mode: what of it never changes. The rest is at `/v1/apps/{id}/clients/{client_id}`."""

    id: str
    mode: Mode
    api_version: str
    created_at: datetime


class AppRead(_Answer):
    """An app of one's own."""

    id: str
    name: str
    state: Literal["active", "disabled"]
    isv_id: str | None
    merchant_id: str | None
    clients: list[AppClientRead]
    version: int
    created_at: datetime


class SecretCreate(_Command):
    """A new secret for one of the app's clients. The one before it lives on for `overlap_s`, any older one ends now."""

    client_id: Annotated[
        str,
        StringConstraints(pattern=r"^app_(test|live)_[0-9a-z]{26}$"),
        Field(examples=["app_test_01m7zzzzzzzzzzzzzzzzzzzzzz"]),
    ]
    overlap_s: int = Field(default=7 * 86_400, ge=0, le=7 * 86_400)


class SecretRead(_Answer):
    """A secret of an app's client, by its last four characters: it is shown only by the answer that makes it."""

    id: str
    app_id: str
    client_id: str
    hint: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class SecretMade(_Answer):
    """A new secret, shown this once; a repetition of the request answers without it."""

    id: str
    client_id: str
    hint: str
    created_at: datetime
    expires_at: datetime | None
    secret: Annotated[str | None, SECRET] = Field(repr=False)


class AppMade(_Answer):
    """A new app; its secret is shown this once."""

    app: AppRead
    secret: SecretMade


class DestinationPropose(_Command):
    """Where payouts are to go from now on."""

    currency: Currency
    holder: Name
    bank: Name
    account: Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{6,40}$"), Field(examples=["6222021234567890"])]


class DestinationDecide(_Command):
    """Another person's word on a proposal."""

    is_confirmed: bool


class DestinationRead(_Answer):
    """A payout destination; of the account only the last four characters are shown."""

    id: str
    currency: str
    hint: str
    state: Literal["proposed", "active", "refused", "replaced"]
    proposed_by: str
    decided_by: str | None
    version: int
    created_at: datetime
    decided_at: datetime | None
    usable_from: datetime | None
