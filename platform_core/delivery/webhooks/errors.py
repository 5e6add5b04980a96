"""What the webhook routes refuse, in both languages."""

from __future__ import annotations

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

ENDPOINT_NOT_FOUND = declare(
    "webhooks.endpoint_not_found",
    status=404,
    title=Text(en="No such webhook endpoint", zh="回调地址不存在"),
    detail=Text(en="There is no webhook endpoint {id}.", zh="回调地址 {id} 不存在。"),
    hint=Text(en="See GET /v1/webhook-endpoints.", zh="请查看 GET /v1/webhook-endpoints。"),
)
DELIVERY_NOT_FOUND = declare(
    "webhooks.delivery_not_found",
    status=404,
    title=Text(en="No such delivery", zh="投递记录不存在"),
    detail=Text(en="There is no webhook delivery {id}.", zh="投递记录 {id} 不存在。"),
    hint=Text(en="See GET /v1/webhook-deliveries.", zh="请查看 GET /v1/webhook-deliveries。"),
)
EVENT_NOT_FOUND = declare(
    "webhooks.event_not_found",
    status=404,
    title=Text(en="No such event", zh="事件不存在"),
    detail=Text(en="There is no event {id}, or its scope is missing.", zh="事件 {id} 不存在，或缺少相应权限。"),
    hint=Text(en="See GET /v1/events.", zh="请查看 GET /v1/events。"),
)
URL_REFUSED = declare(
    "webhooks.url_refused",
    status=422,
    title=Text(en="The address cannot be called", zh="该地址不可调用"),
    detail=Text(
        en="A webhook endpoint is a public https address with neither user nor fragment.",
        zh="回调地址须为公网 https 地址，且不含用户信息与片段。",
    ),
    hint=Text(
        en="Use an address such as https://example.com/hooks.", zh="请使用形如 https://example.com/hooks 的地址。"
    ),
)
EVENT_TYPE_UNKNOWN = declare(
    "webhooks.event_type_unknown",
    status=422,
    title=Text(en="No such event type", zh="事件类型不存在"),
    detail=Text(
        en="An entry names a type (payment.captured), a family (payment.*) or all (*) that exists.",
        zh="每项须为存在的事件类型（payment.captured）、类别（payment.*）或全部（*）。",
    ),
    hint=Text(en="Correct the entry that param names.", zh="请修改 param 指出的条目。"),
)
API_VERSION_UNKNOWN = declare(
    "webhooks.api_version_unknown",
    status=422,
    title=Text(en="No such version", zh="版本不存在"),
    detail=Text(en="The versions are: {versions}.", zh="可用版本：{versions}。"),
)
ENDPOINTS_TOO_MANY = declare(
    "webhooks.endpoints_too_many",
    status=409,
    title=Text(en="Too many webhook endpoints", zh="回调地址过多"),
    detail=Text(
        en="An app has at most {limit} endpoints in each mode.", zh="每个应用在每种模式下至多 {limit} 个回调地址。"
    ),
    hint=Text(en="Remove one that is not needed.", zh="请先删除不再使用的地址。"),
)
ENDPOINT_BUSY = declare(
    "webhooks.delivery_under_way",
    status=409,
    is_retryable=True,
    title=Text(en="The delivery is under way", zh="正在投递中"),
    detail=Text(en="An attempt of {id} is being made right now.", zh="{id} 正在投递。"),
    hint=Text(
        en="See GET /v1/webhook-deliveries for what came of it.", zh="请通过 GET /v1/webhook-deliveries 查看结果。"
    ),
)
ENDPOINT_DISABLED = declare(
    "webhooks.endpoint_disabled",
    status=409,
    title=Text(en="The endpoint is disabled", zh="回调地址已停用"),
    detail=Text(en="Nothing is sent to {id} while it is disabled.", zh="{id} 停用期间不会投递。"),
    hint=Text(
        en="Enable it by PATCH /v1/webhook-endpoints/{id} first.", zh="请先通过 PATCH /v1/webhook-endpoints/{id} 启用。"
    ),
)
