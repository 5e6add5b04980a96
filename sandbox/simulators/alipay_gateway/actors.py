"""Apps without a token: each acts for its own merchant, as far as that merchant's grant to it goes."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row, select

from platform_core.identity import repository
from platform_core.identity.directory import MerchantDirectory
from platform_core.identity.models import APP_CLIENTS
from platform_core.identity.principal import Principal
from platform_core.identity.rar import granted_of
from platform_core.kernel.clock import Clock
from platform_core.kernel.database.pools import Database
from sandbox.simulators.alipay_gateway.methods import catalogue
from sandbox.simulators.alipay_gateway.protocol import GatewayError

TOKEN_S: Final = 60
"""How long a principal of the gateway lives: one request."""
_clients = APP_CLIENTS.table


def insufficient() -> GatewayError:
    """40006: the app may not do this here."""
    return GatewayError("40006", "isv.insufficient-isv-permissions", "ISV权限不足，请检查应用与授权")


def bad_token() -> GatewayError:
    """20001: no grant stands behind the token."""
    return GatewayError("20001", "aop.invalid-app-auth-token", "无效的应用授权令牌")


class OwnApps:
    """Principals of apps that act for the merchant that owns them. Reads the rows at every request."""

    def __init__(self, *, database: Database, directory: MerchantDirectory, clock: Clock) -> None:
        """`clock`: the real one, by which grants end."""
        self._database = database
        self._directory = directory
        self._clock = clock

    async def actor(self, app_id: str, app_auth_token: str, auth_token: str, method: str) -> Principal:
        """The app's own merchant; with a token nobody: see `seams.Actors`."""
        if app_auth_token:
            raise bad_token()
        if auth_token:
            raise GatewayError("20001", "aop.invalid-auth-token", "无效的访问令牌")
        scope = catalogue()[method].scope
        async with self._database.read_auth() as connection:
            app = await repository.read_app(connection, app_id)
            client = (await connection.execute(_test_client(app_id))).first()
            grant = None
            if app is not None and app.merchant_id is not None:
                grant = await repository.read_active_grant(connection, app_id, merchant_id=app.merchant_id)
        if app is None or client is None or app.state != "active":
            raise insufficient()
        if scope is None:
            return self._principal(app_id, client, None)
        if grant is None or scope not in grant.scopes.split():
            raise insufficient()
        if grant.expires_at is not None and grant.expires_at <= self._clock.now():
            raise insufficient()
        return await self.granted(app_id, client, grant)

    async def granted(self, app_id: str, client: Row[Any], grant: Row[Any]) -> Principal:
        """The principal of an app under a merchant's grant."""
        merchant = await self._directory.get(grant.merchant_id)
        if merchant.mode != "test":
            raise insufficient()
        stores = None if grant.stores is None else frozenset(grant.stores.split())
        return self._principal(
            app_id,
            client,
            grant.merchant_id,
            standing=merchant.standing,
            scopes=frozenset(grant.scopes.split()),
            stores=stores,
            grant_id=grant.id,
            grant_version=grant.version,
            grant_kind=grant.kind,
            details=granted_of(grant.details),
        )

    def _principal(self, app_id: str, client: Row[Any], merchant_id: str | None, **more: Any) -> Principal:
        given: dict[str, Any] = {
            "standing": "active",
            "scopes": frozenset(),
            "stores": None,
            "grant_id": None,
            "grant_version": 0,
            **more,
        }
        return Principal(
            kind="app",
            client_id=client.id,
            app_id=app_id,
            merchant_id=merchant_id,
            mode="test",
            token_id=f"gateway:{app_id}",
            key_id="",
            expires_at=int(self._clock.now().timestamp()) + TOKEN_S,
            api_version=client.api_version,
            **given,
        )


def _test_client(app_id: str) -> Any:  # a Select
    return select(_clients).where(_clients.c.app_id == app_id, _clients.c.mode == "test", _clients.c.state == "active")
