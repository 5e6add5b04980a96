"""The bill as the protocol's users download it: a ZIP of two GBK files, made from the rows of the native bill. Pure.

Layout: opendocs.alipay.com, alipay.data.dataservice.bill.downloadurl.query, bill of type trade, by mirrors read
2026-11-22; the summary's layout is our own.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from platform_core.kernel import money
from sandbox.simulators.alipay_gateway.fields import CURRENCY, yuan
from sandbox.simulators.alipay_gateway.protocol import CHINA

Line = Mapping[str, str]
"""A row of the native bill by its columns (payments.md section 8): amounts as decimals of the currency."""
COLUMNS: Final = (
    "支付宝交易号",
    "商户订单号",
    "业务类型",
    "商品名称",
    "创建时间",
    "完成时间",
    "门店编号",
    "门店名称",
    "操作员",
    "终端号",
    "对方账户",
    "订单金额（元）",
    "商家实收（元）",
    "支付宝红包（元）",
    "集分宝（元）",
    "支付宝优惠（元）",
    "商家优惠（元）",
    "券核销金额（元）",
    "券名称",
    "商家红包消费金额（元）",
    "卡消费金额（元）",
    "退款批次号/请求号",
    "服务费（元）",
    "分润（元）",
    "备注",
)
TRADE, REFUND = "交易", "退款"
ENTRIES: Final[Mapping[str, str]] = {"capture": TRADE, "refund": REFUND, "refund_bounce": "退款退回"}
"""What a bill of trades tells, by the native entry."""
ALL_ENTRIES: Final[Mapping[str, str]] = {
    **ENTRIES,
    "fee": "服务费",
    "split": "分账",
    "split_return": "分账退回",
    "dispute": "交易争议",
    "reserve": "保证金",
    "payout": "提现",
    "adjustment": "调账",
}
"""What a bill of type signcustomer tells: everything."""
_OF_THE_ACCOUNT: Final = ("dispute", "reserve", "payout", "adjustment")
"""Entries that no customer paid: what they do to the account is all there is to tell."""
_SUMS: Final = ("订单金额（元）", "商家实收（元）", "商家优惠（元）", "服务费（元）", "分润（元）")
_RULE: Final = "-" * 41
_WIDE: Final = str.maketrans({",": "，", "\r": "　", "\n": "　", "\t": "　"})
_GUARDED: Final = re.compile(r"'(?=[=+\-@])")


@dataclass(frozen=True, slots=True)
class Known:
    """What the native bill does not say, by payment and by store: numbers, goods, customers, names."""

    trade_numbers: Mapping[str, str] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    buyers: Mapping[str, str] = field(default_factory=dict)
    stores: Mapping[str, str] = field(default_factory=dict)


def archive(
    lines: Iterable[Line],
    *,
    seller: str,
    first: date,
    last: date,
    known: Known,
    entries: Mapping[str, str],
    at: datetime,
) -> tuple[str, bytes]:
    """File name and bytes of the ZIP for the days from `first` to `last`; `at`: the moment of export, aware."""
    period = f"{first:%Y%m%d}" if first == last else f"{first:%Y%m}"
    rows = [_row(line, known, entries) for line in lines if line["entry"] in entries and line["currency"] == CURRENCY]
    name = f"{seller}_{period}"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for suffix, text in (
            ("业务明细", _detail(rows, seller=seller, first=first, last=last, at=at)),
            ("业务明细(汇总)", _summary(rows, seller=seller, first=first, last=last, at=at)),
        ):
            entry = zipfile.ZipInfo(f"{name}_{suffix}.csv", at.astimezone(CHINA).timetuple()[:6])
            made.writestr(entry, text.encode("gbk", "replace"))
    return f"{name}.csv.zip", packed.getvalue()


def _row(line: Line, known: Known, entries: Mapping[str, str]) -> dict[str, str]:
    """One row of the detail by column. What leaves the merchant is negative."""
    paid, funded, back = _fen(line, "customer_paid"), _fen(line, "funded_discount"), _fen(line, "refund_amount")
    is_trade = line["entry"] == "capture"
    received = _fen(line, "net_amount") if line["entry"] in _OF_THE_ACCOUNT else paid + funded - back
    payment_id = line["payment_id"]
    amounts = {
        "订单金额（元）": _fen(line, "order_amount") if is_trade else paid - back,
        "商家实收（元）": received,
        "支付宝红包（元）": 0,
        "集分宝（元）": _fen(line, "points_value"),
        "支付宝优惠（元）": funded,
        "商家优惠（元）": _fen(line, "merchant_discount") if is_trade else 0,
        "券核销金额（元）": 0,
        "商家红包消费金额（元）": 0,
        "卡消费金额（元）": 0,
        "服务费（元）": -_fen(line, "fee"),
        "分润（元）": -_fen(line, "split_amount"),
    }
    texts = {
        "支付宝交易号": known.trade_numbers.get(payment_id, ""),
        "商户订单号": _text(line, "out_trade_no"),
        "业务类型": entries[line["entry"]],
        "商品名称": known.subjects.get(payment_id, ""),
        "创建时间": _moment(line),
        "完成时间": _moment(line),
        "门店编号": _text(line, "store_id"),
        "门店名称": known.stores.get(line["store_id"], ""),
        "操作员": _text(line, "operator_id"),
        "终端号": _text(line, "terminal_id"),
        "对方账户": known.buyers.get(payment_id, ""),
        "券名称": "",
        "退款批次号/请求号": _text(line, "out_request_no"),
        "备注": _text(line, "note"),
    }
    return {name: yuan(amounts[name]) if name in amounts else texts[name] for name in COLUMNS}


def _detail(rows: Sequence[dict[str, str]], *, seller: str, first: date, last: date, at: datetime) -> str:
    lines = [
        "#支付宝业务明细查询",
        f"#账号：[{seller}]",
        _period(first, last),
        f"#{_RULE}业务明细列表{_RULE}",
        ",".join(COLUMNS),
        *(",".join(_cell(name, row[name]) for name in COLUMNS) for row in rows),
        f"#{_RULE}业务明细列表结束{_RULE}",
        *(_total(kind, rows) for kind in (TRADE, REFUND)),
        f"#导出时间：[{_long(at)}]",
    ]
    return "".join(f"{line}\r\n" for line in lines)


def _summary(rows: Sequence[dict[str, str]], *, seller: str, first: date, last: date, at: datetime) -> str:
    stores = sorted({(row["门店编号"], row["门店名称"]) for row in rows})
    header = ("门店编号", "门店名称", "交易笔数", "退款笔数", *_SUMS)
    lines = [
        "#支付宝业务汇总查询",
        f"#账号：[{seller}]",
        _period(first, last),
        f"#{_RULE}业务汇总列表{_RULE}",
        ",".join(header),
    ]
    for store_id, name in [*stores, ("合计", "")]:
        own = [row for row in rows if store_id == "合计" or (row["门店编号"], row["门店名称"]) == (store_id, name)]
        counts = [str(sum(row["业务类型"] == kind for row in own)) for kind in (TRADE, REFUND)]
        cells = [f"{store_id}\t", f"{name.translate(_WIDE)}\t", *counts, *(_sum(own, column) for column in _SUMS)]
        lines.append(",".join(cells))
    lines += [f"#{_RULE}业务汇总列表结束{_RULE}", f"#导出时间：[{_long(at)}]"]
    return "".join(f"{line}\r\n" for line in lines)


def _total(kind: str, rows: Sequence[dict[str, str]]) -> str:
    own = [row for row in rows if row["业务类型"] == kind]
    paid, off = _sum(own, "商家实收（元）"), _sum(own, "商家优惠（元）")
    return f"#{kind}合计：{len(own)}笔，商家实收共{paid}元，商家优惠共{off}元"


def _sum(rows: Iterable[dict[str, str]], column: str) -> str:
    return yuan(sum(money.parse(row[column], CURRENCY).amount_minor for row in rows))


def _cell(column: str, value: str) -> str:
    """A text cell ends in a tab, so that no spreadsheet makes a number of it; an amount does not."""
    return value if column.endswith("（元）") else f"{value.translate(_WIDE)}\t"


def _fen(line: Line, column: str) -> int:
    return money.parse(line[column], CURRENCY).amount_minor if line[column] else 0


def _text(line: Line, column: str) -> str:
    """A text of the native file without its guard against formulas."""
    return _GUARDED.sub("", line[column], count=1) if line[column].startswith("'") else line[column]


def _moment(line: Line) -> str:
    return datetime.fromisoformat(line["booked_at"]).astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")


def _long(at: datetime) -> str:
    return at.astimezone(CHINA).strftime("%Y年%m月%d日 %H:%M:%S")


def _period(first: date, last: date) -> str:
    end = last + timedelta(days=1)
    return f"#起始日期：[{first:%Y年%m月%d日} 00:00:00]   终止日期：[{end:%Y年%m月%d日} 00:00:00]"
