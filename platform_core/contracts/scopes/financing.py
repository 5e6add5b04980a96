"""Scopes and limits of financing."""

from platform_core.contracts.rar import DetailType
from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("financing:read", Text(en="See offers, contracts and schedules", zh="查看额度、合同与还款计划")),
    Scope("financing.credit:read", Text(en="See credit assessment and reasons", zh="查看信用评估及理由"), marks="P"),
    Scope("financing:quote", Text(en="Calculate offers", zh="试算融资方案")),
    Scope("financing:apply", Text(en="Apply and sign", zh="申请与签约"), marks="S"),
    Scope("financing:draw", Text(en="Draw down", zh="支用贷款"), marks="MS"),
    Scope("financing:repay", Text(en="Repay from your balance", zh="用余额还款"), marks="MS"),
    Scope("funds:read", Text(en="See cash management", zh="查看现金理财")),
    Scope("funds:trade", Text(en="Subscribe and redeem", zh="申购与赎回"), marks="MS"),
)

DETAIL_TYPES = (
    DetailType(
        "financing_draw",
        scopes=("financing:draw",),
        measures=("amount",),
        actions=("create",),
        text=Text(en="Draw down loans", zh="支用贷款"),
        counted=Text(en="draw-downs", zh="次支用"),
    ),
    DetailType(
        "financing_repay",
        scopes=("financing:repay",),
        measures=("amount",),
        actions=("create",),
        text=Text(en="Repay from your balance", zh="用余额还款"),
        counted=Text(en="repayments", zh="次还款"),
    ),
    DetailType(
        "fund_trade",
        scopes=("funds:trade",),
        measures=("amount",),
        actions=("create",),
        text=Text(en="Subscribe and redeem", zh="申购与赎回"),
        counted=Text(en="trades", zh="笔交易"),
    ),
)
