"""Authlib's authorization server, fitted to plain values: no framework, no database, no clock of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientCredentialsGrant, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749.errors import UnauthorizedClientError
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from joserfc.jwk import KeySet

from platform_core.identity.oauth.clients import METHODS, Client
from platform_core.identity.oauth.protocol import OAuthAnswer, OAuthRefusal
from platform_core.identity.signing_keys import ALGORITHM
from platform_core.kernel.clock import Clock
from platform_core.kernel.ids import Ids

ACCESS_TOKEN_S: Final = 600
STORES_IN_TOKEN_MAX: Final = 20
DESCRIPTIONS: Final = {
    "invalid_request": "The request is malformed.",
    "invalid_client": "The client is unknown or its secret is wrong.",
    "invalid_scope": "A scope is unknown or was not granted.",
    "unauthorized_client": "The merchant has no active grant for this app.",
    "unsupported_grant_type": "This grant type is not supported.",
}
"""Our words: Authlib's may repeat the input and tell an unknown client from a wrong secret (F03, F35)."""


class TokenRequest(OAuth2Request):  # type: ignore[misc]  # Authlib ships no types
    """A token request with its client, which was looked up before: Authlib's callbacks read nothing."""

    def __init__(self, *, uri: str, form: dict[str, str], client: Client | None) -> None:
        super().__init__("POST", uri)
        self.payload = BasicOAuth2Payload(form)
        self.shown_client = client
        self.refused: str | None = None

    @property
    def form(self) -> dict[str, str]:
        """The parameters of the body."""
        form: dict[str, str] = self.payload.data
        return form


class TokenGenerator(JWTBearerTokenGenerator):  # type: ignore[misc]  # Authlib ships no types
    """RFC 9068 access tokens by our clock and ids: ES256, 600 s whatever the grant (F02, F06, F18, F34)."""

    def __init__(self, *, issuer: str, audience: str, keys: Callable[[], KeySet], clock: Clock, ids: Ids) -> None:
        super().__init__(issuer, alg=ALGORITHM, expires_generator=lambda client, grant_type: ACCESS_TOKEN_S)
        self._audience = audience
        self._keys = keys
        self._clock = clock
        self._ids = ids

    def get_jwks(self) -> KeySet:
        """A set of the current key alone: a bare key gets no `kid`, a set of two signs with either (F01)."""
        return self._keys()

    def get_audiences(self, client: Client, user: object, scope: str) -> str:
        """The API, whatever the client (RFC 8707)."""
        return self._audience

    def get_jti(self, client: Client, grant_type: str, user: object, scope: str) -> str:
        """An id of ours."""
        return self._ids.mint("tok")

    def get_extra_claims(self, client: Client, grant_type: str, user: object, scope: str) -> dict[str, Any]:
        """Whom the token acts for; also the times, which Authlib takes from the operating system (F34)."""
        now = int(self._clock.now().timestamp())
        state = client.state
        claims: dict[str, Any] = {"iat": now, "exp": now + ACCESS_TOKEN_S, "mode": state.mode}
        if state.owner_merchant_id is None:
            return claims
        claims |= {
            "sub": state.owner_merchant_id,
            "merchant": state.owner_merchant_id,
            "grant_id": state.grant_id,
            "gv": state.grant_version,
        }
        if state.grant_stores is not None and len(state.grant_stores) <= STORES_IN_TOKEN_MAX:
            claims["stores"] = sorted(state.grant_stores)
        return claims


class ClientCredentials(ClientCredentialsGrant):  # type: ignore[misc]  # Authlib ships no types
    """RFC 6749 section 4.4, for merchants' own apps within their grant and for ISVs' apps by themselves."""

    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)  # noqa: RUF012 - Authlib's name and kind

    def validate_token_request(self) -> None:
        """Authlib's checks, then whether a merchant stands behind its own app."""
        super().validate_token_request()
        state = self.request.client.state
        if state.owner_merchant_id is not None and (state.grant_id is None or state.merchant_mode != state.mode):
            raise UnauthorizedClientError()


class AuthlibServer(AuthorizationServer):  # type: ignore[misc]  # Authlib ships no types
    """Answers as values."""

    def __init__(self, generator: TokenGenerator) -> None:
        super().__init__()
        logging.getLogger("authlib").setLevel(logging.WARNING)  # at debug level it writes issued tokens out
        self.register_token_generator("default", generator)
        self.register_grant(ClientCredentials)
        for method in METHODS:
            self.register_client_auth_method(method, _shown_by(method))

    def query_client(self, client_id: str) -> None:
        """Never asked: clients come with the request."""
        raise AssertionError("the client is looked up before Authlib is called")

    def create_oauth2_request(self, request: TokenRequest) -> TokenRequest:
        """Ours already."""
        return request

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """We have no signals."""

    def save_token(self, token: dict[str, Any], request: TokenRequest) -> None:
        """An access token is not stored: it is verified by its signature and by the rows behind it."""

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> OAuthAnswer:
        """Status and body; the route adds headers."""
        return OAuthAnswer(status, body)

    def handle_error_response(self, request: TokenRequest, error: OAuth2Error) -> OAuthAnswer:
        """The RFC's code with our words, and the outcome kept on the request (F03, F36)."""
        request.refused = error.error
        description = DESCRIPTIONS.get(error.error, DESCRIPTIONS["invalid_request"])
        return OAuthRefusal(error.error, description).answer()


def _shown_by(method: str) -> Callable[[object, TokenRequest], Client | None]:
    def authenticate(query_client: object, request: TokenRequest) -> Client | None:
        client = request.shown_client
        return client if client is not None and client.method == method else None

    return authenticate
