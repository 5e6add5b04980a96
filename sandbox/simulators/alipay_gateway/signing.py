"""Signatures of the Alipay OpenAPI protocol, version 1.0: what is signed, how, and how its keys are written.

Everything works on bytes, because a client with charset gbk signs gbk bytes: nothing is decoded before it is verified.
What is signed differs by direction: a request signs its parameters but `sign`, `sign_type` included; an answer signs
the bytes of its node as they stand in the body; a notice (and a return to the shop's page) signs its parameters but
`sign` and `sign_type`.
Source: opendocs.alipay.com, "Sign" and "Verify" of the OpenAPI access guide, and the code of python-alipay-sdk 3.4.0
and alipay-sdk-python 3.7.1411, read 2026-11-22.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

Pair = tuple[bytes, bytes]
SignType = Literal["RSA", "RSA2"]
Reason = Literal["unreadable", "not_rsa", "too_short", "private_key", "public_key", "encrypted"]

BITS_MIN: Final = 2048
KEY_TEXT_MAX: Final = 16 * 1024
SIGN: Final = b"sign"
SIGN_TYPE: Final = b"sign_type"
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {"RSA": hashes.SHA1(), "RSA2": hashes.SHA256()}  # noqa: S303 - the protocol's
SIGN_TYPES: Final = frozenset(_HASHES)


class KeyRefused(Exception):
    """A text that is not the key that was asked for; the message says what to give instead and quotes nothing."""

    def __init__(self, reason: Reason, message: str) -> None:
        """`reason`: for code; the message is for a person."""
        super().__init__(message)
        self.reason: Final = reason


# What is signed


def request_text(pairs: Iterable[Pair], *, keeps_blanks: bool = True) -> bytes:
    """What a client signs: `k=v` joined by `&`, sorted by name, every parameter but `sign`.

    `pairs` are percent-decoded and in any order. Blank values belong to it; some clients leave them out, so that the
    gateway tries once more with `keeps_blanks` off.
    """
    return _joined(pair for pair in pairs if pair[0] != SIGN and (keeps_blanks or pair[1]))


def notice_text(pairs: Iterable[Pair]) -> bytes:
    """What the gateway signs in a notice and in a return: like a request's, but without `sign_type` and blanks."""
    return _joined(pair for pair in pairs if pair[0] not in (SIGN, SIGN_TYPE) and pair[1])


def _joined(pairs: Iterable[Pair]) -> bytes:
    return b"&".join(name + b"=" + value for name, value in sorted(pairs))


# Signing and verifying: PKCS#1 v1.5, over SHA-1 for RSA and SHA-256 for RSA2


def sign(key: RSAPrivateKey, text: bytes, *, sign_type: str) -> str:
    """The signature as it stands in `sign`: base64 in one line. Raises KeyError for an unknown sign type."""
    return base64.b64encode(key.sign(text, padding.PKCS1v15(), _HASHES[sign_type])).decode("ascii")


def is_signed(key: RSAPublicKey, text: bytes, signature: str | bytes, *, sign_type: str) -> bool:
    """Whether `signature` (base64, strictly) is that of `text`; an unknown sign type is nobody's signature."""
    algorithm = _HASHES.get(sign_type)
    if algorithm is None:
        return False
    try:
        key.verify(base64.b64decode(signature, validate=True), text, padding.PKCS1v15(), algorithm)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class PlatformKey:
    """The key that the gateway signs answers, notices and returns with, as one app sees it."""

    key_id: str
    private_key: RSAPrivateKey = field(repr=False)
    certificate_sn: str = ""
    """Serial of the certificate that certificate mode names beside the signature."""

    def sign(self, text: bytes, *, sign_type: str) -> str:
        """Sign an answer's node or a notice's text. A missing or illegal sign type signs as RSA2."""
        return sign(self.private_key, text, sign_type=sign_type if sign_type in SIGN_TYPES else "RSA2")

    @property
    def public_key(self) -> RSAPublicKey:
        """What a client configures as "Alipay's public key"."""
        return self.private_key.public_key()


# Reading keys: PEM or one base64 line; PKCS#1 or PKCS#8 (private), PKCS#1 or SPKI (public)


@functools.lru_cache(maxsize=512)
def read_public_key(text: str) -> RSAPublicKey:
    """Read a public key: SPKI or PKCS#1, PEM or one line. Raises KeyRefused, also for a private key.

    Kept: a gateway asks for the same few keys with every request.
    """
    der = _der(text)
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        if _is_private(der):
            message = "This is a private key. Keep it on your machine; give the public key that belongs to it."
            raise KeyRefused("private_key", message) from error
        raise KeyRefused("unreadable", "This is no public key: expected SPKI or PKCS#1, PEM or base64.") from error
    if not isinstance(key, RSAPublicKey):
        raise KeyRefused("not_rsa", "This key is not an RSA key. The protocol signs with RSA.")
    return _long_enough(key)


def read_private_key(text: str) -> RSAPrivateKey:
    """Read a private key: PKCS#8 or PKCS#1, PEM or one line. Raises KeyRefused, also for a public or encrypted key."""
    der = _der(text)
    try:
        key = serialization.load_der_private_key(der, password=None)
    except TypeError as error:
        raise KeyRefused("encrypted", "This private key has a password. The clients take keys without.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        if _is_public(der):
            raise KeyRefused("public_key", "This is a public key. Expected the private key.") from error
        raise KeyRefused("unreadable", "This is no private key: expected PKCS#8 or PKCS#1, PEM or base64.") from error
    if not isinstance(key, RSAPrivateKey):
        raise KeyRefused("not_rsa", "This key is not an RSA key. The protocol signs with RSA.")
    _long_enough(key.public_key())
    return key


def is_private_key(text: str) -> bool:
    """Whether a text holds a private key, whatever its kind; for places where one must never be pasted."""
    if "PRIVATE KEY" in text:
        return True
    try:
        return _is_private(_der(text))
    except KeyRefused:
        return False


def _long_enough(key: RSAPublicKey) -> RSAPublicKey:
    if key.key_size < BITS_MIN:
        message = f"This key has {key.key_size} bits, expected {BITS_MIN} or more. Generate a new pair."
        raise KeyRefused("too_short", message)
    return key


def _der(text: str) -> bytes:
    """The bytes of a key in PEM or in bare base64 (in one line or wrapped)."""
    lines = [line.strip() for line in text.strip().splitlines()] if len(text) <= KEY_TEXT_MAX else []
    bare = "".join(line for line in lines if not line.startswith("-----"))
    try:
        der = base64.b64decode(bare, validate=True)
    except (binascii.Error, ValueError):
        der = b""
    if not der:
        raise KeyRefused("unreadable", "This is no key: expected PEM or one line of base64.")
    return der


def _is_private(der: bytes) -> bool:
    try:
        serialization.load_der_private_key(der, password=None)
    except TypeError:
        return True  # with a password
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def _is_public(der: bytes) -> bool:
    try:
        serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True
