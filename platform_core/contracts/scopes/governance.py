"""Scopes of governance."""

from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("cases:read", Text(en="See cases about you", zh="查看治理案件")),
    Scope("cases:write", Text(en="Answer cases about you", zh="答复治理案件")),
    Scope("incentives:read", Text(en="See incentives", zh="查看激励"), marks="I"),
)
