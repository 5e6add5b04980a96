"""`/sandbox/v1/events`: the events of an app as they are committed, with the bytes that a webhook carries for each."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from platform_core.delivery.webhooks.feed import Feed, Heard, read_place
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.http.openapi import refusals
from sandbox.testbed.errors import PLACE_INVALID

LOOK_EVERY_S: Final = 0.2
WAIT_S_MAX: Final = 25
MayListen = Annotated[Principal, requires("testbed:write")]


class HeardRead(BaseModel):
    """One event. `body` is what a webhook sends for it, byte for byte, in UTF-8."""

    model_config = ConfigDict(frozen=True)

    id: str
    type: str
    merchant_id: str | None
    object_id: str
    sequence: int
    occurred_at: datetime
    body: str


class HeardPage(BaseModel):
    """Events, the oldest first. `next` goes into the next request as `after`."""

    model_config = ConfigDict(frozen=True)

    data: list[HeardRead]
    next: str = Field(description="A place in the feed; it outlives restarts of the server.")


def events_router(feed: Feed) -> APIRouter:
    """The route over one feed; bootstrap mounts it in a sandbox."""
    router = APIRouter(prefix="/sandbox/v1", tags=["sandbox"])

    @router.get("/events", operation_id="sandbox_events.list", responses=refusals(PLACE_INVALID))
    async def hear(
        who: MayListen,
        *,
        after: Annotated[str | None, Query(max_length=4096, description="`next` of the answer before.")] = None,
        wait_s: Annotated[int, Query(ge=0, le=WAIT_S_MAX, description="How long to wait for the first event.")] = 0,
        limit: Annotated[int, Query(ge=1, le=100)] = 100,
    ) -> HeardPage:
        """What happened since; without `after` nothing yet, and where the feed ends now."""
        if after is None:
            return HeardPage(data=[], next=str(await feed.end()))
        try:
            place = read_place(after)
        except ValueError:
            raise PLACE_INVALID.error(param="/query/after") from None
        until = time.monotonic() + wait_s
        while True:
            heard, place = await feed.read(who, place, limit=limit)
            if heard or time.monotonic() >= until:
                return HeardPage(data=[_shown(each) for each in heard], next=str(place))
            await asyncio.sleep(LOOK_EVERY_S)

    return router


def _shown(heard: Heard) -> HeardRead:
    event = heard.event
    return HeardRead(
        id=event.id,
        type=event.type,
        merchant_id=event.merchant_id,
        object_id=event.object_id,
        sequence=event.sequence,
        occurred_at=event.occurred_at,
        body=heard.body.decode(),
    )
