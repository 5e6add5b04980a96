"""Cryptography with a merchant's key, by the kind of secret that the manifest declares.

`mac_key`: HMAC-SHA256 (RFC 2104). `signing_key`, `public_key`, in PEM: RSA of 2048 bits or more with PKCS#1 v1.5 and
SHA-256 (RFC 8017 section 8.2), P-256 with SHA-256 and the signature as R and S of 32 bytes each (RFC 7518 section
3.4), Ed25519 (RFC 8032). `aead_key`, 32 bytes: AES-256-GCM (NIST SP 800-38D), the message being 12 bytes of nonce, the
ciphertext and 16 bytes of tag. All read 2026-11-22.
"""

from __future__ import annotations

import hmac
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

SecretKind = Literal["token", "mac_key", "signing_key", "aead_key", "public_key"]
RSA_BITS_MIN: Final = 2048
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
AEAD_KEY_BYTES: Final = 32
MAC_KEY_BYTES_MIN: Final = 16
_COORDINATE_BYTES: Final = 32
_PRIVATE: Final = b"PRIVATE KEY-----"
_PEM: Final = b"-----BEGIN "

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class KeyUnfit(Exception):
    """The secret cannot do what is asked of it; the text says why, in English, without a byte of it."""


def kind_of(material: bytes) -> SecretKind:
    """The kind of a secret that comes without a declaration, by its form: PEM, or a key of a MAC."""
    if not material.lstrip().startswith(_PEM):
        return "mac_key"
    return "signing_key" if _PRIVATE in material else "public_key"


def check(kind: SecretKind, material: bytes) -> None:
    """Raise KeyUnfit for a secret that its kind cannot use: asked when it is entered, so that no call finds out."""
    if kind == "signing_key":
        _private(material)
    elif kind == "public_key":
        _public(material)
    elif kind == "aead_key" and len(material) != AEAD_KEY_BYTES:
        raise KeyUnfit(f"an aead_key has {AEAD_KEY_BYTES} bytes, this one {len(material)}")
    elif kind == "mac_key" and len(material) < MAC_KEY_BYTES_MIN:
        raise KeyUnfit(f"a mac_key has at least {MAC_KEY_BYTES_MIN} bytes, this one {len(material)}")
    elif kind == "token" and not (material.isascii() and material.decode("ascii").isprintable() and material):
        raise KeyUnfit("a token is visible ASCII characters, as they stand in a header")


def mac(kind: SecretKind, material: bytes, message: bytes) -> bytes:
    """HMAC-SHA256, 32 bytes."""
    _wants(kind, "mac_key", "make a MAC")
    return hmac.digest(material, message, "sha256")


def verify(kind: SecretKind, material: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature or MAC is right; a private key answers by its public half. Constant time for MACs."""
    if kind == "mac_key":
        return hmac.compare_digest(hmac.digest(material, message, "sha256"), signature)
    if kind not in ("public_key", "signing_key"):
        raise KeyUnfit(f"a {kind} proves no signature; a mac_key, public_key or signing_key does")
    key = _public(material) if kind == "public_key" else _private(material).public_key()
    try:
        _verify(key, message, signature)
    except InvalidSignature:
        return False
    return True


def sign(kind: SecretKind, material: bytes, message: bytes) -> bytes:
    """The signature by a private key."""
    _wants(kind, "signing_key", "sign")
    key = _private(material)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), SHA256())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
    return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")


def open_message(kind: SecretKind, material: bytes, message: bytes, associated_data: bytes) -> bytes | None:
    """The text of a sealed message; None when it does not open under this key."""
    _wants(kind, "aead_key", "open a message")
    if len(material) != AEAD_KEY_BYTES:
        raise KeyUnfit(f"an aead_key has {AEAD_KEY_BYTES} bytes, this one {len(material)}")
    if len(message) < NONCE_BYTES + TAG_BYTES:
        return None
    try:
        return AESGCM(material).decrypt(message[:NONCE_BYTES], message[NONCE_BYTES:], associated_data)
    except InvalidTag:
        return None


def _wants(kind: SecretKind, wanted: SecretKind, act: str) -> None:
    if kind != wanted:
        raise KeyUnfit(f"a {kind} cannot {act}; a {wanted} can")


def _verify(key: PublicKey, message: bytes, signature: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PKCS1v15(), SHA256())
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
    else:
        if len(signature) != 2 * _COORDINATE_BYTES:
            raise InvalidSignature
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))


def _private(material: bytes) -> PrivateKey:
    try:
        key = load_pem_private_key(material, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnfit("a signing_key is an unencrypted private key in PEM") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise KeyUnfit("a signing_key is of RSA, P-256 or Ed25519")
    _check_strength(key.public_key())
    return key


def _public(material: bytes) -> PublicKey:
    try:
        key = load_pem_public_key(material)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnfit("a public_key is a public key in PEM") from error
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise KeyUnfit("a public_key is of RSA, P-256 or Ed25519")
    _check_strength(key)
    return key


def _check_strength(key: PublicKey) -> None:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise KeyUnfit(f"an RSA key has at least {RSA_BITS_MIN} bits, this one {key.key_size}")
    if isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, ec.SECP256R1):
        raise KeyUnfit("an elliptic curve key is on P-256")
