"""One sandbox for all tests of the gateway's tools; each brings apps and merchants of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from tests.capabilities.payments.shop import open_shop
from tests.sandbox.alipay.tools.yard import Yard, open_yard


@pytest.fixture(scope="session")
async def yard(
    postgres: EmbeddedPostgres, sandbox_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Yard]:
    """The shared sandbox. Its clock only ever goes forward."""
    postgres.create_database("alipay_yard", template=sandbox_template)
    url, clock = postgres.url("alipay_yard"), ManualClock(datetime.now(UTC))
    home = tmp_path_factory.mktemp("yard")
    owner = await asyncpg.connect(url)
    async with open_shop(url, clock=clock, home=home, is_sandbox=True) as shop:
        yield open_yard(shop, clock, owner)
    await owner.close()
