"""What a client makes with its own key: assertions and DPoP proofs, sound ones and any other."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from platform_core.identity.oauth.dpop import token_hash
from platform_core.identity.oauth.public_keys import CLIENT_KINDS, import_public_jwk

Algorithm = Literal["ES256", "Ed25519", "PS256", "RS256"]
_numbers = itertools.count()


class _Anything(JWSRegistry):  # forgers keep no rules
    max_header_length = max_payload_length = 1_000_000

    def check_header(self, header: dict[str, Any]) -> None:
        """Whatever it is."""


@dataclass(frozen=True)
class HeldKey:
    """A private key of a client."""

    alg: Algorithm
    key: ECKey | OKPKey | RSAKey

    @classmethod
    def generate(cls, alg: Algorithm = "ES256") -> HeldKey:
        """A new key for the algorithm."""
        if alg == "ES256":
            return cls(alg, ECKey.generate_key("P-256"))
        return cls(alg, OKPKey.generate_key("Ed25519") if alg == "Ed25519" else RSAKey.generate_key(2048))

    @property
    def public(self) -> dict[str, Any]:
        """The public JWK."""
        return dict(self.key.as_dict(private=False))

    @property
    def jkt(self) -> str:
        """Its thumbprint."""
        return import_public_jwk(self.public, kinds=CLIENT_KINDS).thumbprint

    def sign(self, header: dict[str, Any], claims: dict[str, Any] | bytes) -> str:
        """A compact JWS with exactly this header."""
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        registry = _Anything(algorithms=[self.alg])
        return jws.serialize_compact(header, payload, self.key, registry=registry)

    def proof(
        self,
        method: str,
        url: str,
        *,
        now: datetime,
        nonce: str | None = None,
        token: str | None = None,
        header: dict[str, Any] | None = None,
        claims: dict[str, Any] | None = None,
    ) -> str:
        """A DPoP proof; `header` and `claims` replace parts of a sound one, None takes a member away."""
        said = {
            "jti": f"proof-{next(_numbers)}",
            "htm": method,
            "htu": url,
            "iat": int(now.timestamp()),
            "nonce": nonce,
            "ath": token_hash(token) if token is not None else None,
            **(claims or {}),
        }
        head = {"typ": "dpop+jwt", "alg": self.alg, "jwk": self.public, **(header or {})}
        return self.sign(_present(head), _present(said))

    def assertion(
        self,
        client_id: str,
        audience: object,
        *,
        now: datetime,
        header: dict[str, Any] | None = None,
        claims: dict[str, Any] | None = None,
    ) -> str:
        """A client assertion; `header` and `claims` replace parts of a sound one, None takes a member away."""
        said = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "jti": f"assertion-{next(_numbers)}",
            "iat": int(now.timestamp()),
            "exp": int(now.timestamp()) + 60,
            **(claims or {}),
        }
        return self.sign(_present({"alg": self.alg, **(header or {})}), _present(said))


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
