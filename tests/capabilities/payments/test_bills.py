"""Daily bills over HTTP and in the database: published once, at 09:00 of the next day, by the ledger's figures."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest

from platform_core.bootstrap.upkeep import Upkeep
from platform_core.capabilities.payments.bills import making, reading
from platform_core.capabilities.payments.bills.repository import MAKE
from platform_core.capabilities.payments.bills.rows import COLUMNS
from platform_core.kernel.commit import Plan
from platform_core.kernel.commit.due import DueWork
from platform_core.ledger.accounts import Account, Guard, Transfer
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_acts import act, refund
from tests.capabilities.payments.test_sales import scan
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
ZONE = ZoneInfo("Asia/Shanghai")


def today(shop: Shop) -> date:
    return shop.clock.now().astimezone(ZONE).date()


async def get(shop: Shop, till: Till, day: date | str, accept: str = "text/csv") -> httpx.Response:
    headers = {"Authorization": f"Bearer {till.token}", "Accept": accept}
    return await shop.client.get(f"/v1/bills/{day}", headers=headers)


async def find_work(shop: Shop, till: Till) -> DueWork:
    """The hourly look at who needs a bill; the merchant's row is among what it wrote."""
    await Upkeep(shop.platform).bills(DueWork("payments.bills", "platform", None, shop.clock.now(), 0))
    [row] = [row for row in await shop.due_rows(till) if row.kind == MAKE]
    return row


async def make(shop: Shop, till: Till) -> None:
    """One turn of the worker at the merchant's bill."""
    [row] = [row for row in await shop.due_rows(till) if row.kind == MAKE]
    plan = await shop.platform.payments.bill_maker.make(row)
    if plan is not None:
        await shop.platform.committer.commit(plan)


async def publish(shop: Shop, till: Till) -> date:
    """Let today end and its bill be made; returns the day."""
    day = today(shop)
    await find_work(shop, till)
    await make(shop, till)
    [row] = [row for row in await shop.due_rows(till) if row.kind == MAKE]
    shop.clock.advance(row.due_at - shop.clock.now())
    await make(shop, till)
    return day


