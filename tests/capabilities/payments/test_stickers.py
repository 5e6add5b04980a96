"""Printed codes: made, drawn, paid at once a page, bounded, revoked."""

from __future__ import annotations

import asyncio
import io
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from PIL import Image

from platform_core.capabilities.payments.stickers.amounts import read_amount
from platform_core.capabilities.payments.stickers.router import wanted_picture
from platform_core.kernel.errors import PlatformError
from tests.capabilities.payments.shop import Shop
from tests.support.world import ORIGIN, SCOPES, Till

MAY = (*SCOPES, "stores:write")
database = [pytest.mark.api, pytest.mark.database]


@pytest.fixture
async def keeper(shop: Shop) -> Till:
    """A merchant's app that may make stickers."""
    return await shop.new_till(scopes=MAY)


async def sticker(till: Till, **fields: Any) -> dict[str, Any]:
    answer = await till.post("/stickers", {"store_id": till.store_id, "name": "Counter", **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def page(shop: Shop, made: dict[str, Any]) -> tuple[str, str]:
    """What a customer's browser is led to who scans it: the page, and the nonce in its form."""
    first = await shop.client.get(f"/s/{made['code']}")
    assert first.status_code == 303
    shown = await shop.client.get(first.headers["location"])
    assert shown.status_code == 200
    [nonce] = re.findall(r'name="nonce" value="([0-9a-z]{26})"', shown.text)
    assert parse_qs(urlsplit(first.headers["location"]).query)["n"] == [nonce]
    return shown.text, nonce


async def press(shop: Shop, made: dict[str, Any], nonce: str, amount: str = "12.50") -> httpx.Response:
    form = {"nonce": nonce, "amount": amount, "wallet": "simulated_acquirer"}
    answer = await shop.client.post(f"/s/{made['code']}", data=form)
    assert answer.status_code == 303, answer.text
    return answer


@pytest.mark.unit
@pytest.mark.parametrize(
    ("typed", "minor"),
    [
        ("12", 1_200),
        ("12.5", 1_250),
        ("12.50", 1_250),
        (" ¥12.50 ", 1_250),
        ("CN¥1,012.50", 101_250),
        ("１２．５０", 1_250),
        ("12。5", 1_250),
        ("12元", 1_200),
        ("0.01", 1),
        ("0.1", 10),
        ("7.", 700),
    ],
)
def test_an_amount_is_read_exactly(typed: str, minor: int) -> None:
    assert read_amount(typed, currency="CNY").amount_minor == minor


@pytest.mark.unit
@pytest.mark.parametrize(
    "typed",
    [
        *(
            "",
            " ",
            "0",
            "0.00",
            "-1",
            "+1",
            "12,5",
            "1,2345",
            "12.345",
            "12.500",
            "1e3",
            "0x10",
            "12.5.0",
            "½",
            "1 000",
        ),
        *("NaN", "1 000", "Infinity", "9" * 13, "1" * 40, "١٢", "12\x00", "1_000", "12.-5", "100,000,001.00"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(typed: str) -> None:
    with pytest.raises(PlatformError) as refused:
        read_amount(typed, currency="CNY")
    assert (refused.value.status, refused.value.code) == (422, "payments.sticker_amount")


@pytest.mark.unit
def test_currencies_without_cents_take_no_point() -> None:
    assert read_amount("1,200", currency="JPY").amount_minor == 1_200
    with pytest.raises(PlatformError):
        read_amount("1200.5", currency="JPY")


@pytest.mark.unit
def test_picture_follows_accept() -> None:
    assert wanted_picture("") == wanted_picture("*/*") == wanted_picture("text/html,image/svg+xml") == "image/svg+xml"
    assert wanted_picture("image/png;q=0.9, */*") == "image/png"


@pytest.mark.usefixtures("shop")
class TestStickers:
    pytestmark = database

    async def test_sticker_is_made_listed_and_drawn(self, shop: Shop, keeper: Till) -> None:
        made = await sticker(keeper, amount_minor=2_000, terminal_id="T1")
        assert (made["state"], made["amount_minor"], made["revoked_at"]) == ("active", 2_000, None)
        assert made["url"] == f"{ORIGIN}/s/{made['code']}"
        assert re.fullmatch("[0-9a-hjkmnp-tv-z]{12}", made["code"])
        assert (await keeper.get("/stickers")).json() == {"data": [made], "next_cursor": None}
        assert (await keeper.get(f"/stickers/{made['id']}")).json() == made
        headers = {"Authorization": f"Bearer {keeper.token}", "Accept": "image/png"}
        png = await shop.client.get(f"/v1/stickers/{made['id']}/picture", headers=headers)
        assert (png.status_code, png.headers["content-type"]) == (200, "image/png")
        assert Image.open(io.BytesIO(png.content)).size[0] >= 500
        svg = await keeper.get(f"/stickers/{made['id']}/picture")
        assert svg.headers["content-type"] == "image/svg+xml"
        assert svg.text.startswith("<?xml")
        audited = await shop.fetch("SELECT kind FROM audit_row WHERE subject = $1", made["id"])
        assert [row["kind"] for row in audited] == ["sticker.created"]

    async def test_stickers_of_others_and_of_no_store_are_refused(self, shop: Shop, keeper: Till) -> None:
        other = await shop.new_till(scopes=MAY)
        made = await sticker(other)
        poor = await shop.new_till()
        before = await shop.counts()
        for path in (f"/stickers/{made['id']}", f"/stickers/{made['id']}/picture", "/stickers/x"):
            assert (await keeper.get(path)).status_code == 404
        assert (await keeper.post(f"/stickers/{made['id']}/revoke", {})).status_code == 404
        foreign = await keeper.post("/stickers", {"store_id": other.store_id, "name": "x"})
        assert (foreign.status_code, foreign.json()["code"]) == (422, "payments.store_unknown")
        assert (await poor.post("/stickers", {"store_id": poor.store_id, "name": "x"})).status_code == 403
        assert await shop.counts() == before

    async def test_one_page_is_one_payment(self, shop: Shop, keeper: Till) -> None:
        """Pressed twice at once, again after it was paid, with another amount, and refreshed."""
        made = await sticker(keeper, terminal_id="T1")
        _, nonce = await page(shop, made)
        answers = await asyncio.gather(*(press(shop, made, nonce) for _ in range(5)))
        [address] = {answer.headers["location"] for answer in answers}
        assert re.fullmatch(r"/pay/[A-Za-z0-9_-]{22}\?go", address)
        assert (await press(shop, made, nonce, "99")).headers["location"] == address
        again = await shop.client.get(f"/s/{made['code']}?n={nonce}")
        assert (again.status_code, again.headers["location"]) == (303, address.removesuffix("?go"))
        [payment] = (await keeper.get("/payments?form=sticker")).json()["data"]
        assert (payment["state"], payment["amounts"]["payable_minor"]) == ("processing", 1_250)
        assert (payment["store_id"], payment["terminal_id"]) == (keeper.store_id, "T1")
        assert payment["out_trade_no"] == f"{made['code']}_{nonce}"
        assert payment["subject"] == "Counter"
        shop.acquirer.scan(payment["next_action"]["url"].rpartition("/")[2])
        assert await shop.deliver(keeper) == [200]
        balances = await keeper.balances(shop.platform)
        assert balances == {"channel_receivable": -1_250, "merchant_pending": 1_242, "platform_fee": 8}
        _, other = await page(shop, made)
        assert (await press(shop, made, other)).headers["location"] != address

    async def test_refusals_begin_nothing_and_say_why(self, shop: Shop, keeper: Till) -> None:
        made = await sticker(keeper)
        _, nonce = await page(shop, made)
        before = await shop.counts()
        for amount, words in (("12,5", "at most 2 digits"), ("500.01", "At most CN¥500.00"), ("", "above zero")):
            to = (await press(shop, made, nonce, amount)).headers["location"]
            shown = await shop.client.get(to)
            assert words in shown.text
            assert f'value="{amount}"' in shown.text
            assert nonce in shown.text
        hostile = await shop.client.get(f"/s/{made['code']}?n={nonce}&why=%3Cscript%3E&amount=%22%3E%3Cscript%3E")
        assert "<script>" not in hostile.text
        assert await shop.counts() == before
        assert (await press(shop, made, nonce, "500")).headers["location"].startswith("/pay/")

    async def test_fixed_amount_is_not_typed(self, shop: Shop, keeper: Till) -> None:
        made = await sticker(keeper, amount_minor=60_000)
        text, nonce = await page(shop, made)
        assert "CN¥600.00" in text
        assert 'name="amount"' not in text
        await press(shop, made, nonce, "0.01")
        [payment] = (await keeper.get("/payments?form=sticker")).json()["data"]
        assert payment["amounts"]["payable_minor"] == 60_000

    async def test_thirty_payments_a_minute(self, shop: Shop, keeper: Till) -> None:
        made = await sticker(keeper)
        shop.later(seconds=60 - shop.clock.now().second)
        taken = await shop.fetch(
            "INSERT INTO pay_sticker_use SELECT 'stu_' || place || $2, $1, $2, 'x', "
            "date_trunc('minute', $3::timestamptz), place, $3 FROM generate_series(1, 29) AS place RETURNING place",
            keeper.merchant_id,
            made["id"],
            shop.clock.now(),
        )
        assert len(taken) == 29
        pages = [(await page(shop, made))[1] for _ in range(3)]
        locations = [
            answer.headers["location"] for answer in await asyncio.gather(*(press(shop, made, n) for n in pages))
        ]
        assert sum(to.startswith("/pay/") for to in locations) == 1
        refused = next(to for to in locations if to.startswith("/s/"))
        assert "30 payments were begun here" in (await shop.client.get(refused)).text
        assert len((await keeper.get("/payments?form=sticker")).json()["data"]) == 1
        shop.later(minutes=1)
        _, nonce = await page(shop, made)
        assert (await press(shop, made, nonce)).headers["location"].startswith("/pay/")

    async def test_revoked_sticker_is_not_in_use(self, shop: Shop, keeper: Till) -> None:
        made = await sticker(keeper)
        _, nonce = await page(shop, made)
        key = "revoke-1"
        revoked = await keeper.post(f"/stickers/{made['id']}/revoke", {}, key=key)
        assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")
        assert (await keeper.post(f"/stickers/{made['id']}/revoke", {}, key=key)).json() == revoked.json()
        assert (await keeper.post(f"/stickers/{made['id']}/revoke", {})).json() == revoked.json()
        before = await shop.counts()
        for code in (made["code"], "0" * 12, "UPPER", "x" * 200, "%00"):
            gone = await shop.client.get(f"/s/{code}")
            assert gone.status_code == 404
        posted = await shop.client.post(f"/s/{made['code']}", data={"nonce": nonce, "amount": "1"})
        assert posted.status_code == 404
        assert "not in use" in posted.text
        assert await shop.counts() == before
        audited = await shop.fetch("SELECT kind FROM audit_row WHERE subject = $1 ORDER BY kind", made["id"])
        assert [row["kind"] for row in audited] == ["sticker.created", "sticker.revoked"]

    async def test_wallets_own_browser_is_offered_that_wallet_alone(self, shop: Shop, keeper: Till) -> None:
        await shop.add_second(keeper)
        made = await sticker(keeper)
        first = await shop.client.get(f"/s/{made['code']}")
        plain = await shop.client.get(first.headers["location"])
        assert re.findall(r'name="wallet" value="([a-z_]+)"', plain.text) == ["simulated_acquirer", "second_acquirer"]
        inside = await shop.client.get(
            first.headers["location"], headers={"User-Agent": "Mobile SimulatedWallet/1.0", "Accept-Language": "zh"}
        )
        assert "使用模拟钱包付款" in inside.text
