"""Notices: when they are sent, what they say, what accepts them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from platform_core.kernel.commit import Duplicate, PlanRefused
from sandbox.simulators.alipay_gateway.faults import Faults
from sandbox.simulators.alipay_gateway.notices import ACCEPTED, Heard, HttpSender, next_due, signed_form, signed_return
from sandbox.simulators.alipay_gateway.signing import PlatformKey, is_signed, notice_text
from sandbox.simulators.serving import running
from tests.sandbox.alipay.keys import key
from tests.sandbox.alipay.tools.yard import App, Yard

pytestmark = [pytest.mark.api, pytest.mark.database]
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SCHEDULE_S = [0, 240, 840, 1_440, 5_040, 12_240, 33_840, 87_840]
"""At once, then after 4 m, 10 m, 10 m, 1 h, 2 h, 6 h and 15 h, each from the one before."""
_numbers = itertools.count(1)


async def _paid(app: App, address: str, **more: Any) -> str:
    out_trade_no = f"notified_{next(_numbers)}"
    biz = {
        "out_trade_no": out_trade_no,
        "total_amount": "88.88",
        "subject": "面条 {a}&b=c+%",
        "scene": "bar_code",
        "auth_code": f"28{next(_numbers):016d}",
        **more,
    }
    node = await app.ask("alipay.trade.pay", biz, notify_url=address)
    assert node["code"] == "10000", node
    return out_trade_no


def _sent(yard: Yard, address: str) -> list[dict[str, str]]:
    return [dict(parse_qsl(form.decode(), keep_blank_values=True)) for to, form in yard.shops.told if to == address]


async def test_a_shop_that_answers_json_is_told_eight_times_and_paid_once(yard: Yard) -> None:
    """Anankke/SSPanel-UIM#2336: the shop answered JSON and was told again and again."""
    app, address = await yard.own_app(), "http://json.example/notify"
    assert app.till is not None
    yard.shops.answers[address] = Heard(200, b'{"code":"success"}', None)
    out_trade_no = await _paid(app, address)
    assert await yard.follow(app.till.merchant_id) == 1
    assert [moment.total_seconds() for moment in await yard.drain(app.till.merchant_id)] == SCHEDULE_S
    sent = _sent(yard, address)
    assert len(sent) == 8
    assert {form["notify_id"] for form in sent} == {sent[0]["notify_id"]}
    assert len({form["notify_time"] for form in sent}) == 8
    assert len({form["sign"] for form in sent}) == 8
    [notice] = await app.desk.notices(state="dead", after=None, limit=10)
    assert (notice.tries, len(notice.attempts)) == (8, 8)
    assert notice.attempts[0]["excerpt"] == '{"code":"success"}'
    trade = await app.ask("alipay.trade.query", {"out_trade_no": out_trade_no})
    assert (trade["trade_status"], trade["total_amount"]) == ("TRADE_SUCCESS", "88.88")
    payments = await yard.owner.fetch("SELECT 1 FROM pay_payment WHERE merchant_id = $1", app.till.merchant_id)
    assert len(payments) == 1
    yard.shops.answers[address] = Heard(500, ACCEPTED, None)
    assert (await app.desk.resend(notice.id)).state == "accepted"
    assert await yard.due(app.till.merchant_id) == []


async def test_a_notice_is_a_row_before_it_is_sent_and_one_for_each_event(yard: Yard) -> None:
    app, address = await yard.own_app(), "http://once.example/notify"
    assert app.till is not None
    yard.shops.answers[address] = Heard(200, ACCEPTED, None)
    await _paid(app, address)
    await yard.follow(app.till.merchant_id)
    [pending] = await app.desk.notices(state="pending", after=None, limit=10)
    assert (pending.tries, _sent(yard, address)) == (0, [])
    await yard.owner.execute("UPDATE outbox SET relayed_at = NULL WHERE merchant_id = $1", app.till.merchant_id)
    with pytest.raises(PlanRefused) as refused:
        await yard.follow(app.till.merchant_id)
    assert isinstance(refused.value.refusal, Duplicate)
    assert await yard.send(app.till.merchant_id) == 1
    assert [notice.state for notice in await app.desk.notices(state=None, after=None, limit=10)] == ["accepted"]
    assert await yard.due(app.till.merchant_id) == []


