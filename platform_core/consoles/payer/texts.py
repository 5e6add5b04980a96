"""The words of payers' pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from platform_core.kernel.i18n import Text

TEXTS: Final[Mapping[str, Text]] = {
    "title": Text(en="Pay {merchant}", zh="向{merchant}付款"),
    "result_title": Text(en="Payment to {merchant}", zh="付款给{merchant}"),
    "amount": Text(en="Amount", zh="金额"),
    "for": Text(en="For", zh="商品"),
    "store": Text(en="Store", zh="门店"),
    "number": Text(en="Order number", zh="订单号"),
    "paid_at": Text(en="Paid at", zh="付款时间"),
    "order": Text(en="Order", zh="订单明细"),
    "discount": Text(en="Discount", zh="优惠"),
    "times": Text(en="× {quantity}", zh="× {quantity}"),
    "scan": Text(en="Scan with your wallet app to pay.", zh="请使用钱包 App 扫码付款。"),
    "qr_label": Text(en="QR code of this payment", zh="本次付款的二维码"),
    "on_this_phone": Text(en="Paying on this phone?", zh="在本机付款？"),
    "with": Text(en="Pay with {wallet}", zh="使用{wallet}付款"),
    "go_on": Text(en="Continue to pay", zh="前往付款"),
    "in_app": Text(en="Please finish the payment in the app.", zh="请在 App 中完成付款。"),
    "until": Text(en="You can pay until {time}.", zh="请在 {time} 前完成付款。"),
    "waiting": Text(en="Waiting for your payment …", zh="等待付款…"),
    "wait_title": Text(en="One moment", zh="请稍候"),
    "wait": Text(en="Your payment is being handled. Do not pay again.", zh="正在处理您的付款，请勿重复付款。"),
    "unsure_title": Text(en="We are asking the bank", zh="正在向银行确认"),
    "unsure": Text(
        en="Do not pay again: you will not be charged twice. This page goes on by itself.",
        zh="请勿重复付款，您不会被重复扣款。本页会自动更新。",
    ),
    "again_title": Text(en="Not paid yet", zh="尚未付款"),
    "again": Text(
        en="The last try did not succeed, and nothing was charged. You can try again.",
        zh="上次付款未成功，未扣款。您可以重试。",
    ),
    "paid_title": Text(en="Paid", zh="付款成功"),
    "held_title": Text(en="Amount held", zh="已冻结"),
    "held": Text(
        en="The amount is held for {merchant}; it is charged when the order is fulfilled.",
        zh="该金额已为{merchant}冻结，将在订单履行后扣款。",
    ),
    "over_title": Text(en="This payment has ended", zh="本次付款已结束"),
    "over": Text(
        en="It can no longer be paid, and nothing is charged. Ask the shop if you still want to pay.",
        zh="已无法付款，也不会扣款。如仍需付款，请联系商户。",
    ),
    "refunded": Text(en="Refunded", zh="已退款"),
    "back": Text(en="Back to {merchant}", zh="返回{merchant}"),
    "updates": Text(en="This page looks for news by itself.", zh="本页会自动更新。"),
    "anew": Text(en="Another payment", zh="再付一笔"),
    "reload": Text(en="Look again", zh="刷新状态"),
    "sticker_title": Text(en="Pay at {place}", zh="向{place}付款"),
    "type_amount": Text(en="Amount in {currency}", zh="金额（{currency}）"),
    "amount_help": Text(en="As the shop told you, for example {example}.", zh="请输入商户告知的金额，例如 {example}。"),
    "refused": Text(en="Nothing can be paid here at the moment.", zh="目前无法在此付款。"),
    "no_wallet": Text(en="No wallet can pay here at the moment.", zh="目前没有可用的钱包。"),
    "wallet": Text(en="Wallet", zh="钱包"),
}
