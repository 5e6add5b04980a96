"""A few requests begin in each turn of the event loop, so that answers and the writer are never kept waiting for long.

Everything that is ready when the loop turns runs before it looks at its sockets again. When sixty requests arrive at
once, the database's answer to the batch before them would lie unread until all sixty were decided; and as a batch takes
several round trips, server and database would work in turns instead of at the same time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

BEGUN_MAX: Final = 2


class Turnstile:
    """The ASGI layer; the outermost. Requests begin in the order of their arrival."""

    def __init__(self, app: ASGIApp, *, begun_max: int = BEGUN_MAX) -> None:
        """`begun_max` requests begin per turn of the loop."""
        self._app = app
        self._begun_max = begun_max
        self._begun = 0
        self._is_turning = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            loop = asyncio.get_running_loop()
            if not self._is_turning:
                self._is_turning = True
                loop.call_soon(self._turn, loop)
            if self._begun < self._begun_max and not self._waiting:
                self._begun += 1
            else:
                begins = loop.create_future()
                self._waiting.append(begins)
                await begins
        await self._app(scope, receive, send)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Once a turn while there is anybody: let the next few begin. One who left while waiting takes no place."""
        self._begun = 0
        while self._waiting and self._begun < self._begun_max:
            begins = self._waiting.popleft()
            if not begins.done():
                begins.set_result(None)
                self._begun += 1
        self._is_turning = self._begun > 0
        if self._is_turning:
            loop.call_soon(self._turn, loop)
