"""Routes that people use too: `who: Annotated[Principal, permits("stores:write")]` takes a token or a session.

Only where a request shows no token does its cookie count, so a token is checked exactly as `requires` does it.
"""

from __future__ import annotations

from typing import Any

from fastapi import Request, Security

from platform_core.contracts.scopes import catalogue
from platform_core.identity.console_access import (
    SAFE,
    console_access_of,
    has_console_cookie,
    signed_in_anywhere,
)
from platform_core.identity.errors import MERCHANT_NEEDED, SCOPE_MISSING
from platform_core.identity.principal import Principal
from platform_core.identity.requires import Requirement
from platform_core.identity.sessions import SignedIn, require_step_up
from platform_core.kernel.http.envelope import envelope_of


class Permission(Requirement):
    """As `Requirement`, for a person at a console too. `app.state.console_access` finds the session."""

    def __init__(self, scope: str) -> None:
        """Raise KeyError for a scope that no capability declares."""
        super().__init__(scope)
        declared = catalogue()[scope]
        self._needs_step_up = declared.needs_step_up
        self._needs_a_merchant = declared.needs_merchant

    async def __call__(self, request: Request) -> Principal:
        """The caller. Besides what `Requirement` raises: 401 `identity.sign_in_required`, `identity.step_up_required`
        (a scope marked S, for whatever writes), 403 `identity.csrf_refused`.
        """
        if "authorization" in request.headers or not has_console_cookie(request):
            return await super().__call__(request)
        who = await signed_in_anywhere(request)
        envelope = envelope_of(request.scope)
        envelope.settle_version(envelope.versions.newest)
        if self.scope not in who.scopes:
            raise SCOPE_MISSING.error({"scope": self.scope})
        if self._needs_a_merchant and who.merchant_id is None:
            raise MERCHANT_NEEDED.error()
        if self._needs_step_up and request.method not in SAFE:
            require_step_up(who, console_access_of(request).now())
        return principal_of(who, api_version=envelope.version)


def permits(scope: str) -> Any:  # FastAPI's marker, which it types as Any itself
    """The dependency that a route for apps and people declares. KeyError for an unknown scope."""
    return Security(Permission(scope), scopes=[scope])


def principal_of(who: SignedIn, *, api_version: str) -> Principal:
    """A signed-in person in the shape that services read."""
    return Principal(
        kind="person",
        client_id=who.person_id,
        app_id="",
        merchant_id=who.merchant_id,
        standing=who.standing,
        mode=who.mode,
        scopes=who.scopes,
        stores=who.stores,
        grant_id=None,
        grant_version=0,
        token_id=who.session_id,
        key_id="",
        expires_at=who.expires_at,
        api_version=api_version,
        acr=who.acr,
        auth_time=who.auth_time,
        locale=who.locale,
        party_kind=who.party_kind,
        party_id=who.party_id,
    )
