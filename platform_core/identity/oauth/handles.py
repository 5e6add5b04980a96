"""The text of codes, refresh tokens and pushed requests: the id of a row and 256 bits that only its holder knows.

The id finds the row without a second index, and what is stored is a keyed hash bound to that id.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Final

from platform_core.identity.vault import Vault
from platform_core.kernel.ids import is_id

SECRET_LENGTH: Final = 43
_FORM: Final = re.compile(r"([a-z0-9]+_[0-9a-z]{26})_([A-Za-z0-9_-]{43})", re.ASCII)


def make_secret(entropy: Callable[[int], bytes]) -> str:
    """256 random bits in base64url."""
    return encode_secret(entropy(32))


def encode_secret(raw: bytes) -> str:
    """32 bytes in base64url without padding."""
    assert len(raw) == 32, "a secret has 256 bits"
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def make_handle(row_id: str, secret: str) -> str:
    """What the client is given."""
    return f"{row_id}_{secret}"


def read_handle(text: str, prefix: str) -> tuple[str, str] | None:
    """The row's id and the secret, if the text can be a handle of this kind at all."""
    match = _FORM.fullmatch(text)
    return (match[1], match[2]) if match is not None and is_id(prefix, match[1]) else None


def successor_secret(vault: Vault, handle: str) -> str:
    """The secret of the token that follows this one: the same for everybody who shows this one, and kept nowhere."""
    return encode_secret(vault.digest("oauth_refresh_successor", handle))
