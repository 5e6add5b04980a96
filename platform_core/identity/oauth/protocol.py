"""What the platform asks of an authorization server, whoever implements it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class OAuthRequest:
    """A request to an OAuth endpoint, read and bounded: no parameter is doubled, none is empty."""

    method: str
    path: str
    authorization: str | None  # the header, as it came
    form: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OAuthAnswer:
    """What to send back: RFC 6749 JSON."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class OAuthRefusal(Exception):
    """A refusal with the RFC's `error` and a description of our own: a constant in ASCII without quotes (F03)."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(error, description)
        self.error = error
        self.description = description
        self.status = status

    def answer(self, headers: Mapping[str, str] | None = None) -> OAuthAnswer:
        """The refusal as an answer (RFC 6749 section 5.2)."""
        body = {"error": self.error, "error_description": self.description}
        return OAuthAnswer(self.status, body, headers or {})


class OAuthServer(Protocol):
    """An authorization server. Its methods never raise for what a caller sent; they answer."""

    async def issue_token(self, request: OAuthRequest) -> OAuthAnswer:
        """POST /oauth/token. Raises 503 PlatformErrors while the database is away."""
        ...

    def jwks(self) -> Mapping[str, Any]:
        """The public keys that verify our tokens (RFC 7517)."""
        ...

    def metadata(self) -> Mapping[str, Any]:
        """What the server can do, and nothing that it cannot (RFC 8414)."""
        ...
