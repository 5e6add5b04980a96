"""The built-in receipt: every word that somebody else chose is shown as it is and does nothing; figures add up."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.capabilities.payments.models import Payment, Refund
from platform_core.capabilities.payments.receipt_facts import Booked, ReceiptFacts, booked, facts_of, payload_of
from platform_core.capabilities.payments.receipt_template import FORMS, WORDS, draw
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.contracts.payments import FORMS as CONTRACT_FORMS
from platform_core.contracts.results import RENDERED_BYTES_MAX
from platform_core.identity.directory import MerchantFacts, TradeNames
from platform_core.kernel.i18n import Language
from platform_core.ledger.records import AccountName, TransferRecord
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_receipts import content, drawn, paid
from tests.support.world import Till

AT = datetime(2026, 11, 22, 18, 30, 5, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></bdi></h1>{{ 7*7 }}{% raw %}",
    "&lt;b&gt; &amp;",
    "\u202egnp.exe\u202c \u2067שלום\u2066",
    "مرحبا بالعالم 123",
    "𠮷野家😀",
    "𠮷" * 256,
    "<" * 256,
)
VOID = {"meta", "br", "img", "link", "input"}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "p", "bdi", "footer", "small"),
    *("table", "thead", "tbody", "tr", "th", "td", "dl", "div", "dt", "dd"),
}


@dataclass
class Page(HTMLParser):
    """What a browser would make of a page, as far as its tags go."""

    tags: list[str] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)
    isolated: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    lang: str = ""
    _open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "html":
            self.lang = str(dict(attrs)["lang"])
        if tag == "bdi":
            self.isolated.append("")
        if tag in ("tr", "div"):
            self.rows.append([])
        if tag in ("th", "td", "dt", "dd"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, "every element is closed in its order"

    def handle_data(self, data: str) -> None:
        if "bdi" in self._open:
            self.isolated[-1] += data
        if {"th", "td", "dt", "dd"} & set(self._open):
            self.rows[-1][-1] += data


def page_of(document: bytes | str) -> Page:
    page = Page()
    page.feed(document.decode() if isinstance(document, bytes) else document)
    page.close()
    assert page._open == []
    assert set(page.tags) <= TAGS
    assert not [name for name in page.attributes if name.startswith("on") or name in ("src", "href", "style")]
    return page


def payment(**changed: Any) -> Payment:
    columns = {
        "id": "pay_01m81ncs4ky8n83c4q371bpygj",
        "merchant_id": "mer_1",
        "out_trade_no": "order_1",
        "subject": "Two coffees",
        "form": "local",
        "state": "captured",
        "currency": "CNY",
        "order_minor": 8_200,
        "payable_minor": 8_200,
        "captured_minor": 8_200,
        "refunded_minor": 0,
        "store_id": "sto_1",
        "captured_at": AT,
    }
    return Payment(**columns | changed)


def facts(
    made: Payment, *refunds: Refund, merchant: str = "Hutong Coffee", store: str | None = None, mode: Any = "live"
) -> ReceiptFacts:
    who = MerchantFacts("mer_1", "active", mode, "restaurant", "Asia/Shanghai", frozenset())  # type: ignore[arg-type]
    figures = Booked(made.captured_minor, made.refunded_minor)
    file = PaymentFile(made, [], [], refunds)
    return facts_of("rec_1", file, figures, names=TradeNames(merchant, store), merchant=who)


def back(amount_minor: int, number: str, state: str = "succeeded") -> Refund:
    return Refund(amount_minor=amount_minor, out_request_no=number, state=state, updated_at=AT)


@pytest.mark.unit
@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_and_keep_to_themselves(name: str, language: Language) -> None:
    basket = {"lines": [{"line_id": "1", "name": name, "quantity": 1, "unit_minor": 8_200}]}
    discounts = [{"label": name, "amount_minor": 200, "line_id": None}]
    made = payment(basket=basket, discounts=discounts, payable_minor=8_000, captured_minor=8_000)
    page = page_of(draw(facts(made, merchant=name, store=name), language))
    assert page.isolated == [name] * 4


@pytest.mark.unit
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1, max_size=256))
def test_no_name_gets_out_of_its_place(name: str) -> None:
    page = page_of(draw(facts(payment(subject=name)), "zh"))
    assert page.isolated == ["Hutong Coffee", name]


@pytest.mark.unit
def test_the_figures_stand_in_both_languages_and_in_the_merchants_zone() -> None:
    made = payment(
        basket={
            "lines": [
                {"line_id": "1", "name": "Latte", "quantity": 2, "unit_minor": 3_000},
                {"line_id": "2", "name": "Bun", "quantity": 1, "unit_minor": 2_200},
            ]
        },
        discounts=[{"label": "10 off", "amount_minor": 1_000, "line_id": "1"}],
        payable_minor=7_200,
        captured_minor=7_200,
        refunded_minor=1_700,
    )
    shown = facts(made, back(1_200, "r1"), back(900, "r0", "failed"), back(500, "r2"), back(300, "r3", "bounced"))
    en, zh = page_of(draw(shown, "en")), page_of(draw(shown, "zh"))
    assert (en.lang, zh.lang) == ("en", "zh-Hans")
    at = "Nov 23, 2026, 2:30:05\u202fAM GMT+08:00"
    assert en.rows == [
        ["Item", "Qty", "Amount"],
        ["Latte", "2", "CN¥60.00"],
        ["Bun", "1", "CN¥22.00"],
        ["Subtotal", "CN¥82.00"],
        ["10 off", "-CN¥10.00"],
        ["Paid", "CN¥72.00"],
        [f"Refundr1{at}", "-CN¥12.00"],
        [f"Refundr2{at}", "-CN¥5.00"],
        ["Paid after refunds", "CN¥55.00"],
        ["Paid on", at],
        ["Paid by", "At the till"],
        ["Order number", "order_1"],
        ["Payment", "pay_01m81ncs4ky8n83c4q371bpygj"],
        ["Receipt", "rec_1"],
    ]
    assert ["实付", "¥72.00"] in zh.rows
    assert ["付款时间", "2026年11月23日 02:30:05 GMT+08:00"] in zh.rows
    assert len(zh.rows) == len(en.rows)


@pytest.mark.unit
def test_yen_have_no_cents_and_a_test_says_that_it_is_one() -> None:
    document = draw(facts(payment(currency="JPY"), mode="test"), "en").decode()
    assert "¥8,200<" in document
    assert WORDS["test"].en in document
    assert WORDS["test"].en not in draw(facts(payment()), "en").decode()


@pytest.mark.unit
def test_what_a_cancel_returned_is_shown_without_a_number() -> None:
    made = payment(refunded_minor=8_200, canceled_at=AT)
    rows = page_of(draw(facts(made, back(200, "r1")), "en")).rows
    assert ["Returned by cancellationNov 23, 2026, 2:30:05\u202fAM GMT+08:00", "-CN¥80.00"] in rows
    assert ["Paid after refunds", "CN¥0.00"] in rows


@pytest.mark.unit
def test_every_form_has_its_words() -> None:
    assert set(FORMS) == set(CONTRACT_FORMS)
    assert ["Paid by", "Other"] in page_of(draw(facts(payment(form="carrier_pigeon")), "en")).rows


@pytest.mark.unit
@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 10_000)), min_size=1, max_size=20),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_net_lines_add_up_to_what_was_payable(lines: list[tuple[int, int]], of_line: int, of_order: int) -> None:
    rows = [
        {"line_id": str(n), "name": f"line {n}", "quantity": quantity, "unit_minor": unit}
        for n, (quantity, unit) in enumerate(lines)
    ]
    gross = sum(quantity * unit for quantity, unit in lines)
    first = lines[0][0] * lines[0][1] * of_line // 100
    whole = (gross - first) * of_order // 100
    discounts = [
        {"label": "line", "amount_minor": first, "line_id": "0"},
        {"label": "order", "amount_minor": whole, "line_id": None},
    ]
    left = gross - first - whole
    made = payment(
        basket={"lines": rows}, discounts=discounts, order_minor=gross, payable_minor=left, captured_minor=left
    )
    told = payload_of(facts(made), locale="en", media_type="text/html")
    assert sum(line.net_minor for line in told.lines) == told.total.amount_minor == left
    assert all(line.net_minor >= 0 for line in told.lines)


def moved(debit: str, credit: str, amount: int, code: str, kind: str = "transfer") -> TransferRecord:
    sides = (AccountName("m", debit, ""), AccountName("m", credit, ""))
    return TransferRecord(1, "tra", "m", kind, *sides, "CNY", amount, None, None, code, "txn", AT, None)


@pytest.mark.unit
def test_the_fold_counts_what_reached_the_merchant_and_what_went_back() -> None:
    clearing, channel = "customer_clearing", "channel_receivable"
    history = [
        moved(channel, clearing, 10_000, "authorize", "pending"),
        moved(channel, clearing, 7_000, "capture", "post"),
        moved(clearing, "merchant_pending", 7_000, "capture"),
        moved("merchant_pending", "platform_fee", 42, "fee"),
        moved("merchant_pending", clearing, 1_988, "refund", "post"),
        moved("platform_fee", clearing, 12, "fee_return", "post"),
        moved(clearing, channel, 2_000, "refund"),
        moved(clearing, channel, 500, "refund"),
        moved(channel, clearing, 500, "refund_bounce"),
        moved(clearing, "merchant_available", 500, "refund_bounce"),
        moved(channel, "unapplied", 900, "late_money"),
    ]
    assert booked(history) == Booked(7_000, 2_000)
    undone = [moved(channel, clearing, 100, "capture"), moved(clearing, channel, 100, "cancel")]
    assert booked(undone) == Booked(0, 0)


@pytest.mark.api
@pytest.mark.database
async def test_the_longest_order_of_hostile_names_is_drawn(shop: Shop, seller: Till) -> None:
    lines = [
        {"line_id": str(n), "name": (HOSTILE[n % 6] + "<'\"&>" * 60)[:256], "quantity": 1, "unit_minor": 1}
        for n in range(200)
    ]
    subject = ("\u202e<b>𠮷" * 60)[:256]
    made = await paid(seller, order_minor=None, basket={"lines": lines}, subject=subject)
    receipt = await drawn(shop, seller, made)
    document = await content(seller, receipt)
    assert receipt["size_bytes"] == len(document.content) < RENDERED_BYTES_MAX
    assert page_of(document.text).isolated[1:] == [line["name"] for line in lines]
    plain = await drawn(shop, seller, await paid(seller, subject=subject))
    assert page_of((await content(seller, plain)).text).isolated[1:] == [subject]
