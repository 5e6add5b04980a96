"""The merchant's secrets as a plugin may use them: by name, for a MAC or its proof, never in plain."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from platform_core.contracts.plugin import PluginContext
from platform_core.identity.vault import Vault

Sealed = Mapping[str, Sequence[str]]  # name > boxes in base64, the newest first; a second one retires during a rotation


@dataclass(frozen=True, slots=True)
class VaultSecrets:
    """`contracts.plugin.Secrets` over sealed boxes."""

    vault: Vault
    merchant_id: str
    sealed: Sealed

    def mac(self, name: str, message: bytes) -> bytes:
        """HMAC-SHA256 by the newest key of that name. Raises KeyError."""
        return hmac.digest(self._keys(name)[0], message, "sha256")

    def verify(self, name: str, message: bytes, signature: bytes) -> bool:
        """Whether any living key of that name made the signature, in constant time."""
        proofs = [hmac.compare_digest(hmac.digest(key, message, "sha256"), signature) for key in self._keys(name)]
        return any(proofs)

    def _keys(self, name: str) -> list[bytes]:
        return [self.vault.open(_row(self.merchant_id, name), b64decode(box)) for box in self.sealed[name]]


@dataclass(frozen=True, slots=True)
class TrustedContext(PluginContext):
    """`contracts.plugin.PluginContext` for a plugin that runs in the host's process."""

    secrets: VaultSecrets


class VaultContexts:
    """Makes the context of each call."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def context(self, *, merchant_id: str, secrets: Sealed) -> TrustedContext:
        """The context for one merchant's call."""
        return TrustedContext(VaultSecrets(self._vault, merchant_id, secrets))

    def seal(self, *, merchant_id: str, name: str, key: bytes) -> list[str]:
        """A new secret as it is stored."""
        return [b64encode(self._vault.seal(_row(merchant_id, name), key)).decode()]


def _row(merchant_id: str, name: str) -> str:
    return f"channel_secret:{merchant_id}:{name}"
