"""What the platform asks of an authorization server, whoever implements it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from platform_core.identity.consent import Approved, Declined
from platform_core.identity.oauth.requests import AuthorizationRequest
from platform_core.identity.sessions import SignedIn


@dataclass(frozen=True, slots=True)
class OAuthRequest:
    """A request to an OAuth endpoint, read and bounded: no parameter is doubled, none is empty."""

    method: str
    path: str
    authorization: str | None  # the header, as it came
    form: Mapping[str, str]
    dpop: tuple[str, ...] = ()  # every `DPoP` header, as they came


@dataclass(frozen=True, slots=True)
class OAuthAnswer:
    """What to send back: RFC 6749 JSON."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where the browser is sent: to the consent page, or with an error to the client's proven address."""

    location: str


class OAuthRefusal(Exception):
    """A refusal with the RFC's `error` and a description of our own: a constant in ASCII without quotes (F03)."""

    def __init__(
        self, error: str, description: str, *, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error, description)
        self.error = error
        self.description = description
        self.status = status
        self.headers = dict(headers or {})

    def answer(self, headers: Mapping[str, str] | None = None) -> OAuthAnswer:
        """The refusal as an answer (RFC 6749 section 5.2)."""
        body = {"error": self.error, "error_description": self.description}
        return OAuthAnswer(self.status, body, {**self.headers, **(headers or {})})


class Decides(Protocol):
    """Whoever turns a merchant's decision into what an app is answered with."""

    async def decide(self, request: AuthorizationRequest, who: SignedIn, decision: Approved | Declined) -> str:
        """As `OAuthServer.decide`."""
        ...


class OAuthServer(Protocol):
    """An authorization server. Its methods never raise for what a caller sent; they answer.

    All of them raise 503 PlatformErrors while the database is away.
    """

    async def open_authorization(
        self, parameters: Mapping[str, str], *, browser: str, who: SignedIn | None
    ) -> Redirect:
        """GET /oauth/authorize. `who` is signed in at the merchant's console, if anybody is.

        Raises the PlatformError `identity.authorization_refused` for what is wrong before the client's address is
        proven: such an error stays on our page.
        """
        ...

    async def push_authorization(self, request: OAuthRequest) -> OAuthAnswer:
        """POST /oauth/par (RFC 9126)."""
        ...

    async def decide(self, request: AuthorizationRequest, who: SignedIn, decision: Approved | Declined) -> str:
        """The address to send the browser to, with a code or an error, after grant, code and use are committed.

        Raises `identity.authorization_stale`, `identity.sign_in_too_weak`, and what giving the grant raises.
        """
        ...

    async def issue_token(self, request: OAuthRequest) -> OAuthAnswer:
        """POST /oauth/token."""
        ...

    async def authorize_device(self, request: OAuthRequest) -> OAuthAnswer:
        """POST /oauth/device_authorization (RFC 8628)."""
        ...

    async def introspect(self, request: OAuthRequest) -> OAuthAnswer:
        """POST /oauth/introspect (RFC 7662)."""
        ...

    async def revoke(self, request: OAuthRequest) -> OAuthAnswer:
        """POST /oauth/revoke (RFC 7009)."""
        ...

    async def allows_origin(self, origin: str) -> bool:
        """Whether pages of this origin may call us from a browser: those of public clients' redirect addresses."""
        ...

    def jwks(self) -> Mapping[str, Any]:
        """The public keys that verify our tokens (RFC 7517)."""
        ...

    def metadata(self) -> Mapping[str, Any]:
        """What the server can do, and nothing that it cannot (RFC 8414)."""
        ...
