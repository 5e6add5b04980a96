"""Authlib's authorization server, fitted to plain values: no framework, no database, no clock of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from platform_core.identity.oauth.clients import METHODS, ONE_TEXT, Client
from platform_core.identity.oauth.protocol import OAuthAnswer, OAuthRefusal
from platform_core.identity.oauth.tokens import Acting, TokenGenerator
from platform_core.kernel.commit import Plan

DESCRIPTIONS: Final = {
    "invalid_request": "The request is malformed.",
    "invalid_client": ONE_TEXT,
    "invalid_grant": "The code or token is unknown, expired, used, or not for this client.",
    "invalid_scope": "A scope is unknown or was not granted.",
    "unauthorized_client": "The client may not use this grant type, or no grant of a merchant stands behind it.",
    "authorization_pending": "Nobody has decided yet.",
    "slow_down": "Wait five seconds longer between two requests than before.",
    "expired_token": "The device code is too old.",
    "access_denied": "The merchant said no.",
    "unsupported_grant_type": "This grant type is not supported.",
}
"""Our words: Authlib's may repeat the input and tell an unknown client from a wrong secret (F03, F35)."""


class TokenRequest(OAuth2Request):  # type: ignore[misc]  # Authlib ships no types
    """A request with all that was read for it before: Authlib's callbacks read nothing and write nothing.

    What they would store goes into `plan`; what must outlast a refusal into `plan_on_error`.
    """

    def __init__(
        self, *, uri: str, form: dict[str, str], client: Client, now: datetime, proof_jkt: str | None = None
    ) -> None:
        super().__init__("POST", uri)
        self.payload = BasicOAuth2Payload(form)
        self.shown_client = client
        self.now = now
        self.proof_jkt = proof_jkt  # thumbprint of the key whose DPoP proof came with the request
        self.prepared: Any = None  # what the grant type's `prepare` read
        self.acting: Acting | None = None
        self.plan: Plan | None = None
        self.plan_on_error: Plan | None = None
        self.refused: str | None = None

    @property
    def form(self) -> dict[str, str]:
        """The parameters of the body."""
        form: dict[str, str] = self.payload.data
        return form


class AuthlibServer(AuthorizationServer):  # type: ignore[misc]  # Authlib ships no types
    """Answers as values."""

    def __init__(self, generator: TokenGenerator) -> None:
        super().__init__()
        logging.getLogger("authlib").setLevel(logging.WARNING)  # at debug level it writes issued tokens out
        self.generator = generator
        self.register_token_generator("default", generator)
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
