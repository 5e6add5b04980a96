"""What a caller hears when the writer cannot take or finish a plan."""

from typing import Final

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

_COME_AGAIN: Final = Text(
    en="Repeat the request with the same Idempotency-Key after the time in Retry-After.",
    zh="请在 Retry-After 所示时间后用同一 Idempotency-Key 重试。",
)

COMMIT_BUSY: Final = declare(
    "kernel.commit_busy",
    status=503,
    is_retryable=True,
    title=Text(en="The platform is busy", zh="平台繁忙"),
    detail=Text(
        en="More writes are waiting than can be taken; nothing was written.",
        zh="等待写入的请求过多；本次未写入任何内容。",
    ),
    hint=_COME_AGAIN,
)
COMMIT_STOPPING: Final = declare(
    "kernel.commit_stopping",
    status=503,
    is_retryable=True,
    title=Text(en="This server is shutting down", zh="服务正在停止"),
    detail=Text(
        en="The server takes no more writes; nothing was written.",
        zh="服务不再接受写入；本次未写入任何内容。",
    ),
    hint=_COME_AGAIN,
)
COMMIT_UNAVAILABLE: Final = declare(
    "kernel.commit_unavailable",
    status=503,
    is_retryable=True,
    title=Text(en="The database cannot be reached", zh="数据库不可用"),
    detail=Text(
        en="The database did not answer in time; nothing was written.",
        zh="数据库未及时响应；本次未写入任何内容。",
    ),
    hint=_COME_AGAIN,
)
COMMIT_UNKNOWN: Final = declare(
    "kernel.commit_unknown",
    status=503,
    is_retryable=True,
    title=Text(en="The outcome is not known yet", zh="结果暂不可知"),
    detail=Text(
        en="The database went away while it was writing, and whether the request took effect cannot be said yet.",
        zh="数据库在写入时断开，暂时无法确认本次请求是否已生效。",
    ),
    hint=Text(
        en="Repeat the request with the same Idempotency-Key: it takes effect at most once.",
        zh="请用同一 Idempotency-Key 重试：请求至多生效一次。",
    ),
)
