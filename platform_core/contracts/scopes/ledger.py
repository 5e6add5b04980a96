"""Scopes and limits of the ledger."""

from platform_core.contracts.rar import DetailType
from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("ledger:read", Text(en="See balances, statements and bills", zh="查看余额、流水和账单")),
    Scope("ledger.summary:read", Text(en="See turnover totals", zh="查看经营汇总")),
    Scope("payouts:write", Text(en="Pay out to your own verified account", zh="提现至您已验证的账户"), marks="MS"),
)

DETAIL_TYPES = (
    DetailType(
        "payout_create",
        scopes=("payouts:write",),
        measures=("amount",),
        actions=("create",),
        text=Text(en="Pay out to your own account", zh="提现至您的账户"),
        counted=Text(en="payouts", zh="笔提现"),
    ),
)
