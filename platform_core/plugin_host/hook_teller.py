"""Calls `on_` hooks for deliveries: out of the event's object the payload, out of the answer what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from platform_core.contracts.fields import Payload
from platform_core.contracts.results import RetryLater
from platform_core.plugin_host.dispatch import Dispatcher, Hook
from platform_core.plugin_host.installed import Enabled
from platform_core.plugin_host.telling import Telling, Told

FAULT_LENGTH_MAX: Final = 200
DISABLED: Final = "plugin.disabled"
News = Callable[[Telling], Payload]
"""Builds the payload of one hook out of the event's body. Pure."""


class LastEnabled(Protocol):
    """Knows plugins that are disabled by now."""

    async def last_of(self, merchant_id: str, installation_id: str) -> Enabled | None:
        """An installation as it ran last; None while it is stopped. Raises EnablementUnreadable."""
        ...


class HookTeller:
    """`telling.Teller` over the dispatcher."""

    def __init__(
        self, dispatcher: Dispatcher, news: Mapping[str, tuple[Hook[Any, Any], News]], last: LastEnabled
    ) -> None:
        """`news`: by hook, the hookspec and who builds its payload."""
        self._dispatcher = dispatcher
        self._news = news
        self._last = last

    async def tell(self, telling: Telling) -> Told:
        """Call the hook within its deadline. Writes nothing; what the call leaves rides in `parts`."""
        hook, build = self._news[telling.hook]
        to = None
        if telling.event_type == DISABLED:  # the last that a plugin hears; it is not enabled any more
            to = await self._last.last_of(telling.merchant_id, telling.installation_id)
        said = await self._dispatcher.tell(
            hook,
            build(telling),
            plugin_id=telling.plugin_id,
            merchant_id=telling.merchant_id,
            store_id=None,
            idempotency_key=telling.event_id,
            to=to,
        )
        answer = said.answer
        if answer.fault is not None:
            detail = f"{answer.fault.kind.value}: {answer.fault.detail}"[:FAULT_LENGTH_MAX]
            return Told(
                outcome="off" if said.is_gone else "retry",
                version=answer.version or None,
                fault=detail,
                parts=said.parts,
            )
        if isinstance(answer.value, RetryLater):
            wish = answer.value
            return Told(
                outcome="retry", version=answer.version, after_s=wish.after_s, fault=wish.reason, parts=said.parts
            )
        return Told(outcome="done", version=answer.version, parts=said.parts)
