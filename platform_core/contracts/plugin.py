"""What a plugin asks the host for: the context that rides in every call."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Secrets(Protocol):
    """Cryptography by a secret's name; the secret itself stays with the host.

    Names are those of the call at hand (`ChannelAccount.secret_names`). An unknown name raises KeyError.
    """

    def mac(self, name: str, message: bytes) -> bytes:
        """HMAC-SHA256 (RFC 2104) of the message, 32 bytes, by the newest key of that name."""
        ...

    def verify(self, name: str, message: bytes, signature: bytes) -> bool:
        """Whether the signature is right, compared in constant time; during a rotation the retiring key counts too."""
        ...


class PluginContext(Protocol):
    """The clients a provider's method may use. It is void once that method has returned: never keep it."""

    @property
    def secrets(self) -> Secrets:
        """Cryptography with the secrets of the merchant this call is for."""
        ...


@runtime_checkable
class HoldsConnections(Protocol):
    """An object handed over through a `register_` hook that keeps connections open between calls."""

    async def aclose(self) -> None:
        """Release what the running event loop opened. The host calls it before that loop ends; more calls may follow.

        Calls under way on that loop may fail with an unknown outcome.
        """
        ...
