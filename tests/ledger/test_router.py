"""The ledger's routes over a real database; who calls is given by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import Depends, FastAPI, Header

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer, Plan
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.ids import Ids
from platform_core.kernel.pagination import Cursors
from platform_core.ledger.accounts import Account, Guard, Transfer
from platform_core.ledger.router import ledger_router
from platform_core.ledger.service import LedgerService

pytestmark = [pytest.mark.api, pytest.mark.database]

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CHANNEL = Account("mer_a", "CNY", "mer_a", "channel_receivable", "acquirer")
PENDING = Account("mer_a", "CNY", "mer_a", "merchant_pending", guard=Guard.GE0)


async def of_payment(merchant_id: str, payment_id: str) -> list[str]:
    """Here a transfer names the payment itself."""
    return [payment_id] if payment_id != "pay_9" else []


@dataclass(frozen=True)
class Caller:
    merchant_id: str | None


def caller(merchant: str = Header()) -> Caller:
    return Caller(merchant)


@pytest.fixture
async def client(
    database: Database, committer: Committer, ids: Ids, clock: ManualClock
) -> AsyncIterator[httpx.AsyncClient]:
    """Three captures, an hour apart, and the routes over them."""
    for n in range(3):
        move = Transfer(f"t{n}", CHANNEL, PENDING, 100 + n, "capture", f"pay_{n}")
        await committer.commit(Plan("mer_a", [move]))
        clock.advance(timedelta(hours=1))
    app = FastAPI()
    service = LedgerService(database, ids=ids)
    app.include_router(ledger_router(service, Cursors(b"k" * 32), may_read=Depends(caller), references_of=of_payment))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers={"merchant": "mer_a"}) as client:
        yield client


async def test_balances_are_paged(client: httpx.AsyncClient) -> None:
    first = (await client.get("/v1/balances", params={"limit": 1})).json()
    assert first["data"] == [
        {
            "unit": "CNY",
            "owner": "mer_a",
            "role": "channel_receivable",
            "bucket": "acquirer",
            "guard": "free",
            "posted_minor": -303,
            "pending_debits_minor": 0,
            "pending_credits_minor": 0,
            "available_minor": None,
        }
    ]
    second = (await client.get("/v1/balances", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert [(row["role"], row["available_minor"]) for row in second["data"]] == [("merchant_pending", 303)]
    assert second["next_cursor"] is None


async def test_transfers_are_paged_and_filtered(client: httpx.AsyncClient) -> None:
    first = (await client.get("/v1/transfers", params={"limit": 2})).json()
    second = (await client.get("/v1/transfers", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [row["id"] for row in first["data"] + second["data"]] == ["t2", "t1", "t0"]
    assert second["next_cursor"] is None
    assert second["data"] == [
        {
            "id": "t0",
            "kind": "transfer",
            "debit": {"owner": "mer_a", "role": "channel_receivable", "bucket": "acquirer"},
            "credit": {"owner": "mer_a", "role": "merchant_pending", "bucket": ""},
            "unit": "CNY",
            "amount_minor": 100,
            "code": "capture",
            "reference": "pay_0",
            "pending_id": None,
            "reverses": None,
            "created_at": "2026-11-22T12:00:00Z",
            "expires_at": None,
        }
    ]
    window = {"created_from": (NOON + timedelta(hours=1)).isoformat(), "created_to": "2026-11-22T14:00:00Z"}
    assert [row["id"] for row in (await client.get("/v1/transfers", params=window)).json()["data"]] == ["t1"]
    for params, ids in (
        ({"bucket": "acquirer", "code": "capture"}, ["t2", "t1", "t0"]),
        ({"role": "merchant_pending", "bucket": "acquirer"}, []),
        ({"code": "refund"}, []),
        ({"payment_id": "pay_1"}, ["t1"]),
        ({"payment_id": "pay_1", "reference": "pay_2"}, []),
        ({"payment_id": "pay_9"}, []),
    ):
        assert [row["id"] for row in (await client.get("/v1/transfers", params=params)).json()["data"]] == ids
    held = (await client.get("/v1/balances", params={"bucket": "acquirer"})).json()["data"]
    assert [row["role"] for row in held] == ["channel_receivable"]
    by_reference = (await client.get("/v1/transfers", params={"reference": "pay_2"})).json()
    assert [row["id"] for row in by_reference["data"]] == ["t2"]


async def test_cursor_of_another_list_is_refused(client: httpx.AsyncClient) -> None:
    cursor = (await client.get("/v1/transfers", params={"limit": 1})).json()["next_cursor"]
    for address, params in (
        ("/v1/balances", {}),
        ("/v1/transfers", {"role": "merchant_pending"}),
        ("/v1/transfers", {"created_to": "2026-11-22T14:00:00Z"}),
    ):
        with pytest.raises(PlatformError) as caught:
            await client.get(address, params={"cursor": cursor, **params})
        assert caught.value.code == "kernel.cursor_invalid"
    with pytest.raises(PlatformError) as caught:
        await client.get("/v1/transfers", params={"cursor": cursor}, headers={"merchant": "mer_b"})
    assert caught.value.code == "kernel.cursor_invalid"


async def test_another_merchant_sees_nothing(client: httpx.AsyncClient) -> None:
    for address in ("/v1/balances", "/v1/transfers"):
        answer = await client.get(address, headers={"merchant": "mer_b"})
        assert answer.json() == {"data": [], "next_cursor": None}


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"role": "x;y"},
        {"role": "a\x00"},
        {"reference": "a b"},
        {"created_from": "2026-11-22T12:00:00"},
        {"created_to": "soon"},
        {"cursor": "x" * 513},
    ],
)
async def test_bad_filters_are_refused(client: httpx.AsyncClient, params: dict[str, str]) -> None:
    assert (await client.get("/v1/transfers", params=params)).status_code == 422
