"""What goes into and comes out of the webhook routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

Mode = Literal["test", "live"]
EndpointUrl = Annotated[str, StringConstraints(min_length=9, max_length=2048)]
Description = Annotated[str, StringConstraints(max_length=256)]
EventPattern = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z_]+\.(\*|[a-z_]+))$", max_length=80)]
EventPatterns = Annotated[list[EventPattern], Field(min_length=1, max_length=100)]
ApiVersion = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EndpointCreate(_Command):
    """A new endpoint. `api_version` fixes the shape of what is sent; by default the caller's own."""

    url: EndpointUrl
    event_types: EventPatterns = Field(description="Types (payment.captured), families (payment.*) or all (*).")
    description: Description = ""
    api_version: ApiVersion | None = None


class EndpointUpdate(_Command):
    """What to change; what is left out stays. Enabling forgets earlier failures and sends what waited."""

    url: EndpointUrl | None = None
    event_types: EventPatterns | None = None
    description: Description | None = None
    api_version: ApiVersion | None = None
    state: Literal["enabled", "disabled"] | None = None


class ResendRange(_Command):
    """Which events to send again: from `since` on, before `until` if given; by default all types of the endpoint."""

    since: AwareDatetime
    until: AwareDatetime | None = None


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class EndpointRead(_Answer):
    """An endpoint, without its secret."""

    id: str
    mode: Mode
    url: str
    description: str
    event_types: list[str]
    api_version: str
    state: Literal["enabled", "disabled"]
    disabled_reason: Literal["requested", "gone", "failing"] | None
    version: int
    failing_since: datetime | None
    last_success_at: datetime | None
    created_at: datetime
    updated_at: datetime


class EndpointSecretRead(EndpointRead):
    """An endpoint with its signing secret, which only this answer shows."""

    secret: str = Field(repr=False)
    previous_secret_until: datetime | None = Field(description="Until then messages carry the old signature too.")


class AttemptRead(_Answer):
    """One attempt."""

    number: int
    started_at: datetime
    status: int | None
    error: str | None
    excerpt: str
    elapsed_ms: int


class DeliveryRead(_Answer):
    """One event on its way to one endpoint."""

    id: str
    event_id: str
    endpoint_id: str
    merchant_id: str
    event_type: str
    object_id: str
    sequence: int
    state: Literal["pending", "delivered", "dead"]
    attempts: int
    due_at: datetime | None = Field(description="The next attempt; null when there is none.")
    last_status: int | None
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None


class DeliveryDetail(DeliveryRead):
    """A delivery with its latest attempts, the newest first."""

    latest_attempts: list[AttemptRead]


class EventRead(_Answer):
    """An event, with its object as it was then."""

    id: str
    type: str
    merchant_id: str
    object_id: str
    sequence: int
    occurred_at: datetime
    data: Any = Field(description="The object as of this event, in the shape of its own route.")
