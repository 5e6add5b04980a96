"""Receipts over HTTP: wished for once, drawn by a worker once, by the ledger's figures, and served as a stranger's."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import httpx
import pytest

from platform_core.bootstrap.upkeep import PURGE, Upkeep
from platform_core.capabilities.payments.draft import ASK
from platform_core.capabilities.payments.receipt_retention import KEPT
from platform_core.capabilities.payments.receipts import DRAW, ReceiptContradicted, Receipts
from platform_core.capabilities.payments.schemas import ReceiptCreate
from platform_core.capabilities.payments.screening import Taken
from platform_core.contracts.fields import Money
from platform_core.contracts.payments import ReceiptToRender
from platform_core.contracts.results import Rendered
from platform_core.identity.schemas import AppCreate, GrantCreate, StoreCreate
from platform_core.kernel.commit import Audit
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.ledger.records import TransferRecord
from platform_core.ledger.service import LedgerService
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_acts import act, refund, refused
from tests.capabilities.payments.test_sales import scan, show_qr
from tests.capabilities.payments.test_screening import BASKET, grown, script, ten_off
from tests.support.world import SCOPES, Till

pytestmark = [pytest.mark.api, pytest.mark.database]
HTML, PDF = "text/html", "application/pdf"
WISH = {"media_type": HTML, "locale": "en"}
CSP = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
FAULT = {"plugin_id": "example.draws", "version": "1.2.3", "hook": "render_receipt", "fault": "bad_result"}


async def paid(till: Till, **fields: Any) -> dict[str, Any]:
    """A payment in cash."""
    answer = await till.pay(**fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def wish(till: Till, payment: dict[str, Any], *, key: str | None = None, **wanted: str) -> httpx.Response:
    return await till.post(f"/payments/{payment['id']}/receipts", {**WISH, **wanted}, key=key)


async def drawn(shop: Shop, till: Till, payment: dict[str, Any], **wanted: str) -> dict[str, Any]:
    """Wished for, and drawn by the worker."""
    answer = await wish(till, payment, **wanted)
    assert answer.status_code == 202, answer.text
    assert await shop.work_for(till) == 1
    receipt = (await till.get(f"/receipts/{answer.json()['id']}")).json()
    assert receipt["state"] == "ready", receipt
    return dict(receipt)


async def content(till: Till, receipt: dict[str, Any]) -> httpx.Response:
    return await till.get(f"/receipts/{receipt['id']}/content")


async def work_of(shop: Shop, till: Till) -> DueWork:
    [row] = [row for row in await shop.due_rows(till) if row.kind == DRAW]
    return row


def by_plugin(receipt: ReceiptToRender) -> Rendered:
    page = f"<!doctype html><title>{receipt.out_trade_no}</title><script>alert(1)</script>".encode()
    return Rendered(media_type="text/html; charset=utf-8", blob=page, total=receipt.total)


async def test_a_receipt_is_pending_until_a_worker_drew_it_and_then_announced(shop: Shop, seller: Till) -> None:
    payment = await paid(seller, store_id=seller.store_id)
    before = await shop.counts()
    answer = await wish(seller, payment)
    pending = answer.json()
    assert (answer.status_code, pending["state"], pending["kept_until"]) == (202, "pending", None), answer.text
    assert grown(before, await shop.counts()) == {"pay_receipt": 1, "due": 1, "idempotency": 1}
    assert (await seller.get(f"/receipts/{pending['id']}")).json() == pending
    assert await shop.work_for(seller) == 1
    read = await seller.get(f"/receipts/{pending['id']}")
    receipt, document = read.json(), await content(seller, pending)
    assert receipt == {
        **pending,
        "state": "ready",
        "rendered_media_type": HTML,
        "total_minor": 8_200,
        "refunded_minor": 0,
        "size_bytes": len(document.content),
        "sha256": hashlib.sha256(document.content).hexdigest(),
        "ready_at": receipt["ready_at"],
        "updated_at": receipt["ready_at"],
        "kept_until": receipt["kept_until"],
    }
    assert all(word in document.text for word in ("Hutong Coffee", "Drum Tower", "CN¥82.00", payment["out_trade_no"]))
    known = {"If-None-Match": read.headers["etag"], "Authorization": f"Bearer {seller.token}"}
    assert (await shop.client.get(f"/v1/receipts/{pending['id']}", headers=known)).status_code == 304
    events = await shop.fetch("SELECT type, sequence, body FROM outbox WHERE object_id = $1", pending["id"])
    assert [(row["type"], row["sequence"]) for row in events] == [("receipt.ready", 1)]
    assert json.loads(events[0]["body"]) == receipt
    assert [row for row in await shop.due_rows(seller) if row.kind == DRAW] == []


async def test_a_document_gets_nothing_of_our_origin(shop: Shop, seller: Till) -> None:
    receipt = await drawn(shop, seller, await paid(seller))
    headers = (await content(seller, receipt)).headers
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-security-policy"] == CSP
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "private, no-cache"
    assert headers["content-disposition"] == f'inline; filename="{receipt["id"]}.html"'


async def test_there_is_one_receipt_for_each_form_and_language(shop: Shop, seller: Till) -> None:
    payment = await paid(seller)
    receipt = await drawn(shop, seller, payment)
    before = await shop.counts()
    again = await wish(seller, payment, key="again")
    assert (again.status_code, again.json()) == (200, receipt)
    assert (await wish(seller, payment, key="again")).json() == receipt
    assert grown(before, await shop.counts()) == {"idempotency": 1}
    named = await seller.post(f"/payments/out_trade_no:{payment['out_trade_no']}/receipts", WISH)
    assert named.json() == receipt
    other = await drawn(shop, seller, payment, locale="zh")
    assert other["id"] != receipt["id"]
    assert "实付" in (await content(seller, other)).text
    reused = await wish(seller, payment, key="again", locale="zh")
    assert (reused.status_code, reused.json()["code"]) == (422, "kernel.idempotency_key_reused")


async def test_two_wishes_at_once_make_one_receipt(shop: Shop, seller: Till) -> None:
    payment = await paid(seller)
    before = await shop.counts()
    answers = await asyncio.gather(*(wish(seller, payment) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert grown(before, await shop.counts()) == {"pay_receipt": 1, "due": 1, "idempotency": 8}


Making = Callable[[Shop, Till], Awaitable[dict[str, Any]]]


async def waiting(shop: Shop, till: Till) -> dict[str, Any]:
    return await show_qr(till)


async def authorized(shop: Shop, till: Till) -> dict[str, Any]:
    return await scan(till, is_capture=False)


async def closed(shop: Shop, till: Till) -> dict[str, Any]:
    payment = await show_qr(till)
    assert (await act(till, payment, "close")).json()["state"] == "closed"
    return payment


async def canceled(shop: Shop, till: Till) -> dict[str, Any]:
    payment = await scan(till)
    assert (await act(till, payment, "cancel")).json()["state"] == "canceled"
    return payment


@pytest.mark.parametrize("made", [waiting, authorized, closed, canceled])
async def test_what_is_not_paid_has_no_receipt(shop: Shop, seller: Till, made: Making) -> None:
    payment = await made(shop, seller)
    await refused(shop, wish(seller, payment), "payments.state_conflict")


async def test_a_payment_in_doubt_has_no_receipt_yet(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, "timeout_after_charge")
    assert payment["state"] == "unknown"
    await refused(shop, wish(seller, payment), "payments.outcome_unknown")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"media_type": "text/plain", "locale": "en"},
        {"media_type": HTML, "locale": "fr"},
        {"media_type": HTML},
        {**WISH, "total_minor": 1},
    ],
)
async def test_an_unclear_wish_is_refused(shop: Shop, seller: Till, body: dict[str, Any]) -> None:
    payment = await paid(seller)
    asking = seller.post(f"/payments/{payment['id']}/receipts", body)
    await refused(shop, asking, "kernel.validation_failed", 422)


async def test_what_is_not_there_has_no_receipt(shop: Shop, seller: Till) -> None:
    stranger = await shop.new_till()
    receipt = await drawn(shop, stranger, payment := await paid(stranger))
    for asking in (
        wish(seller, payment),
        seller.get(f"/receipts/{receipt['id']}"),
        content(seller, receipt),
        seller.get("/receipts/rec_none"),
        seller.get("/receipts/rec_none/content"),
    ):
        await refused(shop, asking, "payments.not_found", 404)


async def test_the_scope_to_read_does_not_write(shop: Shop, seller: Till) -> None:
    reader = await shop.new_till(scopes=("payments:read",))
    body = {"media_type": HTML, "locale": "en"}
    asking = reader.post(f"/payments/{(await paid(seller))['id']}/receipts", body)
    await refused(shop, asking, "identity.scope_missing", 403)


async def test_a_document_that_is_not_drawn_yet_is_asked_for_again(shop: Shop, seller: Till) -> None:
    pending = (await wish(seller, await paid(seller))).json()
    before = await shop.counts()
    answer = await content(seller, pending)
    assert (answer.status_code, answer.json()["code"]) == (409, "payments.receipt_pending")
    assert (answer.headers["retry-after"], answer.json()["retryable"]) == ("2", True)
    assert await shop.counts() == before


async def at_store(shop: Shop, till: Till, store_id: str, *, scopes: Sequence[str] = SCOPES) -> Till:
    """Another app of the merchant's, which covers one store alone."""
    platform = shop.platform
    app = await platform.apps.create_app(
        AppCreate(name="Store till", mode="test", merchant_id=till.merchant_id, api_version="2026-11-22")
    )
    wanted = GrantCreate(
        app_id=app.id,
        merchant_id=till.merchant_id,
        mode="test",
        scopes=frozenset(scopes),
        stores=frozenset({store_id}),
        given_by="per_owner",
    )
    await platform.grants.create(wanted)
    auth = (app.client.id, app.secret.secret)
    answer = await shop.client.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=auth)
    return Till(shop.client, answer.json()["access_token"], till.merchant_id, store_id)


