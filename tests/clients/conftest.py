"""One server with two processes on one database for all outside clients, and the clients, installed by their locks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from platform_core.bootstrap.platform import Platform
from platform_core.identity.schemas import AppCreate, AppCreated, GrantCreate, MerchantCreate, MerchantRead, StoreCreate
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import DatabaseUrls
from tests.clients.outside import OutsideClient, install_npm, install_python
from tests.support.processes import ARSENAL, Daemon, free_port, says
from tests.support.processes_arsenal import environment, platform_of

SCOPES = ("merchant:read", "stores:read", "payments:read")
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Shop:
    """A merchant whose own app has a grant."""

    merchant: MerchantRead
    app: AppCreated

    @property
    def client_id(self) -> str:
        return self.app.client.id

    @property
    def secret(self) -> str:
        return self.app.secret.secret


@dataclass(frozen=True, slots=True)
class Server:
    """`arsenal serve --workers 2`, and a platform of this process over the same database and keys."""

    origin: str
    daemon: Daemon
    platform: Platform

    @property
    def audience(self) -> str:
        """What tokens are for."""
        return f"{self.origin}/v1"

    @property
    def resource(self) -> str:
        """A route that answers 200 to whoever may read stores."""
        return f"{self.origin}/v1/stores"

    async def new_shop(self, scopes: Sequence[str] = SCOPES) -> Shop:
        """A new merchant with a store, an app of its own and a grant."""
        platform = self.platform
        merchant = await platform.parties.create_merchant(
            MerchantCreate(name="Hutong Coffee", mode="test", industry="restaurant", verification="verified")
        )
        await platform.parties.create_store(StoreCreate(merchant_id=merchant.id, name="Drum Tower"))
        app = await platform.apps.create_app(
            AppCreate(name="Till", mode="test", merchant_id=merchant.id, api_version="2026-11-22")
        )
        wanted = GrantCreate(
            app_id=app.id,
            merchant_id=merchant.id,
            mode="test",
            scopes=frozenset(scopes),
            stores=None,
            given_by="per_owner",
        )
        await platform.grants.create(wanted)
        return Shop(merchant, app)


@pytest.fixture(scope="session")
async def server(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """Started once; every test makes parties of its own."""
    postgres.create_database("clients", template="template_arsenal")
    url, folder, port = postgres.url("clients"), tmp_path_factory.mktemp("clients"), free_port()
    origin = f"http://127.0.0.1:{port}"
    given = environment(folder, database_url=url, public_origin=origin, listen_port=port)
    async with platform_of(given, DatabaseUrls(owner=url)) as platform:
        daemon = Daemon(
            "server",
            [ARSENAL, "serve", "--workers", str(WORKERS), "--json"],
            log=folder / "server.log",
            ready=says('"ready": true'),
            environment=given,
        )
        await daemon.start()
        yield Server(origin, daemon, platform)
        assert await daemon.stop() == 0, daemon.tail()
    postgres.sql("DROP DATABASE clients WITH (FORCE)")


@pytest.fixture(scope="session")
def npm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the npm clients are."""
    folder = tmp_path_factory.mktemp("npm-clients")
    install_npm(folder)
    return folder


@pytest.fixture(scope="session")
def python_of_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of the Python clients' own environment."""
    return install_python(tmp_path_factory.mktemp("python-clients"))


@pytest.fixture
def outside(request: pytest.FixtureRequest) -> OutsideClient:
    """The client that a test is parametrized with, by name."""
    name: str = request.param
    if name in ("oauth4webapi", "openid_client"):
        folder: Path = request.getfixturevalue("npm_folder")
        return OutsideClient(name, ("node", f"{name}.mjs"), folder)
    python: Path = request.getfixturevalue("python_of_clients")
    return OutsideClient(name, (python, f"{name}_client.py"), Path(__file__).parent / "python")
