"""From a bearer token to a `Principal`: verified once, then known by its hash until something changes.

Tokens: RFC 9068 (`typ at+jwt`), ES256 only, read 2026-11-22. A token's copy of rights is never believed: the rows of
client, grant and merchant are read on a miss, and the feed of revocations says when to read them again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from platform_core.identity import repository
from platform_core.identity.errors import ACCESS_UNAVAILABLE, TOKEN_INVALID
from platform_core.identity.principal import Principal, narrowed
from platform_core.identity.rate_limits import RateLimits
from platform_core.identity.repository import TokenState
from platform_core.identity.request_proofs import RequestProofs
from platform_core.identity.revocation import CACHE_S, DATABASE_AWAY, STALE_S, RevocationFeed
from platform_core.identity.signing_keys import ALGORITHM, SigningKeys
from platform_core.kernel.clock import Clock
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError

TOKEN_BYTES_MAX: Final = 8192
ENTRIES_MAX: Final = 50_000
LEEWAY_S: Final = 5  # for clocks of several machines: how far ahead `iat` may lie; `exp` gets none
HOOK_CALL: Final = "call"
"""The claim that makes an access token a hook token: which call of a plugin it belongs to (identity.md section 6)."""
_REGISTRY: Final = JWSRegistry(algorithms=[ALGORITHM])
_HEADER: Final = frozenset({"alg", "typ", "kid"})
_INVALID_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="arsenal", error="invalid_token"'}


def audience(public_origin: str) -> str:
    """What our access tokens are for: the API."""
    return f"{public_origin}/v1"


@dataclass(slots=True)
class _Entry:
    principal: Principal
    fresh_until: float  # seconds since the epoch: of the token's end and a minute, the earlier
    epoch: int


class Access:
    """Answers "who is this?" for every request. One per process."""

    def __init__(
        self,
        *,
        database: Database,
        keys: SigningKeys,
        feed: RevocationFeed,
        clock: Clock,
        public_origin: str,
        limits: RateLimits | None = None,
        proofs: RequestProofs | None = None,
    ) -> None:
        """`limits`: by default those of a process by itself. Without `proofs` no bound token passes."""
        self._reads = database.singles("auth")
        self._keys = keys
        self._feed = feed
        self._clock = clock
        self._issuer = public_origin
        self._audience = audience(public_origin)
        self.limits = limits or RateLimits(clock)
        self.proofs = proofs
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    async def authenticate(self, token: str) -> Principal:
        """The principal behind a token.

        401 `identity.token_invalid` for everything that is wrong with it, in one text; 503
        `identity.access_unavailable` when neither the feed nor the database can say whether it still holds.
        """
        if len(token) > TOKEN_BYTES_MAX or not token.isascii():
            raise _invalid()
        digest = hashlib.sha256(token.encode("ascii")).digest()
        now = self._clock.now()
        entry = self._entries.get(digest)
        if entry is not None and now.timestamp() < entry.fresh_until and self._holds(entry):
            self._entries.move_to_end(digest)
            return entry.principal
        self._entries.pop(digest, None)
        epoch = self._feed.epoch  # before reading: what changes while we read is news to this entry
        principal = await self._examine(token, now)
        fresh_until = min(float(principal.expires_at), now.timestamp() + CACHE_S)
        self._entries[digest] = _Entry(principal, fresh_until, epoch)
        if len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)
        return principal

    def _holds(self, entry: _Entry) -> bool:
        """Whether nothing was heard of anything that stands behind the entry; stamps it if so."""
        feed = self._feed
        if not feed.is_fresh:
            return False
        if entry.epoch == feed.epoch:
            return True
        who, since = entry.principal, entry.epoch
        is_touched = (
            feed.has_news("grant", who.grant_id, since=since)
            or feed.has_news("merchant", who.merchant_id, since=since)
            or feed.has_news("client", who.client_id, since=since)
            or feed.has_news("app", who.app_id, since=since)
            or feed.has_news("token", who.token_id, since=since)
            or feed.has_news("family", who.family_id, since=since)
            or feed.has_news("keys", who.key_id, since=since)
        )
        if not is_touched:
            entry.epoch = feed.epoch
        return not is_touched

    async def _heed_keys(self) -> None:
        """With a stale feed the rows say which keys hold."""
        if not self._feed.is_fresh:
            try:
                await self._keys.read_within(STALE_S)
            except DATABASE_AWAY as error:
                raise ACCESS_UNAVAILABLE.error(retry_after_s=1) from error

    async def inspect(self, token: str) -> tuple[Principal, dict[str, Any]]:
        """The principal and the claims of a token, read anew and kept nowhere: for introspection and revocation.

        Raises like `authenticate`.
        """
        if len(token) > TOKEN_BYTES_MAX or not token.isascii():
            raise _invalid()
        await self._heed_keys()
        now = self._clock.now()
        kid, claims = self._verify(token, now)
        return await self._back(kid, claims, now), claims

    async def read_hook_token(self, token: str) -> dict[str, Any]:  # Any: claims of a JWT
        """The claims of a remote plugin's hook token; they are its issuer's word, and what stands behind them is read
        by the gate. 401 `identity.token_invalid`, also for every other kind of token; 503
        `identity.access_unavailable`.
        """
        if len(token) > TOKEN_BYTES_MAX or not token.isascii():
            raise _invalid()
        await self._heed_keys()
        _, claims = self._verify(token, self._clock.now())
        if HOOK_CALL not in claims:
            raise _invalid()
        return claims

    async def _examine(self, token: str, now: datetime) -> Principal:
        await self._heed_keys()
        kid, claims = self._verify(token, now)
        return await self._back(kid, claims, now)

    async def _back(self, kid: str, claims: dict[str, Any], now: datetime) -> Principal:
        """The principal, if the rows stand behind the claims."""
        if HOOK_CALL in claims:  # a hook token leads to the gate alone, which counts, limits and accounts for its use
            raise _invalid()
        try:
            state = await repository.read_token_state(
                self._reads,
                client_id=claims["client_id"],
                grant_id=claims.get("grant_id"),
                family_id=claims.get("fam"),
                token_id=claims["jti"],
                now=now,
            )
        except DATABASE_AWAY as error:
            raise ACCESS_UNAVAILABLE.error(retry_after_s=1) from error
        if state is None or not _is_backed(state, claims):
            raise _invalid()
        return _principal(state, claims, kid)

    def _verify(self, token: str, now: datetime) -> tuple[str, dict[str, Any]]:
        """Signature, header and registered claims: the one list of what a token must show (RFC 9068 section 4)."""
        moment = int(now.timestamp())
        expected = jwt.JWTClaimsRegistry(
            now=moment,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
            sub={"essential": True},
            client_id={"essential": True},
        )
        try:
            verified = jwt.decode(token, self._find_key, algorithms=[ALGORITHM], registry=_REGISTRY)
            expected.validate(verified.claims)
        except (JoseError, ValueError) as error:  # ValueError: base64, UTF-8 or JSON that is none
            raise _invalid() from error
        if moment >= verified.claims["exp"]:
            raise _invalid()
        return verified.header["kid"], verified.claims

    def _find_key(self, signature: Any) -> ECKey:  # joserfc hands over one of several kinds of object
        header = signature.headers()
        kid = header.get("kid")
        key = self._keys.find(kid) if isinstance(kid, str) else None
        if header.keys() != _HEADER or header["typ"] != "at+jwt" or key is None:
            raise _invalid()
        return key


def _is_backed(state: TokenState, claims: dict[str, Any]) -> bool:
    """Whether the rows still stand behind the token."""
    if (
        state.is_token_revoked
        or state.is_family_ended
        or not state.is_client_active
        or state.mode != claims.get("mode")
    ):
        return False
    if claims.get("grant_id") is None:
        return claims.get("merchant") is None
    return (
        state.is_grant_active
        and state.grant_floor <= claims.get("gv", 0) <= state.grant_version
        and state.merchant_id == claims.get("merchant")
        and state.merchant_mode == state.mode
    )


def _principal(state: TokenState, claims: dict[str, Any], kid: str) -> Principal:
    scopes = frozenset(claims.get("scope", "").split())
    return Principal(
        kind="app",
        client_id=claims["client_id"],
        app_id=state.app_id,
        merchant_id=state.merchant_id,
        standing=state.standing or "active",
        mode=state.mode,
        scopes=scopes & state.scopes if state.merchant_id is not None else scopes,
        stores=narrowed(state.stores, claims.get("stores")),
        grant_id=claims.get("grant_id"),
        grant_version=state.grant_version,
        grant_kind=state.grant_kind,
        details=state.details,
        token_id=claims["jti"],
        key_id=kid,
        expires_at=claims["exp"],
        api_version=state.api_version,
        family_id=claims.get("fam"),
        acr=claims.get("acr"),
        auth_time=claims.get("auth_time"),
        tier=state.tier,
        must_sign=state.must_sign,
        jkt=claims["cnf"]["jkt"] if "cnf" in claims else None,
        actors=tuple(_actors(claims.get("act"))),
    )


def _actors(act: dict[str, Any] | None) -> Iterator[str]:
    """Who passed the token on, the latest first (RFC 8693 section 4.1)."""
    while act is not None:
        yield act["sub"]
        act = act.get("act")


def _invalid() -> PlatformError:
    return TOKEN_INVALID.error(headers=_INVALID_CHALLENGE)
