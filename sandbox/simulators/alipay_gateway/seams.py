"""What the gateway asks of a part that lives beside it: who acts."""

from __future__ import annotations

from typing import Protocol

from platform_core.identity.principal import Principal


class Actors(Protocol):
    """Who acts."""

    async def actor(self, app_id: str, app_auth_token: str, auth_token: str, method: str) -> Principal:
        """The app's own merchant without a token, else the merchant behind `app_auth_token`.

        `app_id`: the native id. `method`: by name; its scope must be among the principal's. Raises 20001
        aop.invalid-app-auth-token, aop.app-auth-token-time-out, aop.invalid-app-auth-token-no-api,
        aop.invalid-auth-token, aop.auth-token-time-out; 40006 isv.insufficient-isv-permissions.
        """
        ...
