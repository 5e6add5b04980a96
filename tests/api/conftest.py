"""The API as strangers and clumsy clients meet it, on a platform of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from tests.capabilities.payments.shop import Shop, open_shop
from tests.support.world import Till


@pytest.fixture(scope="session")
async def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """The shared platform."""
    postgres.create_database("api_shop", template="template_arsenal")
    clock = ManualClock(datetime.now(UTC))
    async with open_shop(postgres.url("api_shop"), clock=clock, home=tmp_path_factory.mktemp("api")) as shop:
        yield shop


@pytest.fixture
async def seller(shop: Shop) -> Till:
    """A merchant of one's own."""
    return await shop.new_till()
