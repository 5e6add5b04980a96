"""Tables of people: who signs in, for which party, with what, and the sessions that come of it.

People belong to no tenant: one person may be staff of several parties. A membership in a merchant is that merchant's
row. Lists inside a column are sorted words with one space between.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import ClassVar, Literal

from sqlalchemy import BigInteger, DateTime
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable

PartyKind = Literal["platform", "merchant", "isv"]
Console = Literal["admin", "merchant", "isv"]
PLATFORM_ID = "platform"
"""The one party of kind `platform`."""
_MOMENT = DateTime(timezone=True)


class Person(SQLModel, table=True):
    """Somebody who signs in. `email_key` is the address as it is compared."""

    __tablename__: ClassVar[str] = "person"

    id: str = Field(primary_key=True)
    email: str
    email_key: str
    name: str
    locale: str
    password_hash: str | None  # argon2id in PHC form; None until the first is chosen
    session_epoch: int  # sessions of an earlier one are void
    totp_sealed: bytes | None
    totp_step: int = Field(sa_type=BigInteger)  # the last 30 s step whose code was used; 0: none
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)


class RecoveryCode(SQLModel, table=True):
    """One of a person's ten codes for a lost authenticator, as keyed hash."""

    __tablename__: ClassVar[str] = "recovery_code"

    id: str = Field(primary_key=True)
    person_id: str
    digest: bytes
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    used_at: datetime | None = Field(sa_type=_MOMENT)


class Membership(SQLModel, table=True):
    """A person's place in a party. `merchant_id` repeats `party_id` where the party is a merchant."""

    __tablename__: ClassVar[str] = "membership"

    id: str = Field(primary_key=True)
    person_id: str
    party_kind: str
    party_id: str
    merchant_id: str | None
    roles: str
    stores: str | None  # None: all stores, also future ones
    state: str
    given_by: str
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    expires_at: datetime | None = Field(sa_type=_MOMENT)


class Invitation(SQLModel, table=True):
    """A place offered to an e-mail address, taken up by whoever holds the link."""

    __tablename__: ClassVar[str] = "invitation"

    id: str = Field(primary_key=True)
    party_kind: str
    party_id: str
    merchant_id: str | None
    email: str
    email_key: str
    roles: str
    stores: str | None
    state: str
    digest: bytes
    given_by: str
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    expires_at: datetime = Field(sa_type=_MOMENT)


class ConsoleSession(SQLModel, table=True):
    """A browser's session at one console; the cookie's secret is kept as keyed hash."""

    __tablename__: ClassVar[str] = "console_session"

    id: str = Field(primary_key=True)
    person_id: str
    console: str
    digest: bytes
    session_epoch: int  # the person's when it was opened
    membership_id: str | None  # None: no party chosen yet
    membership_version: int | None  # rights as chosen; with others the party is chosen anew
    acr: str
    auth_time: datetime = Field(sa_type=_MOMENT)
    address: str
    agent: str
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    seen_at: datetime = Field(sa_type=_MOMENT)  # at most a minute behind
    expires_at: datetime = Field(sa_type=_MOMENT)
    ended_at: datetime | None = Field(sa_type=_MOMENT)
    ended_why: str | None


class SignInCounter(SQLModel, table=True):
    """Failures of one account, address or known browser within a quarter hour; `id` is a keyed hash of which."""

    __tablename__: ClassVar[str] = "sign_in_counter"

    id: str = Field(primary_key=True)
    failures: int
    version: int
    last_at: datetime = Field(sa_type=_MOMENT)
    blocked_until: datetime | None = Field(sa_type=_MOMENT)


class OneTimeLink(SQLModel, table=True):
    """A link that sets a new password, once. Without a person it leads nowhere: asked for an unknown address."""

    __tablename__: ClassVar[str] = "one_time_link"

    id: str = Field(primary_key=True)
    person_id: str | None
    digest: bytes
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    expires_at: datetime = Field(sa_type=_MOMENT)
    used_at: datetime | None = Field(sa_type=_MOMENT)


class PersonMessage(SQLModel, table=True):
    """A message to a person, sealed until a channel has carried it."""

    __tablename__: ClassVar[str] = "person_message"

    id: str = Field(primary_key=True)
    merchant_id: str | None  # of the plan that left it
    kind: str
    is_addressed: bool  # False: the twin of a message to an unknown address, carried nowhere
    sealed: bytes
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    sent_at: datetime | None = Field(sa_type=_MOMENT)


class PayoutDestination(SQLModel, table=True):
    """Where a merchant is paid out to. Proposed by one person, confirmed by another."""

    __tablename__: ClassVar[str] = "payout_destination"

    id: str = Field(primary_key=True)
    merchant_id: str
    currency: str
    sealed: bytes  # JSON of bank, account and holder
    hint: str  # the account's last four characters
    state: str
    proposed_by: str
    decided_by: str | None
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)
    decided_at: datetime | None = Field(sa_type=_MOMENT)
    usable_from: datetime | None = Field(sa_type=_MOMENT)


class MerchantLicence(SQLModel, table=True):
    """A licence that an industry asks for; valid on its first and last day and between."""

    __tablename__: ClassVar[str] = "merchant_licence"

    id: str = Field(primary_key=True)
    merchant_id: str
    kind: str
    number: str
    holder: str  # the name on it
    valid_from: date
    valid_to: date | None
    state: str
    version: int
    created_at: datetime = Field(sa_type=_MOMENT)


# A merchant's invitation brings a person into being, who belongs to no merchant.
PERSONS = DocumentTable(Person, tenant=None, version="version", unique=(("email_key",),), admits_tenants=True)
RECOVERY_CODES = DocumentTable(RecoveryCode, tenant=None, version="version")
# Inserted as active or pending only, so these claim "the active place" and leave ended ones alone.
MEMBERSHIPS = DocumentTable(Membership, version="version", unique=(("person_id", "party_kind", "party_id", "state"),))
INVITATIONS = DocumentTable(Invitation, version="version", unique=(("email_key", "party_kind", "party_id", "state"),))
CONSOLE_SESSIONS = DocumentTable(ConsoleSession, tenant=None, version="version")
SIGN_IN_COUNTERS = DocumentTable(SignInCounter, tenant=None, version="version", unique=(("id",),))
ONE_TIME_LINKS = DocumentTable(OneTimeLink, tenant=None, version="version")
PERSON_MESSAGES = DocumentTable(PersonMessage, version="version")
PAYOUT_DESTINATIONS = DocumentTable(PayoutDestination, version="version")
MERCHANT_LICENCES = DocumentTable(MerchantLicence, version="version", unique=(("merchant_id", "kind", "number"),))
