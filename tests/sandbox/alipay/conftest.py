"""One sandbox for all tests of the gateway; each brings a seller of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from tests.capabilities.payments.shop import open_shop
from tests.sandbox.alipay.bazaar import Bazaar, Seller, open_bazaar


@pytest.fixture(scope="session")
async def bazaar(
    postgres: EmbeddedPostgres, sandbox_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bazaar]:
    """The shared sandbox. Its clock only ever goes forward."""
    postgres.create_database("alipay_bazaar", template=sandbox_template)
    clock = ManualClock(datetime.now(UTC))
    home = tmp_path_factory.mktemp("bazaar")
    async with open_shop(postgres.url("alipay_bazaar"), clock=clock, home=home) as shop:
        yield open_bazaar(shop)


@pytest.fixture
async def seller(bazaar: Bazaar) -> Seller:
    """A merchant of one's own, with cash and the acquirer."""
    return await bazaar.new_seller()
