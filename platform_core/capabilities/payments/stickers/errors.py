"""What stickers refuse, in words."""

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

STICKER_GONE = declare(
    "payments.sticker_not_in_use",
    status=404,
    title=Text(en="This code is not in use", zh="此收款码已停用"),
    detail=Text(en="No payment can be made with this code.", zh="无法使用此收款码付款。"),
    hint=Text(en="Ask the shop for another way to pay.", zh="请向商户询问其他付款方式。"),
)
STICKER_AMOUNT = declare(
    "payments.sticker_amount",
    status=422,
    title=Text(en="Amount not readable", zh="金额无法识别"),
    detail=Text(
        en="Type an amount above zero with at most {digits} digits after the point, such as {example}.",
        zh="请输入大于零的金额，小数点后最多 {digits} 位，例如 {example}。",
    ),
)
STICKER_AMOUNT_OVER = declare(
    "payments.sticker_amount_over",
    status=422,
    title=Text(en="Amount too high", zh="金额过高"),
    detail=Text(en="At most {most} can be paid with a printed code.", zh="使用印刷收款码单笔最高可付 {most}。"),
    hint=Text(en="Ask the shop to take the payment at the till.", zh="请由商户在收银台收款。"),
)
STICKER_BUSY = declare(
    "payments.sticker_busy",
    status=429,
    is_retryable=True,
    title=Text(en="Too many payments at this code", zh="此收款码付款过于频繁"),
    detail=Text(en="{most} payments were begun here within this minute.", zh="本分钟内此收款码已发起 {most} 笔付款。"),
    hint=Text(en="Try again in a minute.", zh="请一分钟后再试。"),
)