async def test_what_a_client_reads_in_a_notice(yard: Yard) -> None:
    app, address = await yard.own_app(), "http://fields.example/notify"
    assert app.till is not None
    yard.shops.answers[address] = Heard(200, ACCEPTED, None)
    out_trade_no = await _paid(app, address, body="汤面", passback_params="a%3Db")
    await yard.follow(app.till.merchant_id)
    await yard.send(app.till.merchant_id)
    for number, amount in (("r1", "8.88"), ("r2", "80.00")):
        biz = {"out_trade_no": out_trade_no, "refund_amount": amount, "out_request_no": f"{out_trade_no}_{number}"}
        assert (await app.ask("alipay.trade.refund", biz))["code"] == "10000"
        await yard.follow(app.till.merchant_id)
        await yard.send(app.till.merchant_id)
    paid, first, second = _sent(yard, address)
    ring = await yard.tools.rings.of(app.app_id)
    for form in (paid, first, second):
        text = notice_text((name.encode(), value.encode()) for name, value in form.items())
        assert is_signed(ring.platform.public_key, text, form["sign"], sign_type="RSA2")
        assert all(form.values())
    assert paid["trade_status"] == "TRADE_SUCCESS"
    assert (paid["app_id"], paid["out_trade_no"], paid["subject"]) == (app.number, out_trade_no, "面条 {a}&b=c+%")
    assert (paid["total_amount"], paid["receipt_amount"], paid["buyer_pay_amount"]) == ("88.88", "88.88", "88.88")
    assert (paid["body"], paid["passback_params"]) == ("汤面", "a%3Db")
    assert paid["fund_bill_list"] == '[{"fundChannel":"ALIPAYACCOUNT","amount":"88.88"}]'
    assert len(paid["trade_no"]) == 28
    assert "refund_fee" not in paid
    assert (first["trade_status"], first["refund_fee"]) == ("TRADE_SUCCESS", "8.88")
    assert first["out_biz_no"] == f"{out_trade_no}_r1"
    assert (second["trade_status"], second["refund_fee"]) == ("TRADE_CLOSED", "88.88")
    assert "gmt_close" in second


async def test_a_payment_that_came_by_another_door_tells_nobody(yard: Yard) -> None:
    app = await yard.own_app()
    assert app.till is not None
    assert (await app.till.pay(form="local")).status_code == 201
    assert await yard.follow(app.till.merchant_id) == 0
    assert await yard.due(app.till.merchant_id) == []


async def test_freezing_and_letting_go_is_told(yard: Yard) -> None:
    app, address = await yard.own_app(), "http://freeze.example/notify"
    assert app.till is not None
    yard.shops.answers[address] = Heard(200, ACCEPTED, None)
    order = {
        "out_order_no": f"frozen_{next(_numbers)}",
        "out_request_no": "f1",
        "amount": "100.00",
        "order_title": "房费",
        "auth_code": f"28{next(_numbers):016d}",
        "product_code": "PRE_AUTH",
    }
    frozen = await app.ask("alipay.fund.auth.order.freeze", order, notify_url=address)
    assert frozen["code"] == "10000", frozen
    undo = {"auth_no": frozen["auth_no"], "out_request_no": "u1", "amount": "30.00", "remark": "部分解冻"}
    assert (await app.ask("alipay.fund.auth.order.unfreeze", undo))["code"] == "10000"
    await yard.follow(app.till.merchant_id)
    while await yard.due(app.till.merchant_id):
        await yard.send(app.till.merchant_id)
    begun, ended = sorted(_sent(yard, address), key=lambda form: form["notify_type"])
    assert (begun["notify_type"], begun["amount"], begun["auth_no"]) == (
        "fund_auth_freeze",
        "100.00",
        frozen["auth_no"],
    )
    assert begun["operation_id"] == frozen["operation_id"]
    assert (ended["notify_type"], ended["amount"]) == ("fund_auth_unfreeze", "30.00")
    assert (ended["out_request_no"], ended["rest_amount"]) == ("u1", "70.00")
    assert ended["total_freeze_amount"] == "100.00"


