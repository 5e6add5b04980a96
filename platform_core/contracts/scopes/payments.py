"""Scopes and limits of payments."""

from platform_core.contracts.rar import DetailType
from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("payments:read", Text(en="See payments and their status", zh="查看收款及状态")),
    Scope("payments:write", Text(en="Take, capture and cancel payments", zh="发起、扣款和撤销收款"), marks="M"),
    Scope("payments.payer:read", Text(en="See who paid", zh="查看付款人信息"), marks="P"),
    Scope(
        "payments.device:read", Text(en="See device and network of a payment", zh="查看付款设备与网络信息"), marks="P"
    ),
    Scope("baskets:read", Text(en="See what is in the basket", zh="查看购物明细")),
    Scope("refunds:read", Text(en="See refunds", zh="查看退款")),
    Scope("refunds:write", Text(en="Refund your customers", zh="向顾客退款"), marks="MS"),
    Scope("splits:write", Text(en="Share receipts with receivers you bound", zh="向已绑定的接收方分账"), marks="MS"),
    Scope("disputes:read", Text(en="See disputes", zh="查看交易争议")),
    Scope("disputes:write", Text(en="Answer or accept disputes", zh="处理交易争议")),
    Scope("channels:read", Text(en="See channel accounts and routing", zh="查看渠道账户与路由规则")),
    Scope("channels:write", Text(en="Change channel accounts and routing", zh="管理渠道账户与路由规则"), marks="S"),
    Scope("exports:read", Text(en="Download exports", zh="下载导出文件"), marks="S"),
)

DETAIL_TYPES = (
    DetailType(
        "payment_create",
        scopes=("payments:write",),
        measures=("amount", "quantity"),
        actions=("create",),
        text=Text(en="Take payments", zh="发起收款"),
        counted=Text(en="payments", zh="笔收款"),
    ),
    DetailType(
        "payment_refund",
        scopes=("refunds:write",),
        measures=("amount", "quantity"),
        actions=("create",),
        text=Text(en="Refund your customers", zh="向顾客退款"),
        counted=Text(en="refunds", zh="笔退款"),
    ),
    DetailType(
        "split_transfer",
        scopes=("splits:write",),
        measures=("amount", "receivers"),
        actions=("create",),
        text=Text(en="Share receipts", zh="分账"),
        counted=Text(en="shares", zh="次分账"),
    ),
)
