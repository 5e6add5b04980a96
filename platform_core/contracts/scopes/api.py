"""Scopes of an app's own use of the API."""

from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("operations:read", Text(en="See the long jobs it started", zh="查看其发起的长时任务"), marks="I"),
    Scope("request_log:read", Text(en="See its own requests", zh="查看其自身的请求记录"), marks="I"),
)
