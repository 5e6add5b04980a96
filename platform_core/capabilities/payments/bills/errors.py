"""What bills refuse."""

from __future__ import annotations

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

BILL_NOT_READY = declare(
    "payments.bill_not_ready",
    status=404,
    is_retryable=True,
    title=Text(en="The bill is not ready", zh="账单尚未生成"),
    detail=Text(en="The bill of {day} is made at {ready_at}.", zh="{day} 的账单将于 {ready_at} 生成。"),
    hint=Text(
        en="Ask again after that moment, or wait for the event bill.published.",
        zh="请在该时间之后再次查询，或等待 bill.published 事件。",
    ),
)
BILL_ABSENT = declare(
    "payments.bill_absent",
    status=404,
    title=Text(en="No bill of this day", zh="当日无账单"),
    detail=Text(
        en="There is no bill of {day}: no money moved, and none was held.",
        zh="{day} 没有账单：当日无资金变动，也无余额。",
    ),
    hint=Text(en="GET /v1/bills lists the days that have one.", zh="可通过 GET /v1/bills 查询有账单的日期。"),
)