async def test_a_token_of_one_store_sees_the_receipts_of_that_store_alone(shop: Shop, seller: Till) -> None:
    other = await shop.platform.parties.create_store(StoreCreate(merchant_id=seller.merchant_id, name="Bell Tower"))
    here, there = await at_store(shop, seller, seller.store_id), await at_store(shop, seller, other.id)
    payment = await paid(seller, store_id=seller.store_id)
    receipt = await drawn(shop, here, payment)
    assert (await content(here, receipt)).status_code == 200
    for asking in (wish(there, payment), there.get(f"/receipts/{receipt['id']}"), content(there, receipt)):
        await refused(shop, asking, "payments.not_found", 404)
    before = await shop.counts()
    who, key = await shop.platform.access.authenticate(there.token), IdempotentRequest("client", "key", b"")
    with pytest.raises(PlatformError, match=r"payments\.not_found"):  # by another door than the route, too
        await shop.platform.payments.receipts.request(who, payment["id"], ReceiptCreate(**WISH), key)
    assert await shop.counts() == before


async def test_a_plugin_draws_what_the_ledger_says_and_is_named(shop: Shop, seller: Till) -> None:
    def trail() -> list[object]:
        return [Audit("payment.review_decided", "example.draws", "drawn", seller.merchant_id)]

    asked = script(shop, seller, take=ten_off, draw=by_plugin, parts=trail)
    payment = await paid(seller, order_minor=None, basket=BASKET, store_id=seller.store_id)
    asked.asked.clear()
    receipt = await drawn(shop, seller, payment)
    assert receipt["drawn_by"] == {"plugin_id": "example.draws", "version": "1.2.3"}
    assert (receipt["degraded"], receipt["total_minor"]) == ([], 7_200)
    document = await content(seller, receipt)
    assert "<script>alert(1)</script>" in document.text
    assert document.headers["content-security-policy"] == CSP, "it may draw what it likes: nothing of it runs"
    [told] = asked.asked
    assert isinstance(told, ReceiptToRender)
    assert told.total == Money(amount_minor=7_200, currency="CNY")
    lines = [(line.name, line.quantity, line.net_minor) for line in told.lines]
    assert lines == [("Latte", 2, 5_268), ("Bun", 1, 1_932)]
    assert [(tender.form, tender.amount) for tender in told.tenders] == [("local", told.total)]
    assert (told.merchant_card.name, told.merchant_card.store) == ("Hutong Coffee", "Drum Tower")
    assert (told.time_zone, told.locale, told.media_type) == ("Asia/Shanghai", "en", HTML)
    sql = "SELECT count(*) FROM audit_row WHERE subject = 'drawn' AND merchant_id = $1"
    assert [row[0] for row in await shop.fetch(sql, seller.merchant_id)] == [2], "with payment and receipt"


