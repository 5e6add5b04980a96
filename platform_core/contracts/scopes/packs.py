"""Scopes of packs."""

from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("packs:read", Text(en="See packs", zh="查看行业方案")),
    Scope("packs:propose", Text(en="Propose a pack", zh="推荐行业方案")),
    Scope("packs:apply", Text(en="Switch packs on and off", zh="启停行业方案"), marks="OS"),
)
