"""Tables of webhooks and of in-house event handling, and how each takes part in plans.

All but `event_handling` are the platform's own rows, shown to the app that they belong to: an endpoint hears of many
merchants. What a value may be is checked by the database; migrations hold the constraints.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable

_MOMENT = DateTime(timezone=True)


class WebhookEndpoint(SQLModel, table=True):
    """Where an app wants to hear of events. `version` counts its changes, and with them its own events."""

    __tablename__: ClassVar[str] = "webhook_endpoint"

    id: str = Field(primary_key=True)
    app_id: str
    mode: str
    url: str
    description: str
    event_types: Any = Field(sa_type=JSONB)  # a list of patterns; encoded text where a plan writes it
    api_version: str
    state: str
    disabled_reason: str | None
    secret_sealed: bytes
    secret_before_sealed: bytes | None
    secret_before_until: datetime | None = Field(sa_type=_MOMENT)
    version: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=_MOMENT)
    updated_at: datetime = Field(sa_type=_MOMENT)


class WebhookEndpointHealth(SQLModel, table=True):
    """How an endpoint has been doing; `id` is the endpoint's. Written by attempts, the last one wins."""

    __tablename__: ClassVar[str] = "webhook_endpoint_health"

    id: str = Field(primary_key=True)
    app_id: str
    concurrency: int  # attempts at a time
    paused_until: datetime | None = Field(sa_type=_MOMENT)  # its own Retry-After
    failing_since: datetime | None = Field(sa_type=_MOMENT)  # first failure after the last success
    warned_at: datetime | None = Field(sa_type=_MOMENT)
    last_success_at: datetime | None = Field(sa_type=_MOMENT)  # at most a minute behind


class WebhookMessage(SQLModel, table=True):
    """The bytes that are sent for an event in one version of the interface."""

    __tablename__: ClassVar[str] = "webhook_message"

    id: str = Field(primary_key=True)
    event_id: str
    body: bytes


class WebhookDelivery(SQLModel, table=True):
    """One event on its way to one endpoint.

    `version` counts claims and outcomes: who claimed an older one has lost it.
    """

    __tablename__: ClassVar[str] = "webhook_delivery"

    id: str = Field(primary_key=True)
    event_id: str
    endpoint_id: str
    message_id: str
    app_id: str
    merchant_id: str
    event_type: str
    object_id: str
    sequence: int = Field(sa_type=BigInteger)
    state: str
    tries: int  # in the present run of the schedule; a resend starts a new run
    attempts: int  # in all
    due_at: datetime = Field(sa_type=_MOMENT)
    wake_at: datetime = Field(sa_type=_MOMENT)  # when the dispatcher looks at it: due, or presumed lost
    leased_until: datetime | None = Field(sa_type=_MOMENT)
    version: int = Field(sa_type=BigInteger)
    last_status: int | None
    last_error: str | None
    traceparent: str | None
    created_at: datetime = Field(sa_type=_MOMENT)
    finished_at: datetime | None = Field(sa_type=_MOMENT)


class WebhookAttempt(SQLModel, table=True):
    """One request that was sent, or could not be."""

    __tablename__: ClassVar[str] = "webhook_attempt"

    id: str = Field(primary_key=True)
    delivery_id: str
    app_id: str
    number: int
    started_at: datetime = Field(sa_type=_MOMENT)
    status: int | None
    error: str | None
    excerpt: str  # the answer's first 1,024 bytes, as far as they are UTF-8
    elapsed_ms: int


class EventHandling(SQLModel, table=True):
    """One event on its way to one in-house consumer; removed in the plan that the consumer returned."""

    __tablename__: ClassVar[str] = "event_handling"

    id: str = Field(primary_key=True)
    event_id: str
    consumer: str
    merchant_id: str | None
    state: str
    tries: int
    due_at: datetime = Field(sa_type=_MOMENT)
    wake_at: datetime = Field(sa_type=_MOMENT)
    leased_until: datetime | None = Field(sa_type=_MOMENT)
    version: int = Field(sa_type=BigInteger)
    last_error: str | None
    created_at: datetime = Field(sa_type=_MOMENT)


WEBHOOK_ENDPOINTS = DocumentTable(WebhookEndpoint, tenant=None, version="version")
WEBHOOK_HEALTH = DocumentTable(WebhookEndpointHealth, tenant=None)
WEBHOOK_MESSAGES = DocumentTable(WebhookMessage, tenant=None, unique=(("id",),))
WEBHOOK_DELIVERIES = DocumentTable(
    WebhookDelivery, tenant=None, version="version", unique=(("event_id", "endpoint_id"),)
)
WEBHOOK_ATTEMPTS = DocumentTable(WebhookAttempt, tenant=None)
EVENT_HANDLINGS = DocumentTable(EventHandling, version="version")
