"""One platform for all tests of payments; what must not be shared is a merchant of one's own."""

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
    """The shared platform. Its clock only ever goes forward."""
    postgres.create_database("payments_shop", template="template_arsenal")
    clock = ManualClock(datetime.now(UTC))
    async with open_shop(postgres.url("payments_shop"), clock=clock, home=tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture
async def seller(shop: Shop) -> Till:
    """A merchant of one's own, with cash and the acquirer, fee 60 bp."""
    return await shop.new_till()


@pytest.fixture
async def plain_seller(shop: Shop) -> Till:
    """A merchant of one's own whose acquirer is told nothing of splits: the platform splits alone."""
    till = await shop.new_till()
    till.channel_account_id = await shop.platform.payment_setup.add_channel_account(
        till.merchant_id,
        provider_id="plain_acquirer",
        name="Plain",
        settings={"gateway_url": shop.acquirer_url, "merchant_no": "M1"},
        secrets={"signing_key": b"0" * 32},
    )
    shop.later(seconds=2)
    return till
