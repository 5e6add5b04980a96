"""One thing all the way through: paid, booked, announced, settled, refunded."""

from __future__ import annotations

import pytest

from tests.support.world import Till, World

pytestmark = [pytest.mark.api, pytest.mark.database]


async def test_cash_is_captured_in_one_commit(world: World, till: Till) -> None:
    answer = await till.pay(store_id=till.store_id)
    assert answer.status_code == 201, answer.text
    payment = answer.json()
    assert payment["state"] == "captured"
    assert payment["amounts"]["captured_minor"] == 8_200
    assert payment["amounts"]["fee_minor"] == 49
    assert await till.balances(world.platform) == {
        "channel_receivable": -8_200,
        "merchant_till": 8_151,
        "platform_fee": 49,
    }


async def test_wallet_payment_is_captured_by_the_acquirer(world: World, till: Till) -> None:
    answer = await till.pay(form="merchant_scan", auth_code="sim:success:1")
    assert answer.status_code == 201, answer.text
    assert answer.json()["state"] == "captured", answer.text
    assert await till.balances(world.platform) == {
        "channel_receivable": -8_200,
        "merchant_pending": 8_151,
        "platform_fee": 49,
    }
