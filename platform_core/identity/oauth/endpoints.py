"""Introspection (RFC 7662) and revocation (RFC 7009): Authlib's base classes over what was read before (F15 to F17)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from sqlalchemy.ext.asyncio import AsyncEngine

from platform_core.identity.access import Access
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import TOKEN_INVALID
from platform_core.identity.oauth.clients import METHODS, Client
from platform_core.identity.oauth.details import present_details
from platform_core.identity.oauth.families import Families
from platform_core.identity.oauth.handles import read_handle
from platform_core.identity.oauth.server import TokenRequest
from platform_core.identity.principal import Principal
from platform_core.identity.repository_oauth import RefreshState, read_refresh
from platform_core.identity.revocation import news
from platform_core.kernel.commit import Audit, Plan
from platform_core.kernel.errors import PlatformError

_ABOUT_ACCESS = (
    "iss", "sub", "aud", "client_id", "exp", "iat", "jti", "grant_id", "merchant", "mode", "stores", "cnf",
    "acr", "auth_time", "act", "authorization_details",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccessFound:
    """A valid access token."""

    who: Principal
    claims: dict[str, Any]

    @property
    def client_id(self) -> str:
        """Whose it is."""
        return self.who.client_id

    def is_expired(self) -> bool:
        """It was verified."""
        return False

    def is_revoked(self) -> bool:
        """It was verified."""
        return False

    def check_client(self, client: Client) -> bool:
        """Whether it is this client's."""
        return self.client_id == client.get_client_id()

    def describe(self) -> dict[str, Any]:
        """The token's claims, with the scopes that it still has: rows decide, never the token's copy."""
        about = {name: self.claims[name] for name in _ABOUT_ACCESS if name in self.claims}
        kind = "DPoP" if "cnf" in self.claims else "Bearer"
        if "authorization_details" in about:
            about["authorization_details"] = list(present_details(self.who.details, self.who.scopes))
        return {"scope": " ".join(sorted(self.who.scopes)), "token_type": kind, **about}


@dataclass(frozen=True, slots=True)
class RefreshFound:
    """A refresh token that exists."""

    state: RefreshState
    now: datetime
    issuer: str

    @property
    def client_id(self) -> str:
        """Whose it is."""
        client_id: str = self.state.family.client_id
        return client_id

    @property
    def ends_at(self) -> datetime:
        """When it, or its family, has lived long enough."""
        ends_at: datetime = min(self.state.token.expires_at, self.state.family.expires_at)
        return ends_at

    def is_expired(self) -> bool:
        """Whether it, or its family, lived long enough."""
        return self.ends_at <= self.now

    def is_revoked(self) -> bool:
        """Whether it was used or its family or grant was ended."""
        state = self.state
        return state.token.used_at is not None or state.family.state != "active" or not state.grant.is_active

    def check_client(self, client: Client) -> bool:
        """Whether it is this client's."""
        return self.client_id == client.get_client_id()

    def describe(self) -> dict[str, Any]:
        """What it can still become."""
        state = self.state
        return {
            "scope": " ".join(sorted(frozenset(state.family.scopes.split()) & state.grant.scopes)),
            "client_id": state.family.client_id,
            "sub": state.family.merchant_id,
            "iss": self.issuer,
            "exp": int(self.ends_at.timestamp()),
            "iat": int(state.token.created_at.timestamp()),
            "grant_id": state.family.grant_id,
        }


Found = AccessFound | RefreshFound


class Introspection(IntrospectionEndpoint):  # type: ignore[misc]  # Authlib ships no types
    """For confidential clients' own tokens, and for resource servers of the operator."""

    CLIENT_AUTH_METHODS = [method for method in METHODS if method != "none"]  # noqa: RUF012 - Authlib's name and kind

    def authenticate_token(self, request: TokenRequest, client: Client) -> Found | None:
        """What was found, if this client may know of it; hints are ignored (F16)."""
        found: Found | None = request.prepared
        return found if found is not None and (client.state.may_introspect_any or found.check_client(client)) else None

    def introspect_token(self, token: Found) -> dict[str, Any]:
        """The answer about an active token."""
        return token.describe()


class Revocation(RevocationEndpoint):  # type: ignore[misc]  # Authlib ships no types
    """A refresh token ends its family, an access token only itself; the grant stays."""

    CLIENT_AUTH_METHODS = list(METHODS)  # noqa: RUF012 - Authlib's name and kind
    deps: IdentityDeps  # set by the subclass that `make_endpoints` makes

    def check_params(self, request: TokenRequest, client: Client) -> None:
        """The route did; hints are ignored (F16)."""

    def query_token(self, token_string: str, token_type_hint: str | None) -> None:
        """Never asked: tokens are looked up before."""
        raise AssertionError("the token is looked up before Authlib is called")

    def authenticate_token(self, request: TokenRequest, client: Client) -> Found | None:
        """What was found. Another client's token is left alone, and nothing is said about it."""
        found: Found | None = request.prepared
        return found if found is not None and found.check_client(client) else None

    def revoke_token(self, token: Found, request: TokenRequest) -> None:
        """Put the end into the plan."""
        if isinstance(token, AccessFound):
            who = token.who
            part = news(
                self.deps.ids, kind="token", subject_id=who.token_id, merchant_id=who.merchant_id, now=request.now
            )
            seen = Audit("token.revoked", who.client_id, who.token_id, who.merchant_id, {"grant": who.grant_id})
            request.plan = Plan(who.merchant_id).add(part, seen)
        elif token.state.family.state == "active":
            family = token.state.family
            request.plan = Families(self.deps).end(
                family.id,
                merchant_id=family.merchant_id,
                client_id=family.client_id,
                version=family.version,
                why="revoked",
            )


def make_endpoints(deps: IdentityDeps) -> tuple[type[Introspection], type[Revocation]]:
    """The classes for Authlib's server."""
    return Introspection, type("BoundRevocation", (Revocation,), {"deps": deps})


class TokenFinder:
    """Looks up whatever a client calls a token."""

    def __init__(self, deps: IdentityDeps, reads: AsyncEngine, access: Access, *, issuer: str) -> None:
        self._deps = deps
        self._reads = reads
        self._access = access
        self._issuer = issuer

    async def find(self, token: str) -> Found | None:
        """A valid access token, or a refresh token that exists; None for everything else."""
        handle = read_handle(token, "rft")
        if handle is None:
            return await self._find_access(token)
        now = self._deps.clock.now()
        async with self._reads.connect() as connection:
            state = await read_refresh(connection, handle[0], now=now)
        if state is None or not self._deps.vault.matches(handle[0], handle[1], state.token.digest):
            return None
        return RefreshFound(state, now, self._issuer)

    async def _find_access(self, token: str) -> AccessFound | None:
        try:
            who, claims = await self._access.inspect(token)
        except PlatformError as error:
            if error.declared is TOKEN_INVALID:
                return None
            raise
        return AccessFound(who, claims)
