"""The hot route is served past the framework's router; nobody can tell by its answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import Request, Response
from fastapi.routing import APIRoute, iter_route_contexts

from platform_core.bootstrap.app import attach, create_app
from platform_core.capabilities.payments.router import DIRECT_ROUTES
from platform_core.kernel.http.application import Application
from platform_core.kernel.http.direct import DirectRoute
from platform_core.kernel.http.problem import Problems
from platform_core.kernel.ids import Ids
from tests.support.world import ORIGIN, Till, World

pytestmark = [pytest.mark.api, pytest.mark.database]
_VARYING = re.compile(r"\b(?:req|pay)_[0-9a-z]{26}\b|\d{4}-\d\d-\d\dT[0-9:.]+Z|order_\w+")
ORDER = {"subject": "Tea", "form": "local", "currency": "CNY", "order_minor": 100}


@pytest.fixture
async def routed(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The same platform behind an application without the layer."""
    app = create_app(None, public_origin=ORIGIN, ids=world.platform.ids)  # type: ignore[arg-type]  # attached by hand
    app._direct = ()  # type: ignore[attr-defined]  # before the layers are built
    attach(app, world.platform)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        yield client


def shape(answer: httpx.Response) -> tuple[int, str, dict[str, str]]:
    """An answer without what differs between any two."""
    unlike = ("content-length", "ratelimit")
    headers = {name: _VARYING.sub("*", value) for name, value in answer.headers.items() if name not in unlike}
    return answer.status_code, _VARYING.sub("*", answer.text), headers


async def test_answers_are_those_of_the_routed_application(world: World, till: Till, routed: httpx.AsyncClient) -> None:
    token = {"Authorization": f"Bearer {till.token}"}
    keyed = {**token, "Idempotency-Key": "direct-0"}
    requests: list[tuple[int, dict[str, Any]]] = [
        (401, {"json": ORDER}),
        (401, {"json": ORDER, "headers": {"Authorization": "Bearer nonsense"}}),
        (400, {"json": {**ORDER, "out_trade_no": "order_1"}, "headers": token}),
        (400, {"content": b'{"a":1,"a":2}', "headers": {**keyed, "Content-Type": "application/json"}}),
        (415, {"content": b"a=1", "headers": {**keyed, "Content-Type": "text/plain"}}),
        (422, {"json": {**ORDER, "out_trade_no": "order_1", "order_minor": -1}, "headers": keyed}),
        (400, {"json": ORDER, "headers": {**keyed, "Arsenal-Version": "1999-01-01"}}),
        (413, {"content": b" " * 300_000, "headers": {**keyed, "Content-Type": "application/json"}}),
    ]
    for status, request in requests:
        direct = await world.client.post("/v1/payments", **request)
        assert direct.status_code == status, direct.text
        assert shape(direct) == shape(await routed.post("/v1/payments", **request))
    taken = []
    for number, client in enumerate((world.client, routed)):
        headers = {**token, "Idempotency-Key": f"direct-{number}"}
        taken.append(
            await client.post("/v1/payments", json={**ORDER, "out_trade_no": f"order_d{number}"}, headers=headers)
        )
    assert [answer.status_code for answer in taken] == [201, 201]
    assert shape(taken[0]) == shape(taken[1])


async def test_direct_routes_stand_in_the_application_too(world: World) -> None:
    registered = {
        (method, context.path, context.original_route.operation_id)
        for context in iter_route_contexts(world.app.routes)
        if isinstance(context.original_route, APIRoute)
        for method in context.original_route.methods or ()
    }
    assert {(route.method, route.path, route.operation_id) for route in DIRECT_ROUTES} <= registered
    assert [(route.method, route.path) for route in DIRECT_ROUTES] == [("POST", "/v1/payments")]


@pytest.mark.parametrize("error", [ConnectionRefusedError(), TimeoutError()])
async def test_a_database_that_is_away_is_answered_503(error: Exception, ids: Ids) -> None:
    async def route(request: Request) -> Response:
        raise error

    problems = Problems(type_base="http://127.0.0.1/problems/", language="en")
    app = Application(ids=ids, problems=problems, direct=(DirectRoute("POST", "/hot", "hot", route),))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as client:
        answer = await client.post("/hot")
    assert (answer.status_code, answer.json()["code"]) == (503, "kernel.database_unavailable")
    assert answer.headers["retry-after"] == "1"
