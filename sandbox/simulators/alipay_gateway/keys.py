"""Key pairs for clients of the gateway: made, spelled in every form that clients want, tried before they are shown.

A private key is returned to whoever asked and kept nowhere.
Forms: PKCS#1 is RFC 8017, appendix A.1; PKCS#8 is RFC 5208; SPKI is RFC 5280, section 4.1. Which client reads which was
tried with python-alipay-sdk 3.4.0 and alipay-sdk-python 3.7.1411 on 2026-11-22.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from platform_core.kernel.i18n import Text
from sandbox.simulators.alipay_gateway.signing import (
    BITS_MIN,
    SIGN_TYPES,
    is_signed,
    read_private_key,
    read_public_key,
    sign,
)

_PEM, _DER = serialization.Encoding.PEM, serialization.Encoding.DER
_PKCS1, _PKCS8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8
_SPKI: Final = serialization.PublicFormat.SubjectPublicKeyInfo
_PROBE: Final = 'app_id=2021000000000000&biz_content={"subject":"试 %2B+&"}&charset=utf-8'.encode()


@dataclass(frozen=True, slots=True)
class SpelledPair:
    """One key pair in all its forms: as PEM, and as the bare base64 of the same bytes in one line."""

    private_pkcs1_pem: str = field(repr=False)
    private_pkcs1_line: str = field(repr=False)
    private_pkcs8_pem: str = field(repr=False)
    private_pkcs8_line: str = field(repr=False)
    public_spki_pem: str
    public_spki_line: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where one of the strings belongs. `form` is a field of `SpelledPair`, or of the platform's public key."""

    owner: str  # app or platform
    form: str
    client: str
    setting: str
    says: Text


@dataclass(frozen=True, slots=True)
class Check:
    """One try of the self-test."""

    name: str
    is_good: bool


PLACES: Final[tuple[Place, ...]] = (
    Place(
        "app",
        "public_spki_line",
        "sandbox",
        "arsenal sandbox alipay keys upload",
        Text(en="Your public key: give it to the platform.", zh="应用公钥：上传到平台。"),
    ),
    Place(
        "app",
        "private_pkcs1_pem",
        "python-alipay-sdk",
        "AliPay(app_private_key_string=...)",
        Text(en="Your private key: stays on your machine.", zh="应用私钥：只留在您的机器上。"),
    ),
    Place(
        "app",
        "private_pkcs1_line",
        "alipay-sdk-python",
        "AlipayClientConfig.app_private_key",
        Text(en="Your private key, PKCS#1 only: this client reads no PKCS#8.", zh="应用私钥，仅限 PKCS#1 格式。"),
    ),
    Place(
        "app",
        "private_pkcs8_line",
        "alipay-sdk-java",
        "AlipayConfig.setPrivateKey",
        Text(en="Your private key, PKCS#8: Java reads no PKCS#1.", zh="应用私钥，Java 须用 PKCS#8 格式。"),
    ),
    Place(
        "platform",
        "public_spki_pem",
        "python-alipay-sdk",
        "AliPay(alipay_public_key_string=...)",
        Text(en="The platform's public key, never your own.", zh="平台公钥，不是您自己的应用公钥。"),
    ),
    Place(
        "platform",
        "public_spki_line",
        "alipay-sdk-python",
        "AlipayClientConfig.alipay_public_key",
        Text(en="The platform's public key, never your own.", zh="平台公钥，不是您自己的应用公钥。"),
    ),
    Place(
        "platform",
        "public_spki_line",
        "alipay-sdk-java",
        "AlipayConfig.setAlipayPublicKey",
        Text(en="The platform's public key, never your own.", zh="平台公钥，不是您自己的应用公钥。"),
    ),
)


def generate(bits: int = BITS_MIN) -> RSAPrivateKey:
    """A new private key; about a tenth of a second of CPU at 2048 bits, so call it in a thread."""
    assert bits >= BITS_MIN, "the gateway takes no shorter key"
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def spelled(key: RSAPrivateKey) -> SpelledPair:
    """A pair in every form."""
    pkcs1_pem, pkcs1_line = _private(key, _PKCS1)
    pkcs8_pem, pkcs8_line = _private(key, _PKCS8)
    public = key.public_key()
    return SpelledPair(
        private_pkcs1_pem=pkcs1_pem,
        private_pkcs1_line=pkcs1_line,
        private_pkcs8_pem=pkcs8_pem,
        private_pkcs8_line=pkcs8_line,
        public_spki_pem=public_pem(public),
        public_spki_line=public_line(public),
        fingerprint=fingerprint(public),
    )


def public_pem(key: RSAPublicKey) -> str:
    """SPKI as PEM."""
    return key.public_bytes(_PEM, _SPKI).decode("ascii")


def public_line(key: RSAPublicKey) -> str:
    """SPKI as one line of base64."""
    return base64.b64encode(key.public_bytes(_DER, _SPKI)).decode("ascii")


def fingerprint(key: RSAPublicKey) -> str:
    """SHA-256 of the SPKI in hexadecimal: tells two keys apart without showing either."""
    return hashlib.sha256(key.public_bytes(_DER, _SPKI)).hexdigest()


def self_test(pair: SpelledPair) -> Sequence[Check]:
    """Sign with each private form, verify with each public one, RSA and RSA2, over bytes on which clients stumble."""
    checks = []
    privates = ("private_pkcs1_pem", "private_pkcs1_line", "private_pkcs8_pem", "private_pkcs8_line")
    for sign_type in sorted(SIGN_TYPES):
        for private in privates:
            signature = sign(read_private_key(getattr(pair, private)), _PROBE, sign_type=sign_type)
            for public in ("public_spki_pem", "public_spki_line"):
                is_good = is_signed(read_public_key(getattr(pair, public)), _PROBE, signature, sign_type=sign_type)
                checks.append(Check(f"{sign_type}: {private} > {public}", is_good))
    return checks


def _private(key: RSAPrivateKey, form: serialization.PrivateFormat) -> tuple[str, str]:
    plain = serialization.NoEncryption()
    pem = key.private_bytes(_PEM, form, plain).decode("ascii")
    return pem, base64.b64encode(key.private_bytes(_DER, form, plain)).decode("ascii")
