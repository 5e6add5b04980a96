"""Scopes and limits of invoicing."""

from platform_core.contracts.rar import DetailType
from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("invoices:read", Text(en="See invoices", zh="查看发票")),
    Scope("invoices.buyer:read", Text(en="See buyers' titles", zh="查看购方抬头"), marks="P"),
    Scope("invoices:request", Text(en="Have invoices issued in your name", zh="以您的名义开具发票"), marks="M"),
    Scope("invoices:correct", Text(en="Issue corrections", zh="开具红字发票"), marks="MS"),
    Scope("invoices:deliver", Text(en="Send invoices", zh="交付发票")),
    Scope("invoices:validate", Text(en="Check invoice files", zh="查验发票文件"), marks="I"),
    Scope("titles:read", Text(en="See title books", zh="查看发票抬头"), marks="P"),
    Scope("titles:write", Text(en="Change title books", zh="修改发票抬头"), marks="P"),
    Scope("titles:redeem", Text(en="Use title books", zh="使用发票抬头"), marks="P"),
    Scope("reimbursements:read", Text(en="See reimbursements", zh="查看报销"), marks="P"),
    Scope("reimbursements:write", Text(en="Process reimbursements", zh="处理报销"), marks="P"),
    Scope("sellers:read", Text(en="See seller profiles and number series", zh="查看开票主体与号段"), marks="S"),
    Scope("sellers:write", Text(en="Change seller profiles and number series", zh="修改开票主体与号段"), marks="S"),
)

DETAIL_TYPES = (
    DetailType(
        "invoice_issue",
        scopes=("invoices:request", "invoices:correct"),
        measures=("amount", "quantity"),
        actions=("issue", "correct"),
        text=Text(en="Issue and correct invoices", zh="开具和红冲发票"),
        counted=Text(en="invoices", zh="张发票"),
    ),
)
