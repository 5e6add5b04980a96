"""DPoP: a proof that whoever shows a token holds the key that it is bound to (RFC 9449, read 2026-11-22).

Pure but for the nonce: `Proofs.check` says whether a proof is sound; that it is shown once is a part of the caller's
plan (`claim_proof`). Proofs always carry our nonce, so a proof made ahead of time by whoever once had the key is worth
nothing later.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from platform_core.identity import base64url
from platform_core.identity.oauth.compact import (
    JTI,
    Compact,
    CompactRefused,
    SizedRegistry,
    is_seconds,
    read_compact,
)
from platform_core.identity.oauth.dpop_nonce import Nonces
from platform_core.identity.oauth.protocol import OAuthRefusal
from platform_core.identity.oauth.public_keys import PROOF_KINDS, KeyRefused, PublicKey, import_public_jwk
from platform_core.identity.seen_jti import OnceOnly, claim

ALGORITHMS: Final = ("ES256", "Ed25519")
AGE_S_MAX: Final = 300
AHEAD_S_MAX: Final = 60
NONCE_HEADER: Final = "DPoP-Nonce"
_REGISTRY: Final = SizedRegistry(algorithms=list(ALGORITHMS))
_HEADER: Final = frozenset({"typ", "alg", "jwk"})


@dataclass(frozen=True, slots=True)
class Proof:
    """A sound proof. `next_nonce` is what to send as DPoP-Nonce, if the client should change to it."""

    jkt: str
    jti: str
    expires: datetime
    birth: int
    next_nonce: str | None


class Proofs:
    """Checks the proofs of one process."""

    def __init__(self, nonces: Nonces) -> None:
        self.nonces = nonces

    def check(self, header: str, method: str, url: str, *, now: datetime, token: str | None = None) -> Proof:
        """The proof in a DPoP header for a request to `url`, which is our public origin and the path, without a query.

        `token` is the access token that came with it; at OAuth endpoints there is none. Raises `OAuthRefusal`
        `invalid_dpop_proof`, or `use_dpop_nonce` for a proof that lacks nothing but a fresh nonce; with the latter
        goes the header DPoP-Nonce (`nonce_headers`).
        """
        compact, key = _read(header)
        if not compact.verify(key, _REGISTRY):
            raise _refused()
        claims, moment = compact.claims, int(now.timestamp())
        jti, issued = claims.get("jti"), claims.get("iat")
        if (
            not isinstance(jti, str)
            or JTI.fullmatch(jti) is None
            or claims.get("htm") != method
            or _without_query(claims.get("htu")) != url
            or not is_seconds(issued)
            or not moment - AGE_S_MAX <= issued <= moment + AHEAD_S_MAX
            or (token is not None and claims.get("ath") != token_hash(token))
        ):
            raise _refused()
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not self.nonces.is_good(nonce, now):
            raise OAuthRefusal("use_dpop_nonce", "The proof needs the nonce of the header DPoP-Nonce.")
        fresh = self.nonces.current(now)
        expires = datetime.fromtimestamp(issued + AGE_S_MAX + 1, tz=UTC)
        return Proof(key.thumbprint, jti, expires, self.nonces.birth, fresh if fresh != nonce else None)

    def nonce_headers(self, now: datetime) -> dict[str, str]:
        """The header that names the nonce to use."""
        return {NONCE_HEADER: self.nonces.current(now)}


def claim_proof(proof: Proof) -> OnceOnly:
    """The part of a plan that lets the proof count once, whatever it is shown for.

    Refusals: `AlreadySeen` (`invalid_dpop_proof`); `Forgotten` (tell `Nonces.learn`, then `use_dpop_nonce`).
    """
    return claim("dpop", proof.jkt, proof.jti, proof.expires, birth=proof.birth)


def token_hash(token: str) -> str:
    """`ath` of an access token (RFC 9449 section 4.2)."""
    return base64url.encode(hashlib.sha256(token.encode("ascii")).digest())


def _read(header: str) -> tuple[Compact, PublicKey]:
    """The proof and its own key: exactly the members of RFC 9449 section 4.2, so no `kid`, `jku`, `x5u`, `crit`."""
    try:
        compact = read_compact(header)
        if (
            compact.header.keys() != _HEADER
            or compact.header["typ"] != "dpop+jwt"
            or compact.header["alg"] not in ALGORITHMS
        ):
            raise _refused()
        return compact, import_public_jwk(compact.header["jwk"], kinds=PROOF_KINDS)
    except (CompactRefused, KeyRefused) as error:
        raise _refused() from error


def _without_query(address: Any) -> str | None:  # Any: JSON
    """RFC 9449 section 4.3: query and fragment of `htu` do not count."""
    return address.partition("#")[0].partition("?")[0] if isinstance(address, str) else None


def _refused() -> OAuthRefusal:
    return OAuthRefusal("invalid_dpop_proof", "The DPoP proof is not valid for this request.")
