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
CLOCK_MOVED: Final = declare(
    "sandbox.clock_moved",
    status=409,
    is_retryable=True,
    title=Text(en="The clock was moved meanwhile", zh="时钟已被其他请求调整"),
    detail=Text(en="Somebody else turned the clock at the same time.", zh="另一请求同时调整了时钟。"),
    hint=Text(en="See where it stands, then try again: arsenal clock show.", zh="请先查看当前时间再重试。"),
)
