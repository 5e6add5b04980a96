"""Words that stand on every page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from platform_core.kernel.i18n import Text

SHARED: Final[Mapping[str, Text]] = {
    "brand": Text(en="Arsenal", zh="Arsenal"),
    "switch_language": Text(en="中文", zh="English"),
    "skip": Text(en="Skip to content", zh="跳到正文"),
    "signed_in_as": Text(en="Signed in as {name}", zh="当前登录：{name}"),
    "sign_out": Text(en="Sign out", zh="退出登录"),
    "error": Text(en="Not done", zh="未能完成"),
    "error_code": Text(en="Code", zh="错误码"),
    "error_request": Text(en="Request", zh="请求编号"),
    "test_mode": Text(en="TEST MODE · no real money", zh="测试模式 · 不涉及真实资金"),
}
