"""The downloaded bill: its layout to the byte, and sums that are the native bill's."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.simulators.alipay_gateway.bill import ALL_ENTRIES, COLUMNS, ENTRIES, Known, archive
from tests.sandbox.alipay.test_envelope import HOSTILE

pytestmark = pytest.mark.unit
DAY, AT = date(2026, 11, 22), datetime(2026, 11, 23, 1, 0, 5, tzinfo=UTC)
NAMES = (
    "payment_id",
    "out_trade_no",
    "transaction_id",
    "out_request_no",
    "provider",
    "provider_reference",
    "form",
    "store_id",
    "terminal_id",
    "operator_id",
    "order_amount",
    "customer_paid",
    "funded_discount",
    "merchant_discount",
    "points_value",
    "refund_amount",
    "fee",
    "split_amount",
    "net_amount",
    "account",
    "transfer_id",
    "note",
)
BLANK = dict.fromkeys(NAMES, "")


def line(entry: str, **cells: str) -> dict[str, str]:
    return {**BLANK, "entry": entry, "booked_at": "2026-11-22T15:59:59+08:00", "currency": "CNY", **cells}


CAPTURE = line(
    "capture",
    payment_id="pay_1",
    out_trade_no="o1",
    order_amount="100.00",
    customer_paid="82.00",
    funded_discount="13.00",
    merchant_discount="5.00",
    points_value="3.00",
    fee="0.57",
    net_amount="94.43",
    store_id="sto_1",
)
BACK = line(
    "refund",
    payment_id="pay_1",
    out_trade_no="o1",
    out_request_no="r1",
    order_amount="100.00",
    refund_amount="41.00",
    funded_discount="-6.50",
    fee="-0.28",
    net_amount="-47.22",
    store_id="sto_1",
)
SPLIT = line("split", payment_id="pay_1", split_amount="10.00", net_amount="-10.00")
PAYOUT = line("payout", net_amount="-20.00")


def read(lines: list[dict[str, str]], entries: dict[str, str], known: Known | None = None) -> tuple[str, list[str]]:
    """The archive's name, and the detail's lines."""
    name, packed = archive(
        lines, seller="2088000000000156", first=DAY, last=DAY, known=known or Known(), entries=entries, at=AT
    )
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        assert opened.namelist() == [
            "2088000000000156_20261122_业务明细.csv",
            "2088000000000156_20261122_业务明细(汇总).csv",
        ]
        detail = opened.read(opened.namelist()[0]).decode("gbk")
    assert detail.endswith("\r\n")
    assert "\n" not in detail.replace("\r\n", "")
    return name, detail.split("\r\n")[:-1]


def rows_of(lines: list[str]) -> list[dict[str, str]]:
    found = list(csv.reader(row for row in lines if not row.startswith("#")))
    assert tuple(found[0]) == COLUMNS
    return [dict(zip(COLUMNS, row, strict=True)) for row in found[1:]]


def test_the_layout_of_a_days_detail() -> None:
    known = Known({"pay_1": "2026112222001000000000000001"}, {"pay_1": "面条,\r\n🍜"}, {}, {"sto_1": "鼓楼店"})
    name, lines = read([CAPTURE, BACK, SPLIT], dict(ENTRIES), known)
    assert name == "2088000000000156_20261122.csv.zip"
    assert lines[:3] == [
        "#支付宝业务明细查询",
        "#账号：[2088000000000156]",
        "#起始日期：[2026年11月22日 00:00:00]   终止日期：[2026年11月23日 00:00:00]",
    ]
    assert lines[5].startswith("2026112222001000000000000001\t,o1\t,交易\t,面条，　　?\t,2026-11-22 15:59:59\t,")
    assert lines[-3:] == [
        "#交易合计：1笔，商家实收共95.00元，商家优惠共5.00元",
        "#退款合计：1笔，商家实收共-47.50元，商家优惠共0.00元",
        "#导出时间：[2026年11月23日 09:00:05]",
    ]
    first, second = rows_of(lines)
    assert (first["服务费（元）"], second["服务费（元）"], second["退款批次号/请求号"]) == ("-0.57", "0.28", "r1\t")


def test_the_bill_of_everything_adds_up_to_the_native_net() -> None:
    _, lines = read([CAPTURE, BACK, SPLIT, PAYOUT], dict(ALL_ENTRIES))
    columns = ("商家实收（元）", "服务费（元）", "分润（元）")
    total = sum(Decimal(row[column]) for row in rows_of(lines) for column in columns)
    assert total == sum(Decimal(each["net_amount"]) for each in (CAPTURE, BACK, SPLIT, PAYOUT))


@pytest.mark.property
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(HOSTILE[:14]))
def test_no_text_breaks_a_row(text: str) -> None:
    known = Known(subjects={"pay_1": text})
    _, lines = read([CAPTURE, BACK], dict(ENTRIES), known)
    assert [len(row.split(",")) for row in lines if not row.startswith("#")] == [len(COLUMNS)] * 3


def test_a_guard_against_formulas_is_taken_off() -> None:
    _, lines = read([{**CAPTURE, "note": "'=1+1"}, {**CAPTURE, "note": "'tis"}], dict(ENTRIES))
    assert [row["备注"] for row in rows_of(lines)] == ["=1+1\t", "'tis\t"]
