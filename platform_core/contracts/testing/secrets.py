"""The merchant's secrets in memory; the plugin gets at them by name alone."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from platform_core.contracts.manifest import SecretUse


class FakeSecrets:
    """`contracts.plugin.Secrets`. Several keys a name while one is being rotated: the newest first."""

    def __init__(self, keys: Mapping[str, bytes | tuple[bytes, ...]], *, declared: tuple[SecretUse, ...] = ()) -> None:
        """`declared`: what the manifest says of them; empty: nothing is asked of the names."""
        self._keys = {name: key if isinstance(key, tuple) else (key,) for name, key in keys.items()}
        self._declared = {use.name: use for use in declared}

    def mac(self, name: str, message: bytes) -> bytes:
        """HMAC-SHA256 by the newest key. Raises KeyError."""
        return hmac.digest(self._keys[name][0], message, "sha256")

    def verify(self, name: str, message: bytes, signature: bytes) -> bool:
        """Whether any of the name's keys made the signature."""
        return any(hmac.compare_digest(hmac.digest(key, message, "sha256"), signature) for key in self._keys[name])

    def plain(self, name: str, *, host: str) -> bytes | None:
        """What a placeholder is filled with; None when this secret does not go to this host."""
        use = self._declared.get(name)
        if name not in self._keys or use is None or use.kind != "token" or host not in use.hosts:
            return None
        return self._keys[name][0]
