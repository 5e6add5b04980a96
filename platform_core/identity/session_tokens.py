"""What a console hands to an app that is embedded in it: that this person is signed in here, now, for this merchant.

A JWT of our own (`typ session+jwt`), for one client, for sixty seconds, good once; the app exchanges it for an access
token (RFC 8693). It is no access token: the API asks for another `typ`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from platform_core.identity import repository_people
from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.oauth.compact import CompactRefused, read_compact
from platform_core.identity.seen_jti import OnceOnly, claim
from platform_core.identity.sessions import SignedIn, next_step, signed_in_of, without_lost_rights
from platform_core.identity.signing_keys import ALGORITHM, SigningKeys

LIFE_S: Final = 60
_TYPE: Final = "session+jwt"
_HEADER: Final = frozenset({"alg", "typ", "kid"})
_REGISTRY: Final = JWSRegistry(algorithms=[ALGORITHM])


class SessionTokenRefused(ValueError):
    """The text is no living session token for this client."""


@dataclass(frozen=True, slots=True)
class SessionSubject:
    """Whom a session token speaks for, with the rights that the session's rows give now."""

    person_id: str
    merchant_id: str
    scopes: frozenset[str]
    stores: frozenset[str] | None
    acr: str
    auth_time: int
    jti: str
    issued: datetime
    expires: datetime

    def claim(self) -> OnceOnly:
        """The part of a plan that uses the token up."""
        return claim("session", self.merchant_id, self.jti, self.expires, issued=self.issued)


class SessionTokens:
    """Makes and reads session tokens."""

    def __init__(self, deps: IdentityDeps, keys: SigningKeys, *, issuer: str) -> None:
        self._deps = deps
        self._keys = keys
        self._issuer = issuer
        self._reads = single_reads(deps.database)

    def mint(self, who: SignedIn, *, client_id: str) -> str:
        """A token for the client to exchange. ValueError for somebody who acts for no merchant."""
        if who.merchant_id is None:
            raise ValueError("only a merchant's staff has embedded apps")
        now = int(self._deps.clock.now().timestamp())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "sub": who.person_id,
            "aud": client_id,
            "iat": now,
            "exp": now + LIFE_S,
            "jti": self._deps.ids.mint("tok"),
            "sid": who.session_id,
            "merchant": who.merchant_id,
        }
        # A set of the one key: a bare key gets no `kid` (F01).
        return jwt.encode({"alg": ALGORITHM, "typ": _TYPE}, claims, self._keys.signing, algorithms=[ALGORITHM])

    async def read(self, text: str, *, client_id: str) -> SessionSubject:
        """Whom it speaks for, if the session still lives. Raises `SessionTokenRefused`; writes nothing."""
        claims = self._verified(text, client_id)
        async with self._reads.connect() as connection:
            state = await repository_people.read_session(connection, claims["sid"])
        if state is None or state.ended_at is not None or state.session_epoch != state.person_epoch:
            raise SessionTokenRefused("the session ended")
        state = without_lost_rights(state, self._deps.clock.now())
        if next_step(state) is not None:
            raise SessionTokenRefused("the person has lost the place")
        who = signed_in_of(state)
        if who.merchant_id is None or who.merchant_id != claims["merchant"]:
            raise SessionTokenRefused("the person acts for somebody else now")
        return SessionSubject(
            person_id=who.person_id,
            merchant_id=who.merchant_id,
            scopes=who.scopes,
            stores=who.stores,
            acr=who.acr,
            auth_time=who.auth_time,
            jti=claims["jti"],
            issued=datetime.fromtimestamp(claims["iat"], tz=UTC),
            expires=datetime.fromtimestamp(claims["exp"], tz=UTC),
        )

    def _verified(self, text: str, client_id: str) -> dict[str, Any]:
        """The claims. What we signed ourselves with this `typ` has all of them."""
        now = int(self._deps.clock.now().timestamp())
        expected = jwt.JWTClaimsRegistry(
            now=now,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": client_id},
            exp={"essential": True},
        )
        try:
            header = read_compact(text).header
            if header.keys() != _HEADER or header["typ"] != _TYPE:
                raise SessionTokenRefused("no session token")
            verified = jwt.decode(text, self._find_key, algorithms=[ALGORITHM], registry=_REGISTRY)
            expected.validate(verified.claims)
        except (CompactRefused, JoseError) as error:
            raise SessionTokenRefused("no session token for this client") from error
        if now >= verified.claims["exp"]:
            raise SessionTokenRefused("too old")
        return verified.claims

    def _find_key(self, signature: Any) -> ECKey:  # joserfc hands over one of several kinds of object
        kid = signature.headers()["kid"]
        key = self._keys.find(kid) if isinstance(kid, str) else None
        if key is None:
            raise SessionTokenRefused("unknown key")
        return key
