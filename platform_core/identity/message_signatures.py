"""HTTP message signatures (RFC 9421) and content digests (RFC 9530), as far as our profile goes. Pure.

Own code: the library at hand takes a day as default age and asks for no components at all. What is read is the one
spelling that RFC 8941 serialisation gives; whatever else is refused, and nothing is guessed.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from platform_core.identity.oauth.public_keys import KeyKind, PublicKey

TAG: Final = "arsenal"
LABEL: Final = "arsenal"
ALGORITHMS: Final[Mapping[KeyKind, str]] = {"P-256": "ecdsa-p256-sha256", "Ed25519": "ed25519"}
"""RFC 9421 section 6.2.2: by the kinds of key that sign requests."""
_HEADER_MAX: Final = 2048
_STRING: Final = r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"'
# One member: parentheses stand around the components alone, so several members do not match. Linear in its input.
_MEMBER: Final = re.compile(r"([a-z*][a-z0-9_\-.*]*)=(\([^()]*\)[^()]*)", re.ASCII)
_INNER: Final = re.compile(r"\(([^()]*)\)(.*)", re.ASCII | re.DOTALL)
_COMPONENT: Final = re.compile(r'"([a-z0-9@\-]+)"((?:;[a-z]+(?:="[a-zA-Z0-9\-]*")?)*)', re.ASCII)
_PARAMETER: Final = re.compile(rf";([a-z]+)=(?:([0-9]{{1,15}})|{_STRING})", re.ASCII)
_SIGNATURE: Final = re.compile(r"([a-z*][a-z0-9_\-.*]*)=:([A-Za-z0-9+/]+={0,2}):", re.ASCII)
_DIGEST: Final = re.compile(r"(sha-256|sha-512)=:([A-Za-z0-9+/]+={0,2}):", re.ASCII)
_HASHES: Final = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}

Components = Callable[[str, str], str]
"""The value of a component by name and parameters (`;req`); raises KeyError for one that is not there."""


class SignatureRefused(ValueError):
    """The headers do not make a signature of our profile. The words are for tests and logs alone."""


@dataclass(frozen=True, slots=True)
class SignatureInput:
    """What a signature covers: one member of `Signature-Input`. `text` is its value as it came."""

    label: str
    text: str
    components: tuple[tuple[str, str], ...]
    created: int | None
    expires: int | None
    nonce: str | None
    keyid: str | None
    alg: str | None
    tag: str | None

    def base(self, value_of: Components) -> bytes:
        """What is signed (RFC 9421 section 2.5). Raises `SignatureRefused` for a component that is not there."""
        lines = []
        for name, parameters in self.components:
            try:
                lines.append(f'"{name}"{parameters}: {value_of(name, parameters)}')
            except KeyError as error:
                raise SignatureRefused("a covered component is not there") from error
        lines.append(f'"@signature-params": {self.text}')
        return "\n".join(lines).encode("latin-1")


def read_signature(inputs: Sequence[str], signatures: Sequence[str]) -> tuple[SignatureInput, bytes]:
    """The one signature of a message, from its headers `Signature-Input` and `Signature`.

    Raises `SignatureRefused` also for several: which of them counts would be a guess.
    """
    if len(inputs) != 1 or len(signatures) != 1 or max(len(inputs[0]), len(signatures[0])) > _HEADER_MAX:
        raise SignatureRefused("not one signature")
    member, signature = _MEMBER.fullmatch(inputs[0].strip(" ")), _SIGNATURE.fullmatch(signatures[0].strip(" "))
    if member is None or signature is None or member[1] != signature[1]:
        raise SignatureRefused("the headers do not make one signature")
    return _read_input(member[1], member[2]), _decode(signature[2])


def _read_input(label: str, text: str) -> SignatureInput:
    match = _INNER.fullmatch(text)
    assert match is not None, "a member has the form of one"
    components = _covered(match[1])
    said: dict[str, str | int] = {}
    position = 0
    while position < len(match[2]):
        found = _PARAMETER.match(match[2], position)
        if found is None or found[1] in said:
            raise SignatureRefused("a parameter is malformed or doubled")
        said[found[1]] = int(found[2]) if found[2] is not None else re.sub(r"\\(.)", r"\1", found[3])
        position = found.end()
    return SignatureInput(label, text, components, **_typed(said))


def _covered(text: str) -> tuple[tuple[str, str], ...]:
    components: list[tuple[str, str]] = []
    for part in text.split(" ") if text else ():
        found = _COMPONENT.fullmatch(part)
        if found is None:
            raise SignatureRefused("a component is malformed")
        components.append((found[1], found[2]))
    if len(set(components)) != len(components):
        raise SignatureRefused("a component is covered twice")
    return tuple(components)


def _typed(said: dict[str, str | int]) -> dict[str, Any]:  # Any: each of the type of its parameter
    kinds = {"created": int, "expires": int, "nonce": str, "keyid": str, "alg": str, "tag": str}
    if not said.keys() <= kinds.keys():
        raise SignatureRefused("a parameter is not known")
    if not all(type(value) is kinds[name] for name, value in said.items()):
        raise SignatureRefused("a parameter has the wrong type")
    return {name: said.get(name) for name in kinds}


def verifies(key: PublicKey, base: bytes, signature: bytes) -> bool:
    """Whether the key made the signature (RFC 9421 sections 3.3.4 and 3.3.6); other kinds of key never do."""
    public = key.key.public_key
    try:
        if isinstance(public, Ed25519PublicKey):
            public.verify(signature, base)
        elif isinstance(public, EllipticCurvePublicKey) and len(signature) == 64:
            r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
            public.verify(encode_dss_signature(r, s), base, ECDSA(SHA256()))
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def sign_p256(key: EllipticCurvePrivateKey, base: bytes) -> bytes:
    """`ecdsa-p256-sha256`: r and s, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(base, ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def content_digest(body: bytes) -> str:
    """The value of Content-Digest for a body."""
    return f"sha-256=:{encode(hashlib.sha256(body).digest())}:"


def digest_fits(value: str, body: bytes) -> bool:
    """Whether a Content-Digest of SHA-256 or SHA-512 is the body's; of several all must be."""
    members = [_DIGEST.fullmatch(member.strip(" ")) for member in value.split(",")]
    return all(
        member is not None and hmac.compare_digest(_HASHES[member[1]](body).digest(), _decode(member[2]))
        for member in members
    )


def encode(raw: bytes) -> str:
    """Base64 as structured fields write bytes."""
    return b64encode(raw).decode("ascii")


def _decode(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except binascii.Error as error:
        raise SignatureRefused("not base64") from error
