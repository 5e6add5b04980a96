"""Scopes and limits of coupons."""

from platform_core.contracts.rar import DetailType
from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("coupons:read", Text(en="See coupons", zh="查看优惠券")),
    Scope("coupons:issue", Text(en="Issue coupons and codes", zh="发放优惠券与券码"), marks="M"),
    Scope("coupons:claim", Text(en="Claim coupons for customers", zh="为顾客领取优惠券"), marks="M"),
    Scope("coupons:redeem", Text(en="Lock, redeem and release coupons", zh="锁定、核销与释放优惠券")),
    Scope("campaigns:read", Text(en="See campaigns and reports", zh="查看活动与报表")),
    Scope("campaigns:write", Text(en="Set up campaigns and budgets", zh="设置活动与预算"), marks="MS"),
    Scope("funders:read", Text(en="See what funders paid", zh="查看出资方对账")),
)

DETAIL_TYPES = (
    DetailType(
        "coupon_issue",
        scopes=("coupons:issue", "coupons:claim"),
        measures=("quantity", "face_amount"),
        actions=("issue", "claim"),
        text=Text(en="Issue and claim coupons", zh="发放和领取优惠券"),
        counted=Text(en="coupons", zh="张优惠券"),
    ),
    DetailType(
        "campaign_budget",
        scopes=("campaigns:write",),
        measures=("amount",),
        actions=("create",),
        text=Text(en="Spend campaign budgets", zh="使用活动预算"),
        counted=Text(en="campaigns", zh="个活动"),
    ),
)
