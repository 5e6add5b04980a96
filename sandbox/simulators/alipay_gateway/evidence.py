"""What the signature doctor looks at, and one way in which a signature may have come about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from sandbox.simulators.alipay_gateway.signing import Pair, notice_text, request_text

Kind = Literal["request", "answer", "notice"]
Role = Literal["app", "app_before", "platform", "platform_before", "other_app", "other_platform"]


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A public key that the sandbox knows. `name` says whose, for people: an app's id, a key's fingerprint."""

    role: Role
    name: str
    key: RSAPublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was received. `pairs` in the order in which they came; an answer has its node's bytes as `body` instead.

    `held`: the key that the verifying side holds: the app's at the gateway, for answers and notices the one that the
    client configured (None: not told). `client_text`: what the client says that it signed or verified.
    """

    kind: Kind
    signature: str
    sign_type: str
    keys: Sequence[KnownKey]
    held: RSAPublicKey | None = None
    pairs: Sequence[Pair] = ()
    body: bytes = b""
    client_text: bytes | None = None

    @property
    def text(self) -> bytes:
        """The string that the signature should be over."""
        return self.written(self.pairs)

    def written(self, pairs: Sequence[Pair]) -> bytes:
        """The string to sign of other parameters, by the rule of this kind."""
        if self.kind == "answer":
            return self.body
        return request_text(pairs) if self.kind == "request" else notice_text(pairs)

    @property
    def right_key(self) -> RSAPublicKey | None:
        """The key that belongs to whoever signs this kind of message."""
        if self.kind == "request":
            return self.held
        return next((known.key for known in self.keys if known.role == "platform"), None)


@dataclass(frozen=True, slots=True)
class Trial:
    """A way in which the signature may have come about. None: as it should have."""

    key: RSAPublicKey | None = None
    key_name: str = ""
    text: bytes | None = None
    sign_type: str | None = None
    signature: str | None = None
    is_certain: bool = False
    """Shown by the keys alone; no string needs to fit."""
