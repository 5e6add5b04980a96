"""Scopes of webhooks."""

from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("webhooks:read", Text(en="See webhook endpoints", zh="查看回调地址"), marks="I"),
    Scope("webhooks:write", Text(en="Change webhook endpoints", zh="修改回调地址"), marks="I"),
    Scope("webhooks:resend", Text(en="Send events again", zh="重发事件"), marks="I"),
)
