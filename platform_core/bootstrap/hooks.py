"""What happens to every request of the application besides its route: counting by address, and the request log."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from platform_core.identity.rate_limits import RateLimits
from platform_core.identity.refusals import Refusals
from platform_core.identity.request_log import RequestLog
from platform_core.kernel.http.envelope import Envelope, Exchange

API: Final = "/v1/"
OPEN_PATHS: Final = ("/v1/notices/", "/healthz", "/health", "/readyz")
"""Providers' notices are verified and come in numbers from few addresses; probes must not be refused."""


class RequestHooks:
    """Made with the application; filled once the platform behind it is open."""

    def __init__(self) -> None:
        self.limits: RateLimits | None = None
        self.log: RequestLog | None = None
        self.refusals: Refusals | None = None

    def admit(self, scope: Scope, envelope: Envelope, *, shows_token: bool) -> None:
        """Under /v1 a token's owner is counted once it is known; everybody else by address. Raises 429."""
        if self.limits is not None and not (shows_token and scope["path"].startswith(API)):
            self.limits.admit_stranger(scope, envelope)

    def record(self, exchange: Exchange) -> None:
        """Hand it to the log, and to the count of refusals."""
        if self.log is not None:
            self.log.record(exchange)
        if self.refusals is not None and exchange.status >= 400:
            self.refusals.note(exchange)
