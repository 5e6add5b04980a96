"""The classic receipt: what it shows, in which words, and what it never lets through."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from platform_core.contracts.fields import Money
from platform_core.contracts.hooks import CATALOGUE
from platform_core.contracts.payments import ReceiptToRender
from platform_core.contracts.results import Rendered
from platform_core.contracts.testing import FakeHost, fixtures_of, load_plugin
from plugins.receipt_classic import render_receipt
from plugins.receipt_classic.money import amount
from plugins.receipt_classic.pdf import fitted, width_of

pytestmark = pytest.mark.unit

MANIFEST = load_plugin("plugins.receipt_classic").manifest


def receipt(name: str, **changed: Any) -> ReceiptToRender:  # Any: fields of several types
    [found] = [each for each in fixtures_of(CATALOGUE["render_receipt"]) if each.name.endswith(f"/{name}")]
    assert isinstance(found.payload, ReceiptToRender)
    return found.payload.model_copy(update=changed)


def drawn(of: ReceiptToRender, **config: str) -> Rendered:
    return render_receipt(FakeHost(MANIFEST, config=config).context("render_receipt"), of)


class Reader(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.links: list[str | None] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in {"href", "src"}]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["style"] or not data.startswith("body{"):
            self.text.append(data)


def test_a_page_shows_the_facts_in_the_language_and_zone_of_the_receipt() -> None:
    made = drawn(receipt("lunch_html"))
    read = Reader(made.blob)
    assert made.total == Money(amount_minor=8_200, currency="CNY")
    assert [part for part in read.text if part.strip()][1:] == [
        *("老张牛肉面", "中关村店 · 010-12345678", "品名", "数量", "金额"),
        *("牛肉面", "2", "64.00", "绿茶", "1", "18.00", "合计", "CNY 82.00"),
        *("订单号", "T20261122-0001", "付款时间", "2026-11-22 12:00:00 CST", "付款码", "CNY 82.00", "本次积分", "82"),
        *("扫码开票", "扫码开票", "谢谢惠顾"),
    ]
    assert read.links == ["https://pay.example/i/8f3k2m"]
    assert b'lang="zh-CN"' in made.blob


def test_what_the_merchant_wrote_is_text_and_never_markup() -> None:
    made = drawn(receipt("two_tenders_in_english"))
    read = Reader(made.blob)
    assert "script" not in read.tags
    assert "<script>alert(1)</script> & Sons" in read.text
    assert 'Tea & "cake" <b>' in read.text
    assert ("At the till" in read.text, "Another way" in read.text) == (True, True)
    assert "2026-11-21 23:00:00 EST" in read.text


@pytest.mark.parametrize("url", ["javascript:alert(1)", "http://pay.example/i", "data:text/html,x", None])
def test_only_https_becomes_a_link_or_a_code(url: str | None) -> None:
    read = Reader(drawn(receipt("lunch_html", invoice_ticket_url=url)).blob)
    assert (read.links, "svg" in read.tags) == ([], False)
    sheet = drawn(receipt("lunch_pdf", invoice_ticket_url=url)).blob
    assert b" re" not in sheet
    assert b" re" in drawn(receipt("lunch_pdf")).blob


def shown(pdf: bytes) -> list[str]:
    """The texts of our own PDF, in order."""
    return [bytes.fromhex(found.decode()).decode("utf-16-be") for found in re.findall(rb"<([0-9a-f]*)> Tj", pdf)]


def test_a_document_shows_the_same_facts() -> None:
    made = drawn(receipt("lunch_pdf"), footer_zh="欢迎再来")
    assert made.media_type == "application/pdf"
    assert shown(made.blob) == [
        "老张牛肉面",
        "中关村店 · 010-12345678",
        "牛肉面 × 2",
        "64.00",
        "绿茶 × 1",
        "18.00",
        "合计",
        "CNY 82.00",
        "订单号",
        "T20261122-0001",
        "付款时间",
        "2026-11-22 12:00:00 CST",
        "付款码",
        "CNY 82.00",
        "本次积分",
        "82",
        "扫码开票",
        "欢迎再来",
    ]


def test_every_object_stands_where_the_table_says() -> None:
    pdf = drawn(receipt("lunch_pdf")).blob
    start = int(re.findall(rb"startxref\n(\d+)\n%%EOF\n$", pdf)[0])
    table = pdf[start:].split(b"trailer")[0].split(b"\n")
    assert (table[0], table[2]) == (b"xref", b"0000000000 65535 f ")
    entries = [row for row in table[3:] if row]
    assert all(len(row) == 19 for row in entries)
    for number, row in enumerate(entries, start=1):
        assert pdf[int(row[:10]) :].startswith(b"%d 0 obj\n" % number)
    [(length, body)] = re.findall(rb"/Length (\d+) >>\nstream\n(.*)\nendstream", pdf, re.DOTALL)
    assert int(length) == len(body)


def test_the_same_receipt_gives_the_same_bytes() -> None:
    for name in ("lunch_html", "lunch_pdf"):
        assert drawn(receipt(name)) == drawn(receipt(name))


def test_long_names_give_way_to_their_amounts() -> None:
    long = receipt("lunch_pdf")
    line = long.lines[0].model_copy(update={"name": "很长的品名" * 20})
    [name, price] = shown(drawn(long.model_copy(update={"lines": (line,)})).blob)[2:4]
    assert (name.endswith("…"), price) == (True, "64.00")
    assert width_of(name, 10) + width_of(price, 10) <= 250
    assert fitted("abc", 10, 1) == "…"


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (0, "CNY", "0.00"),
        (5, "CNY", "0.05"),
        (123_456_789, "CNY", "1,234,567.89"),
        (-50, "USD", "-0.50"),
        (500, "JPY", "500"),
        (1_234, "KWD", "1.234"),
    ],
)
def test_amounts_have_the_decimals_of_their_currency(minor: int, currency: str, text: str) -> None:
    assert amount(minor, currency) == text