def pdf(receipt: ReceiptToRender) -> Rendered:
    return Rendered(media_type=PDF, blob=b"%PDF-1.7\n%%EOF", total=receipt.total)


async def test_a_plugins_pdf_is_for_saving(shop: Shop, seller: Till) -> None:
    script(shop, seller, draw=pdf)
    receipt = await drawn(shop, seller, await paid(seller), media_type=PDF)
    assert (receipt["media_type"], receipt["rendered_media_type"]) == (PDF, PDF)
    document = await content(seller, receipt)
    assert (document.headers["content-type"], document.content) == (PDF, b"%PDF-1.7\n%%EOF")
    assert document.headers["content-disposition"] == f'attachment; filename="{receipt["id"]}.pdf"'


async def test_a_pdf_that_nobody_draws_is_a_page_and_the_receipt_says_so(shop: Shop, seller: Till) -> None:
    receipt = await drawn(shop, seller, await paid(seller), media_type=PDF)
    assert (receipt["media_type"], receipt["rendered_media_type"], receipt["drawn_by"]) == (PDF, HTML, None)
    assert receipt["degraded"] == []
    assert (await content(seller, receipt)).text.startswith("<!doctype html>")


def changed(**wrong: Any) -> Callable[[ReceiptToRender], Rendered]:
    """A drawing with something wrong, also what the contract's own type would refuse."""
    return lambda receipt: Rendered.model_construct(**{**by_plugin(receipt).__dict__, **wrong})


