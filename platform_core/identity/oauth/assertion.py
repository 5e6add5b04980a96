"""private_key_jwt: a client proves itself by a JWT that its key signed (RFC 7521, RFC 7523 sections 2.2 and 3).

Pure: who the keys belong to is read before, and the `jti` is claimed once by the caller's plan (`seen_jti.claim`).
OpenID Connect Core 1.0 section 9 names `iss`, `sub`, `aud`, `jti`, `exp` as required; we ask for all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeGuard

from platform_core.identity.client_keys import ClientKeys
from platform_core.identity.oauth.compact import (
    JTI,
    Compact,
    CompactRefused,
    SizedRegistry,
    is_seconds,
    read_compact,
)
from platform_core.identity.oauth.protocol import OAuthRefusal
from platform_core.identity.oauth.public_keys import CLIENT_KINDS, PublicKey, import_public_jwk
from platform_core.identity.seen_jti import OnceOnly, claim
from platform_core.kernel.ids import is_id

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS: Final = ("ES256", "PS256", "RS256")
LIFE_S_MAX: Final = 3660  # Authlib's client signs for 3,600 (F22)
AHEAD_S_MAX: Final = 10  # clocks of clients; FAPI 2.0 Security Profile section 5.3.2.1 asks for 10
_REGISTRY: Final = SizedRegistry(algorithms=list(ALGORITHMS))
_HEADER: Final = frozenset({"alg", "typ", "kid"})
_TYPES: Final = frozenset({"jwt", "client-authentication+jwt"})
_NOBODY: Final = import_public_jwk(  # RFC 7515 appendix A.3: what an unknown client's assertion is checked against
    {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    },
    kinds=CLIENT_KINDS,
)


@dataclass(frozen=True, slots=True)
class Assertion:
    """A proof that the client made; good once. `issued` is the earliest moment it can have been made in."""

    client_id: str
    jti: str
    issued: datetime
    expires: datetime


@dataclass(frozen=True, slots=True)
class ReadAssertion:
    """An assertion as read, before anything in it is believed: whose keys to look up, and which of them."""

    compact: Compact
    client_id: str
    kid: str | None

    def verify(self, keys: Sequence[PublicKey], *, audiences: Collection[str], now: datetime) -> Assertion:
        """The proof. `audiences`: our issuer, the token endpoint and the endpoint called. `now` is aware.

        Raises `OAuthRefusal` `invalid_client` in one text, after one verification also where there is no key (F35).
        """
        if not self._is_signed(keys):
            raise _refused()
        return self._checked(audiences, int(now.timestamp()))

    def _is_signed(self, keys: Sequence[PublicKey]) -> bool:
        """With `kid` the key of that name, without it any of the client's keys of the algorithm (F32)."""
        alg = self.compact.header["alg"]
        fitting = [key for key in keys if self.kid in (None, key.kid, key.thumbprint) and alg in key.algorithms]
        if not fitting:
            self.compact.verify(_NOBODY, _REGISTRY)
            return False
        return any(self.compact.verify(key, _REGISTRY) for key in fitting)

    def _checked(self, audiences: Collection[str], now: int) -> Assertion:
        claims = self.compact.claims
        named = claims.get("aud")
        listed = named if isinstance(named, list) else [named]
        # All of a list must be us: an assertion for us and for another could be carried there and back.
        is_ours = bool(listed) and all(isinstance(one, str) and one in audiences for one in listed)
        expires, issued, begins = claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)
        jti = claims.get("jti")
        if (
            not is_ours
            or claims.get("iss") != self.client_id
            or not _is_within(expires, now + 1, now + LIFE_S_MAX)
            or not _is_within(begins, 0, now + AHEAD_S_MAX)
            or ("iat" in claims and not _is_within(issued, 0, now + AHEAD_S_MAX))
            or not isinstance(jti, str)
            or JTI.fullmatch(jti) is None
        ):
            raise _refused()
        earliest = issued if isinstance(issued, int) else expires - LIFE_S_MAX
        return Assertion(self.client_id, jti, _moment(earliest), _moment(expires))


def read_assertion(text: str) -> ReadAssertion:
    """What a client sent as `client_assertion`. Raises `OAuthRefusal` `invalid_client`.

    A header of other members than `alg`, `typ`, `kid` is refused: a key, or an address of one, in the header belongs
    to whoever wrote it.
    """
    try:
        compact = read_compact(text)
    except CompactRefused as error:
        raise _refused() from error
    header, subject = compact.header, compact.claims.get("sub")
    kid, typ = header.get("kid"), header.get("typ", "JWT")
    is_plain = (
        header.keys() <= _HEADER
        and header.get("alg") in ALGORITHMS
        and isinstance(typ, str)
        and typ.lower() in _TYPES
        and (kid is None or (isinstance(kid, str) and JTI.fullmatch(kid) is not None))
    )
    if not is_plain or not isinstance(subject, str) or not _is_client_id(subject):
        raise _refused()
    return ReadAssertion(compact, subject, kid)


def _is_client_id(text: str) -> bool:
    """By form: `app_test_...` or `app_live_...` (`identity.apps`)."""
    kind, _, rest = text.partition("_")
    return kind == "app" and any(is_id(mode, rest) for mode in ("test", "live"))


def _is_within(value: object, low: int, high: int) -> TypeGuard[int]:
    return is_seconds(value) and low <= value <= high


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def _refused() -> OAuthRefusal:
    return OAuthRefusal("invalid_client", "The client is unknown or its secret is wrong.")


class Assertions:
    """private_key_jwt of one process: whose keys, and that each assertion counts once."""

    algorithms: Final = ALGORITHMS

    def __init__(self, keys: ClientKeys) -> None:
        self._keys = keys

    def read(self, text: str) -> ReadAssertion:
        """See `read_assertion`."""
        return read_assertion(text)

    async def keys_of(self, client_id: str, *, kid: str | None = None) -> tuple[PublicKey, ...]:
        """See `ClientKeys.find`."""
        return await self._keys.find(client_id, kid=kid)

    def claim(self, proof: Assertion) -> OnceOnly:
        """The part of a plan of any tenant that uses the assertion up. Refusals: `AlreadySeen`, `Forgotten`."""
        return claim("assertion", proof.client_id, proof.jti, proof.expires, issued=proof.issued)
