"""How a client proves itself, and the client as Authlib sees it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote_plus

from authlib.oauth2.rfc6749 import ClientMixin

from platform_core.contracts.scopes import catalogue
from platform_core.identity.oauth.protocol import OAuthRefusal
from platform_core.identity.repository import ClientState, StoredSecret
from platform_core.identity.vault import Vault

Method = Literal["client_secret_basic", "client_secret_post"]
METHODS: Final[tuple[Method, ...]] = ("client_secret_basic", "client_secret_post")
_CREDENTIAL_MAX: Final = 512
# What an unknown client's secret is compared with, so that it costs what a known one's does (F35).
_NOBODY: Final = StoredSecret("sec_nobody", bytes(32), None)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the client showed, and how."""

    method: Method
    client_id: str
    secret: str


def read_credentials(authorization: str | None, form: Mapping[str, str]) -> Credentials | None:
    """The one credential of the request; None when there is none. Raises `OAuthRefusal` for several (F23)."""
    if "client_assertion" in form or "client_assertion_type" in form:
        raise OAuthRefusal("invalid_client", "Client assertions are not supported.")
    if authorization is not None:
        if "client_secret" in form:
            raise OAuthRefusal("invalid_request", "More than one client credential was sent.")
        found = _read_basic(authorization)
        if found is not None and form.get("client_id", found.client_id) != found.client_id:
            raise OAuthRefusal("invalid_request", "Two different clients are named.")
        return found
    client_id, secret = form.get("client_id"), form.get("client_secret")
    if client_id is None or secret is None or not (client_id + secret).isascii():
        return None
    return Credentials("client_secret_post", client_id, secret)


def _read_basic(authorization: str) -> Credentials | None:
    """HTTP Basic with strict base64 and RFC 6749's form decoding; ours read the same without it (F04)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > _CREDENTIAL_MAX:
        return None
    try:
        plain = base64.b64decode(encoded.strip(" "), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    client_id, colon, secret = plain.partition(":")
    if not colon:
        return None
    return Credentials("client_secret_basic", unquote_plus(client_id), unquote_plus(secret))


def match_secret(vault: Vault, state: ClientState | None, secret: str) -> StoredSecret | None:
    """The live secret that was shown, or None. Always compares twice, for unknown clients too (F35)."""
    stored = state.secrets if state is not None else ()
    matched = None
    for candidate in (*stored, _NOBODY, _NOBODY)[:2]:
        if vault.matches(candidate.id, secret, candidate.digest) and candidate is not _NOBODY:
            matched = candidate
    return matched


class Client(ClientMixin):  # type: ignore[misc]  # Authlib ships no types
    """A client with everything that was read about it; asks the database nothing."""

    def __init__(self, state: ClientState, secret: StoredSecret, method: Method) -> None:
        self.state = state
        self.secret = secret
        self.method = method

    def get_client_id(self) -> str:
        """`client_id`."""
        return self.state.client_id

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Every client may use either way of sending its secret (F12)."""
        return method in METHODS

    def check_grant_type(self, grant_type: str) -> bool:
        """A client that holds a secret may use client_credentials."""
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """What is given of the wish; without a wish everything. None, Authlib's `invalid_scope`, if any of it is not
        allowed: a token is never silently weaker than what was asked for.
        """
        allowed = self.scopes_allowed()
        wanted = frozenset((scope or "").split()) or allowed
        return " ".join(sorted(wanted)) if wanted and wanted <= allowed else None

    def scopes_allowed(self) -> frozenset[str]:
        """A merchant's own app: what its owner granted. An ISV's app: what an app may do by itself."""
        known = catalogue()
        if self.state.owner_merchant_id is None:
            given = frozenset(name for name, scope in known.items() if scope.is_for_app_alone and scope.is_for_apps)
        else:
            given = self.state.grant_scopes & known.keys()
        return given if self.state.mode == "test" else frozenset(n for n in given if not known[n].is_test_only)
