"""Money from the merchant's bank: proposed by one, booked by another, once; a debt is paid first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from platform_core.kernel.errors import PlatformError
from platform_core.kernel.money import Money
from tests.capabilities.payments.settlement.money import owe
from tests.capabilities.payments.shop import Shop
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
FEN = Money(5_000, "CNY")


async def code_of(act: Awaitable[object]) -> str:
    with pytest.raises(PlatformError) as refused:
        await act
    return refused.value.declared.code


async def test_a_top_up_takes_two_and_pays_the_debt_first(shop: Shop, seller: Till) -> None:
    top_ups, reference = shop.platform.payments.top_ups, seller.merchant_id
    await owe(shop, seller, 1_200)
    made = await top_ups.propose(seller.merchant_id, FEN, bank_account="icbc-1", reference=reference, by="terminal:a")
    before = await seller.balances(shop.platform)
    assert await code_of(top_ups.confirm(made.id, by="terminal:a")) == "identity.second_person_needed"
    assert await seller.balances(shop.platform) == before
    booked = await top_ups.confirm(made.id, by="terminal:b")
    assert (booked.state, booked.debt_minor, booked.decided_by) == ("booked", 1_200, "terminal:b")
    records = {(r.role, r.bucket): r.posted for r in await shop.platform.ledger.balances(seller.merchant_id)}
    assert records["bank", "icbc-1"] == -5_000
    assert records["merchant_available", ""] == 3_800
    assert records["merchant_debt", ""] == 0
    assert await code_of(top_ups.confirm(made.id, by="terminal:c")) == "payments.top_up_not_found"
    again = top_ups.propose(seller.merchant_id, FEN, bank_account="icbc-1", reference=reference, by="terminal:a")
    assert await code_of(again) == "payments.top_up_exists"
    kinds = await shop.fetch("SELECT kind, actor FROM audit_row WHERE subject = $1 ORDER BY position", made.id)
    assert [tuple(row) for row in kinds] == [("top_up.proposed", "terminal:a"), ("top_up.booked", "terminal:b")]


async def test_two_who_confirm_at_once_book_once(shop: Shop, seller: Till) -> None:
    top_ups = shop.platform.payments.top_ups
    made = await top_ups.propose(
        seller.merchant_id, FEN, bank_account="icbc-1", reference=seller.merchant_id, by="terminal:a"
    )
    results = await asyncio.gather(
        *(top_ups.confirm(made.id, by=f"terminal:{name}") for name in "bc"), return_exceptions=True
    )
    assert sorted(isinstance(result, PlatformError) for result in results) == [False, True]
    assert (await seller.balances(shop.platform))["merchant_available"] == 5_000


async def test_what_was_refused_may_be_proposed_again(shop: Shop, seller: Till) -> None:
    top_ups, line = shop.platform.payments.top_ups, {"bank_account": "icbc-1", "reference": seller.merchant_id}
    first = await top_ups.propose(seller.merchant_id, FEN, **line, by="terminal:a")
    assert (await top_ups.refuse(first.id, by="terminal:b")).state == "refused"
    assert "merchant_available" not in await seller.balances(shop.platform)
    second = await top_ups.propose(seller.merchant_id, FEN, **line, by="terminal:a")
    assert (await top_ups.confirm(second.id, by="terminal:b")).state == "booked"
    kinds = await shop.fetch("SELECT kind FROM audit_row WHERE subject = $1 ORDER BY position", first.id)
    assert [row["kind"] for row in kinds] == ["top_up.proposed", "top_up.refused"]


async def test_a_line_that_is_none_is_refused(shop: Shop, seller: Till) -> None:
    top_ups, count = shop.platform.payments.top_ups, await shop.counts()
    for amount, bank in ((Money(0, "CNY"), "icbc-1"), (FEN, ""), (FEN, "a b")):
        act = top_ups.propose(seller.merchant_id, amount, bank_account=bank, reference="r", by="terminal:a")
        assert await code_of(act) == "payments.top_up_invalid"
    assert await shop.counts() == count
