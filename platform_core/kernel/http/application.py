"""The framework's application with our layers around it, and our answers to whatever is raised in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from platform_core.kernel.entropy import entropy as process_entropy
from platform_core.kernel.http.direct import DirectRoute, DirectRoutes
from platform_core.kernel.http.envelope import NO_LARGER, Hooks, RequestEnvelope
from platform_core.kernel.http.handlers import install_handlers
from platform_core.kernel.http.problem import Problems
from platform_core.kernel.http.turnstile import Turnstile
from platform_core.kernel.http.version import ONE_VERSION, Versions
from platform_core.kernel.ids import Ids


class Application(FastAPI):
    """From the outside in: turnstile, envelope, direct routes, then everything that the framework does by itself.

    Ours stand outside of the framework's own layers, each of which costs every request a few microseconds; a direct
    route never gets to them.
    """

    def __init__(
        self,
        *,
        ids: Ids,
        problems: Problems,
        versions: Versions = ONE_VERSION,
        hooks: Hooks | None = None,
        direct: Sequence[DirectRoute] = (),
        larger_bodies: Mapping[str, int] = NO_LARGER,
        entropy: Callable[[int], bytes] = process_entropy,
        **options: Any,  # FastAPI's own
    ) -> None:
        """`ids` mints request ids, `entropy` trace ids; `hooks`: what happens to every request besides."""
        super().__init__(**options)
        install_handlers(self, problems)
        direct_or_framework = DirectRoutes(super().__call__, routes=direct)
        self._outermost: ASGIApp = Turnstile(
            RequestEnvelope(
                direct_or_framework,
                ids=ids,
                problems=problems,
                versions=versions,
                hooks=hooks,
                larger_bodies=larger_bodies,
                entropy=entropy,
            )
        )

    def surround(self, layer: Callable[[ASGIApp], ASGIApp]) -> None:
        """Put a layer outside of all others; it gets everything else as the application that it stands around."""
        self._outermost = layer(self._outermost)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Our layers, and within them the framework with its own."""
        scope["app"] = self
        await self._outermost(scope, receive, send)
