"""Connections by role: reads in short transactions under row-level security, the writer on a connection of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from platform_core.kernel.database.singles import Singles


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """One URL per role. `owner` alone is enough: the others then log in as owner and become their role at once.

    In production each role logs in by itself, so that no connection of the server can become the owner.
    """

    owner: str
    app: str | None = None
    job: str | None = None
    auth: str | None = None
    writer: str | None = None

    def of(self, role: str) -> tuple[str, dict[str, str]]:
        """The URL for a role, and the start-up settings that turn the owner into it where it has no URL."""
        own: str | None = getattr(self, role)
        if own is not None:
            return own, {}
        return self.owner, {"role": f"arsenal_{role}"}


def sqlalchemy_url(url: str) -> URL:
    """A libpq URL for SQLAlchemy over asyncpg; a Unix socket's directory travels in `host`."""
    return make_url(url).set(drivername="postgresql+asyncpg")


class Database:
    """Engines of one process. `open` is cheap: connections are made when first used."""

    def __init__(
        self,
        urls: DatabaseUrls,
        *,
        application_name: str = "arsenal",
        pool_size: int = 8,
        statement_timeout_ms: int | None = None,
    ) -> None:
        """`statement_timeout_ms`: after how long PostgreSQL gives a statement up; None leaves it the server's."""
        self.urls = urls
        self._application_name = application_name
        self._pool_size = pool_size
        self._session = {"jit": "off"}
        if statement_timeout_ms is not None:
            self._session["statement_timeout"] = str(statement_timeout_ms)
        self._engines: dict[str, AsyncEngine] = {}
        self._singles: dict[str, Singles] = {}

    def engine(self, role: str) -> AsyncEngine:
        """The engine of a role: app, job, auth or writer."""
        if role not in self._engines:
            url, settings = self.urls.of(role)
            self._engines[role] = create_async_engine(
                sqlalchemy_url(url),
                pool_size=self._pool_size,
                max_overflow=0,
                pool_timeout=5,
                pool_pre_ping=False,
                connect_args={
                    "server_settings": {
                        **settings,
                        "application_name": f"{self._application_name}:{role}",
                        "jit": "off",
                    }
                },
            )
        return self._engines[role]

    def singles(self, role: str) -> Singles:
        """Single statements of a role over the driver itself: for the hottest reads."""
        if role not in self._singles:
            self._singles[role] = Singles(lambda: self._connect_plain(role), size=self._pool_size)
        return self._singles[role]

    def read_plainly(self, merchant_id: str) -> AbstractAsyncContextManager[asyncpg.Connection[Any]]:
        """`read` over the driver itself, at a third of its CPU: for what every act on a payment reads. JSON as values.

        Raises what the driver raises (see `is_away`).
        """
        return self.singles("app").tenant(merchant_id)

    async def _connect_plain(self, role: str) -> asyncpg.Connection[Any]:
        connection = await self.connect(role)
        if role == "app":
            await connection.set_type_codec(
                "jsonb", schema="pg_catalog", encoder=_encoded, decoder=msgspec.json.decode, format="text"
            )
        return connection

    @asynccontextmanager
    async def read(self, merchant_id: str | None) -> AsyncIterator[AsyncConnection]:
        """A read transaction that sees what `merchant_id` may see; None sees no tenant's row.

        The variable is set for this transaction only: connections are pooled.
        """
        async with self.engine("app").connect() as connection:
            await connection.execute(_SET_TENANT, {"merchant_id": merchant_id or ""})
            yield connection

    @asynccontextmanager
    async def read_as_app(self, app_id: str) -> AsyncIterator[AsyncConnection]:
        """A read transaction that sees the rows of one app, and no tenant's."""
        async with self.read(None) as connection:
            await connection.execute(_SET_APP, {"app_id": app_id})
            yield connection

    @asynccontextmanager
    async def read_all(self) -> AsyncIterator[AsyncConnection]:
        """A read transaction over all tenants: for workers, never for a request."""
        async with self.engine("job").connect() as connection:
            yield connection

    @asynccontextmanager
    async def read_auth(self) -> AsyncIterator[AsyncConnection]:
        """A read transaction over the party and OAuth tables of all tenants: for the authorization server."""
        async with self.engine("auth").connect() as connection:
            yield connection

    async def connect(self, role: str) -> asyncpg.Connection:
        """A driver's connection outside the pool: for the writer, for leases, for LISTEN."""
        url, settings = self.urls.of(role)
        return await asyncpg.connect(
            url,
            server_settings=self._server_settings(role, settings),
            statement_cache_size=500,
            timeout=5,
        )

    def _server_settings(self, role: str, settings: dict[str, str]) -> dict[str, str]:
        return {**self._session, **settings, "application_name": f"{self._application_name}:{role}"}

    async def connect_writer(self) -> asyncpg.Connection:
        """What `Committer` opens."""
        return await self.connect("writer")

    async def close(self) -> None:
        """Close all pooled connections."""
        for singles in self._singles.values():
            await singles.close()
        self._singles.clear()
        for engine in self._engines.values():
            await engine.dispose()
        self._engines.clear()


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()


def is_away(error: BaseException) -> bool:
    """Whether an exception says that the database cannot be reached now, as opposed to a statement that it refused."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or (error.orig is not None and is_away(error.orig.__cause__ or error.orig))
    return isinstance(error, _AWAY)


_AWAY = (
    OSError,  # TimeoutError is one
    PoolTimeout,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
)
_SET_APP = text("SELECT set_config('arsenal.app', :app_id, true)")
_SET_TENANT = text("SELECT set_config('arsenal.merchant', :merchant_id, true)")
