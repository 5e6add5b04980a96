"""What settlement refuses, in words."""

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

HOLIDAY_EXISTS = declare(
    "payments.holiday_exists",
    status=409,
    title=Text(en="A holiday already", zh="该日已是节假日"),
    detail=Text(en="{day} is a settlement holiday already.", zh="{day} 已设为结算节假日。"),
    hint=Text(en="List them with arsenal settlement holidays.", zh="使用 arsenal settlement holidays 查看。"),
)
HOLIDAY_MISSING = declare(
    "payments.holiday_missing",
    status=404,
    title=Text(en="No such holiday", zh="该日不是节假日"),
    detail=Text(en="{day} is no settlement holiday.", zh="{day} 不是结算节假日。"),
    hint=Text(en="List them with arsenal settlement holidays.", zh="使用 arsenal settlement holidays 查看。"),
)
HOLIDAY_PAST = declare(
    "payments.holiday_past",
    status=422,
    title=Text(en="The day is over", zh="该日已过"),
    detail=Text(
        en="{day} has begun: what is due on it may be settled already.", zh="{day} 已开始，当日款项可能已结算。"
    ),
    hint=Text(en="Give a day from tomorrow on.", zh="请指定明天及以后的日期。"),
)
RESERVE_TERMS_INVALID = declare(
    "payments.reserve_terms_invalid",
    status=422,
    title=Text(en="Reserve out of bounds", zh="保证金条款超出范围"),
    detail=Text(
        en="A reserve keeps 0 to 10000 basis points for 1 to 1000 days; {rate_bp} and {held_days} were given.",
        zh="保证金比例为 0 至 10000 个基点，留存 1 至 1000 天；收到 {rate_bp} 与 {held_days}。",
    ),
    hint=Text(en="500 basis points are 5 %.", zh="500 个基点即 5%。"),
)
ACQUIRER_PAYOUT_TAKEN = declare(
    "payments.acquirer_payout_taken",
    status=409,
    title=Text(en="Reference taken", zh="凭证号已被使用"),
    detail=Text(
        en="{reference} of {channel_account_id} was booked as gross {gross} at cost {cost}.",
        zh="{channel_account_id} 的 {reference} 已入账：总额 {gross}，成本 {cost}。",
    ),
    hint=Text(
        en="A reference is booked once. What was booked wrongly is adjusted, never changed.",
        zh="同一凭证只入账一次。入账有误须通过调账更正，不得修改。",
    ),
)
ACQUIRER_PAYOUT_INVALID = declare(
    "payments.acquirer_payout_invalid",
    status=422,
    title=Text(en="Figures cannot be", zh="金额不合法"),
    detail=Text(
        en="Gross {gross_minor} at cost {cost_minor}: gross is above 0, cost at most gross, the reference 1 to 64 "
        "visible characters.",
        zh="总额 {gross_minor}、成本 {cost_minor}：总额须大于 0，成本不得超过总额，凭证号为 1 至 64 个可见字符。",
    ),
    hint=Text(en="Amounts are minor units: 100.00 CNY is 10000.", zh="金额为最小货币单位：100.00 元即 10000。"),
)
