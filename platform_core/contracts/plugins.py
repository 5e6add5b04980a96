"""What a plugin is told about itself."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from platform_core.contracts.fields import Id, Moment, Payload, tolerant
from platform_core.contracts.hooks import hook
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.results import Acknowledged

CHANGES: Final = ("enabled", "disabled", "upgraded", "rolled_back", "configured")
Change = Literal["enabled", "disabled", "upgraded", "rolled_back", "configured", "unknown"]


class PluginChange(Payload):
    """What happened to this plugin at this merchant."""

    event_id: Id
    sequence: Annotated[int, Field(ge=1)]
    occurred_at: Moment
    change: Annotated[Change, tolerant(*CHANGES)]
    from_version: str | None
    to_version: str | None


@hook("on", version=1, since="1.0")
def on_plugin_changed(ctx: HookContext, change: PluginChange) -> Acknowledged:
    """The plugin was enabled, disabled, upgraded, rolled back or configured. Only the plugin concerned is told.

    After `disabled` nothing else comes; state stays for 30 days. Called after the change is committed, at least once,
    in order.

    >>> from platform_core.contracts.hooks import hookimpl
    >>> from platform_core.contracts.results import DONE
    >>> @hookimpl
    ... def on_plugin_changed(ctx, change):
    ...     if change.change == "enabled":
    ...         ctx.state.put("since", change.occurred_at.isoformat())
    ...     return DONE
    """
    raise AssertionError("pluggy calls the implementations, never the hookspec")
