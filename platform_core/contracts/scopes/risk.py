"""Scopes of risk."""

from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("risk:decide", Text(en="Ask whether an act is fraudulent", zh="请求风险识别")),
    Scope("risk:read", Text(en="See decisions and cases", zh="查看风险决策与案件")),
    Scope("risk.lists:write", Text(en="Change block and allow lists", zh="维护黑白名单"), marks="P"),
    Scope("risk.cases:write", Text(en="Decide and label cases", zh="处理风险案件"), marks="P"),
    Scope("risk.rules:write", Text(en="Change risk rules", zh="管理风控规则"), marks="S"),
)
