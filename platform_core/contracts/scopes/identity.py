"""Scopes of parties, stores and authorizations."""

from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("openid", Text(en="Recognise your shop", zh="识别您的店铺")),
    Scope("merchant:read", Text(en="See your business profile", zh="查看商户资料")),
    Scope("stores:read", Text(en="See your stores", zh="查看门店")),
    Scope("stores:write", Text(en="Change stores and code stickers", zh="管理门店与收款码")),
    Scope(
        "customers:read",
        Text(en="See customers' personal fields in exports", zh="查看导出中的顾客个人信息"),
        marks="PS",
    ),
    Scope("grants:approve", Text(en="Let apps in", zh="批准应用授权"), marks="OS"),
    Scope("grant_management_query", Text(en="See its own authorization", zh="查询自身授权")),
    Scope("grant_management_revoke", Text(en="End its own authorization", zh="结束自身授权")),
    Scope("onboarding:write", Text(en="Submit your application", zh="提交入驻申请")),
    Scope("introspect:any", Text(en="Check any access token", zh="校验任意访问令牌"), marks="O"),
)
