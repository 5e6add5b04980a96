"""What channel accounts and routing rules refuse."""

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

PROVIDER_UNKNOWN = declare(
    "payments.provider_unknown",
    status=422,
    title=Text(en="Unknown provider", zh="未知支付渠道"),
    detail=Text(
        en="No plugin brings a payment provider {provider_id} here.", zh="当前没有插件提供支付渠道 {provider_id}。"
    ),
    hint=Text(en="Enable its plugin for the merchant first.", zh="请先为商户启用相应插件。"),
)
SECRET_UNREADABLE = declare(
    "payments.channel_secret_unreadable",
    status=422,
    title=Text(en="Secret not readable", zh="密钥无法读取"),
    detail=Text(en="The value of {name} is no base64.", zh="{name} 的值不是有效的 base64。"),
)
ACCOUNT_UNKNOWN = declare(
    "payments.channel_account_unknown",
    status=422,
    title=Text(en="Unknown channel account", zh="未知渠道账户"),
    detail=Text(
        en="{channel_account_id} is no channel account of this merchant.",
        zh="{channel_account_id} 不是该商户的渠道账户。",
    ),
    hint=Text(en="List them: GET /v1/channel-accounts.", zh="请查询 GET /v1/channel-accounts。"),
)
RULE_CONTRADICTS = declare(
    "payments.routing_rule_contradicts",
    status=422,
    title=Text(en="The rule fits nothing", zh="规则自相矛盾"),
    detail=Text(
        en="{field} leaves no payment that the rule could decide about: {why}.",
        zh="{field} 使该规则无法适用于任何付款：{why}。",
    ),
)
