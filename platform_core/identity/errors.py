"""What identity refuses, in both languages."""

from __future__ import annotations

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

TOKEN_MISSING = declare(
    "identity.token_missing",
    status=401,
    title=Text(en="An access token is needed", zh="缺少访问令牌"),
    detail=Text(en="The request carries no access token.", zh="请求未携带访问令牌。"),
    hint=Text(
        en="Get a token at POST /oauth/token and send it as Authorization: Bearer <token>.",
        zh="请通过 POST /oauth/token 获取令牌，并以 Authorization: Bearer <token> 发送。",
    ),
)
TOKEN_INVALID = declare(
    "identity.token_invalid",
    status=401,
    title=Text(en="The access token is not valid", zh="访问令牌无效"),
    detail=Text(
        en="The access token is malformed, expired, revoked, or not meant for this platform.",
        zh="访问令牌格式错误、已过期、已撤销，或不适用于本平台。",
    ),
    hint=Text(en="Get a new token at POST /oauth/token.", zh="请通过 POST /oauth/token 重新获取令牌。"),
)
SCOPE_MISSING = declare(
    "identity.scope_missing",
    status=403,
    title=Text(en="The token lacks a scope", zh="令牌缺少权限范围"),
    detail=Text(en="This operation needs the scope {scope}.", zh="此操作需要权限范围 {scope}。"),
    hint=Text(
        en="Ask the merchant to grant {scope}, then get a new token that names it.",
        zh="请商户授予 {scope}，并重新获取包含该权限的令牌。",
    ),
)
MERCHANT_NEEDED = declare(
    "identity.merchant_needed",
    status=403,
    title=Text(en="The token acts for no merchant", zh="令牌未代表任何商户"),
    detail=Text(
        en="This operation belongs to a merchant, and the token is of an app by itself.",
        zh="此操作属于商户，而令牌仅代表应用自身。",
    ),
    hint=Text(en="Use a token that a merchant's grant stands behind.", zh="请使用由商户授权的令牌。"),
)
MERCHANT_LIVE_IN_SANDBOX = declare(
    "identity.merchant_live_in_sandbox",
    status=409,
    title=Text(en="A sandbox has no live merchants", zh="沙箱中不能有正式商户"),
    detail=Text(
        en="This installation is a sandbox; a merchant in live mode cannot be created here.",
        zh="当前环境为沙箱，不能创建正式模式的商户。",
    ),
    hint=Text(en="Create it in mode test, or at a live installation.", zh="请使用 test 模式创建，或在正式环境中创建。"),
)
SANDBOX_OVER_LIVE_MERCHANT = declare(
    "identity.sandbox_over_live_merchant",
    status=409,
    title=Text(en="The sandbox's database holds a live merchant", zh="沙箱数据库中存在正式商户"),
    detail=Text(
        en="{merchant_id} is a merchant in live mode, and a sandbox turns the clock and scripts faults for everybody.",
        zh="{merchant_id} 为正式模式的商户，而沙箱会调整所有商户的时钟并注入故障。",
    ),
    hint=Text(
        en="Give the sandbox a database of its own, or unset ARSENAL_IS_SANDBOX.",
        zh="请为沙箱使用独立的数据库，或取消设置 ARSENAL_IS_SANDBOX。",
    ),
)
ACCESS_UNAVAILABLE = declare(
    "identity.access_unavailable",
    status=503,
    is_retryable=True,
    title=Text(en="Access cannot be checked", zh="暂时无法校验访问权限"),
    detail=Text(
        en="Whether the token was revoked cannot be told at the moment; nothing was done.",
        zh="暂时无法确认令牌是否已被撤销；本次未执行任何操作。",
    ),
    hint=Text(
        en="Repeat the request with the same Idempotency-Key after the time in Retry-After.",
        zh="请在 Retry-After 所示时间后用同一 Idempotency-Key 重试。",
    ),
)
MERCHANT_NOT_FOUND = declare(
    "identity.merchant_not_found",
    status=404,
    title=Text(en="No such merchant", zh="商户不存在"),
    detail=Text(en="There is no merchant {merchant_id}.", zh="商户 {merchant_id} 不存在。"),
)
STORE_NOT_FOUND = declare(
    "identity.store_not_found",
    status=404,
    title=Text(en="No such store", zh="门店不存在"),
    detail=Text(en="There is no store {store_id}.", zh="门店 {store_id} 不存在。"),
)
CLIENT_NOT_FOUND = declare(
    "identity.client_not_found",
    status=404,
    title=Text(en="No such client", zh="客户端不存在"),
    detail=Text(en="There is no client {client_id}.", zh="客户端 {client_id} 不存在。"),
)
CLIENT_REFUSED = declare(
    "identity.client_refused",
    status=422,
    title=Text(en="The client cannot be set up like this", zh="客户端设置无效"),
    detail=Text(en="The client was not changed: {reason}.", zh="客户端未更改：{reason}。"),
)
OWNER_NOT_FOUND = declare(
    "identity.owner_not_found",
    status=422,
    title=Text(en="The app has no owner", zh="应用缺少所有者"),
    detail=Text(
        en="An app is owned by one ISV, or by one merchant in {mode} mode, that exists.",
        zh="应用须归属一个已存在的服务商，或一个 {mode} 模式的商户。",
    ),
)
GRANT_NOT_FOUND = declare(
    "identity.grant_not_found",
    status=404,
    title=Text(en="No such grant", zh="授权不存在"),
    detail=Text(en="There is no active grant {grant_id}.", zh="不存在有效授权 {grant_id}。"),
)
GRANT_EXISTS = declare(
    "identity.grant_exists",
    status=409,
    title=Text(en="The app is authorised already", zh="应用已获授权"),
    detail=Text(
        en="The app {app_id} already has the active grant {grant_id} of this merchant.",
        zh="应用 {app_id} 已拥有该商户的有效授权 {grant_id}。",
    ),
    hint=Text(en="Revoke {grant_id} first.", zh="请先撤销 {grant_id}。"),
)
GRANT_REFUSED = declare(
    "identity.grant_refused",
    status=422,
    title=Text(en="The grant is not possible", zh="无法授权"),
    detail=Text(en="{reason}", zh="{reason}"),
)
CHANGED_MEANWHILE = declare(
    "identity.changed_meanwhile",
    status=409,
    is_retryable=True,
    title=Text(en="Somebody else was faster", zh="内容已被更改"),
    detail=Text(en="{id} was changed while this request was decided.", zh="{id} 在处理期间已被更改。"),
    hint=Text(en="Read it again and repeat the request.", zh="请重新读取后重试。"),
)
LIMIT_EXCEEDED = declare(
    "identity.limit_exceeded",
    status=403,
    title=Text(en="The grant's limit does not allow it", zh="超出授权限额"),
    detail=Text(
        en="The merchant's grant allows {limit}; {left} is left, until {resets_at}. Nothing was done.",
        zh="商户授权的限额：{limit}；剩余 {left}，恢复时间：{resets_at}。本次未执行任何操作。",
    ),
    hint=Text(
        en="Wait until the window ends, or ask the merchant to raise the limit by consenting again.",
        zh="请等待限额周期结束，或请商户重新授权以提高限额。",
    ),
)
LIMIT_MISSING = declare(
    "identity.limit_missing",
    status=403,
    title=Text(en="The grant has no limit for this", zh="授权中没有适用的限额"),
    detail=Text(
        en="No detail of the grant covers a {type} of this store and currency. Nothing was done.",
        zh="授权中没有覆盖该门店与币种的 {type} 限额。本次未执行任何操作。",
    ),
    hint=Text(
        en="Ask the merchant to consent to authorization_details that cover it.",
        zh="请商户授权包含该操作的 authorization_details。",
    ),
)
CONSENT_REFUSED = declare(
    "identity.consent_refused",
    status=403,
    title=Text(en="You cannot give this", zh="您无权授予该权限"),
    detail=Text(en="{reason}", zh="{reason}"),
    hint=Text(en="Ask the owner of your business to decide.", zh="请联系商户所有者处理。"),
)
