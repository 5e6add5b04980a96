"""Grant types, one module each. Adding one is a file here and a line where bootstrap lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from platform_core.identity.oauth.server import TokenRequest


class GrantType(Protocol):
    """What `/oauth/token` needs of a grant type."""

    @property
    def name(self) -> str:
        """The value of `grant_type`."""
        ...

    @property
    def authlib(self) -> type[Any]:
        """Authlib's class for it, which decides on values alone."""
        ...

    @property
    def extensions(self) -> Sequence[Any]:
        """Authlib's extensions of the class."""
        ...

    async def prepare(self, request: TokenRequest) -> None:
        """Read everything that the decision needs into `request.prepared` and `request.acting`. Writes nothing."""
        ...
