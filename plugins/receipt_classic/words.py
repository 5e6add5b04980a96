"""The receipt's own words in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One language."""

    language: str
    title: str
    order: str
    paid_at: str
    item: str
    quantity: str
    amount: str
    total: str
    paid_by: str
    points: str
    invoice: str
    forms: Mapping[str, str]

    def form(self, form: str) -> str:
        """How the customer paid, in words."""
        return self.forms.get(form, self.forms["unknown"])


ZH: Final = Words(
    language="zh-CN",
    title="收据",
    order="订单号",
    paid_at="付款时间",
    item="品名",
    quantity="数量",
    amount="金额",
    total="合计",
    paid_by="付款方式",
    points="本次积分",
    invoice="扫码开票",
    forms={
        "merchant_scan": "付款码",
        "customer_scan": "扫码支付",
        "sticker": "静态码",
        "page": "网页支付",
        "wap": "手机网页支付",
        "app": "应用支付",
        "mini_program": "小程序支付",
        "preauth": "预授权",
        "local": "线下收款",
        "unknown": "其他方式",
    },
)
EN: Final = Words(
    language="en",
    title="Receipt",
    order="Order",
    paid_at="Paid at",
    item="Item",
    quantity="Qty",
    amount="Amount",
    total="Total",
    paid_by="Paid by",
    points="Points earned",
    invoice="Scan for an invoice",
    forms={
        "merchant_scan": "Wallet code",
        "customer_scan": "QR code",
        "sticker": "QR sticker",
        "page": "Web page",
        "wap": "Mobile page",
        "app": "App",
        "mini_program": "Mini program",
        "preauth": "Pre-authorisation",
        "local": "At the till",
        "unknown": "Another way",
    },
)


def words_for(locale: str) -> Words:
    """Chinese for every Chinese locale, else English."""
    return ZH if locale.lower().startswith("zh") else EN
