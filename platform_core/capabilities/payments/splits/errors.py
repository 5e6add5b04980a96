"""What splits refuse, in words. Statuses and codes: payments.md section 7."""

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

SPLIT_LIMIT_EXCEEDED = declare(
    "payments.split_limit_exceeded",
    status=409,
    title=Text(en="More than may be split", zh="超过可分账范围"),
    detail=Text(
        en="A split of {asked} exceeds {left} still possible on {payment_id} ({limit}).",
        zh="分账 {asked} 超过 {payment_id} 仍可分账的 {left}（{limit}）。",
    ),
    hint=Text(
        en="Split less, or see GET /v1/payments/{payment_id}/splits.",
        zh="请减少分账，或查看 GET /v1/payments/{payment_id}/splits。",
    ),
)
SPLIT_SHARE_EMPTY = declare(
    "payments.split_share_empty",
    status=409,
    title=Text(en="A share of nothing", zh="分账金额为零"),
    detail=Text(
        en="{percent_bp} basis points of {captured} are less than one minor unit.",
        zh="{captured} 的 {percent_bp} 个基点不足一个最小单位。",
    ),
    hint=Text(en="Ask for more, or leave this receiver out.", zh="请提高比例，或去掉该接收方。"),
)
SPLIT_MODE_MIXED = declare(
    "payments.split_mode_mixed",
    status=409,
    title=Text(en="Another mode of splitting", zh="分账模式不一致"),
    detail=Text(
        en="{payment_id} is split in mode {mode}; a payment has one mode.",
        zh="{payment_id} 的分账模式为 {mode}；一笔支付只能使用一种模式。",
    ),
    hint=Text(en="Use mode {mode} for this payment.", zh="该支付请使用模式 {mode}。"),
)
SPLIT_NEEDS_CHANNEL = declare(
    "payments.split_needs_channel",
    status=409,
    title=Text(en="This money is not with the platform", zh="资金不在平台"),
    detail=Text(
        en="What the merchant takes in himself, such as cash, cannot be split by the platform.",
        zh="商户自行收取的款项（如现金）无法由平台分账。",
    ),
    hint=Text(en="Split payments that a channel collected.", zh="请对通过支付渠道收取的支付分账。"),
)
RECEIVER_NOT_BOUND = declare(
    "payments.receiver_not_bound",
    status=409,
    title=Text(en="Receiver not bound", zh="接收方未绑定"),
    detail=Text(
        en="{receiver_id} is no receiver that this merchant has bound.",
        zh="{receiver_id} 不是该商户已绑定的分账接收方。",
    ),
    hint=Text(en="Bind it first: POST /v1/split-receivers.", zh="请先绑定：POST /v1/split-receivers。"),
)
RECEIVER_REFERENCE_TAKEN = declare(
    "payments.receiver_reference_taken",
    status=409,
    title=Text(en="Reference taken", zh="接收方标识已被使用"),
    detail=Text(
        en="This reference stands for {receiver_id}, which was bound with other words.",
        zh="该标识已对应 {receiver_id}，且绑定内容不同。",
    ),
    hint=Text(
        en="Use another reference, or unbind that one: DELETE /v1/split-receivers/{receiver_id}.",
        zh="请使用其他标识，或先解绑：DELETE /v1/split-receivers/{receiver_id}。",
    ),
)
RECEIVER_LIMIT_EXCEEDED = declare(
    "payments.receiver_limit_exceeded",
    status=409,
    title=Text(en="Too many receivers", zh="接收方数量超限"),
    detail=Text(
        en="{bound} receivers are bound and {asked} more are asked for; a merchant has at most {most}.",
        zh="已绑定 {bound} 个接收方，另请求 {asked} 个；每个商户最多 {most} 个。",
    ),
    hint=Text(en="Unbind receivers that get no more shares.", zh="请解绑不再分账的接收方。"),
)
RECEIVER_UNKNOWN_MERCHANT = declare(
    "payments.receiver_unknown_merchant",
    status=422,
    title=Text(en="No such merchant", zh="商户不存在"),
    detail=Text(
        en="account must be the id of another merchant of this platform.", zh="account 须为本平台另一商户的编号。"
    ),
)
RECEIVER_UNFUNDED = declare(
    "payments.receiver_insufficient_balance",
    status=409,
    title=Text(en="A receiver's balance is too low", zh="接收方余额不足"),
    detail=Text(
        en="The refund takes {asked} back from {receiver_id}, which has {available}.",
        zh="退款需从 {receiver_id} 退回 {asked}，其可用余额为 {available}。",
    ),
    hint=Text(
        en="Name other shares in split_returns, or send merchant_covers_splits true.",
        zh="请在 split_returns 中指定其他分账，或将 merchant_covers_splits 设为 true。",
    ),
)
SPLIT_RETURN_EXCEEDS = declare(
    "payments.split_return_exceeds",
    status=409,
    title=Text(en="More than can be returned", zh="超过可退回分账"),
    detail=Text(
        en="Returning {asked} exceeds {left} that can come back with this refund of {payment_id}.",
        zh="退回 {asked} 超过 {payment_id} 本次退款可退回的 {left}。",
    ),
    hint=Text(en="See GET /v1/payments/{payment_id}/splits.", zh="请查看 GET /v1/payments/{payment_id}/splits。"),
)
RELEASE_EXCEEDS = declare(
    "payments.split_release_exceeds",
    status=409,
    title=Text(en="More than is frozen", zh="超过冻结金额"),
    detail=Text(
        en="Releasing {asked} to {receiver_id} exceeds {left} frozen for it in {split_id}.",
        zh="向 {receiver_id} 解冻 {asked} 超过 {split_id} 为其冻结的 {left}。",
    ),
    hint=Text(en="See GET /v1/splits/{split_id}.", zh="请查看 GET /v1/splits/{split_id}。"),
)
SPLIT_STATE = declare(
    "payments.split_state_conflict",
    status=409,
    title=Text(en="Not possible for this split", zh="该分账当前不允许此操作"),
    detail=Text(
        en="{split_id} is {state}; a release needs it frozen.", zh="{split_id} 当前为 {state}；解冻要求其为冻结状态。"
    ),
    hint=Text(en="See GET /v1/splits/{split_id}.", zh="请查看 GET /v1/splits/{split_id}。"),
)
ORDER_SPLITS_METERED = declare(
    "payments.order_splits_metered",
    status=403,
    title=Text(en="This grant meters splits", zh="该授权限制分账额度"),
    detail=Text(
        en="An order's splits are made when it is captured, where no grant's limit can be asked.",
        zh="随单分账在收款时执行，届时无法校验授权额度。",
    ),
    hint=Text(
        en="Split the payment once it is captured: POST /v1/payments/<id>/splits.",
        zh="请在收款后分账：POST /v1/payments/<id>/splits。",
    ),
)
