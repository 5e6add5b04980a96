"""Scopes of a party's own administration: profile, staff, apps and their keys. Held by people, never by apps."""

from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("merchant:write", Text(en="Change the business profile", zh="修改商户资料"), marks="O"),
    Scope("payout_destinations:read", Text(en="See where payouts go", zh="查看提现账户"), marks="O"),
    Scope("payout_destinations:write", Text(en="Change where payouts go", zh="变更提现账户"), marks="OS"),
    Scope("staff:read", Text(en="See the staff and their roles", zh="查看人员及角色"), marks="OI"),
    Scope("staff:write", Text(en="Invite and remove staff, change roles", zh="邀请、移除人员并调整角色"), marks="OSI"),
    Scope("apps:read", Text(en="See your own apps", zh="查看自有应用"), marks="OI"),
    Scope("apps:write", Text(en="Create and change your own apps", zh="创建和修改自有应用"), marks="OI"),
    Scope(
        "apps.keys:write",
        Text(en="Change keys and sign-in of your own apps", zh="管理自有应用的密钥与接入设置"),
        marks="OSI",
    ),
)
