"""Access tokens (RFC 9068) and id_tokens (OpenID Connect Core 1.0 section 2), by our clock, ids and keys."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from joserfc import jwt
from joserfc.jwk import KeySet
from sqlalchemy import Row

from platform_core.identity.models import Mode
from platform_core.identity.oauth.clients import Client
from platform_core.identity.oauth.details import present_details
from platform_core.identity.repository_oauth import GrantState
from platform_core.identity.signing_keys import ALGORITHM
from platform_core.kernel.clock import Clock
from platform_core.kernel.ids import Ids

ACCESS_TOKEN_S: Final = 600
ID_TOKEN_S: Final = 600
STORES_IN_TOKEN_MAX: Final = 20
DETAILS_IN_TOKEN_MAX: Final = 2048


@dataclass(slots=True, kw_only=True)
class Acting:
    """On whose behalf a token is made, and on which grounds: what Authlib calls the user."""

    client_id: str
    mode: Mode
    merchant_id: str | None = None  # None: an app by itself
    grant_id: str | None = None
    grant_version: int = 0
    stores: frozenset[str] | None = None
    family_id: str | None = None
    details: tuple[dict[str, Any], ...] = ()
    jkt: str | None = None  # thumbprint of the key that the token is bound to (RFC 9449)
    acr: str | None = None
    auth_time: int | None = None
    nonce: str | None = None
    actors: dict[str, Any] | None = None  # `act` (RFC 8693)
    refresh_token: str | None = None  # handed out with the access token
    token_id: str = ""  # of the access token, once it is made

    @classmethod
    def within(cls, grant: GrantState, *, client_id: str, **grounds: Any) -> Acting:
        """For the merchant of a grant, as the grant stands now."""
        return cls(
            client_id=client_id,
            mode=grant.merchant_mode,
            merchant_id=grant.merchant_id,
            grant_id=grant.grant_id,
            grant_version=grant.version,
            stores=grant.stores,
            **grounds,
        )

    @classmethod
    def consented(
        cls, given: Row[Any], grant: GrantState, *, family_id: str, scopes: frozenset[str], jkt: str | None
    ) -> Acting:
        """On the grounds of a consent, as a code or a family of tokens keeps them in `given`, as far as the grant
        still reaches. `scopes`: those of the token.
        """
        return cls.within(
            grant,
            client_id=given.client_id,
            family_id=family_id,
            details=present_details(grant.details, scopes) if json.loads(given.details) else (),
            jkt=jkt,
            acr=given.acr,
            auth_time=given.auth_time,
            nonce=given.nonce,
        )

    def get_user_id(self) -> str:
        """`sub`: the merchant, else the client."""
        return self.merchant_id or self.client_id


class TokenGenerator(JWTBearerTokenGenerator):  # type: ignore[misc]  # Authlib ships no types
    """RFC 9068 access tokens by our clock and ids: ES256, 600 s whatever the grant (F02, F06, F18, F34)."""

    def __init__(self, *, issuer: str, audience: str, keys: Callable[[], KeySet], clock: Clock, ids: Ids) -> None:
        super().__init__(
            issuer,
            alg=ALGORITHM,
            refresh_token_generator=lambda client, grant_type, user, scope: user.refresh_token,
            expires_generator=lambda client, grant_type: ACCESS_TOKEN_S,
        )
        self._audience = audience
        self._keys = keys
        self._clock = clock
        self._ids = ids

    def __call__(
        self,
        *,
        grant_type: str,
        client: Client,
        user: Acting,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        """Authlib's answer, with what DPoP and RAR add to it (RFC 9449 section 5, RFC 9396 section 7)."""
        has_refresh = include_refresh_token and user.refresh_token is not None
        token: dict[str, Any] = super().generate(grant_type, client, user, scope, expires_in, has_refresh)
        if user.jkt is not None:
            token["token_type"] = "DPoP"  # noqa: S105 - a kind
        if user.details:
            token["authorization_details"] = list(user.details)
        if user.grant_id is not None:
            token["grant_id"] = user.grant_id
        return token

    def get_jwks(self) -> KeySet:
        """A set of the current key alone: a bare key gets no `kid`, a set of two signs with either (F01)."""
        return self._keys()

    def get_audiences(self, client: Client, user: Acting, scope: str) -> str:
        """The API, whatever the client (RFC 8707)."""
        return self._audience

    def get_jti(self, client: Client, grant_type: str, user: Acting, scope: str) -> str:
        """An id of ours."""
        user.token_id = self._ids.mint("tok")
        return user.token_id

    def get_acr(self, user: Acting) -> str | None:
        """How the person signed in who stands behind the token."""
        return user.acr

    def get_auth_time(self, user: Acting) -> int | None:
        """When; seconds since the epoch, UTC."""
        return user.auth_time

    def get_extra_claims(self, client: Client, grant_type: str, user: Acting, scope: str) -> dict[str, Any]:
        """Whom the token acts for; also the times, which Authlib takes from the operating system (F34)."""
        now = int(self._clock.now().timestamp())
        claims: dict[str, Any] = {"iat": now, "exp": now + ACCESS_TOKEN_S, "mode": user.mode}
        if user.merchant_id is not None:
            claims |= {"merchant": user.merchant_id, "grant_id": user.grant_id, "gv": user.grant_version}
        if user.family_id is not None:
            claims["fam"] = user.family_id
        if user.stores is not None and len(user.stores) <= STORES_IN_TOKEN_MAX:
            claims["stores"] = sorted(user.stores)
        if user.jkt is not None:
            claims["cnf"] = {"jkt": user.jkt}
        if user.actors is not None:
            claims["act"] = user.actors
        if user.details and len(json.dumps(user.details, ensure_ascii=False).encode()) <= DETAILS_IN_TOKEN_MAX:
            claims["authorization_details"] = list(user.details)
        return claims

    def make_id_token(self, client: Client, user: Acting, access_token: str) -> str:
        """Who the merchant is, for the client alone. ES256, the same `sub` as the access token's."""
        now = int(self._clock.now().timestamp())
        half = hashlib.sha256(access_token.encode("ascii")).digest()[:16]
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": user.get_user_id(),
            "aud": client.get_client_id(),
            "iat": now,
            "exp": now + ID_TOKEN_S,
            "at_hash": urlsafe_b64encode(half).rstrip(b"=").decode(),
        }
        optional = {"nonce": user.nonce, "auth_time": user.auth_time, "acr": user.acr}
        claims |= {name: value for name, value in optional.items() if value is not None}
        return jwt.encode({"alg": ALGORITHM, "typ": "JWT"}, claims, self._keys(), algorithms=[ALGORITHM])
