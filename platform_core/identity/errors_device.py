"""What is refused where a person enters a device's code."""

from __future__ import annotations

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

DEVICE_CODE_UNKNOWN = declare(
    "identity.device_code_unknown",
    status=404,
    title=Text(en="No device waits with this code", zh="没有设备正在使用该代码"),
    detail=Text(
        en="The code is unknown, older than ten minutes, or was decided on.",
        zh="该代码不存在、已超过十分钟，或已处理。",
    ),
    hint=Text(en="Compare it with the device, or begin again there.", zh="请与设备上的代码核对，或在设备上重新开始。"),
)
DEVICE_TRIES_USED = declare(
    "identity.device_tries_used",
    status=429,
    is_retryable=True,
    title=Text(en="Too many codes were tried", zh="尝试次数过多"),
    detail=Text(en="Five codes can be tried in ten minutes.", zh="十分钟内最多可尝试五次。"),
    hint=Text(en="Wait ten minutes, then try again.", zh="请等待十分钟后重试。"),
)
DEVICE_DECIDED = declare(
    "identity.device_decided",
    status=409,
    title=Text(en="Somebody decided already", zh="该请求已被处理"),
    detail=Text(en="The device's request was decided on meanwhile.", zh="该设备的请求已被其他人处理。"),
)
DEVICE_STORE_NEEDED = declare(
    "identity.device_store_needed",
    status=422,
    title=Text(en="A store must be chosen", zh="请选择门店"),
    detail=Text(en="The device acts for the store that it stands in.", zh="设备仅代表其所在的门店。"),
    hint=Text(en="Choose one of your stores.", zh="请选择您的一个门店。"),
)
