"""The built-in receipt: one HTML page without scripts, in zh or en, for 80 mm paper, A4 and screens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from babel.dates import format_datetime, get_timezone_gmt
from babel.numbers import format_decimal
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from platform_core.capabilities.payments.receipt_facts import ReceiptFacts
from platform_core.kernel.i18n import BABEL_LOCALES, Language, Text
from platform_core.kernel.money import Money

TEMPLATE: Final = "receipt.html"
LANG: Final[Mapping[Language, str]] = {"en": "en", "zh": "zh-Hans"}
FORMS: Final[Mapping[str, Text]] = {
    "merchant_scan": Text(en="Payment code scanned by the store", zh="付款码支付"),
    "customer_scan": Text(en="QR code", zh="扫码支付"),
    "sticker": Text(en="QR code of the store", zh="门店收款码"),
    "page": Text(en="Online", zh="网页支付"),
    "wap": Text(en="Online, on a phone", zh="手机网页支付"),
    "app": Text(en="App", zh="应用内支付"),
    "mini_program": Text(en="Mini program", zh="小程序支付"),
    "preauth": Text(en="Pre-authorised", zh="预授权"),
    "local": Text(en="At the till", zh="门店收银"),
}
OTHER_FORM: Final = Text(en="Other", zh="其他方式")
WORDS: Final[Mapping[str, Text]] = {
    "title": Text(en="Receipt", zh="收据"),
    "test": Text(en="Test. No money was moved.", zh="测试单据，未发生真实资金收付"),
    "items": Text(en="Items", zh="商品明细"),
    "item": Text(en="Item", zh="商品"),
    "quantity": Text(en="Qty", zh="数量"),
    "amount": Text(en="Amount", zh="金额"),
    "sums": Text(en="Sums", zh="合计"),
    "subtotal": Text(en="Subtotal", zh="小计"),
    "payable": Text(en="Payable", zh="应付"),
    "paid": Text(en="Paid", zh="实付"),
    "refund": Text(en="Refund", zh="退款"),
    "canceled": Text(en="Returned by cancellation", zh="撤销退回"),
    "left": Text(en="Paid after refunds", zh="退款后实付"),
    "details": Text(en="Details", zh="单据信息"),
    "paid_at": Text(en="Paid on", zh="付款时间"),
    "form": Text(en="Paid by", zh="付款方式"),
    "out_trade_no": Text(en="Order number", zh="商户订单号"),
    "payment_id": Text(en="Payment", zh="支付单号"),
    "receipt_id": Text(en="Receipt", zh="收据编号"),
    "no_invoice": Text(en="This is not a tax invoice.", zh="本收据不作为发票使用"),
}


def draw(facts: ReceiptFacts, language: Language) -> bytes:
    """The page, UTF-8. Times are the merchant's; every word that somebody else chose is escaped and isolated."""

    def money(amount_minor: int) -> str:
        return Money(amount_minor, facts.currency).format(language)

    def moment(at: datetime) -> str:
        locale, local = BABEL_LOCALES[language], at.astimezone(ZoneInfo(facts.time_zone))
        shown = format_datetime(local, "medium", tzinfo=local.tzinfo, locale=locale)
        return f"{shown} {get_timezone_gmt(local, locale=locale)}"

    def number(value: int) -> str:
        return format_decimal(value, locale=BABEL_LOCALES[language])

    shown = {
        "facts": facts,
        "lang": LANG[language],
        "t": {name: text.say(language) for name, text in WORDS.items()},
        "form": FORMS.get(facts.form, OTHER_FORM).say(language),
        "left_minor": facts.booked.captured_minor - facts.booked.refunded_minor,
        "money": money,
        "moment": moment,
        "number": number,
    }
    return _environment().get_template(TEMPLATE).render(shown).encode()


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
