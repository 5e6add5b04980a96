"""What a payer is told instead of a page."""

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

PAGE_GONE = declare(
    "payments.payer_page_gone",
    status=404,
    title=Text(en="This page is not in use", zh="页面已失效"),
    detail=Text(
        en="There is nothing to pay here, or the payment ended some time ago.",
        zh="此处没有待付款项，或该笔付款已结束。",
    ),
    hint=Text(en="Ask the shop for a new code or link.", zh="请向商户索取新的付款码或链接。"),
)
