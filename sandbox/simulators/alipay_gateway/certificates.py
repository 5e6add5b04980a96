"""Certificate mode: the sandbox's authorities, the certificates that they issue, and the serials that requests name.

The serial number ("SN") of the protocol is no X.509 serial: MD5, in hexadecimal, of the *issuer* spelt
`CN=..,OU=..,O=..,C=..` followed by the certificate's serial in decimal; a root file's is those of its members joined by
`_`. Source: python-alipay-sdk 3.4.0, `DCAliPay.get_cert_sn` and `get_root_cert_sn`, read 2026-11-22; the members of a
file are parted by a blank line, because that client splits there.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509.oid import NameOID

LIFE_OF_AUTHORITY: Final = timedelta(days=20 * 365)
LIFE_OF_CERTIFICATE: Final = timedelta(days=5 * 365)
_BACKDATED: Final = timedelta(days=1)  # a client's clock may be behind ours
_RSA_ALGORITHMS: Final = frozenset(
    {x509.SignatureAlgorithmOID.RSA_WITH_SHA1, x509.SignatureAlgorithmOID.RSA_WITH_SHA256}
)
"""Members signed otherwise are left out of a root file's serial, as the clients leave them out."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that issues others, with its key."""

    certificate: x509.Certificate
    key: RSAPrivateKey = field(repr=False)


def make_root(key: RSAPrivateKey, *, serial: int, now: datetime) -> Authority:
    """A root that signs itself. `now` is aware, of the sandbox's clock."""
    name = _name("Arsenal Sandbox Root Authority")
    made = _builder(name, name, key.public_key(), serial=serial, now=now, life=LIFE_OF_AUTHORITY)
    return Authority(_authority(made, length=1).sign(key, hashes.SHA256()), key)


def make_issuer(key: RSAPrivateKey, root: Authority, *, serial: int, now: datetime) -> Authority:
    """The authority under the root, whose name stands as issuer in what platform and apps hold."""
    name = _name("Arsenal Sandbox Issuing Authority")
    made = _builder(name, root.certificate.subject, key.public_key(), serial=serial, now=now, life=LIFE_OF_AUTHORITY)
    return Authority(_authority(made, length=0).sign(root.key, hashes.SHA256()), key)


def issue(key: RSAPublicKey, issuer: Authority, *, common_name: str, serial: int, now: datetime) -> x509.Certificate:
    """A certificate for the platform's key or an app's; five years from `now`."""
    name = _name(common_name)
    made = _builder(name, issuer.certificate.subject, key, serial=serial, now=now, life=LIFE_OF_CERTIFICATE)
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return made.sign(issuer.key, hashes.SHA256())


def certificate_sn(certificate: x509.Certificate) -> str:
    """The serial that `app_cert_sn` and `alipay_cert_sn` carry: 32 hexadecimal digits."""
    issuer = certificate.issuer
    spelt = ",".join(
        f"{label}={_first(issuer, oid)}"
        for label, oid in (
            ("CN", NameOID.COMMON_NAME),
            ("OU", NameOID.ORGANIZATIONAL_UNIT_NAME),
            ("O", NameOID.ORGANIZATION_NAME),
            ("C", NameOID.COUNTRY_NAME),
        )
    )
    return hashlib.md5(f"{spelt}{certificate.serial_number}".encode(), usedforsecurity=False).hexdigest()


def root_sn(members: Sequence[x509.Certificate]) -> str:
    """The serial that `alipay_root_cert_sn` carries: those of the members that RSA signed, in their order."""
    return "_".join(certificate_sn(member) for member in members if member.signature_algorithm_oid in _RSA_ALGORITHMS)


def chain_text(members: Sequence[x509.Certificate]) -> str:
    """PEM, members parted by a blank line."""
    return "\n\n".join(_pem(member).strip() for member in members) + "\n"


def read_chain(text: str) -> list[x509.Certificate]:
    """The members of a file. ValueError when there is none or one cannot be read."""
    return x509.load_pem_x509_certificates(text.encode())


def download_content(certificate: x509.Certificate) -> str:
    """`alipay_cert_content` of alipay.open.app.alipaycert.download: base64 of the PEM."""
    return base64.b64encode(_pem(certificate).encode("ascii")).decode("ascii")


def is_expired(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether `now` (aware) lies outside of its life."""
    return not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _name(common_name: str) -> x509.Name:
    """All four parts, because clients format the missing ones as `None`."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Arsenal"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Sandbox"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _first(name: x509.Name, oid: x509.ObjectIdentifier) -> str | None:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else None


def _builder(
    subject: x509.Name, issuer: x509.Name, key: RSAPublicKey, *, serial: int, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
    )


def _authority(made: x509.CertificateBuilder, *, length: int) -> x509.CertificateBuilder:
    return made.add_extension(x509.BasicConstraints(ca=True, path_length=length), critical=True)
