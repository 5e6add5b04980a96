"""What a caller of the ledger may hear."""

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

ACCOUNT_NOT_FOUND = declare(
    "ledger.account_not_found",
    status=404,
    title=Text(en="No such account", zh="账户不存在"),
    detail=Text(en="There is no account {account}.", zh="账户 {account} 不存在。"),
    hint=Text(en="See GET /v1/balances for all accounts.", zh="请通过 GET /v1/balances 查看全部账户。"),
)
TRANSFER_NOT_FOUND = declare(
    "ledger.transfer_not_found",
    status=404,
    title=Text(en="No such transfer", zh="流水不存在"),
    detail=Text(en="There is no transfer {transfer_id}.", zh="流水 {transfer_id} 不存在。"),
    hint=Text(en="See GET /v1/transfers for all transfers.", zh="请通过 GET /v1/transfers 查看全部流水。"),
)
TRANSFER_NOT_REVERSIBLE = declare(
    "ledger.transfer_not_reversible",
    status=409,
    title=Text(en="The transfer cannot be reversed", zh="流水不可冲正"),
    detail=Text(
        en="{transfer_id} is of kind {kind}; only what has moved can be reversed.",
        zh="{transfer_id} 的类型为 {kind}，只有已入账的流水才能冲正。",
    ),
    hint=Text(
        en="Void a pending transfer; for a posted one reverse the transfer that posted it.",
        zh="待入账的流水请撤销；已入账的请冲正其入账流水。",
    ),
)
