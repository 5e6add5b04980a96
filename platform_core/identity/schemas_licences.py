"""What goes into and comes out of a merchant's licences."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from platform_core.identity.schemas import Name
from platform_core.kernel.http.redaction import PERSONAL

LicenceKind = Annotated[
    str, StringConstraints(pattern=r"^[a-z_]+([.][a-z_]+)*$", max_length=60), Field(examples=["food.service"])
]
Number = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=6, max_length=80),
    Field(examples=["JY11105000012345"]),
    PERSONAL,
]
Holder = Annotated[Name, PERSONAL]
LicenceState = Literal["submitted", "accepted", "refused", "expired"]


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LicenceAdd(_Command):
    """A licence of the merchant: its kind, number, the name on it, and its days, both included, in any time zone."""

    kind: LicenceKind
    number: Number
    holder: Holder
    valid_from: date
    valid_to: date | None = Field(default=None, description="The last day. Left out: without end.")


class LicenceUpdate(_Command):
    """What another print of the same licence says; what is left out stays. `valid_to` null: without end."""

    holder: Holder | None = None
    valid_from: date | None = None
    valid_to: date | None = None


class LicenceListed(BaseModel):
    """A licence, of its number the last four characters. Whatever the merchant changes is `submitted` anew."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    kind: str
    hint: str
    holder: Holder
    valid_from: date
    valid_to: date | None
    state: LicenceState
    version: int
    created_at: datetime


class LicenceRead(LicenceListed):
    """A licence with its number."""

    number: Number
