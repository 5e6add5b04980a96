"""A checkpoint is the chain's end, signed, to be kept elsewhere: a chain rewritten later disagrees with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from platform_core.identity.vault import Vault
from platform_core.kernel.database.pools import Database

_PURPOSE: Final = b"arsenal audit checkpoint 1"
_LAST: Final = "SELECT number, first_row + rows - 1 AS last_row, digest FROM audit_seal ORDER BY number DESC LIMIT 1"


class NothingSealed(Exception):
    """There is no seal yet to be signed."""


class CheckpointUnreadable(ValueError):
    """The document is no checkpoint."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The end of the chain at a moment, and who vouches for it (Ed25519, RFC 8032)."""

    number: int  # of the seal
    last_row: int
    digest: bytes
    signed_at: str  # RFC 3339, UTC
    signature: bytes

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether the key's holder signed exactly this."""
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(self.signature, self.signed_bytes())
        except InvalidSignature:
            return False
        return True

    def document(self) -> dict[str, Any]:  # Any: JSON
        """What leaves the house; `read` takes it back."""
        return {**self._told(), "signature": self.signature.hex()}

    @classmethod
    def read(cls, text: str) -> Checkpoint:
        """A checkpoint out of its JSON. Raises `CheckpointUnreadable`."""
        try:
            told = json.loads(text)
            return cls(
                int(told["seal"]),
                int(told["last_row"]),
                bytes.fromhex(told["digest"]),
                str(told["signed_at"]),
                bytes.fromhex(told["signature"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointUnreadable("this is no checkpoint of the audit log") from error

    def _told(self) -> dict[str, Any]:  # Any: JSON
        return {
            "seal": self.number,
            "last_row": self.last_row,
            "digest": self.digest.hex(),
            "signed_at": self.signed_at,
        }

    def signed_bytes(self) -> bytes:
        """What the signature covers."""
        return _PURPOSE + b"\n" + json.dumps(self._told(), separators=(",", ":")).encode()


class Signer:
    """Signs checkpoints with a key that is derived from the installation's secret, so that no row holds it."""

    def __init__(self, vault: Vault) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(vault.seed(_PURPOSE))

    @property
    def public_key(self) -> bytes:
        """32 bytes, to be kept beside the checkpoints."""
        return self._key.public_key().public_bytes_raw()

    async def sign(self, database: Database, *, now: datetime) -> Checkpoint:
        """Sign the newest seal. Raises `NothingSealed`."""
        connection = await database.connect("job")
        try:
            last = await connection.fetchrow(_LAST)
        finally:
            await connection.close()
        if last is None:
            raise NothingSealed
        unsigned = Checkpoint(last["number"], last["last_row"], last["digest"], now.isoformat(), b"")
        signature = self._key.sign(unsigned.signed_bytes())
        return Checkpoint(unsigned.number, unsigned.last_row, unsigned.digest, unsigned.signed_at, signature)
