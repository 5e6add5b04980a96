"""Scopes of the testbed."""

from platform_core.contracts.scopes import Scope
from platform_core.kernel.i18n import Text

SCOPES = (Scope("testbed:write", Text(en="Move the test clock, trigger events", zh="操作测试时钟与事件"), marks="TI"),)
