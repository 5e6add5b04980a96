"""What payments refuses, in words. Statuses and codes: payments.md section 7."""

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

NOT_FOUND = declare(
    "payments.not_found",
    status=404,
    title=Text(en="Not found", zh="未找到"),
    detail=Text(en="There is no {kind} {id} for this merchant.", zh="该商户下不存在 {kind} {id}。"),
    hint=Text(
        en="Check the id, and that the token is of the merchant who owns it.",
        zh="请核对编号，并确认令牌属于其所属商户。",
    ),
)
OUT_TRADE_NO_TAKEN = declare(
    "payments.out_trade_no_taken",
    status=409,
    title=Text(en="Order number taken", zh="商户订单号已被使用"),
    detail=Text(
        en="out_trade_no {out_trade_no} names {payment_id}, which was asked for with another body.",
        zh="商户订单号 {out_trade_no} 已对应 {payment_id}，且请求内容不同。",
    ),
    hint=Text(
        en="Use a new out_trade_no for a new order, or read GET /v1/payments/{payment_id}.",
        zh="新订单请使用新的商户订单号，或查询 GET /v1/payments/{payment_id}。",
    ),
)
OUT_REQUEST_NO_TAKEN = declare(
    "payments.out_request_no_taken",
    status=409,
    title=Text(en="Request number taken", zh="请求号已被使用"),
    detail=Text(
        en="out_request_no {out_request_no} was used on {payment_id} with another body.",
        zh="请求号 {out_request_no} 已在 {payment_id} 上使用，且请求内容不同。",
    ),
    hint=Text(en="Use a new out_request_no for another request.", zh="不同的请求请使用新的请求号。"),
)
DENIED_BY_RISK = declare(
    "payments.denied_by_risk",
    status=403,
    title=Text(en="Refused as too risky", zh="因风险被拒绝"),
    detail=Text(
        en="{payment_id} was refused before any provider was asked, by: {rules}.",
        zh="{payment_id} 在请求支付渠道之前被拒绝，依据规则：{rules}。",
    ),
    hint=Text(
        en="See GET /v1/payments/{payment_id} for the reasons; a new order needs a new out_trade_no.",
        zh="原因见 GET /v1/payments/{payment_id}；新订单请使用新的商户订单号。",
    ),
)
REFUND_DENIED = declare(
    "payments.refund_denied",
    status=403,
    title=Text(en="Refund refused as too risky", zh="退款因风险被拒绝"),
    detail=Text(
        en="A refund of {payment_id} was refused before any provider was asked, by: {rules}.",
        zh="{payment_id} 的退款在请求支付渠道之前被拒绝，依据规则：{rules}。",
    ),
    hint=Text(
        en="See the plugin's problems and settings, or ask who decides the merchant's cases.",
        zh="请查看插件的问题与设置，或联系商户的案件处理人员。",
    ),
)
REFUND_NEEDS_REVIEW = declare(
    "payments.refund_needs_review",
    status=409,
    title=Text(en="A person must look at this refund", zh="该退款需人工审核"),
    detail=Text(
        en="A refund of {payment_id} was not made, because a check wants a person to look: {rules}.",
        zh="{payment_id} 的退款未执行，检查要求人工审核：{rules}。",
    ),
    hint=Text(
        en="Send it again with review.reason and a token that has the scope risk.cases:write.",
        zh="请附上 review.reason，并使用具有 risk.cases:write 权限的令牌重新提交。",
    ),
)
STATE_CONFLICT = declare(
    "payments.state_conflict",
    status=409,
    title=Text(en="Not possible in this state", zh="当前状态不允许该操作"),
    detail=Text(
        en="{payment_id} is {state}; {act} needs one of: {wanted}.",
        zh="{payment_id} 当前为 {state}；{act} 需要的状态为：{wanted}。",
    ),
    hint=Text(
        en="Read GET /v1/payments/{payment_id} and act on what it says.",
        zh="请查询 GET /v1/payments/{payment_id} 后再操作。",
    ),
)
OUTCOME_UNKNOWN = declare(
    "payments.outcome_unknown",
    status=409,
    is_retryable=True,
    title=Text(en="The outcome is not known yet", zh="结果未知"),
    detail=Text(
        en="The provider has not said yet what became of the last act on {payment_id}.",
        zh="支付渠道尚未确认 {payment_id} 上一次操作的结果。",
    ),
    hint=Text(
        en="Repeat after the time in Retry-After, or cancel: POST /v1/payments/{payment_id}/cancel.",
        zh="请在 Retry-After 之后重试，或撤销：POST /v1/payments/{payment_id}/cancel。",
    ),
)
CAPTURE_EXCEEDS = declare(
    "payments.capture_exceeds_authorized",
    status=409,
    title=Text(en="Capture exceeds what is authorised", zh="扣款超过可扣金额"),
    detail=Text(
        en="Capture {asked} exceeds {left} still capturable on {payment_id}.",
        zh="扣款 {asked} 超过 {payment_id} 的剩余可扣金额 {left}。",
    ),
    hint=Text(
        en="Lower the amount or see GET /v1/payments/{payment_id}.",
        zh="请减少金额，或查看 GET /v1/payments/{payment_id}。",
    ),
)
REFUND_EXCEEDS = declare(
    "payments.refund_exceeds_refundable",
    status=409,
    title=Text(en="Refund exceeds what is refundable", zh="退款超过可退金额"),
    detail=Text(
        en="Refund {asked} exceeds {left} still refundable on {payment_id}.",
        zh="退款 {asked} 超过 {payment_id} 的可退金额 {left}。",
    ),
    hint=Text(
        en="Lower the amount or see GET /v1/payments/{payment_id}.",
        zh="请减少金额，或查看 GET /v1/payments/{payment_id}。",
    ),
)
REFUND_UNFUNDED = declare(
    "payments.refund_insufficient_balance",
    status=409,
    title=Text(en="Balance too low for this refund", zh="余额不足以退款"),
    detail=Text(
        en="The refund of {asked} needs {asked} on the merchant's balance; {available} are available.",
        zh="退款 {asked} 需要商户余额 {asked}；当前可用 {available}。",
    ),
    hint=Text(en="Top up the balance or wait for the next settlement.", zh="请充值或等待下次结算。"),
)
REFUND_WINDOW_OVER = declare(
    "payments.refund_window_over",
    status=409,
    title=Text(en="Too late to refund", zh="已超过可退款期限"),
    detail=Text(
        en="{payment_id} was captured on {day}; refunds end after {days} days.",
        zh="{payment_id} 于 {day} 收款；{days} 天后不可退款。",
    ),
    hint=Text(en="Pay the customer back by another way.", zh="请通过其他方式退款。"),
)
CANCEL_WINDOW_OVER = declare(
    "payments.cancel_window_over",
    status=409,
    title=Text(en="Too late to cancel", zh="已超过可撤销期限"),
    detail=Text(en="{payment_id} is older than {hours} hours.", zh="{payment_id} 创建已超过 {hours} 小时。"),
    hint=Text(
        en="Refund it: POST /v1/payments/{payment_id}/refunds.", zh="请退款：POST /v1/payments/{payment_id}/refunds。"
    ),
)
ATTEMPT_IN_FLIGHT = declare(
    "payments.attempt_in_flight",
    status=409,
    title=Text(en="An attempt is in flight", zh="存在进行中的支付尝试"),
    detail=Text(
        en="{payment_id} waits for its attempt to end; another could charge the customer twice.",
        zh="{payment_id} 的支付尝试尚未结束；重复发起可能导致重复扣款。",
    ),
    hint=Text(
        en="Wait for it, or cancel: POST /v1/payments/{payment_id}/cancel.",
        zh="请等待，或撤销：POST /v1/payments/{payment_id}/cancel。",
    ),
)
NO_ROUTE = declare(
    "payments.no_route",
    status=409,
    title=Text(en="Nobody can take this payment", zh="没有可用的支付渠道"),
    detail=Text(
        en="No channel account of the merchant fits form {form}, {currency} and this amount{why}.",
        zh="商户没有适用于支付方式 {form}、币种 {currency} 与该金额的渠道账户{why}。",
    ),
    hint=Text(
        en="Add a channel account or a routing rule, or use another form.",
        zh="请添加渠道账户或路由规则，或更换支付方式。",
    ),
)
TOO_MANY_ATTEMPTS = declare(
    "payments.attempts_exhausted",
    status=409,
    title=Text(en="No attempts left", zh="支付尝试次数已用完"),
    detail=Text(en="{payment_id} has had its {attempts} attempts.", zh="{payment_id} 已尝试 {attempts} 次。"),
    hint=Text(en="Create a new payment with a new out_trade_no.", zh="请使用新的商户订单号创建支付。"),
)
STORE_UNKNOWN = declare(
    "payments.store_unknown",
    status=422,
    title=Text(en="Unknown store", zh="未知门店"),
    detail=Text(
        en="{store_id} is no store of this merchant, or not one that the token covers.",
        zh="{store_id} 不是该商户的门店，或不在令牌授权范围内。",
    ),
    hint=Text(en="List the stores: GET /v1/stores.", zh="请查询门店列表：GET /v1/stores。"),
)
SUMS_DIFFER = declare(
    "payments.sums_differ",
    status=422,
    title=Text(en="Sums differ", zh="金额不一致"),
    detail=Text(
        en="The lines add up to {lines_minor} minor units, order_minor says {order_minor}.",
        zh="明细合计为 {lines_minor}，order_minor 为 {order_minor}（最小单位）。",
    ),
    hint=Text(en="Send one of the two, or equal ones.", zh="请只提供其一，或保持一致。"),
)
EXPIRES_IN_PAST = declare(
    "payments.expires_in_past",
    status=422,
    title=Text(en="Expiry not in the future", zh="过期时间已过"),
    detail=Text(
        en="expires_at must lie after now and within {days} days.", zh="expires_at 必须晚于当前时间且在 {days} 天之内。"
    ),
    hint=Text(en="Leave it out for the default of the form.", zh="可省略以使用该支付方式的默认值。"),
)
PAYABLE_CHANGED = declare(
    "payments.payable_changed",
    status=409,
    title=Text(en="The price has changed", zh="应付金额已变化"),
    detail=Text(
        en="{payable_minor} minor units are payable, not {expected_minor}.",
        zh="应付金额为 {payable_minor}，而非 {expected_minor}（最小单位）。",
    ),
    hint=Text(en="Show the customer the new amount and ask again.", zh="请向顾客展示新的金额后重新提交。"),
)
MERCHANT_SUSPENDED = declare(
    "payments.merchant_suspended",
    status=403,
    title=Text(en="The merchant may not take payments", zh="商户暂不可收款"),
    detail=Text(en="The merchant's standing is {standing}.", zh="商户当前状态为 {standing}。"),
    hint=Text(en="The merchant finds the reasons in the merchant console.", zh="商户可在商户后台查看原因。"),
)
RECEIPT_PENDING = declare(
    "payments.receipt_pending",
    status=409,
    is_retryable=True,
    title=Text(en="The receipt is being drawn", zh="收据正在生成"),
    detail=Text(en="{receipt_id} has no document yet.", zh="{receipt_id} 尚未生成文件。"),
    hint=Text(
        en="Repeat after the time in Retry-After, or wait for the event receipt.ready.",
        zh="请在 Retry-After 之后重试，或等待 receipt.ready 事件。",
    ),
)
RECEIPT_GONE = declare(
    "payments.receipt_gone",
    status=410,
    title=Text(en="The document is no longer kept", zh="文件已超过保存期限"),
    detail=Text(
        en="The document of {receipt_id} was kept for three years.", zh="{receipt_id} 的文件保存期限（三年）已过。"
    ),
    hint=Text(
        en="Have it drawn again: POST /v1/payments/{payment_id}/receipts.",
        zh="请重新生成：POST /v1/payments/{payment_id}/receipts。",
    ),
)
NOTICE_REFUSED = declare(
    "payments.notice_refused",
    status=400,
    title=Text(en="Notice refused", zh="通知被拒绝"),
    detail=Text(en="The notice could not be verified: {reason}.", zh="通知验证失败：{reason}。"),
    hint=Text(
        en="Nothing was changed. Check keys and clock of the sender.", zh="未做任何更改。请检查发送方密钥与时钟。"
    ),
)
BUSY = declare(
    "payments.busy",
    status=503,
    is_retryable=True,
    title=Text(en="Too many changes at once", zh="并发修改过多"),
    detail=Text(
        en="{payment_id} changed several times while this request was decided; nothing was written.",
        zh="处理期间 {payment_id} 被多次修改；本次未写入任何内容。",
    ),
    hint=Text(en="Repeat the request with the same Idempotency-Key.", zh="请用同一 Idempotency-Key 重试。"),
)
