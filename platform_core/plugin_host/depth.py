"""Hook depth is 1: what a plugin asks for during its hook runs with hooks off (plugins.md section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

HOOK_DEPTH: Final = declare(
    "plugin.hook_depth",
    status=409,
    title=Text(en="Not possible from within a hook", zh="不能在钩子中执行"),
    detail=Text(
        en="{operation} asks plugins before it acts, and a plugin asked for it from within a hook; hooks do not nest.",
        zh="{operation} 在执行前要询问插件，而插件在钩子中请求了它；钩子不能嵌套。",
    ),
    hint=Text(
        en="Do it from your own server through the API, or after the event that on_ hooks tell.",
        zh="请在您自己的服务器上通过 API 执行，或在 on_ 钩子告知的事件之后执行。",
    ),
)

_inside: ContextVar[bool] = ContextVar("arsenal_inside_hook", default=False)


def is_inside_hook() -> bool:
    """Whether the running code works for a plugin that was itself asked; then no hook is asked."""
    return _inside.get()


@contextmanager
def inside_hook() -> Iterator[None]:
    """A block that does what a plugin asked for: no hook is asked in it. Blocks nest."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


def refuse_inside_hook(operation: str) -> None:
    """For services that must not act unless plugins were asked. Raises 409 `plugin.hook_depth`."""
    if _inside.get():
        raise HOOK_DEPTH.error({"operation": operation})