BAD = {
    "a cent less": (HTML, changed(total=Money(amount_minor=8_199, currency="CNY"))),
    "dollars": (HTML, changed(total=Money(amount_minor=8_200, currency="USD"))),
    "no total": (HTML, changed(total=None)),
    "another type": (HTML, changed(media_type=PDF)),
    "a picture": (HTML, changed(media_type="image/svg+xml")),
    "3 MiB": (HTML, changed(blob=b"x" * 3 * 1024 * 1024)),
    "nothing": (HTML, changed(blob=b"")),
    "not UTF-8": (HTML, changed(blob=b"\xff\xfe<\x00h\x00")),
    "a page that calls itself a PDF": (PDF, changed(media_type=PDF)),
}


@pytest.mark.parametrize(("media_type", "draw"), BAD.values(), ids=BAD)
async def test_what_may_not_be_shown_is_replaced_and_its_plugin_is_named(
    shop: Shop, seller: Till, media_type: str, draw: Any
) -> None:
    def trail() -> list[object]:
        return [Audit("payment.review_decided", "example.draws", "refused", seller.merchant_id)]

    script(shop, seller, draw=draw, parts=trail)
    receipt = await drawn(shop, seller, await paid(seller), media_type=media_type)
    assert (receipt["drawn_by"], receipt["degraded"]) == (None, [FAULT])
    assert (receipt["media_type"], receipt["rendered_media_type"]) == (media_type, HTML)
    document = await content(seller, receipt)
    assert "CN¥82.00" in document.text
    assert "<script" not in document.text
    sql = "SELECT count(*) FROM audit_row WHERE subject = 'refused' AND merchant_id = $1"
    assert [row[0] for row in await shop.fetch(sql, seller.merchant_id)] == [0], "what it left behind vanished with it"


@pytest.mark.parametrize("fault", ["exception", "timeout"])
async def test_a_plugin_that_fails_is_replaced_and_named(shop: Shop, seller: Till, fault: str) -> None:
    late = {**FAULT, "fault": fault}
    script(shop, seller, draw=lambda receipt: None, degraded=[late])
    receipt = await drawn(shop, seller, await paid(seller))
    assert (receipt["drawn_by"], receipt["degraded"]) == (None, [late])
    assert "CN¥82.00" in (await content(seller, receipt)).text


