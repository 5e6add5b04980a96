"""One platform for all tests of payments; what must not be shared is a merchant of one's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from platform_core.bootstrap.app import attach, create_app
from platform_core.bootstrap.platform import open_platform
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.settings import Settings
from tests.capabilities.payments.acquirer import DirectProvider, registry_of
from tests.capabilities.payments.shop import Shop, open_shop
from tests.support.world import ORIGIN, Till


@pytest.fixture(scope="session")
async def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """The shared platform. Its clock only ever goes forward."""
    postgres.create_database("payments_shop", template="template_arsenal")
    clock = ManualClock(datetime.now(UTC))
    async with open_shop(postgres.url("payments_shop"), clock=clock, home=tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture
async def seller(shop: Shop) -> Till:
    """A merchant of one's own, with cash and the acquirer, fee 60 bp."""
    return await shop.new_till()


@pytest.fixture(scope="module")
async def neighbour(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """A second platform on the same database and acquirer, as another server process has it."""
    providers = [DirectProvider("simulated_acquirer", shop.acquirer), DirectProvider("second_acquirer", shop.second)]
    settings = Settings(home=Path(shop.platform.settings.home), public_origin=ORIGIN)
    urls = DatabaseUrls(owner=shop.platform.database.urls.owner)
    async with open_platform(settings, urls, clock=shop.clock, registry=registry_of(providers)) as platform:
        app = create_app(None, public_origin=ORIGIN, ids=platform.ids)  # type: ignore[arg-type]  # attached by hand
        attach(app, platform)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            yield client
