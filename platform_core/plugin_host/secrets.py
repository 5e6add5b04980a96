"""The merchant's secrets as a plugin may use them: by name, for cryptography, never in plain.

There are two sources. A plugin's own secrets are declared in its manifest and kept for each merchant (`SecretBook`). A
call at hand may bring others, sealed in the row that it is about, such as those of a channel account.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from platform_core.contracts.plugin import PluginContext
from platform_core.identity.vault import SealBroken, Vault
from platform_core.plugin_host import keyrings
from platform_core.plugin_host.gate_errors import SECRET_UNFIT, SECRET_UNKNOWN
from platform_core.plugin_host.installed import Enabled
from platform_core.plugin_host.keyrings import KeyUnfit, SecretKind

Sealed = Mapping[str, Sequence[str]]  # name > boxes in base64, the newest first; a second one retires during a rotation


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A plugin's secret at one merchant. `boxes`: the newest first, then the one that still verifies."""

    kind: SecretKind
    boxes: tuple[bytes, ...]


class SecretBook(Protocol):
    """Where a plugin's secrets are kept."""

    async def secrets_of(self, plugin_id: str, merchant_id: str) -> Mapping[str, StoredSecret]:
        """By name; a box past its `retires_at` is not among them. Cached, a change is seen within a second."""
        ...

    def used(self, plugin_id: str, merchant_id: str, name: str) -> None:
        """Note that a secret was used just now; what shows `last use`. Must not wait."""
        ...


class NoSecrets:
    """A book without secrets."""

    async def secrets_of(self, plugin_id: str, merchant_id: str) -> Mapping[str, StoredSecret]:
        """None."""
        return {}

    def used(self, plugin_id: str, merchant_id: str, name: str) -> None:
        """Nothing to note."""


def secret_row(*, merchant_id: str, plugin_id: str, name: str) -> str:
    """What a plugin's secret is sealed for: a box that was moved to another row does not open."""
    return f"plugin_secret:{merchant_id}:{plugin_id}:{name}"


@dataclass(frozen=True, slots=True)
class Keys:
    """The living keys of one name, the newest first."""

    name: str
    kind: SecretKind
    """As declared; of a secret that came with the call, by its form."""
    materials: tuple[bytes, ...]
    is_declared: bool = True


class PluginSecrets:
    """Opens boxes, and does cryptography for the gate. Never hands a key to a plugin."""

    def __init__(self, vault: Vault, book: SecretBook) -> None:
        self._vault = vault
        self._book = book

    async def keys(self, enabled: Enabled, merchant_id: str, name: str, *, at_hand: Sealed) -> Keys:
        """The keys of a name. Raises 404 `plugin.secret_unknown`, also for what the manifest does not declare."""
        plugin_id = enabled.release.plugin_id
        if name in at_hand:
            opened = _opened(self._vault, _row(merchant_id, name), [b64decode(box) for box in at_hand[name]])
            return Keys(name, keyrings.kind_of(opened[0]), opened, is_declared=False)
        declared = next((use for use in enabled.release.manifest.secrets if use.name == name), None)
        stored = None if declared is None else (await self._book.secrets_of(plugin_id, merchant_id)).get(name)
        if declared is None or stored is None or stored.kind != declared.kind or not stored.boxes:
            raise SECRET_UNKNOWN.error()
        row = secret_row(merchant_id=merchant_id, plugin_id=plugin_id, name=name)
        opened = _opened(self._vault, row, stored.boxes)
        self._book.used(plugin_id, merchant_id, name)
        return Keys(name, stored.kind, opened)


def mac(keys: Keys, message: bytes) -> bytes:
    """By the newest key. Raises 422 `plugin.secret_unfit`."""
    try:
        return keyrings.mac(keys.kind, keys.materials[0], message)
    except KeyUnfit as error:
        raise _unfit(keys, error) from error


def verify(keys: Keys, message: bytes, signature: bytes) -> bool:
    """Whether any living key agrees; all are asked, so that time tells nothing. Raises 422 `plugin.secret_unfit`."""
    try:
        proofs = [keyrings.verify(keys.kind, material, message, signature) for material in keys.materials]
    except KeyUnfit as error:
        raise _unfit(keys, error) from error
    return any(proofs)


async def sign(keys: Keys, message: bytes) -> bytes:
    """By the newest key, beside the event loop: a signature of RSA takes milliseconds. Raises as `mac`."""
    try:
        return await asyncio.to_thread(keyrings.sign, keys.kind, keys.materials[0], message)
    except KeyUnfit as error:
        raise _unfit(keys, error) from error


def open_message(keys: Keys, message: bytes, associated_data: bytes) -> bytes:
    """By whichever living key opens it. Raises as `mac`, also for what no key opens."""
    kind = keys.kind if keys.is_declared else "aead_key"  # 32 bytes do not say what they are for
    try:
        for material in keys.materials:
            text = keyrings.open_message(kind, material, message, associated_data)
            if text is not None:
                return text
    except KeyUnfit as error:
        raise _unfit(keys, error) from error
    raise SECRET_UNFIT.error({"name": keys.name, "reason": "the message does not open under it"})


def _unfit(keys: Keys, error: KeyUnfit) -> Exception:
    return SECRET_UNFIT.error({"name": keys.name, "reason": str(error)})


def _opened(vault: Vault, row: str, boxes: Sequence[bytes]) -> tuple[bytes, ...]:
    try:
        return tuple(vault.open(row, box) for box in boxes)
    except SealBroken as error:
        raise SECRET_UNKNOWN.error() from error


@dataclass(frozen=True, slots=True)
class VaultSecrets:
    """`contracts.plugin.Secrets` over sealed boxes of the call at hand, for first-party providers in this process."""

    vault: Vault
    merchant_id: str
    sealed: Sealed

    def mac(self, name: str, message: bytes) -> bytes:
        """HMAC-SHA256 by the newest key of that name. Raises KeyError."""
        return keyrings.mac("mac_key", self._keys(name)[0], message)

    def verify(self, name: str, message: bytes, signature: bytes) -> bool:
        """Whether any living key of that name made the signature, in constant time for MACs. Raises KeyError."""
        proofs = [keyrings.verify(keyrings.kind_of(k), k, message, signature) for k in self._keys(name)]
        return any(proofs)

    def sign(self, name: str, message: bytes) -> bytes:
        """The signature by the newest private key of that name. Raises KeyError, and KeyUnfit for another kind."""
        key = self._keys(name)[0]
        return keyrings.sign(keyrings.kind_of(key), key, message)

    def open(self, name: str, message: bytes, *, associated_data: bytes = b"") -> bytes:
        """The text of a sealed message. Raises KeyError, and KeyUnfit for what no living key of that name opens."""
        for key in self._keys(name):
            text = keyrings.open_message("aead_key", key, message, associated_data)
            if text is not None:
                return text
        raise KeyUnfit(f"the message does not open under {name}")

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
