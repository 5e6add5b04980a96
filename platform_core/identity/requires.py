"""How a route says which scope it needs: `principal: Annotated[Principal, requires("refunds:write")]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import OAuth2, OAuthFlowClientCredentials, OAuthFlows
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security.base import SecurityBase
from starlette.types import Scope

from platform_core.contracts.scopes import catalogue
from platform_core.identity.access import Access
from platform_core.identity.errors import MERCHANT_NEEDED, SCOPE_MISSING, TOKEN_INVALID, TOKEN_MISSING
from platform_core.identity.errors_keys import PROOF_INVALID
from platform_core.identity.principal import Principal
from platform_core.identity.request_proofs import RequestProofs
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.envelope import envelope_of

SCHEME: Final = "oauth2"
_SIGNATURES: Final = frozenset({b"signature-input", b"signature"})
_SCHEMES: Final = frozenset({"bearer", "dpop"})
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

        401 `identity.token_missing`, `identity.token_invalid`, `identity.proof_invalid`,
        `identity.proof_nonce_needed`, `identity.signature_needed`, `identity.signature_invalid`; 429
        `identity.rate_exceeded`, `identity.concurrency_exceeded`; 403 `identity.scope_missing`,
        `identity.merchant_needed`; 503 `identity.access_unavailable`.
        """
        access: Access = request.app.state.access
        envelope = envelope_of(request.scope)
        proven = None
        try:
            is_dpop, is_signed, token = shown_token(request.scope)
            principal = await access.authenticate(token)
            if is_dpop or principal.jkt is not None:
                proven = _proofs(access).check(request, principal, token=token, is_dpop=is_dpop)
        except PlatformError as error:
            if error.declared in (TOKEN_INVALID, PROOF_INVALID):  # who guesses is slowed like any other stranger
                access.limits.admit_stranger(request.scope, envelope)
            raise
        envelope.caller = principal
        access.limits.admit(principal, envelope, is_kept=self._is_kept)
        envelope.settle_version(principal.api_version)
        if self.scope not in principal.scopes:
            challenge = f'Bearer realm="arsenal", error="insufficient_scope", scope="{self.scope}"'
            raise SCOPE_MISSING.error({"scope": self.scope}, headers={"WWW-Authenticate": challenge})
        if self._needs_merchant and principal.merchant_id is None:
            raise MERCHANT_NEEDED.error()
        if proven is not None or is_signed or principal.must_sign:
            await _proofs(access).settle(request, principal, proven, is_signed=is_signed or principal.must_sign)
        return principal


def requires(scope: str) -> Any:  # FastAPI's marker, which it types as Any itself
    """The dependency that a route declares; its scope shows in the OpenAPI document. KeyError for an unknown scope."""
    return Security(Requirement(scope), scopes=[scope])


def shown_token(scope: Scope) -> tuple[bool, bool, str]:
    """Whether the one Authorization header has the scheme DPoP (RFC 9449 section 7.1) instead of Bearer (RFC 6750
    section 2.1), whether the request carries a signature, and the token. The only place where we take one.
    """
    headers, is_signed = [], False
    for name, value in scope["headers"]:
        if name == b"authorization":
            headers.append(value)
        elif name in _SIGNATURES:
            is_signed = True
    if not headers:
        raise TOKEN_MISSING.error(headers={"WWW-Authenticate": 'Bearer realm="arsenal"'})
    scheme, _, token = headers[0].decode("latin-1").partition(" ")
    kind = scheme.lower()
    if len(headers) > 1 or kind not in _SCHEMES or not token:
        raise TOKEN_INVALID.error(headers={"WWW-Authenticate": 'Bearer realm="arsenal", error="invalid_request"'})
    return kind == "dpop", is_signed, token.strip(" ")


def _proofs(access: Access) -> RequestProofs:
    if access.proofs is None:
        raise TOKEN_INVALID.error(headers={"WWW-Authenticate": 'Bearer realm="arsenal", error="invalid_token"'})
    return access.proofs


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
