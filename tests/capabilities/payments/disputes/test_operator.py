"""The operator's word on a dispute, and the check of what payments say of themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from platform_core.bootstrap.commands.dispute import _stated
from platform_core.capabilities.payments.check import check
from platform_core.contracts.payments import DisputeWord
from platform_core.kernel.errors import PlatformError
from tests.capabilities.payments.disputes.test_disputes import disputed, the_one
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_sales import read, scan
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]


def word(shop: Shop, transaction_id: str, **fields: Any) -> DisputeWord:
    stated = DisputeWord(
        provider_reference=f"letter-{transaction_id[-6:]}",
        idempotency_key=transaction_id,
        status="opened",
        is_withdrawn=False,
        amount_minor=5_000,
        currency="CNY",
        reason="letter",
        occurred_at=shop.clock.now(),
        due_at=shop.clock.now() + timedelta(days=5),
    )
    return replace(stated, **fields)


async def test_operator_opens_and_decides_what_no_provider_tells_of(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    [sale] = await shop.transactions(payment["id"])
    told = await _stated(shop.platform, word(shop, sale["id"]))
    assert (told["state"], told["held_minor"], told["reason"]) == ("opened", 5_000, "letter")
    assert (await _stated(shop.platform, word(shop, sale["id"])))["id"] == told["id"]
    await _stated(shop.platform, word(shop, sale["id"], status="lost", is_withdrawn=True))
    assert (await the_one(seller, payment))["state"] == "lost"
    assert (await seller.balances(shop.platform))["channel_receivable"] == -3_200
    sql = "SELECT kind, actor, subject FROM audit_row WHERE merchant_id = $1 AND kind = 'dispute.stated'"
    rows = [tuple(row) for row in await shop.fetch(sql, seller.merchant_id)]
    assert rows == [("dispute.stated", "platform", sale["id"])] * 3


async def test_money_of_a_till_is_disputed_at_no_acquirer(shop: Shop, seller: Till) -> None:
    paid = (await seller.pay()).json()
    [sale] = await shop.transactions(paid["id"])
    before = await shop.counts()
    for transaction_id in (sale["id"], "txn_unheard_of"):
        with pytest.raises(PlatformError) as refused:
            await _stated(shop.platform, word(shop, transaction_id))
        assert refused.value.code == "payments.not_found"
    assert await shop.counts() == before


async def test_check_finds_each_figure_that_was_changed(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await disputed(shop, seller, payment, 5_000)
    dispute = await the_one(seller, payment)
    clean = await check(shop.platform.database, now=shop.clock.now())
    assert clean.is_clean, clean.offences
    assert clean.disputes > 0
    for column, rule, expected in (
        ("disputed_minor", "disputed", 5_000),
        ("captured_minor", "captured", 8_200),
        ("refunded_minor", "refunded", 0),
        ("refunding_minor", "refunding", 0),
        ("disputes", "disputes", 1),
    ):
        async with shop.owner_lock:
            change = "{c} = {c} - 1" if column.startswith(("disputed", "captured")) else "{c} = {c} + 1"
            await shop.owner.execute(f"UPDATE pay_payment SET {change.format(c=column)} WHERE id = $1", payment["id"])
            found = (await check(shop.platform.database, now=shop.clock.now())).offences
            back = change.replace("-", "*").replace("+", "-").replace("*", "+").format(c=column)
            await shop.owner.execute(f"UPDATE pay_payment SET {back} WHERE id = $1", payment["id"])
        assert [(one.rule, one.subject, one.expected) for one in found] == [(rule, payment["id"], expected)]
    async with shop.owner_lock:
        await shop.owner.execute("UPDATE pay_dispute SET held_minor = 4999 WHERE id = $1", dispute["id"])
        found = (await check(shop.platform.database, now=shop.clock.now())).offences
        await shop.owner.execute("UPDATE pay_dispute SET held_minor = 5000 WHERE id = $1", dispute["id"])
    assert {(one.rule, one.expected, one.found) for one in found} == {
        ("disputed", 4_999, 5_000),
        ("dispute_held", 4_999, 5_000),
    }


async def test_disputes_are_expanded_and_listed_by(shop: Shop, seller: Till) -> None:
    payment, quiet = await scan(seller), await scan(seller)
    await disputed(shop, seller, payment)
    assert (await read(seller, payment, "disputes"))["disputes"] == [await the_one(seller, payment)]
    for query, wanted in (("true", [payment["id"]]), ("false", [quiet["id"]])):
        page = (await seller.get(f"/payments?has_dispute={query}")).json()["data"]
        assert [row["id"] for row in page] == wanted
    narrow = await shop.new_till(scopes=("payments:read",))
    assert (await narrow.get("/payments?expand=disputes")).status_code == 403
