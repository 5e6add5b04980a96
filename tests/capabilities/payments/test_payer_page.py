"""The payer's page: what it tells, what it keeps to itself, and that reading and refreshing it pays once."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.capabilities.payments.acquirer import Crash
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_forms import lead, show
from tests.capabilities.payments.test_sales import PAID, read
from tests.support.world import ORIGIN, Till

pytestmark = [pytest.mark.api, pytest.mark.database]
PHONE = {"User-Agent": "Mozilla/5.0 (Linux; Android 15) Mobile", "Accept-Language": "en"}
BASKET = {
    "lines": [
        {"line_id": "a", "name": "Noodles <b>&", "quantity": 2, "unit_minor": 3_000},
        {"line_id": "b", "name": "Tea", "quantity": 1, "unit_minor": 2_200},
    ]
}


def path_of(payment: dict[str, Any]) -> str:
    return str(payment["pay_url"]).removeprefix(ORIGIN)


async def state(shop: Shop, payment: dict[str, Any]) -> str:
    answer = await shop.client.get(f"{path_of(payment)}/state")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["state"])


async def test_page_tells_what_a_payer_may_see_and_no_more(shop: Shop, seller: Till) -> None:
    payment = await show(
        seller,
        "customer_scan",
        store_id=seller.store_id,
        terminal_id="till_secret",
        operator_id="operator_secret",
        metadata={"note": "metadata_secret"},
        order_minor=None,
        basket=BASKET,
        return_url="https://shop.example/back?a=1&b=2",
    )
    assert re.fullmatch(rf"{ORIGIN}/pay/[A-Za-z0-9_-]{{22}}", payment["pay_url"])
    answer = await shop.client.get(path_of(payment), headers=PHONE)
    assert answer.status_code == 200
    for shown in ("Hutong Coffee", "Drum Tower", "CN¥82.00", payment["out_trade_no"], "Two coffees", "<svg"):
        assert shown in answer.text
    assert "Noodles &lt;b&gt;&amp;" in answer.text
    hidden = (payment["id"], payment["merchant_id"], seller.channel_account_id, "_secret", "fee_", "txn_", "att_")
    assert [word for word in hidden if word in answer.text] == []
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', answer.text) == []
    assert " style=" not in answer.text
    [script] = re.findall(r'src="(/static/payer\.[0-9a-f]{16}\.js)"', answer.text)
    assert (await shop.client.get(script)).headers["content-type"].startswith("text/javascript")
    chinese = await shop.client.get(path_of(payment), headers={"Accept-Language": "zh"})
    assert "请使用钱包 App 扫码付款。" in chinese.text
    assert 'lang="zh-Hans"' in chinese.text


async def test_page_refresh_pays_once(shop: Shop, seller: Till) -> None:
    """However often it is read, and its button pressed by a page that is out of date."""
    payment = await show(seller, "page")
    before = await shop.counts()
    for _ in range(3):
        assert (await shop.client.get(path_of(payment))).status_code == 200
        assert await state(shop, payment) == "open"
    assert await shop.counts() == before
    with shop.acquirer.book.transaction():
        entry = shop.acquirer.wallet.page(lead(payment))
        assert entry is not None
        shop.acquirer.wallet.refuse(entry)
    await shop.deliver(seller)
    assert await state(shop, payment) == "again"
    form = {"attempt": "1", "wallet": "simulated_acquirer"}
    for _ in range(3):
        answer = await shop.client.post(path_of(payment), data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{path_of(payment)}?go")
    shown = await read(seller, payment, "attempts")
    tries = [(one["form"], one["state"]) for one in shown["attempts"]]
    assert tries == [("page", "failed"), ("page", "waiting_customer")]
    shop.acquirer.scan(lead(shown))
    await shop.deliver(seller)
    for stale in ({"attempt": "2", "wallet": "simulated_acquirer"}, form, {"attempt": "x"}, {"wallet": "cash"}):
        assert (await shop.client.post(path_of(payment), data=stale)).status_code == 303
    assert await state(shop, payment) == "paid"
    assert len((await read(seller, payment, "attempts"))["attempts"]) == 2
    assert await seller.balances(shop.platform) == PAID


async def test_payer_on_the_phone_leaves_the_code_and_it_can_never_be_paid(shop: Shop, seller: Till) -> None:
    payment = await show(seller, "customer_scan")
    desk = await shop.client.get(path_of(payment), headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"})
    assert 'name="wallet"' not in desk.text
    form = {"attempt": "1", "wallet": "simulated_acquirer"}
    ignored = await shop.client.post(path_of(payment), data={**form, "wallet": "cash"}, headers=PHONE)
    assert ignored.status_code == 303
    assert (await read(seller, payment))["next_action"]["type"] == "show_qr"
    await shop.client.post(path_of(payment), data=form, headers=PHONE)
    moved = await read(seller, payment, "attempts,transactions")
    assert (moved["state"], moved["next_action"]["type"]) == ("processing", "redirect")
    assert [(t["kind"], t["state"]) for t in moved["transactions"]] == [
        ("sale", "failed"),
        ("close", "succeeded"),
        ("sale", "pending"),
    ]
    assert shop.acquirer.scan(lead(payment)) == "FAILED"
    assert shop.acquirer.scan(lead(moved)) == "SUCCESS"
    await shop.deliver(seller)
    assert await seller.balances(shop.platform) == PAID
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.attempt_failed", "payment.captured"]


async def test_code_that_was_just_paid_is_not_left(shop: Shop, seller: Till) -> None:
    payment = await show(seller, "customer_scan")
    shop.acquirer.scan(lead(payment), "silent")
    await shop.client.post(path_of(payment), data={"attempt": "1", "wallet": "simulated_acquirer"}, headers=PHONE)
    shop.later(seconds=6)
    assert await state(shop, payment) == "paid"
    assert len((await read(seller, payment, "attempts"))["attempts"]) == 1
    assert await seller.balances(shop.platform) == PAID


@pytest.mark.parametrize("where", ["before", "after"])
async def test_leaving_that_died_is_finished_by_the_janitor(shop: Shop, seller: Till, where: str) -> None:
    """The process dies around the close of a shown code: nobody can pay it, and the payment may be tried again."""

    async def die() -> None:
        raise Crash

    payment = await show(seller, "customer_scan")
    getattr(shop.acquirer, where)["close"] = die
    form = {"attempt": "1", "wallet": "simulated_acquirer"}
    with pytest.raises(Crash):
        await shop.client.post(path_of(payment), data=form, headers=PHONE)
    assert (await shop.client.post(path_of(payment), data=form, headers=PHONE)).status_code == 303
    assert len((await read(seller, payment, "attempts"))["attempts"]) == 1, "the close may still be under way"
    shop.later(seconds=11)
    await shop.work_for(seller)
    shown = await read(seller, payment, "attempts,transactions")
    assert (shown["state"], [one["state"] for one in shown["attempts"]]) == ("created", ["canceled"])
    assert [(t["kind"], t["state"]) for t in shown["transactions"]] == [("sale", "failed"), ("close", "succeeded")]
    assert shop.acquirer.scan(lead(payment)) == "FAILED"
    await shop.client.post(path_of(payment), data=form, headers=PHONE)
    again = await read(seller, payment)
    assert again["next_action"]["type"] == "show_qr", "in the order's own form: nothing is shown that could be left"
    shop.acquirer.scan(lead(again))
    await shop.deliver(seller)
    assert await seller.balances(shop.platform) == PAID


async def test_merchants_close_ends_what_a_payer_began_to_leave(shop: Shop, seller: Till) -> None:
    async def die() -> None:
        raise Crash

    payment = await show(seller, "customer_scan")
    shop.acquirer.before["close"] = die
    with pytest.raises(Crash):
        await shop.client.post(path_of(payment), data={"attempt": "1", "wallet": "simulated_acquirer"}, headers=PHONE)
    closed = (await seller.post(f"/payments/{payment['id']}/close", {})).json()
    assert (closed["state"], closed["closed_reason"]) == ("closed", "merchant")
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.closed"]


async def test_doubt_is_told_and_nothing_can_be_pressed(shop: Shop, seller: Till) -> None:
    payment = await show(seller, "customer_scan")
    [transaction] = await shop.transactions(payment["id"])
    await shop.tell(seller, notice_id="d1", key=transaction["id"], kind="sale", status="SUCCESS", amount_minor=8_201)
    text = (await shop.client.get(path_of(payment), headers=PHONE)).text
    assert "We are asking the bank" in text
    assert 'name="wallet"' not in text
    assert "<svg" not in text
    assert 'http-equiv="refresh"' in text


async def test_page_ends_with_its_payment(shop: Shop, seller: Till) -> None:
    payment, paid = await show(seller, "page"), await show(seller, "page", return_url="https://shop.example/back")
    shop.acquirer.scan(lead(paid))
    await shop.deliver(seller)
    text = (await shop.client.get(path_of(paid), headers=PHONE)).text
    assert "Back to Hutong Coffee" in text
    assert 'href="https://shop.example/back"' in text
    shop.later(minutes=16)
    await shop.work_for(seller)
    over = await shop.client.get(path_of(payment), headers=PHONE)
    assert "This payment has ended" in over.text
    shop.later(days=1)
    wrong = ["/pay/" + "A" * 22, "/pay/x", path_of(paid)[:-1], "/pay/%00", "/pay/" + "é" * 22]
    for path in (path_of(payment), path_of(paid), *wrong):
        gone = await shop.client.get(path, headers=PHONE)
        assert gone.status_code == 404
        assert "not in use" in gone.text
        assert (await shop.client.get(f"{path}/state")).status_code == 404
    posted = await shop.client.post(path_of(paid), data={"attempt": "1", "wallet": "simulated_acquirer"})
    assert posted.status_code == 404


async def test_address_is_nobodys_but_the_payers(shop: Shop, seller: Till) -> None:
    """It stands in the merchant's answers, and in no log of requests."""
    payment = await show(seller, "page")
    assert (await read(seller, payment))["pay_url"] == payment["pay_url"]
    other = await shop.new_till()
    assert (await other.get(f"/payments/{payment['id']}")).status_code == 404
    await shop.platform.request_log.flush()
    rows = await shop.fetch("SELECT * FROM request_log WHERE merchant_id = $1", seller.merchant_id)
    assert rows
    assert [row for row in rows if payment["pay_url"].rpartition("/")[2] in repr(row)] == []
