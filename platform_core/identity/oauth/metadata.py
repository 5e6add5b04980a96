"""What the authorization server says about itself (RFC 8414, OpenID Connect Discovery 1.0), checked at start-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oauth2.rfc9207 import AuthorizationServerMetadata as IssuerMetadata

from platform_core.contracts.scopes import catalogue
from platform_core.identity.oauth.requests import ACR_VALUES
from platform_core.identity.signing_keys import ALGORITHM
from platform_core.kernel.i18n import LANGUAGES

_PATHS: Final = {
    "authorization_endpoint": "/oauth/authorize",
    "pushed_authorization_request_endpoint": "/oauth/par",
    "token_endpoint": "/oauth/token",
    "introspection_endpoint": "/oauth/introspect",
    "revocation_endpoint": "/oauth/revoke",
    "userinfo_endpoint": "/oauth/userinfo",
    "jwks_uri": "/oauth/jwks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is wired in this installation."""

    grant_types: Sequence[str]
    methods: Sequence[str]
    assertion_algorithms: Sequence[str]
    proof_algorithms: Sequence[str]
    detail_types: Sequence[str]
    has_device_flow: bool = False


def make_metadata(origin: str, offer: Offer) -> dict[str, Any]:
    """The document. ValueError for an origin in the clear, and for whatever the RFCs' own rules refuse."""
    metadata: dict[str, Any] = {
        "issuer": origin,
        **{name: f"{origin}{path}" for name, path in _PATHS.items()},
        "scopes_supported": [scope.name for scope in catalogue().values() if scope.is_for_apps],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(offer.grant_types),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "ui_locales_supported": list(LANGUAGES),
        "acr_values_supported": list(ACR_VALUES),
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "at_hash", "nonce", "auth_time", "acr"],
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,  # of OpenID Connect: objects at the client; pushed ones are taken
        "grant_management_actions_supported": ["merge", "replace"],
        "dpop_signing_alg_values_supported": list(offer.proof_algorithms),
        "authorization_details_types_supported": list(offer.detail_types),
    }
    for endpoint in ("token", "introspection", "revocation"):
        methods = [one for one in offer.methods if endpoint != "introspection" or one != "none"]
        metadata[f"{endpoint}_endpoint_auth_methods_supported"] = methods
        algorithms = list(offer.assertion_algorithms)
        metadata[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] = algorithms  # F37
    if offer.has_device_flow:
        metadata["device_authorization_endpoint"] = f"{origin}/oauth/device_authorization"
    AuthorizationServerMetadata(metadata).validate(metadata_classes=[IssuerMetadata])
    return metadata
