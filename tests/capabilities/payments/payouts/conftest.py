"""A merchant whose money can be paid out."""

from __future__ import annotations

import pytest

from tests.capabilities.payments.payouts.desk import confirm_destination
from tests.capabilities.payments.shop import Shop
from tests.support.world import SCOPES, Till


@pytest.fixture
async def payee(shop: Shop) -> Till:
    """A merchant with a confirmed destination, whose app may pay out."""
    till = await shop.new_till(scopes=(*SCOPES, "payouts:write"))
    await confirm_destination(shop, till)
    return till