@pytest.mark.parametrize(
    ("effect", "argument", "sends", "state"),
    [("notify_lose", "", 0, "pending"), ("notify_twice", "", 2, "accepted"), ("notify_late", "90", 0, "pending")],
)
async def test_scripted_faults_spoil_one_send(yard: Yard, effect: str, argument: str, sends: int, state: str) -> None:
    app, address = await yard.own_app(), f"http://{effect}.example/notify"
    assert app.till is not None
    yard.shops.answers[address] = Heard(200, ACCEPTED, None)
    platform = yard.world.platform
    faults = Faults(database=platform.database, committer=platform.committer, clock=yard.clock, ids=platform.ids)
    await faults.add(app.app_id, effect=effect, argument=argument)
    await _paid(app, address)
    await yard.follow(app.till.merchant_id)
    await yard.send(app.till.merchant_id)
    assert len(_sent(yard, address)) == sends
    [notice] = await app.desk.notices(state=None, after=None, limit=10)
    assert notice.state == state
    await yard.drain(app.till.merchant_id)
    assert [n.state for n in await app.desk.notices(state=None, after=None, limit=10)] == ["accepted"]


@pytest.mark.parametrize(
    "body", [b"SUCCESS", b"success\n", b" success", b'"success"', b"", b"fail", b"successs", b"\xef\xbb\xbfsuccess"]
)
def test_nothing_but_the_seven_bytes_accepts(body: bytes) -> None:
    assert not Heard(200, body, None).is_accepted
    assert Heard(404, b"success", None).is_accepted


def test_the_schedule_has_eight_sends_and_a_late_worker_sends_no_burst() -> None:
    due, moments = NOW, [NOW]
    for tries in range(1, 8):
        again = next_due(tries=tries, due_at=due, now=due + timedelta(seconds=3))
        assert again is not None
        moments.append(due := again)
    assert [(moment - NOW).total_seconds() for moment in moments] == SCHEDULE_S
    assert next_due(tries=8, due_at=due, now=due) is None
    assert next_due(tries=1, due_at=NOW, now=NOW + timedelta(hours=1)) == NOW + timedelta(hours=1, minutes=4)


def test_blank_values_are_never_sent_and_the_zone_is_shanghais() -> None:
    platform = PlatformKey("k", key("platform"))
    form = signed_form(platform, {"body": "", "trade_no": "1"}, sign_type="RSA", notify_id="n", at=NOW)
    assert "body" not in form
    assert form["notify_time"] == "2026-11-22 20:00:00"
    text = b"charset=utf-8&notify_id=n&notify_time=2026-11-22 20:00:00&trade_no=1&version=1.0"
    assert is_signed(key("platform").public_key(), text, form["sign"], sign_type="RSA")


def test_a_return_is_signed_like_a_notice() -> None:
    platform = PlatformKey("k", key("platform"))
    fields = {"app_id": "2021", "method": "alipay.trade.page.pay.return", "out_trade_no": "a b", "seller_id": ""}
    back = dict(parse_qsl(signed_return(platform, fields, sign_type="RSA2", at=NOW)))
    assert back["timestamp"] == "2026-11-22 20:00:00"
    assert "seller_id" not in back
    text = notice_text((name.encode(), value.encode()) for name, value in back.items())
    assert is_signed(key("platform").public_key(), text, back["sign"], sign_type="RSA2")


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("https://shop.example/notify", "address_not_allowed"),
        ("file:///etc/passwd", "address_not_allowed"),
        ("http://127.0.0.1.evil.example/", "address_not_allowed"),
        ("http://[::1", "address_unreadable"),
    ],
)
async def test_only_this_machine_is_told(address: str, error: str) -> None:
    heard = await HttpSender(["other.example"]).post(address, b"a=1", content_type="text/plain")
    assert (heard.status, heard.error, heard.is_accepted) == (None, error, False)


async def test_redirects_are_not_followed_and_the_first_kilobyte_is_kept() -> None:
    async def answer(request: Request) -> Response:
        if request.url.path == "/moved":
            return RedirectResponse("/ok", status_code=302)
        return PlainTextResponse("x" * 5_000 if request.url.path == "/long" else "success")

    with running([Route("/{path}", answer, methods=["GET", "POST"])]) as url:
        sent = {
            path: await HttpSender().post(f"{url}{path}", b"a=1", content_type="text/plain")
            for path in ("/ok", "/moved", "/long")
        }
        gone = url
    assert (sent["/ok"].status, sent["/ok"].is_accepted) == (200, True)
    assert (sent["/moved"].status, sent["/moved"].is_accepted) == (302, False)
    assert (len(sent["/long"].body), sent["/long"].is_accepted) == (1024, False)
    assert (await HttpSender().post(f"{gone}/ok", b"", content_type="text/plain")).error == "ConnectError"
