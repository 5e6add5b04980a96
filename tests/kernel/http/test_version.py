"""Two invented versions with a breaking change each: requests go up, answers and events come down."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel

from platform_core.delivery.catalogue import EventCatalogue, EventKind, EventSeen
from platform_core.delivery.webhooks.messages import encode_message
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.http.application import Application
from platform_core.kernel.http.body import parse_body
from platform_core.kernel.http.envelope import envelope_of
from platform_core.kernel.http.problem import Problems
from platform_core.kernel.http.version import Version, Versions
from platform_core.kernel.ids import Ids

pytestmark = pytest.mark.api
FIXTURES = Path(__file__).parent / "fixtures_versions"
RECORDED = [json.loads(path.read_text()) for path in sorted(FIXTURES.glob("*.json"))]
ORDERS = ("orders.create", "orders.get")
NOW = datetime(2029, 1, 1, tzinfo=UTC)


class AmountInMinorUnits:
    """2027-03-01: `amount` in yuan with a point became `amount_minor`."""

    version = "2027-03-01"
    covers: frozenset[str] = frozenset()

    def upgrade_request(self, operation: str, document: Any) -> Any:
        if operation == "orders.create" and isinstance(document, dict) and "amount" in document:
            document["amount_minor"] = int(document.pop("amount") * 100)
        return document

    def downgrade_answer(self, operation: str, document: Any) -> Any:
        if operation in ORDERS:
            document["amount"] = document.pop("amount_minor") / 100
        return document

    def downgrade_event(self, event_type: str, data: Any) -> Any:
        return self.downgrade_answer("orders.get", data) if event_type == "order.paid" else data


class BuyerIsAnObject:
    """2028-05-01: `buyer_name` became `buyer: {name}`."""

    version = "2028-05-01"
    covers: frozenset[str] = frozenset()

    def upgrade_request(self, operation: str, document: Any) -> Any:
        if operation == "orders.create" and isinstance(document, dict) and "buyer_name" in document:
            document["buyer"] = {"name": document.pop("buyer_name")}
        return document

    def downgrade_answer(self, operation: str, document: Any) -> Any:
        if operation in ORDERS:
            document["buyer_name"] = document.pop("buyer")["name"]
        return document

    def downgrade_event(self, event_type: str, data: Any) -> Any:
        return self.downgrade_answer("orders.get", data) if event_type == "order.paid" else data


VERSIONS = Versions(
    (
        Version("2026-11-22", datetime(2028, 5, 1, tzinfo=UTC), datetime(2029, 5, 1, tzinfo=UTC)),
        Version("2027-03-01"),
        Version("2028-05-01"),
    ),
    (BuyerIsAnObject(), AmountInMinorUnits()),
)


class Buyer(BaseModel):
    name: str


class Order(BaseModel):
    amount_minor: int
    buyer: Buyer


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app: FastAPI = Application(
        ids=Ids(ManualClock(NOW)), problems=Problems(type_base="https://x.example/"), versions=VERSIONS
    )

    @app.post("/orders", operation_id="orders.create", status_code=201)
    async def create(request: Request) -> Order:
        envelope_of(request.scope).settle_version(request.headers.get("x-pinned", "2028-05-01"))
        return await parse_body(request, Order)

    @app.get("/orders/{id}", operation_id="orders.get")
    async def get(id: str, request: Request) -> Order:
        envelope_of(request.scope).settle_version(request.headers.get("x-pinned", "2028-05-01"))
        return Order(amount_minor=1250, buyer=Buyer(name=id))

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://arsenal.test") as opened:
        yield opened


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded["version"])
async def test_recorded_exchange_of_every_living_version_still_holds(
    client: httpx.AsyncClient, recorded: dict[str, Any]
) -> None:
    for exchange in recorded["exchanges"]:
        for headers in ({"arsenal-version": recorded["version"]}, {"x-pinned": recorded["version"]}):
            answer = await client.request(
                exchange["method"], exchange["path"], json=exchange["request"], headers=headers
            )
            assert (answer.status_code, answer.json()) == (exchange["status"], exchange["answer"])
            assert answer.headers["arsenal-version"] == recorded["version"]
            assert int(answer.headers["content-length"]) == len(answer.content)


def test_every_living_version_has_a_recording() -> None:
    assert [recorded["version"] for recorded in RECORDED] == list(VERSIONS.names)


async def test_a_version_on_its_way_out_says_so_on_every_answer(client: httpx.AsyncClient) -> None:
    old = await client.get("/orders/Li", headers={"arsenal-version": "2026-11-22"})
    assert old.headers["deprecation"] == "@1840752000"
    assert old.headers["sunset"] == "Tue, 01 May 2029 00:00:00 GMT"
    refused = await client.post("/orders", json={"amount": 1}, headers={"arsenal-version": "2026-11-22"})
    assert (refused.status_code, refused.headers["sunset"]) == (422, "Tue, 01 May 2029 00:00:00 GMT")
    newest = await client.get("/orders/Li")
    assert not {"deprecation", "sunset"} & set(newest.headers)


async def test_the_old_shape_is_refused_in_the_new_version(client: httpx.AsyncClient) -> None:
    answer = await client.post("/orders", json={"amount": 12.5, "buyer_name": "Li"})
    assert answer.status_code == 422
    assert {fault["param"] for fault in answer.json()["errors"]} == {
        "/amount",
        "/buyer_name",
        "/amount_minor",
        "/buyer",
    }


async def test_a_pinned_version_that_is_gone_counts_as_the_oldest(client: httpx.AsyncClient) -> None:
    answer = await client.get("/orders/Li", headers={"x-pinned": "2020-01-01"})
    assert (answer.headers["arsenal-version"], answer.json()) == ("2026-11-22", {"amount": 12.5, "buyer_name": "Li"})


@pytest.mark.parametrize(
    ("version", "data"),
    [
        ("2026-11-22", {"amount": 12.5, "buyer_name": "Li"}),
        ("2027-03-01", {"amount_minor": 1250, "buyer_name": "Li"}),
        ("2028-05-01", {"amount_minor": 1250, "buyer": {"name": "Li"}}),
    ],
)
def test_an_event_is_sent_in_the_version_of_its_endpoint(version: str, data: dict[str, Any]) -> None:
    catalogue = EventCatalogue([EventKind("order.paid", "payments:read", "/v1/orders/{id}")], VERSIONS)
    body = json.dumps({"amount_minor": 1250, "buyer": {"name": "Li"}})
    event = EventSeen("evt_1", "order.paid", "mer_1", "ord_1", 1, NOW, body, None)
    message = json.loads(encode_message(event, catalogue=catalogue, api_version=version, mode="test"))
    assert (message["api_version"], message["data"]) == (version, data)


def test_versions_out_of_order_and_changes_for_nobody_are_refused() -> None:
    with pytest.raises(ValueError, match="oldest first"):
        Versions((Version("2027-03-01"), Version("2026-11-22")))
    with pytest.raises(ValueError, match="remove its file"):
        Versions((Version("2027-03-01"), Version("2028-05-01")), (AmountInMinorUnits(),))
