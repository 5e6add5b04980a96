"""The words of the consent page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from platform_core.kernel.i18n import Text

TEXTS: Final[Mapping[str, Text]] = {
    "title": Text(en="Let {app} in?", zh="允许 {app} 访问？"),
    "intro": Text(en="{app} asks to act for {merchant}.", zh="{app} 请求代表 {merchant} 进行操作。"),
    "intro_again": Text(
        en="{app} already acts for {merchant} and asks for something else.",
        zh="{app} 已获 {merchant} 授权，现请求变更授权内容。",
    ),
    "publisher": Text(en="Published by", zh="发布者"),
    "verified": Text(en="Verified", zh="已认证"),
    "unverified": Text(en="Not verified", zh="未认证"),
    "own_app": Text(en="Your own app", zh="您自己的应用"),
    "tier": Text(en="Tier", zh="等级"),
    "returns_to": Text(en="Returns to", zh="返回地址"),
    "business": Text(en="Business", zh="商户"),
    "group_money": Text(en="Move money", zh="资金操作"),
    "group_change": Text(en="Change things", zh="变更"),
    "group_send": Text(en="Send messages", zh="发送消息"),
    "group_see": Text(en="See", zh="查看"),
    "mark_limits": Text(en="Limited", zh="有限额"),
    "mark_personal": Text(en="Personal data", zh="个人信息"),
    "mark_new": Text(en="New", zh="新增"),
    "mark_kept": Text(en="Has it already", zh="已授权"),
    "mark_optional": Text(en="Optional", zh="可选"),
    "mark_not_yours": Text(en="Not yours to give", zh="您无权授予"),
    "purpose": Text(en="The app says: “{purpose}”", zh="应用说明：“{purpose}”"),
    "removed": Text(en="Will be taken away", zh="将被移除"),
    "limits": Text(en="Limits", zh="限额"),
    "limits_help": Text(
        en="You can lower each limit. What goes beyond it is refused.", zh="您可以调低任一限额，超出部分将被拒绝。"
    ),
    "limit_most": Text(en="At most {most}", zh="最高 {most}"),
    "limit_was": Text(en="now {was}", zh="当前 {was}"),
    "per_request": Text(en="At a time", zh="单次"),
    "per_day": Text(en="A day", zh="每日"),
    "per_week": Text(en="A week", zh="每周"),
    "per_month": Text(en="A month", zh="每月"),
    "per_grant": Text(en="In all", zh="累计"),
    "counted": Text(en="{period} ({what})", zh="{period}（{what}）"),
    "measure_quantity": Text(en="number", zh="数量"),
    "measure_points": Text(en="points", zh="积分"),
    "measure_receivers": Text(en="receivers", zh="接收方数"),
    "stores": Text(en="Stores", zh="门店"),
    "stores_all": Text(en="All stores, also future ones", zh="全部门店，包括以后新增的"),
    "stores_chosen": Text(en="Only these", zh="仅限以下门店"),
    "until": Text(en="Until when", zh="有效期"),
    "until_revoked": Text(en="Until you take it back", zh="直至您撤销"),
    "until_30": Text(en="30 days", zh="30 天"),
    "until_365": Text(en="A year", zh="一年"),
    "take_back": Text(
        en="You can take this back at any time under Settings, Apps. It ends at once.",
        zh="您可随时在“设置－应用”中撤销授权，撤销立即生效。",
    ),
    "step_up": Text(
        en="This needs your second factor; you may be asked for it once more.",
        zh="该授权需要二次验证，系统可能要求您再次输入验证码。",
    ),
    "names": Text(en="Names for developers", zh="开发者权限名称"),
    "refuse": Text(en="Do not allow", zh="不允许"),
    "allow": Text(en="Allow", zh="允许"),
    "cannot": Text(en="You cannot allow this.", zh="您无法批准该授权。"),
    "not_understood": Text(
        en="“{value}” is not a limit between the smallest unit and {most}.",
        zh="“{value}” 不是有效限额，最高为 {most}。",
    ),
    "choose_store": Text(en="Choose at least one store.", zh="请至少选择一家门店。"),
}
