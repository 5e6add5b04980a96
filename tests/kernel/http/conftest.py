"""An application with every convention installed, called in process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Literal

import httpx
import pytest
from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.http.application import Application
from platform_core.kernel.http.body import parse_body
from platform_core.kernel.http.envelope import envelope_of
from platform_core.kernel.http.problem import Problems
from platform_core.kernel.http.version import Version, Versions
from platform_core.kernel.ids import Ids
from platform_core.kernel.money import AmountMinor, CurrencyCode
from platform_core.kernel.pagination import PageLimit

TRACE_ENTROPY = bytes(range(24))


class Line(BaseModel):
    name: str = Field(min_length=1, max_length=8)
    quantity: int = Field(ge=1)


class Order(BaseModel):
    amount_minor: AmountMinor
    currency: CurrencyCode
    form: Literal["qr", "cash"] = "qr"
    expires_at: datetime | None = None
    lines: list[Line] = Field(default_factory=list, max_length=3)


async def raw_route(scope: Scope, receive: Receive, send: Send) -> None:
    """A route served as plain ASGI, which reads its own body."""
    size = 0
    while True:
        message = await receive()
        size += len(message["body"])
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": ()})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture
def app() -> FastAPI:
    app = Application(
        ids=Ids(ManualClock(datetime(2026, 11, 22, tzinfo=UTC))),
        problems=Problems(type_base="https://pay.example/docs/errors#"),
        versions=Versions((Version("2026-01-01"), Version("2026-11-22"))),
        entropy=lambda count: TRACE_ENTROPY[:count],
        openapi_url=None,
    )

    @app.post("/orders")
    async def create(request: Request) -> dict[str, object]:
        order = await parse_body(request, Order)
        return order.model_dump(mode="json")

    @app.get("/orders")
    async def listing(limit: PageLimit = 20) -> dict[str, int]:
        return {"limit": limit}

    @app.get("/search")
    async def search(q: Annotated[int, Query()]) -> dict[str, int]:
        return {"q": q}

    @app.post("/framework")
    async def framework(order: Order) -> dict[str, str]:
        return {"currency": order.currency}

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("password=hunter2")

    @app.get("/envelope")
    async def envelope(request: Request) -> dict[str, object]:
        found = envelope_of(request.scope)
        found.settle_version("2026-11-22")
        return {
            "request_id": found.request_id,
            "client_request_id": found.client_request_id,
            "version": found.version,
            "named_version": found.named_version,
            "traceparent": found.correlation.traceparent,
            "tracestate": found.correlation.tracestate,
        }

    app.mount("/raw", raw_route)
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://arsenal.test") as opened:
        yield opened
