"""What the testbed refuses, in both languages."""

from __future__ import annotations

from typing import Final

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

CLOCK_BACKWARDS: Final = declare(
    "sandbox.clock_backwards",
    status=409,
    title=Text(en="The clock does not go back", zh="时钟不能回拨"),
    detail=Text(
        en="Business time is {now}; {to} is earlier. Nothing was changed.",
        zh="当前业务时间为 {now}，{to} 更早；未作任何改动。",
    ),
    hint=Text(
        en="Name a later moment, or put the clock back to real time: arsenal clock reset.",
        zh="请指定更晚的时间，或恢复为真实时间：arsenal clock reset。",
    ),
)
PLACE_INVALID: Final = declare(
    "sandbox.place_invalid",
    status=400,
    title=Text(en="No place in the feed", zh="无效的事件位置"),
    detail=Text(en="after is not what an answer gave as next.", zh="after 不是先前应答中的 next。"),
    hint=Text(en="Leave it out to begin at the newest event.", zh="省略该参数即从最新事件开始。"),
)
ACQUIRER_AWAY: Final = declare(
    "sandbox.acquirer_away",
    status=503,
    is_retryable=True,
    title=Text(en="The simulated acquirer is away", zh="模拟收单机构不可用"),
    detail=Text(en="The simulated acquirer did not do it: {reason}", zh="模拟收单机构未能完成：{reason}"),
    hint=Text(
        en="Check that it runs and that ARSENAL_ACQUIRER_URL names it.",
        zh="请确认其正在运行，且 ARSENAL_ACQUIRER_URL 正确。",
    ),
)
BUYER_UNKNOWN: Final = declare(
    "sandbox.buyer_unknown",
    status=404,
    title=Text(en="No such buyer", zh="买家不存在"),
    detail=Text(en="There is no test buyer {id}.", zh="测试买家 {id} 不存在。"),
    hint=Text(en="See GET /sandbox/v1/buyers.", zh="请查看 GET /sandbox/v1/buyers。"),
)
CLOCK_MOVED: Final = declare(
    "sandbox.clock_moved",
    status=409,
    is_retryable=True,
    title=Text(en="The clock was moved meanwhile", zh="时钟已被其他请求调整"),
    detail=Text(en="Somebody else turned the clock at the same time.", zh="另一请求同时调整了时钟。"),
    hint=Text(en="See where it stands, then try again: arsenal clock show.", zh="请先查看当前时间再重试。"),
)