async def test_a_refund_has_the_receipt_drawn_anew_under_its_id(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    first = await drawn(shop, seller, payment)
    old = await content(seller, first)
    await refund(seller, payment, "back_1", 1_200)
    assert (await content(seller, first)).text == old.text, "nobody asked for another"
    second = await drawn(shop, seller, payment)
    assert (second["id"], second["total_minor"], second["refunded_minor"]) == (first["id"], 8_200, 1_200)
    text = (await content(seller, second)).text
    assert all(word in text for word in ("back_1", "-CN¥12.00", "CN¥70.00"))
    assert (await wish(seller, payment)).status_code == 200
    events = await shop.fetch("SELECT sequence FROM outbox WHERE object_id = $1 ORDER BY sequence", first["id"])
    assert [row["sequence"] for row in events] == [1, 2]
    kept = await shop.fetch("SELECT content FROM pay_receipt_blob WHERE receipt_id = $1 ORDER BY id", first["id"])
    assert [row["content"] for row in kept] == [old.content, text.encode()], "what was shown once can be shown again"


async def test_a_refund_that_bounced_is_not_on_the_receipt(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.script("refund_bounced", operation="refund", subject=sale["id"])
    await refund(seller, payment, "back_1", 4_100)
    await shop.deliver(seller)
    receipt = await drawn(shop, seller, payment)
    assert (receipt["total_minor"], receipt["refunded_minor"]) == (8_200, 0)
    assert "back_1" not in (await content(seller, receipt)).text


async def test_captures_in_parts_are_summed_as_far_as_they_came(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, is_capture=False, order_minor=10_000)
    await act(seller, payment, "capture", out_request_no="c1", amount_minor=3_000, is_final=False)
    first = await drawn(shop, seller, payment)
    text = (await content(seller, first)).text
    assert first["total_minor"] == 3_000
    assert all(word in text for word in ("Payable", "CN¥100.00", "CN¥30.00"))
    await act(seller, payment, "capture", out_request_no="c2", amount_minor=4_000)
    second = await drawn(shop, seller, payment)
    assert (second["id"], second["total_minor"]) == (first["id"], 7_000)


async def test_an_order_paid_in_full_by_discounts_has_a_receipt_of_nothing(shop: Shop, seller: Till) -> None:
    gift = Taken("example.all", "free", "Gift", "merchant", None, 7_200)
    script(shop, seller, take=lambda basket: [*ten_off(basket), gift])
    payment = await paid(seller, order_minor=None, basket=BASKET)
    receipt = await drawn(shop, seller, payment)
    assert receipt["total_minor"] == 0
    assert "-CN¥72.00" in (await content(seller, receipt)).text


async def test_a_worker_that_dies_before_its_commit_leaves_the_drawing_to_the_next(shop: Shop, seller: Till) -> None:
    deaths = iter([True, False])
    seen: list[str] = []

    def dying(receipt: ReceiptToRender) -> Rendered:
        seen.append(receipt.payment_id)
        rendered = by_plugin(receipt)
        if next(deaths):
            raise asyncio.CancelledError
        return rendered

    script(shop, seller, draw=dying)
    pending = (await wish(seller, await paid(seller))).json()
    before, work = await shop.counts(), await work_of(shop, seller)
    with pytest.raises(asyncio.CancelledError):
        await shop.platform.payments.receipts.draw(work)
    assert await shop.counts() == before
    assert (await seller.get(f"/receipts/{pending['id']}")).json() == pending
    assert await shop.work_for(seller) == 1
    assert len(seen) == 2
    assert grown(before, await shop.counts()) == {"pay_receipt_blob": 1, "outbox": 1, "due": -1}


async def test_of_two_workers_that_draw_one_is_seen(shop: Shop, seller: Till) -> None:
    asked = script(shop, seller, draw=by_plugin)
    pending = (await wish(seller, await paid(seller))).json()
    before, work = await shop.counts(), await work_of(shop, seller)
    draw = shop.platform.payments.receipts.draw
    assert await asyncio.gather(draw(work), draw(work)) == [None, None]
    assert len(asked.asked) == 2
    assert grown(before, await shop.counts()) == {"pay_receipt_blob": 1, "outbox": 1, "due": -1}
    late = await draw(work)
    assert late is not None
    await shop.platform.committer.commit(late)
    assert len(asked.asked) == 2
    assert (await seller.get(f"/receipts/{pending['id']}")).json()["state"] == "ready"


async def test_figures_that_are_not_the_ledgers_are_not_drawn(shop: Shop, seller: Till) -> None:
    asked = script(shop, seller, draw=by_plugin)
    payment = await paid(seller)
    await wish(seller, payment)
    await shop.fetch("UPDATE pay_payment SET captured_minor = captured_minor - 1 WHERE id = $1", payment["id"])
    before = await shop.counts()
    with pytest.raises(ReceiptContradicted, match=r"captured 8199, refunded 0; by the ledger 8200, 0"):
        await shop.platform.payments.receipts.draw(await work_of(shop, seller))
    assert await shop.counts() == before
    assert asked.asked == []
    await shop.fetch("UPDATE pay_payment SET captured_minor = captured_minor + 1 WHERE id = $1", payment["id"])


@dataclass
class MovingLedger:
    """The ledger, while somebody moves the payment between reading it and reading here."""

    ledger: LedgerService
    move: Callable[[], Awaitable[object]]
    is_behind: bool = False

    async def transfers_about(self, merchant_id: str, references: Sequence[str]) -> list[TransferRecord]:
        await self.move()
        return [] if self.is_behind else await self.ledger.transfers_about(merchant_id, references)


async def test_a_refund_that_ends_between_two_reads_has_both_read_again(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.script("silent", operation="refund", subject=sale["id"])
    assert (await refund(seller, payment, "back_1", 1_200)).json()["state"] == "unknown"
    pending, reads = (await wish(seller, payment)).json(), count(1)
    work = await work_of(shop, seller)
    shop.later(seconds=10)

    async def learn() -> None:
        if next(reads) == 1:
            [row] = [row for row in await shop.due_rows(seller) if row.kind == ASK]
            assert await shop.platform.payments.resolution.ask(row) is None

    ledger: Any = MovingLedger(shop.platform.ledger, learn)
    await Receipts(shop.platform.payments.receipts._desk, ledger).draw(work)
    assert next(reads) == 3
    shown = (await seller.get(f"/receipts/{pending['id']}")).json()
    assert (shown["state"], shown["refunded_minor"]) == ("ready", 1_200)


async def test_a_payment_that_does_not_come_to_rest_is_drawn_later(shop: Shop, seller: Till) -> None:
    payment, numbers = await scan(seller), count(1)
    pending = (await wish(seller, payment)).json()

    async def move() -> None:
        assert (await refund(seller, payment, f"r{next(numbers)}", 100)).status_code == 201

    ledger: Any = MovingLedger(shop.platform.ledger, move, is_behind=True)
    with pytest.raises(PlatformError, match=r"payments\.busy"):
        await Receipts(shop.platform.payments.receipts._desk, ledger).draw(await work_of(shop, seller))
    assert next(numbers) == 4
    assert (await seller.get(f"/receipts/{pending['id']}")).json() == pending
    assert await shop.work_for(seller) == 1
    assert (await seller.get(f"/receipts/{pending['id']}")).json()["refunded_minor"] == 300


async def test_a_document_is_kept_three_years_and_then_drawn_anew(shop: Shop, seller: Till) -> None:
    payment = await paid(seller)
    receipt, younger = await drawn(shop, seller, payment), await drawn(shop, seller, payment, locale="zh")
    past = KEPT + timedelta(seconds=1)
    await shop.fetch("UPDATE pay_receipt SET ready_at = ready_at - $2::interval WHERE id = $1", receipt["id"], past)
    gone = (await refused(shop, content(seller, receipt), "payments.receipt_gone", 410))["hint"]
    assert f"POST /v1/payments/{payment['id']}/receipts" in gone
    older = "UPDATE pay_receipt_blob SET created_at = created_at - $2::interval WHERE receipt_id = $1"
    await shop.fetch(older, receipt["id"], past)
    await Upkeep(shop.platform).purge(DueWork(PURGE, "platform", None, shop.clock.now(), 0))
    left = "SELECT receipt_id FROM pay_receipt_blob WHERE merchant_id = $1"
    assert [row[0] for row in await shop.fetch(left, seller.merchant_id)] == [younger["id"]]
    assert (await seller.get(f"/receipts/{receipt['id']}")).json()["sha256"] == receipt["sha256"]
    assert (await content(seller, younger)).status_code == 200
    again = await drawn(shop, seller, payment)
    assert again["id"] == receipt["id"]
    assert (await content(seller, again)).status_code == 200
