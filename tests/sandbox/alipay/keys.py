"""RSA keys for tests: made once a session, because making one costs a tenth of a second."""

from __future__ import annotations

import base64
import functools

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS1, PKCS8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8
SPKI, PUBLIC_PKCS1 = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.PKCS1


@functools.cache
def key(name: str, bits: int = 2048) -> RSAPrivateKey:
    """The key of that name; names only tell keys apart."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def private_text(made: RSAPrivateKey, *, encoding: serialization.Encoding, form: serialization.PrivateFormat) -> str:
    """A private key as PEM or as one base64 line."""
    return _text(made.private_bytes(encoding, form, serialization.NoEncryption()), encoding)


def public_text(
    made: RSAPrivateKey, *, encoding: serialization.Encoding = PEM, form: serialization.PublicFormat = SPKI
) -> str:
    """A public key as PEM or as one base64 line."""
    return _text(made.public_key().public_bytes(encoding, form), encoding)


def _text(raw: bytes, encoding: serialization.Encoding) -> str:
    return raw.decode() if encoding is PEM else base64.b64encode(raw).decode()
