"""What payouts and top-ups refuse, in words."""

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

OUT_PAYOUT_NO_TAKEN = declare(
    "payments.out_payout_no_taken",
    status=409,
    title=Text(en="Payout number taken", zh="提现单号已被使用"),
    detail=Text(
        en="out_payout_no {out_payout_no} names {payout_id}, which was asked for with another body.",
        zh="提现单号 {out_payout_no} 已对应 {payout_id}，且请求内容不同。",
    ),
    hint=Text(
        en="Use a new out_payout_no, or read GET /v1/payouts/{payout_id}.",
        zh="请使用新的提现单号，或查询 GET /v1/payouts/{payout_id}。",
    ),
)
PAYOUT_UNFUNDED = declare(
    "payments.payout_insufficient_balance",
    status=409,
    title=Text(en="Balance too low", zh="可用余额不足"),
    detail=Text(
        en="A payout of {asked} exceeds {available} available.",
        zh="提现金额 {asked} 超过可用余额 {available}。",
    ),
    hint=Text(
        en="Lower the amount; GET /v1/balances?role=merchant_available shows what is free.",
        zh="请降低金额；可用余额见 GET /v1/balances?role=merchant_available。",
    ),
)
PAYOUT_DEBT_OPEN = declare(
    "payments.payout_debt_open",
    status=409,
    title=Text(en="A debt is open", zh="存在未清欠款"),
    detail=Text(en="{owed} is owed to the platform and is paid off first.", zh="尚欠平台 {owed}，须先行清偿。"),
    hint=Text(en="It is taken from the next settlement, or from a top-up.", zh="将从下一次结算或充值中扣除。"),
)
PAYOUT_BELOW_MINIMUM = declare(
    "payments.payout_below_minimum",
    status=422,
    title=Text(en="Below the minimum", zh="低于最低提现金额"),
    detail=Text(en="A payout is at least {minimum}; {asked} was asked.", zh="最低提现 {minimum}；请求为 {asked}。"),
    hint=Text(
        en="Ask for more, or lower the minimum: POST /v1/payout-terms.",
        zh="请提高金额，或通过 POST /v1/payout-terms 调整下限。",
    ),
)
PAYOUT_DESTINATION_MISSING = declare(
    "payments.payout_destination_missing",
    status=409,
    title=Text(en="No account to pay out to", zh="没有可用的提现账户"),
    detail=Text(
        en="There is no confirmed payout destination for {currency}, or its 24 hours are not over.",
        zh="{currency} 没有已确认的提现账户，或其 24 小时等待期未满。",
    ),
    hint=Text(
        en="Propose one and let a second person confirm it: /v1/payout-destinations.",
        zh="请提交提现账户并由第二人确认：/v1/payout-destinations。",
    ),
)
NO_PAYOUT_ROUTE = declare(
    "payments.no_payout_route",
    status=409,
    title=Text(en="Nobody can pay out", zh="没有可用的提现渠道"),
    detail=Text(
        en="No active channel account of the merchant can pay out {asked}.",
        zh="该商户没有可提现 {asked} 的有效渠道账户。",
    ),
    hint=Text(
        en="The operator adds a channel account whose provider has the feature payout.",
        zh="请由平台运营方添加支持 payout 功能的渠道账户。",
    ),
)
PAYOUT_NOT_WAITING = declare(
    "payments.payout_not_waiting",
    status=409,
    title=Text(en="Nothing to decide", zh="无需审批"),
    detail=Text(
        en="{payout_id} is {state}, approval {approval}: it does not wait for a second person.",
        zh="{payout_id} 状态为 {state}，审批 {approval}，无需第二人决定。",
    ),
    hint=Text(en="Read GET /v1/payouts/{payout_id}.", zh="请查询 GET /v1/payouts/{payout_id}。"),
)
TOP_UP_EXISTS = declare(
    "payments.top_up_exists",
    status=409,
    title=Text(en="Reference taken", zh="凭证号已被使用"),
    detail=Text(
        en="{reference} of bank account {bank_account} is {state} as {top_up_id}.",
        zh="银行账户 {bank_account} 的 {reference} 已为 {state}：{top_up_id}。",
    ),
    hint=Text(en="One line of a bank statement is booked once.", zh="银行对账单的一笔只入账一次。"),
)
TOP_UP_MISSING = declare(
    "payments.top_up_not_found",
    status=404,
    title=Text(en="No such top-up", zh="充值不存在"),
    detail=Text(en="There is no top-up {top_up_id} that waits.", zh="没有待确认的充值 {top_up_id}。"),
    hint=Text(en="Propose it first: arsenal payouts top-up.", zh="请先提交：arsenal payouts top-up。"),
)
TOP_UP_INVALID = declare(
    "payments.top_up_invalid",
    status=422,
    title=Text(en="Not a line of a statement", zh="不是有效的对账单记录"),
    detail=Text(
        en="A top-up has an amount above 0 and a bank account and reference of 1 to 64 visible characters.",
        zh="充值金额须大于 0，银行账户与凭证号为 1 至 64 个可见字符。",
    ),
    hint=Text(en="Copy the reference from the bank's statement.", zh="请照抄银行对账单上的凭证号。"),
)
