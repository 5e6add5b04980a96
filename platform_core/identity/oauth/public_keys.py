"""Public keys of strangers: uploaded by developers, fetched from their key sets, sent in DPoP proofs.

joserfc 1.8.0's `import_key` on such input raises KeyError for an unknown curve and ValueError for a point off it, and
takes symmetric keys, bare strings and private keys (F31). Here a key has exactly the members of its kind.
Sources: RFC 7517, RFC 7518 section 6, RFC 8037 section 2, RFC 7638 section 3, read 2026-11-22.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from joserfc.jwk import ECKey, OKPKey, RSAKey

from platform_core.identity import base64url

KeyKind = Literal["P-256", "Ed25519", "RSA"]
CLIENT_KINDS: Final[frozenset[KeyKind]] = frozenset({"P-256", "Ed25519", "RSA"})
"""What an app may register."""
PROOF_KINDS: Final[frozenset[KeyKind]] = frozenset({"P-256", "Ed25519"})
"""What a DPoP proof may carry."""
ALGORITHMS: Final[Mapping[KeyKind, tuple[str, ...]]] = {
    "P-256": ("ES256",),
    "Ed25519": ("Ed25519",),
    "RSA": ("PS256", "RS256"),
}
RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 4096  # a longer one makes our verification the attacker's lever
_REQUIRED: Final[Mapping[KeyKind, tuple[str, ...]]] = {
    "P-256": ("crv", "kty", "x", "y"),
    "Ed25519": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
}
# RFC 7517 section 4: what may stand beside a key. None of it is believed but `kid`, `use` and `alg`.
_BESIDE: Final = frozenset({"kid", "use", "alg", "key_ops", "ext", "x5u", "x5c", "x5t", "x5t#S256"})
_KID: Final = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_MEMBER_MAX: Final = 1024  # characters; the modulus of 4096 bits has 683
# The encodings of points of small order, canonical or not: under such a key one signature fits many messages.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    )
)


class KeyRefused(ValueError):
    """The JWK is not a public key that we take; the words say why and repeat nothing of it."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies. `kid` is its holder's name for it, `thumbprint` ours and everybody's (RFC 7638)."""

    kind: KeyKind
    thumbprint: str
    jwk: Mapping[str, str]  # the members that make the key, nothing else
    key: ECKey | OKPKey | RSAKey
    kid: str | None = None
    alg: str | None = None  # where the holder bound the key to one algorithm

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What its signatures may be."""
        return (self.alg,) if self.alg is not None else ALGORITHMS[self.kind]


def import_public_jwk(value: object, *, kinds: frozenset[KeyKind]) -> PublicKey:
    """A key from parsed JSON, of its own members alone; what may stand beside them is dropped.

    Raises `KeyRefused` for everything that is not a sound public key of one of `kinds`.
    """
    if not isinstance(value, dict):
        raise KeyRefused("a key is a JSON object")
    kind = _kind(value)
    if kind not in kinds:
        raise KeyRefused("keys of this kind are not taken")
    required = _REQUIRED[kind]
    members = {name: value.get(name) for name in required}
    if not all(isinstance(member, str) for member in members.values()):
        raise KeyRefused("a member of the key is missing or no text")
    if not value.keys() - members.keys() <= _BESIDE:
        raise KeyRefused("there are members that no public key has; never send a private key")
    jwk = {name: str(member) for name, member in members.items()}
    key = _import(kind, jwk)
    return PublicKey(kind, _thumbprint(jwk), jwk, key, *_marks(value, kind))


def _kind(value: Mapping[str, object]) -> KeyKind:
    match value.get("kty"), value.get("crv"):
        case "EC", "P-256":
            return "P-256"
        case "OKP", "Ed25519":
            return "Ed25519"
        case "RSA", None:
            return "RSA"
    raise KeyRefused("a key is EC on P-256, OKP on Ed25519, or RSA")


def _marks(value: Mapping[str, object], kind: KeyKind) -> tuple[str | None, str | None]:
    """`kid` and `alg`, if they are there and make sense."""
    kid, alg = value.get("kid"), value.get("alg")
    if "kid" in value and (not isinstance(kid, str) or _KID.fullmatch(kid) is None):
        raise KeyRefused("kid is 1 to 128 visible ASCII characters")
    if value.get("use", "sig") != "sig" or ("alg" in value and alg not in ALGORITHMS[kind]):
        raise KeyRefused("the key is for another use or algorithm")
    return (kid if isinstance(kid, str) else None), (alg if isinstance(alg, str) else None)


def _import(kind: KeyKind, jwk: Mapping[str, str]) -> ECKey | OKPKey | RSAKey:
    if kind == "P-256":
        x, y = (int.from_bytes(_octets(jwk[name], 32), "big") for name in ("x", "y"))
        try:
            return ECKey.import_key(EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key())
        except ValueError as error:
            raise KeyRefused("the point is not on the curve") from error
    if kind == "Ed25519":
        raw = _octets(jwk["x"], 32)
        if raw in _SMALL_ORDER:
            raise KeyRefused("the point has small order")
        return OKPKey.import_key(Ed25519PublicKey.from_public_bytes(raw))
    return _import_rsa(jwk)


def _import_rsa(jwk: Mapping[str, str]) -> RSAKey:
    modulus, exponent = (_octets(jwk[name], None) for name in ("n", "e"))
    n, e = int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")
    if not RSA_BITS_MIN <= n.bit_length() <= RSA_BITS_MAX:
        raise KeyRefused(f"an RSA key has {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")
    if n % 2 == 0 or e % 2 == 0 or not 65_537 <= e < 2**32:
        raise KeyRefused("the modulus or exponent is unsound; use 65537")
    if modulus[0] == 0 or exponent[0] == 0:
        raise KeyRefused("a number has leading zeros")
    try:
        return RSAKey.import_key(RSAPublicNumbers(e, n).public_key())
    except ValueError as error:
        raise KeyRefused("the numbers are no RSA key") from error


def _octets(text: str, length: int | None) -> bytes:
    try:
        raw = base64url.decode(text[: _MEMBER_MAX + 1])
    except ValueError as error:
        raise KeyRefused("a member is not base64url") from error
    if not raw or len(text) > _MEMBER_MAX or (length is not None and len(raw) != length):
        raise KeyRefused("a member has the wrong length")
    return raw


def _thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638 section 3: the required members in the order of their names, without blanks, SHA-256, base64url."""
    canonical = msgspec.json.encode(dict(sorted(jwk.items())))
    return base64url.encode(hashlib.sha256(canonical).digest())
