"""How a route says which scope it needs: `principal: Annotated[Principal, requires("refunds:write")]`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from fastapi import FastAPI, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import OAuth2, OAuthFlowClientCredentials, OAuthFlows
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security.base import SecurityBase

from platform_core.contracts.scopes import catalogue
from platform_core.identity.access import Access
from platform_core.identity.errors import MERCHANT_NEEDED, SCOPE_MISSING, TOKEN_INVALID, TOKEN_MISSING
from platform_core.identity.principal import Principal
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.envelope import envelope_of

SCHEME: Final = "oauth2"
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - an address


class Requirement(SecurityBase):
    """Authenticates a request and asks for one scope. `app.state.access` is the process's `Access`."""

    def __init__(self, scope: str) -> None:
        """Raise KeyError for a scope that no capability declares."""
        declared = catalogue()[scope]
        self.scope = scope
        self.scheme_name = SCHEME
        self.model = _model()
        self._needs_merchant = not declared.is_for_app_alone
        self._is_kept = scope.endswith(":read") or scope.startswith("refunds:")

    async def __call__(self, request: Request) -> Principal:
        """The caller: 401, then 429, then 400 `kernel.version_unknown`, then 403, as every route answers them.

        401 `identity.token_missing`, `identity.token_invalid`; 429 `identity.rate_exceeded`,
        `identity.concurrency_exceeded`; 403 `identity.scope_missing`, `identity.merchant_needed`; 503
        `identity.access_unavailable`.
        """
        access: Access = request.app.state.access
        envelope = envelope_of(request.scope)
        try:
            principal = await access.authenticate(bearer_token(request))
        except PlatformError as error:
            if error.declared is TOKEN_INVALID:  # who guesses tokens is slowed like any other stranger
                access.limits.admit_stranger(request.scope, envelope)
            raise
        envelope.caller = principal
        access.limits.admit(principal, envelope, is_kept=self._is_kept)
        envelope.settle_version(principal.api_version)
        if self.scope not in principal.scopes:
            raise _scope_missing(self.scope)
        if self._needs_merchant and principal.merchant_id is None:
            raise MERCHANT_NEEDED.error()
        return principal


def requires(scope: str) -> Any:  # FastAPI's marker, which it types as Any itself
    """The dependency that a route declares; its scope shows in the OpenAPI document. KeyError for an unknown scope."""
    return Security(Requirement(scope), scopes=[scope])


def require_scopes(who: Principal, scopes: Iterable[str]) -> None:
    """Raise 403 `identity.scope_missing` for the first scope that a request needs besides its route's own."""
    for scope in sorted(scopes):
        if scope not in who.scopes:
            raise _scope_missing(scope)


def _scope_missing(scope: str) -> PlatformError:
    challenge = f'Bearer realm="arsenal", error="insufficient_scope", scope="{scope}"'
    return SCOPE_MISSING.error({"scope": scope}, headers={"WWW-Authenticate": challenge})


def bearer_token(request: Request) -> str:
    """The token of `Authorization: Bearer` (RFC 6750 section 2.1), the only place where we take one."""
    headers = request.headers.getlist("authorization")
    if not headers:
        raise TOKEN_MISSING.error(headers={"WWW-Authenticate": 'Bearer realm="arsenal"'})
    scheme, _, token = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer" or not token:
        raise TOKEN_INVALID.error(headers={"WWW-Authenticate": 'Bearer realm="arsenal", error="invalid_request"'})
    return token.strip(" ")


def scopes_by_route(app: FastAPI) -> dict[str, tuple[str, ...]]:
    """The scopes that each route declares, by `GET /v1/stores`: for the test that every route under /v1 does.

    Included routers are walked too: FastAPI no longer copies their routes into `app.routes`.
    """
    found = {}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            for method in sorted(route.methods or ()):
                found[f"{method} {context.path}"] = tuple(_required(route.dependant))
    return found


def _required(dependant: Dependant) -> Iterator[str]:
    if isinstance(dependant.call, Requirement):
        yield dependant.call.scope
    for inner in dependant.dependencies:
        yield from _required(inner)


def _model() -> OAuth2:
    scopes = {scope.name: scope.text.en for scope in catalogue().values() if scope.is_for_apps}
    return OAuth2(flows=OAuthFlows(clientCredentials=OAuthFlowClientCredentials(tokenUrl=TOKEN_PATH, scopes=scopes)))
