"""Scopes and limits of membership."""

from platform_core.contracts.rar import DetailType
from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("programmes:write", Text(en="Change programmes and cards", zh="管理会员计划与会员卡")),
    Scope("members:read", Text(en="See members without contact data", zh="查看会员（不含联系方式）")),
    Scope("members.contact:read", Text(en="See names and phone numbers", zh="查看会员姓名与电话"), marks="P"),
    Scope("members:write", Text(en="Add and change members", zh="新增和修改会员"), marks="P"),
    Scope("members:merge", Text(en="Merge members", zh="合并会员"), marks="PS"),
    Scope("members:export", Text(en="Export a member's data", zh="导出会员数据"), marks="PS"),
    Scope("members:erase", Text(en="Erase a member's data", zh="删除会员数据"), marks="PS"),
    Scope("consents:write", Text(en="Record consent", zh="记录会员同意"), marks="P"),
    Scope("points:read", Text(en="See points", zh="查看积分")),
    Scope("points:write", Text(en="Grant and deduct points", zh="发放和扣减积分"), marks="M"),
    Scope("points:spend", Text(en="Spend members' points in orders", zh="在订单中使用积分")),
    Scope("stored_value:write", Text(en="Top up and refund stored value", zh="储值充值与退还"), marks="MS"),
    Scope("benefits:write", Text(en="Use benefits", zh="核销权益")),
    Scope("rewards:write", Text(en="Manage the points mall", zh="管理积分商城")),
    Scope("tags:read", Text(en="See member tags", zh="查看会员标签"), marks="P"),
    Scope("tags:write", Text(en="Set member tags", zh="设置会员标签"), marks="P"),
    Scope("tags:manage", Text(en="Define tags", zh="定义标签")),
    Scope("activities:write", Text(en="Report behaviour", zh="上报会员行为"), marks="P"),
    Scope("messages:read", Text(en="See messages sent", zh="查看触达记录")),
    Scope("messages:send", Text(en="Message members who consented", zh="向已同意的会员发送消息"), marks="MP"),
)

DETAIL_TYPES = (
    DetailType(
        "points_grant",
        scopes=("points:write",),
        measures=("points", "quantity"),
        actions=("create",),
        text=Text(en="Grant and deduct points", zh="发放和扣减积分"),
        counted=Text(en="grants", zh="次发放"),
    ),
    DetailType(
        "stored_value_change",
        scopes=("stored_value:write",),
        measures=("amount",),
        actions=("create",),
        text=Text(en="Top up and refund stored value", zh="储值充值与退还"),
        counted=Text(en="changes", zh="次变动"),
    ),
    DetailType(
        "message_send",
        scopes=("messages:send",),
        measures=("quantity",),
        actions=("create",),
        text=Text(en="Message members", zh="向会员发送消息"),
        counted=Text(en="messages", zh="条消息"),
    ),
)
