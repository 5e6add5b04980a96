"""A compact JWS from a stranger, read before any library sees it (RFC 7515 section 7.1).

Authlib and joserfc parse header and claims before they check a signature: 60 kB of `[` end in RecursionError, a lone
surrogate in an encoding error, a doubled member in whichever of the two the parser kept (F20, F21). So header and
claims are read strictly and bounded here; the library is left with the signature alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from platform_core.identity import base64url
from platform_core.identity.oauth.public_keys import PublicKey
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.strict_json import strict_json

COMPACT_MAX: Final = 4096
HEADER_MAX: Final = 2048
JTI: Final = re.compile(r"[\x21-\x7e]{1,256}", re.ASCII)


class CompactRefused(ValueError):
    """The text is no JWS that we read, or its signature is wrong. The words are for tests and logs alone."""


class SizedRegistry(JWSRegistry):
    """joserfc's list of algorithms with our sizes: its 512 bytes of header hold no RSA key (F11)."""

    max_header_length = HEADER_MAX
    max_payload_length = COMPACT_MAX
    max_signature_length = 1024


@dataclass(frozen=True, slots=True)
class Compact:
    """A JWS whose signature nobody has checked yet."""

    text: str
    header: dict[str, Any]  # Any: JSON
    claims: dict[str, Any]

    def verify(self, key: PublicKey, registry: JWSRegistry) -> bool:
        """Whether `key` made the signature. `registry` names the algorithms that are taken (F02, F33)."""
        if self.header.get("alg") not in key.algorithms:
            return False
        try:
            jws.deserialize_compact(self.text, key.key, registry=registry, algorithms=registry.allowed)
        except (JoseError, ValueError):
            return False
        return True


def read_compact(text: str) -> Compact:
    """The parts of a JWS of at most 4 KiB. Raises `CompactRefused`."""
    if len(text) > COMPACT_MAX or not text.isascii():
        raise CompactRefused("too long, or not ASCII")
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):
        raise CompactRefused("not three parts")
    if len(parts[0]) > HEADER_MAX:
        raise CompactRefused("the header is too long")
    try:
        header, claims, _ = (base64url.decode(part) for part in parts)
    except ValueError as error:
        raise CompactRefused("a part is not base64url") from error
    return Compact(text, _object(header), _object(claims))


def is_seconds(value: object) -> TypeGuard[int]:
    """Whether a claim is a whole number of seconds (a NumericDate of RFC 7519 section 2, without fractions)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _object(raw: bytes) -> dict[str, Any]:
    try:
        read = strict_json(raw)
    except PlatformError as error:
        raise CompactRefused("a part is no strict JSON") from error
    if not isinstance(read, dict):
        raise CompactRefused("a part is no object")
    return read