def lines_of(text: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The rows of a bill, and its trailer."""
    heading, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert tuple(heading) == COLUMNS
    named = [dict(zip(COLUMNS, line, strict=True)) for line in lines]
    return [line for line in named if line["row_no"].isdigit()], [
        line for line in named if not line["row_no"].isdigit()
    ]


def some(line: dict[str, str], *names: str) -> tuple[str, ...]:
    return tuple(line[name] for name in names)


async def test_a_day_is_published_at_nine_of_the_next_one_and_once(shop: Shop, seller: Till) -> None:
    paid = await scan(seller, store_id=seller.store_id)
    back = await refund(seller, paid, "r1", 4_100)
    day = today(shop)
    assert (await find_work(shop, seller)).due_at == shop.clock.now()
    await make(shop, seller)
    [due] = [row for row in await shop.due_rows(seller) if row.kind == MAKE]
    local = due.due_at.astimezone(ZONE)
    assert (local.date(), local.hour, local.minute) == (day + timedelta(days=1), 9, 0)
    early = await get(shop, seller, day)
    assert (early.status_code, early.json()["code"]) == (404, "payments.bill_not_ready")
    assert due.due_at.isoformat() in early.json()["detail"]
    shop.clock.advance(due.due_at - shop.clock.now())
    await make(shop, seller)

    answer = await get(shop, seller, day)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows, trailer = lines_of(answer.text)
    [sale, returned] = await shop.transactions(paid["id"])
    names = ("row_no", "entry", "payment_id", "out_trade_no", "form", "store_id", "transaction_id", "out_request_no")
    amounts = ("currency", "order_amount", "customer_paid", "refund_amount", "fee", "net_amount", "account")
    of_both = (paid["id"], paid["out_trade_no"], "merchant_scan", seller.store_id)
    assert [some(row, *names) for row in rows] == [
        ("1", "capture", *of_both, sale["id"], ""),
        ("2", "refund", *of_both, returned["id"], "r1"),
    ]
    assert [some(row, *amounts) for row in rows] == [
        ("CNY", "82.00", "82.00", "0.00", "0.49", "81.51", "balance"),
        ("CNY", "82.00", "0.00", "41.00", "-0.24", "-40.76", "balance"),
    ]
    assert rows[1]["provider_reference"] == returned["provider_reference"]
    assert back.json()["fee_returned_minor"] == 24
    assert [some(line, "row_no", "net_amount", "account", "note") for line in trailer[:-1]] == [
        ("total", "40.75", "", "rows=2"),
        ("opening", "0.00", "balance", ""),
        ("closing", "40.75", "balance", ""),
    ]
    before, _, _ = answer.content.rpartition(b"sha256,")
    assert trailer[-1]["note"] == hashlib.sha256(before).hexdigest()
    assert answer.content.count(b"\r\n") == answer.content.count(b"\n") == 7

    known = (await get(shop, seller, day, "application/json")).json()
    events = await shop.fetch("SELECT type, sequence, body FROM outbox WHERE object_id = $1", known["id"])
    assert [(row["type"], row["sequence"]) for row in events] == [("bill.published", 1)]
    assert json.loads(events[0]["body"]) == known
    before_second = await shop.counts()
    await shop.platform.payments.bill_maker.make(due)  # who had the row before
    assert await shop.counts() == before_second
    assert (await get(shop, seller, known["id"])).content == answer.content


async def test_the_archive_holds_detail_summary_and_manifest(shop: Shop, seller: Till) -> None:
    await scan(seller, store_id=seller.store_id)
    await seller.pay(order_minor=1_000)
    day = await publish(shop, seller)
    detail = (await get(shop, seller, day)).content
    answer = await get(shop, seller, day, "application/zip")
    known = (await get(shop, seller, day, "application/json")).json()
    assert hashlib.sha256(answer.content).hexdigest() == known["archive"]["sha256"]
    assert len(answer.content) == known["archive"]["size_bytes"]
    assert hashlib.sha256(detail).hexdigest() == known["detail"]["sha256"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["detail.csv", "summary.csv", "manifest.json"]
        assert archive.read("detail.csv") == detail
        manifest = json.loads(archive.read("manifest.json"))
        summary = archive.read("summary.csv")
    assert manifest["files"] == [
        {"name": "detail.csv", "size_bytes": len(detail), "sha256": hashlib.sha256(detail).hexdigest()},
        {"name": "summary.csv", "size_bytes": len(summary), "sha256": hashlib.sha256(summary).hexdigest()},
    ]
    assert manifest["currencies"] == known["currencies"]
    _, *lines = csv.reader(io.StringIO(summary.decode(), newline=""))
    assert [(line[2], line[3], line[4], line[5], line[6], line[-1]) for line in lines] == [
        ("", "local", "capture", "till", "1", "9.94"),
        (seller.store_id, "merchant_scan", "capture", "balance", "1", "81.51"),
    ]


async def test_days_follow_each_other_while_money_is_held_and_stop_when_none_is(shop: Shop, seller: Till) -> None:
    paid = await scan(seller)
    first = await publish(shop, seller)
    shop.later(days=1)
    await make(shop, seller)
    rows, trailer = lines_of((await get(shop, seller, first + timedelta(days=1))).text)
    assert rows == []
    assert [some(line, "row_no", "net_amount") for line in trailer[:-1]] == [
        ("total", "0.00"),
        ("opening", "81.51"),
        ("closing", "81.51"),
    ]
    await refund(seller, paid, "all")  # on the third day
    shop.later(days=1)
    await make(shop, seller)
    shop.later(days=1)
    await make(shop, seller)
    assert [row for row in await shop.due_rows(seller) if row.kind == MAKE] == []
    listed = (await seller.get("/bills")).json()["data"]
    assert [bill["day"] for bill in listed] == [str(first + timedelta(days=n)) for n in (2, 1, 0)]
    absent = await get(shop, seller, first + timedelta(days=3))
    assert (absent.status_code, absent.json()["code"]) == (404, "payments.bill_absent")
    await scan(seller)
    assert (await find_work(shop, seller)).subject_id == seller.merchant_id
    assert (await get(shop, seller, today(shop))).json()["code"] == "payments.bill_not_ready"


async def test_a_published_bill_cannot_be_changed_by_anybody(shop: Shop, seller: Till) -> None:
    await scan(seller)
    await publish(shop, seller)
    connection = await shop.platform.database.connect("writer")
    try:
        for sql in (
            "UPDATE pay_bill SET detail_sha256 = repeat('0', 64) WHERE merchant_id = $1",
            "UPDATE pay_bill_part SET content = 'x' WHERE merchant_id = $1",
            "DELETE FROM pay_bill_part WHERE merchant_id = $1",
        ):
            with pytest.raises((asyncpg.CheckViolationError, asyncpg.InsufficientPrivilegeError)):
                await connection.execute(sql, seller.merchant_id)
    finally:
        await connection.close()


async def test_a_bill_that_does_not_tie_is_not_published(
    shop: Shop, seller: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scan(seller)
    counted: list[int] = []
    monkeypatch.setattr(making.metrics, "MISMATCH", SimpleNamespace(add=counted.append))
    sql = "UPDATE ledger_transfer SET amount = amount + 1 WHERE code = 'fee' AND merchant_id = $1"
    await shop.fetch(sql, seller.merchant_id)
    day = await publish(shop, seller)
    assert counted == [1]
    assert (await get(shop, seller, day)).json()["code"] == "payments.bill_not_ready"
    [bill] = await shop.fetch("SELECT * FROM pay_bill WHERE merchant_id = $1", seller.merchant_id)
    assert (bill["state"], bill["run"]) == ("making", 2)
    assert bill["problem"] == "balance CNY: 0 and rows of 8150 are not 8151"
    assert await shop.fetch("SELECT 1 FROM outbox WHERE object_id = $1", bill["id"]) == []
    [row] = [row for row in await shop.due_rows(seller) if row.kind == MAKE]
    assert row.due_at == shop.clock.now() + timedelta(hours=1)
    await shop.fetch(sql.replace("+ 1", "- 1"), seller.merchant_id)
    shop.later(hours=1)
    await make(shop, seller)
    assert (await get(shop, seller, day)).status_code == 200


async def test_a_large_day_is_made_in_pieces_and_goes_on_after_a_crash(
    shop: Shop, seller: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        paid = await scan(seller)
    await refund(seller, paid, "r1", 100)
    whole = await _made_with(shop, seller, monkeypatch, page=2_000, piece=20_000, crash_after=None)
    pieces = await _made_with(shop, seller, monkeypatch, page=2, piece=3, crash_after=2)
    [bill] = await shop.fetch("SELECT id FROM pay_bill WHERE merchant_id = $1", seller.merchant_id)
    [parts] = await shop.fetch("SELECT count(*) FROM pay_bill_part WHERE bill_id = $1", bill["id"])
    assert parts[0] > 4
    assert pieces == whole


async def _made_with(
    shop: Shop, till: Till, monkeypatch: pytest.MonkeyPatch, *, page: int, piece: int, crash_after: int | None
) -> bytes:
    """The day's detail, made anew with other sizes; the process dies once after so many pieces."""
    await shop.fetch("ALTER TABLE pay_bill DISABLE TRIGGER pay_bill_stays")
    await shop.fetch("DELETE FROM pay_bill WHERE merchant_id = $1", till.merchant_id)
    await shop.fetch("ALTER TABLE pay_bill ENABLE TRIGGER pay_bill_stays")
    monkeypatch.setattr(reading, "PAGE_TRANSFERS", page)
    monkeypatch.setattr(making, "PIECE_TRANSFERS", piece)
    maker = shop.platform.payments.bill_maker
    day = await maker.next_day(till.merchant_id)
    assert day is not None
    if crash_after is not None:
        original, calls = maker._part, iter(range(crash_after))

        def part(*arguments: Any) -> Any:
            if next(calls, None) is None:
                raise RuntimeError("the process dies")
            return original(*arguments)

        with monkeypatch.context() as dying:
            dying.setattr(maker, "_part", part)
            with pytest.raises(RuntimeError, match="dies"):
                await maker.advance(till.merchant_id, day)
    assert await maker.advance(till.merchant_id, day)
    return (await get(shop, till, day.day)).content


HOSTILE = ("=1+1", "+86", "-2", "@SUM(A1)", 'a"b,c', "line\r\nfeed\n", "עִברִית \u202e", "☕️👩‍👩‍👧", "\u2028", "'=x")


def moves(till: Till) -> Iterator[Transfer]:
    """A payout, a top-up and a reserve, with hostile references."""
    available, bank, reserve = (
        Account(till.merchant_id, "JPY", till.merchant_id, role, "", guard)
        for role, guard in (
            ("merchant_available", Guard.GE0),
            ("bank", Guard.FREE),
            ("merchant_reserve", Guard.GE0),
        )
    )
    yield Transfer(f"top:{till.merchant_id}", bank, available, 5_000, "top_up", "seed")
    for n, text in enumerate(HOSTILE):
        yield Transfer(f"{text}{till.merchant_id}", available, reserve, 10 + n, "reserve", text)


async def test_hostile_strings_and_other_currencies_stay_what_they_are(shop: Shop, seller: Till) -> None:
    await shop.platform.committer.commit(Plan(seller.merchant_id, list(moves(seller))))
    await scan(seller, out_trade_no="plain_1")
    day = await publish(shop, seller)
    answer = await get(shop, seller, day)
    rows, trailer = lines_of(answer.content.decode())
    assert [some(row, "entry", "note", "net_amount", "account", "currency") for row in rows[:1]] == [
        ("payout", "top_up seed", "5000", "balance", "JPY")
    ]
    for n, text in enumerate(HOSTILE):
        out, into = rows[1 + 2 * n : 3 + 2 * n]
        shown = f"'{text}" if text[0] in "=+-@" else text
        assert some(out, "note", "net_amount", "account") == (shown, f"-{10 + n}", "balance")
        assert some(into, "note", "net_amount", "account") == (shown, f"{10 + n}", "reserve")
    assert [some(line, "row_no", "currency", "net_amount") for line in trailer if line["row_no"] == "total"] == [
        ("total", "CNY", "81.51"),
        ("total", "JPY", "5000"),
    ]
    read = [line async for line in shop.platform.payments.bills.period(seller.merchant_id, first=day, last=day)]
    assert read == rows


async def test_a_canceled_sale_is_a_capture_and_its_refund(shop: Shop, seller: Till) -> None:
    paid = await scan(seller)
    assert (await act(seller, paid, "cancel")).json()["state"] == "canceled"
    day = await publish(shop, seller)
    rows, _ = lines_of((await get(shop, seller, day)).text)
    assert [some(row, "entry", "customer_paid", "refund_amount", "fee", "net_amount") for row in rows] == [
        ("capture", "82.00", "0.00", "0.49", "81.51"),
        ("refund", "0.00", "82.00", "-0.49", "-81.51"),
    ]


async def test_transfers_of_a_payment_are_found_by_it(shop: Shop, seller: Till) -> None:
    paid = await scan(seller)
    await refund(seller, paid, "r1", 100)
    await scan(seller)
    found = (await seller.get(f"/transfers?payment_id={paid['id']}&limit=100")).json()["data"]
    assert {each["reference"] for each in found} == {row["id"] for row in await shop.transactions(paid["id"])}
    fees = (await seller.get(f"/transfers?payment_id={paid['id']}&code=fee")).json()["data"]
    assert [each["amount_minor"] for each in fees] == [49]
    other = await shop.new_till()
    assert (await other.get(f"/transfers?payment_id={paid['id']}")).json()["data"] == []


async def test_another_merchant_sees_no_bill(shop: Shop, seller: Till) -> None:
    await scan(seller)
    day = await publish(shop, seller)
    other = await shop.new_till()
    assert (await get(shop, other, day)).json()["code"] == "payments.bill_absent"
    known = (await get(shop, seller, day, "application/json")).json()
    assert (await get(shop, other, known["id"])).json()["code"] == "payments.bill_absent"
    assert (await other.get("/bills")).json()["data"] == []
    for name in ("2026-13-01", "20261122", "x" * 200, "bil_1"):
        assert (await get(shop, seller, name)).status_code == 404
