"""What is stored secretly: keyed hashes of what is only compared, sealed boxes of what must be read back."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES: Final = 12
_BOX_BYTES_MIN: Final = 1 + _NONCE_BYTES + 16  # form, nonce, tag
_FORM: Final = b"\x01"  # first byte of every box, so that a later form can be told from this one


class SealBroken(Exception):
    """A box was altered, belongs to another row, or was sealed under another key."""


class Vault:
    """One secret of the installation (`ARSENAL_SECRETS_KEY`), from which a pepper and a sealing key are derived."""

    __slots__ = ("_aes", "_entropy", "_key", "_pepper")

    def __init__(self, key: bytes, *, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """`key` has at least 32 bytes; ValueError otherwise."""
        if len(key) < 32:
            raise ValueError(f"the secrets key needs at least 32 bytes, this one has {len(key)}")
        self._key = key
        self._pepper = _derive(key, b"arsenal pepper 1")
        self._aes = AESGCM(_derive(key, b"arsenal sealing 1"))
        self._entropy = entropy

    def seed(self, purpose: bytes) -> bytes:
        """32 bytes that only this installation can derive, others for each purpose: for a key that no row holds."""
        return _derive(self._key, b"arsenal seed 1 " + purpose)

    def digest(self, row_id: str, secret: str) -> bytes:
        """HMAC-SHA-256 of a secret of 256 random bits, bound to its row: such a secret needs no slow hash."""
        return hmac.digest(self._pepper, f"{row_id}\x1f{secret}".encode(), "sha256")

    def matches(self, row_id: str, secret: str, digest: bytes) -> bool:
        """Whether `secret` is the one behind `digest`, in time that does not depend on where they differ."""
        return hmac.compare_digest(self.digest(row_id, secret), digest)

    def seal(self, row_id: str, plain: bytes) -> bytes:
        """A box that only `open` with the same row id opens (AES-256-GCM, the id as associated data)."""
        nonce = self._entropy(_NONCE_BYTES)
        return _FORM + nonce + self._aes.encrypt(nonce, plain, row_id.encode())

    def open(self, row_id: str, box: bytes) -> bytes:
        """What `seal` was given. Raises `SealBroken`."""
        if box[:1] != _FORM or len(box) < _BOX_BYTES_MIN:
            raise SealBroken(f"the box of {row_id} has an unknown form")
        try:
            return self._aes.decrypt(box[1 : 1 + _NONCE_BYTES], box[1 + _NONCE_BYTES :], row_id.encode())
        except InvalidTag as error:
            raise SealBroken(f"the box of {row_id} does not open: altered, moved, or another secrets key") from error


def read_or_create_key(path: Path, *, entropy: Callable[[int], bytes] = os.urandom) -> bytes:
    """The key kept in a file, made at first use: for the embedded default. Two processes at once get the same one.

    The file holds 64 hexadecimal digits and is readable by its owner alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}.{entropy(4).hex()}")
        draft.touch(mode=0o600)
        try:
            draft.write_text(entropy(32).hex(), encoding="ascii")
            os.link(draft, path)  # fails where another process was first, whose key then counts
        except FileExistsError:
            return bytes.fromhex(path.read_text(encoding="ascii"))
        finally:
            draft.unlink()
    return bytes.fromhex(path.read_text(encoding="ascii"))


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(hashlib.sha256(key).digest())
