"""A customer pays on a phone: by a shown code, at a printed one, in both languages, and without JavaScript."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.journey.conftest import Street
from tests.journey.pages import inspect, opened

pytestmark = [pytest.mark.journey, pytest.mark.database]
BACK = "http://127.0.0.1:9/thanks"
WORDS = {
    "en": {
        "paid": "Paid",
        "back": "Back to Hutong Coffee",
        "go": "Continue to pay",
        "wallet": "Pay with Simulated wallet",
    },
    "zh": {"paid": "付款成功", "back": "返回Hutong Coffee", "go": "前往付款", "wallet": "使用模拟钱包付款"},
}
_fixed = itertools.count(1)


async def order(street: Street, form: str, **fields: Any) -> dict[str, Any]:
    answer = await street.till.pay(form=form, store_id=street.till.store_id, return_url=BACK, **fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def sticker(street: Street, **fields: Any) -> dict[str, Any]:
    body = {"store_id": street.till.store_id, "name": f"Counter {next(_fixed)}", **fields}
    answer = await street.till.post("/stickers", body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def payments(street: Street, made: dict[str, Any]) -> list[dict[str, Any]]:
    """The payments that were begun at a sticker."""
    listed = (await street.till.get("/payments?form=sticker&limit=100")).json()["data"]
    return [payment for payment in listed if payment["out_trade_no"].startswith(made["code"])]


@pytest.mark.parametrize(("language", "width"), [("en", 390), ("zh", 360)])
async def test_phone_pays_by_the_code_on_the_page(browser: Browser, street: Street, language: str, width: int) -> None:
    payment = await order(street, "customer_scan", subject="Two coffees and a very long sandwich 三明治")
    async with opened(browser, language=language, width=width, user_agent="Mozilla/5.0 (X11; Linux x86_64)") as page:
        await page.goto(payment["pay_url"])
        await expect(page.locator(".amount")).to_have_text("CN¥82.00" if language == "en" else "¥82.00")
        await expect(page.get_by_role("img", name=re.compile("QR|二维码"))).to_be_visible()
        await inspect(page, f"code.{language}.{width}")
        await page.reload()
        await street.scan(payment["next_action"]["code"])
        await expect(page.get_by_role("heading", name=WORDS[language]["paid"])).to_be_visible()  # by itself
        await inspect(page, f"paid.{language}.{width}")
        await expect(page.get_by_role("link", name=WORDS[language]["back"])).to_have_attribute("href", BACK)
    shown = (await street.till.get(f"/payments/{payment['id']}?expand=attempts")).json()
    assert (shown["state"], len(shown["attempts"])) == ("captured", 1)


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_customer_pays_at_a_printed_code(browser: Browser, street: Street, language: str) -> None:
    made = await sticker(street)
    words = WORDS[language]
    async with opened(browser, language=language, width=360) as page:
        await page.goto(made["url"])
        await inspect(page, f"sticker.{language}")
        field = page.get_by_role("textbox")
        await field.fill("12,5")
        await page.get_by_role("button", name=words["wallet"]).click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await expect(field).to_have_value("12,5")
        await inspect(page, f"sticker_refused.{language}")
        assert await payments(street, made) == []
        await field.fill("1,012.50" if language == "en" else "１２．５０")
        if language == "en":
            await page.get_by_role("button", name=words["wallet"]).click()
            await expect(page.get_by_role("alert")).to_contain_text("CN¥500.00")
            await field.fill("12.5")
        await page.get_by_role("button", name=words["wallet"]).dblclick()
        await page.wait_for_url("**/cashier/*")
        await inspect(page, f"cashier.{language}")
        await page.go_back()
        await page.get_by_role("link", name=words["go"]).click()
        await page.wait_for_url("**/cashier/*")
        await page.get_by_role("button", name=re.compile("Pay")).click()
        await expect(page.get_by_role("heading", name=words["paid"])).to_be_visible()
        await inspect(page, f"sticker_paid.{language}")
        await page.reload()
        await expect(page.get_by_role("heading", name=words["paid"])).to_be_visible()
    [payment] = await payments(street, made)
    assert (payment["state"], payment["amounts"]["captured_minor"]) == ("captured", 1_250)


async def test_phone_leaves_the_code_for_its_wallet(browser: Browser, street: Street) -> None:
    payment = await order(street, "customer_scan")
    async with opened(browser, language="zh") as page:
        await page.goto(payment["pay_url"])
        await inspect(page, "code_on_phone.zh")
        await page.get_by_role("button", name=WORDS["zh"]["wallet"]).click()
        await page.wait_for_url("**/cashier/*")
        await page.get_by_role("button", name=re.compile("Refuse")).click()
        await expect(page.get_by_role("heading", name="尚未付款")).to_be_visible()
        await inspect(page, "again.zh")
        await page.get_by_role("button", name=WORDS["zh"]["wallet"]).click()
        await page.get_by_role("button", name=re.compile("Pay")).click()
        await expect(page.get_by_role("heading", name=WORDS["zh"]["paid"])).to_be_visible()
    refused = await street.acquirer.post("/buyer/scan", json={"qr_code": payment["next_action"]["code"]})
    assert refused.json()["status"] == "FAILED"
    shown = (await street.till.get(f"/payments/{payment['id']}?expand=attempts")).json()
    assert [(one["form"], one["state"]) for one in shown["attempts"]] == [
        ("customer_scan", "canceled"),
        ("wap", "failed"),
        ("wap", "succeeded"),
    ]
    assert shown["amounts"]["captured_minor"] == 8_200


async def test_customer_pays_without_javascript(browser: Browser, street: Street) -> None:
    made = await sticker(street, amount_minor=2_000)
    async with opened(browser, language="en", has_script=False) as page:
        await page.goto(made["url"])
        await inspect(page, "sticker_fixed.en", has_script=False)
        await page.get_by_role("button", name=WORDS["en"]["wallet"]).click()
        await page.get_by_role("link", name=WORDS["en"]["go"]).click()
        await page.get_by_role("button", name=re.compile("Pay")).click()
        await expect(page.get_by_role("heading", name=WORDS["en"]["paid"])).to_be_visible()
        await street.till.post(f"/stickers/{made['id']}/revoke", {})
        gone = await page.goto(made["url"])
        assert gone is not None
        assert gone.status == 404
        await inspect(page, "sticker_revoked.en", has_script=False)
    assert [payment["amounts"]["captured_minor"] for payment in await payments(street, made)] == [2_000]
