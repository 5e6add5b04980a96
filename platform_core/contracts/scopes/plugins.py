"""Scopes of plugins."""

from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (
    Scope("plugins:read", Text(en="See plugins and their health", zh="查看插件及健康状况")),
    Scope("plugins:write", Text(en="Install, configure, remove plugins", zh="安装、配置、移除插件"), marks="OS"),
    Scope("plugins:submit", Text(en="Submit releases", zh="提交插件版本"), marks="I"),
    Scope("plugins.releases:review", Text(en="Review releases of plugins", zh="审核插件版本"), marks="OSI"),
    Scope("plugins.switches:write", Text(en="Suspend plugins", zh="暂停插件"), marks="OSI"),
)
