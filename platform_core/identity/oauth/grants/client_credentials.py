"""client_credentials (RFC 6749 section 4.4): a merchant's own app within its owner's grant, an ISV's app by itself."""

from __future__ import annotations

from typing import Any, Final

from authlib.oauth2.rfc6749 import ClientCredentialsGrant
from authlib.oauth2.rfc6749.errors import UnauthorizedClientError

from platform_core.identity.oauth.clients import METHODS, scopes_by_itself
from platform_core.identity.oauth.server import TokenRequest
from platform_core.identity.oauth.tokens import Acting


class _Issue(ClientCredentialsGrant):  # type: ignore[misc]  # Authlib ships no types
    TOKEN_ENDPOINT_AUTH_METHODS = [method for method in METHODS if method != "none"]  # noqa: RUF012 - Authlib's name

    def validate_token_request(self) -> None:
        """Authlib's checks, then whether a merchant stands behind its own app."""
        super().validate_token_request()
        state = self.request.client.state
        if state.owner_merchant_id is not None and (state.grant_id is None or state.merchant_mode != state.mode):
            raise UnauthorizedClientError()

    def generate_token(self, **values: Any) -> dict[str, Any]:
        """Authlib names no user here."""
        token: dict[str, Any] = super().generate_token(**{**values, "user": self.request.acting})
        return token


class ClientCredentials:
    """The grant type. Everything it needs was read with the client."""

    name: Final = "client_credentials"
    authlib = _Issue
    extensions: Final = ()

    async def prepare(self, request: TokenRequest) -> None:
        """See `GrantType`."""
        state = request.shown_client.state
        request.shown_client.allowed = scopes_by_itself(state)
        request.acting = Acting(
            client_id=state.client_id,
            mode=state.mode,
            merchant_id=state.owner_merchant_id,
            grant_id=state.grant_id,
            grant_version=state.grant_version,
            stores=state.grant_stores,
            jkt=request.proof_jkt,
        )
