"""The merchant's secrets in memory; the plugin gets at them by name alone."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from platform_core.contracts.manifest import SecretUse
from platform_core.contracts.plugin import Refused


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

    def sign(self, name: str, message: bytes) -> bytes:
        """By the newest key, a PEM: RSA with PKCS#1 v1.5 and SHA-256, ES256 (R and S), or Ed25519. Raises KeyError."""
        key = load_pem_private_key(self._keys[name][0], password=None)
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(message, padding.PKCS1v15(), SHA256())
        if isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(message)
        raise Refused("plugin.secret_unfit", f"The secret {name} is no key that signs.")

    def open(self, name: str, message: bytes, *, associated_data: bytes = b"") -> bytes:
        """AES-256-GCM: 12 bytes of nonce, ciphertext, tag; by whichever of the name's keys fits. Raises KeyError."""
        for key in self._keys[name]:
            try:
                return AESGCM(key).decrypt(message[:12], message[12:], associated_data)
            except InvalidTag:
                continue
        raise Refused("plugin.secret_unfit", f"No key of {name} opens this message.")

    def plain(self, name: str, *, host: str) -> bytes | None:
        """What a placeholder is filled with; None when this secret does not go to this host."""
        use = self._declared.get(name)
        if name not in self._keys or use is None or use.kind != "token" or host not in use.hosts:
            return None
        return self._keys[name][0]
