"""What a plugin gets from the host, for tests and the testbed: keys in memory, the same interface."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from platform_core.contracts.plugin import PluginContext


class LocalSecrets:
    """`contracts.plugin.Secrets` over keys in memory, several a name while one is being rotated: the newest first."""

    def __init__(self, keys: Mapping[str, tuple[bytes, ...]]) -> None:
        """Keys by name."""
        self._keys = dict(keys)

    def mac(self, name: str, message: bytes) -> bytes:
        """HMAC-SHA256 by the newest key."""
        return hmac.digest(self._keys[name][0], message, hashlib.sha256)

    def verify(self, name: str, message: bytes, signature: bytes) -> bool:
        """Whether any of the name's keys made the signature."""
        macs = [hmac.digest(key, message, hashlib.sha256) for key in self._keys[name]]
        return any(hmac.compare_digest(mac, signature) for mac in macs)

    def sign(self, name: str, message: bytes) -> bytes:
        """Not offered here: keys in memory are keys of MACs."""
        raise NotImplementedError(f"{name} is a key of a MAC; sign under the gate, with a signing_key")

    def open(self, name: str, message: bytes, *, associated_data: bytes = b"") -> bytes:
        """Not offered here, as `sign`."""
        raise NotImplementedError(f"{name} is a key of a MAC; open under the gate, with an aead_key")


class LocalContext(PluginContext):
    """`contracts.plugin.PluginContext` over local secrets."""

    def __init__(self, keys: Mapping[str, tuple[bytes, ...]] | None = None) -> None:
        """Keys by name; none at all by default."""
        self._secrets = LocalSecrets(keys or {})

    @property
    def secrets(self) -> LocalSecrets:
        """Cryptography by name."""
        return self._secrets
