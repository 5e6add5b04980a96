"""Calls `on_` hooks for deliveries: out of the event's object the payload, out of the answer what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from platform_core.contracts.fields import Payload
from platform_core.contracts.results import RetryLater
from platform_core.contracts.runtime import FaultKind
from platform_core.plugin_host.dispatch import Dispatcher, Hook
from platform_core.plugin_host.telling import Telling, Told

FAULT_LENGTH_MAX: Final = 200
News = Callable[[Telling], Payload]
"""Builds the payload of one hook out of the event's body. Pure."""


class HookTeller:
    """`telling.Teller` over the dispatcher."""

    def __init__(self, dispatcher: Dispatcher, news: Mapping[str, tuple[Hook[Any, Any], News]]) -> None:
        """`news`: by hook, the hookspec and who builds its payload."""
        self._dispatcher = dispatcher
        self._news = news

    async def tell(self, telling: Telling) -> Told:
        """Call the hook within its deadline. Writes nothing; what the call leaves rides in `parts`."""
        hook, build = self._news[telling.hook]
        said = await self._dispatcher.tell(
            hook,
            build(telling),
            plugin_id=telling.plugin_id,
            merchant_id=telling.merchant_id,
            store_id=None,
            idempotency_key=telling.event_id,
        )
        answer = said.answer
        if answer.fault is not None:
            is_gone = answer.fault.kind is FaultKind.UNAVAILABLE and not answer.version
            detail = f"{answer.fault.kind.value}: {answer.fault.detail}"[:FAULT_LENGTH_MAX]
            return Told(
                outcome="off" if is_gone else "retry", version=answer.version or None, fault=detail, parts=said.parts
            )
        if isinstance(answer.value, RetryLater):
            wish = answer.value
            return Told(
                outcome="retry", version=answer.version, after_s=wish.after_s, fault=wish.reason, parts=said.parts
            )
        return Told(outcome="done", version=answer.version, parts=said.parts)
