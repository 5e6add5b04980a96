"""How a client proves itself, and the client as Authlib sees it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol
from urllib.parse import unquote_plus

from authlib.oauth2.rfc6749 import ClientMixin

from platform_core.contracts.scopes import catalogue
from platform_core.identity import repository
from platform_core.identity.app_secrets import is_well_formed
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models import Profile
from platform_core.identity.oauth.protocol import OAuthRefusal, OAuthRequest
from platform_core.identity.repository import ClientState, StoredSecret
from platform_core.identity.seen_jti import OnceOnly
from platform_core.identity.vault import Vault

Method = Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
METHODS: Final[tuple[Method, ...]] = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
METHODS_OF: Final[Mapping[Profile, frozenset[Method]]] = {
    "confidential": frozenset({"client_secret_basic", "client_secret_post", "private_key_jwt"}),  # either way (F12)
    "money": frozenset({"private_key_jwt"}),
    "public": frozenset({"none"}),
}
ONE_TEXT: Final = "The client is unknown or its secret is wrong."
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_CREDENTIAL_MAX: Final = 512
_BASIC_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="arsenal"'}
# What an unknown client's secret is compared with, so that it costs what a known one's does (F35).
_NOBODY: Final = StoredSecret("sec_nobody", bytes(32), None)


class ShownAssertion(Protocol):
    """A client assertion as read, before anything in it is believed."""

    @property
    def client_id(self) -> str:
        """Whose keys to look up."""
        ...

    @property
    def kid(self) -> str | None:
        """Which of them."""
        ...

    def verify(self, keys: Sequence[Any], *, audiences: Collection[str], now: datetime) -> Any:
        """The proof, good once. Raises `OAuthRefusal` `invalid_client`."""
        ...


class Assertions(Protocol):
    """private_key_jwt (RFC 7523)."""

    @property
    def algorithms(self) -> Sequence[str]:
        """What they may be signed with."""
        ...

    def read(self, text: str) -> ShownAssertion:
        """What the client sent. Raises `OAuthRefusal` `invalid_client`."""
        ...

    async def keys_of(self, client_id: str, *, kid: str | None = None) -> Sequence[Any]:
        """The client's public keys; none for an unknown client. A `kid` that is not known may be looked for anew."""
        ...

    def claim(self, proof: Any) -> OnceOnly:
        """The part of a plan of the platform's own that uses the proof up."""
        ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the client showed, and how. `secret` is empty for a public client."""

    method: Method
    client_id: str
    secret: str = ""
    assertion: ShownAssertion | None = None


class Client(ClientMixin):  # type: ignore[misc]  # Authlib ships no types
    """A client with everything that was read about it; asks the database nothing."""

    def __init__(
        self, state: ClientState, method: Method, *, secret: StoredSecret | None = None, claim: OnceOnly | None = None
    ) -> None:
        self.state = state
        self.method = method
        self.secret = secret
        self.claim = claim
        self.allowed: frozenset[str] = frozenset()

    def get_client_id(self) -> str:
        """`client_id`."""
        return self.state.client_id

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """By profile alone, the same at every endpoint."""
        return method in METHODS_OF[self.state.profile]

    def check_grant_type(self, grant_type: str) -> bool:
        """What the client was set up for."""
        return grant_type in self.state.grant_types

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """What is given of the wish; without a wish everything. None, Authlib's `invalid_scope`, if any of it is not
        allowed: a token is never silently weaker than what was asked for.

        `allowed` is set by the grant type, which knows what stands behind the request.
        """
        wanted = frozenset((scope or "").split()) or self.allowed
        return " ".join(sorted(wanted)) if wanted and wanted <= self.allowed else None


class ClientAuthentication:
    """Finds out which client calls. The one place for all endpoints (RFC 6749 section 2.3)."""

    def __init__(self, deps: IdentityDeps, *, origin: str, assertions: Assertions) -> None:
        self._deps = deps
        self._reads = deps.database.singles("auth")
        self._origin = origin
        self._assertions = assertions

    async def authenticate(self, request: OAuthRequest) -> Client:
        """The client that proved itself. Raises `OAuthRefusal` in one text for all that did not (F35).

        401 with a challenge for whoever used the header, else 400 (RFC 6749 section 5.2).
        """
        try:
            shown = self._read(request)
            client = await self._prove(shown, request.path) if shown is not None else None
        except OAuthRefusal as refusal:
            raise _challenged(refusal, request) from refusal
        if client is None:
            raise _challenged(OAuthRefusal("invalid_client", ONE_TEXT), request)
        return client

    def _read(self, request: OAuthRequest) -> Credentials | None:
        """The one credential of the request; None when there is none. Raises `OAuthRefusal` for several (F23)."""
        form, authorization = request.form, request.authorization
        kinds = ("client_secret" in form, "client_assertion" in form, authorization is not None)
        if sum(kinds) > 1:
            raise OAuthRefusal("invalid_request", "More than one client credential was sent.")
        if "client_assertion" in form or "client_assertion_type" in form:
            found = self._read_assertion(form)
        elif authorization is not None:
            found = read_basic(authorization)
        elif "client_id" not in form:
            return None
        elif "client_secret" in form:
            is_plain = (form["client_id"] + form["client_secret"]).isascii()
            found = Credentials("client_secret_post", form["client_id"], form["client_secret"]) if is_plain else None
        else:
            found = Credentials("none", form["client_id"])
        if found is not None and form.get("client_id", found.client_id) != found.client_id:
            raise OAuthRefusal("invalid_request", "Two different clients are named.")
        return found

    def _read_assertion(self, form: Mapping[str, str]) -> Credentials | None:
        if form.get("client_assertion_type") != ASSERTION_TYPE or "client_assertion" not in form:
            return None
        shown = self._assertions.read(form["client_assertion"])
        return Credentials("private_key_jwt", shown.client_id, assertion=shown)

    async def _prove(self, shown: Credentials, path: str) -> Client | None:
        if shown.method.startswith("client_secret") and not is_well_formed(shown.secret):
            return None  # mistyped or made up: its check sum says so without a look-up
        now = self._deps.clock.now()
        state = await repository.read_client_state(self._reads, shown.client_id, now=now)
        secret, claim = None, None
        if shown.assertion is not None:
            keys = await self._assertions.keys_of(shown.client_id, kid=shown.assertion.kid)
            audiences = {self._origin, f"{self._origin}/oauth/token", f"{self._origin}{path}"}
            claim = self._assertions.claim(shown.assertion.verify(keys, audiences=audiences, now=now))
        elif shown.method != "none":
            secret = match_secret(self._deps.vault, state, shown.secret)
            if secret is None:
                return None
        if state is None or not state.is_active or shown.method not in METHODS_OF[state.profile]:
            return None
        return Client(state, shown.method, secret=secret, claim=claim)


def _challenged(refusal: OAuthRefusal, request: OAuthRequest) -> OAuthRefusal:
    if refusal.error != "invalid_client" or request.authorization is None:
        return refusal
    return OAuthRefusal(refusal.error, refusal.description, status=401, headers=_BASIC_CHALLENGE)


def read_basic(authorization: str) -> Credentials | None:
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
    client_id, secret = unquote_plus(client_id), unquote_plus(secret)
    return Credentials("client_secret_basic", client_id, secret) if "\x00" not in client_id else None


def match_secret(vault: Vault, state: ClientState | None, secret: str) -> StoredSecret | None:
    """The live secret that was shown, or None. Always compares twice, for unknown clients too (F35)."""
    stored = state.secrets if state is not None else ()
    matched = None
    for candidate in (*stored, _NOBODY, _NOBODY)[:2]:
        if vault.matches(candidate.id, secret, candidate.digest) and candidate is not _NOBODY:
            matched = candidate
    return matched


def scopes_by_itself(state: ClientState) -> frozenset[str]:
    """What client_credentials give: a merchant's own app has what its owner granted, an ISV's what any app may do."""
    known = catalogue()
    if state.owner_merchant_id is None:
        given = frozenset(name for name, scope in known.items() if scope.is_for_app_alone and scope.is_for_apps)
    else:
        given = state.grant_scopes & known.keys()
    return given if state.mode == "test" else frozenset(name for name in given if not known[name].is_test_only)
