"""`amend_settlement`: a capability withholds within what is left, and one that misbehaves is left out alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from platform_core.capabilities.payments.settlement import amendments
from platform_core.capabilities.payments.settlement.models import RESERVE_PLANS
from platform_core.contracts.payments.settlement import (
    LedgerAccount,
    LinkedTransfer,
    SettlementAmender,
    SettlementToAmend,
    Withhold,
)
from platform_core.identity.models_people import MERCHANT_LICENCES
from platform_core.kernel.commit import Insert
from tests.capabilities.payments.settlement.money import earn, figures, give, owe, settle, settlements, today
from tests.capabilities.payments.shop import Shop
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
Answer = Callable[[SettlementToAmend], Sequence[Withhold]]


@dataclass
class Lender:
    """A test capability: advances that are repaid out of settlements. Its own unit is `debt:test`."""

    name: str
    merchant_id: str
    answer: Answer
    asked: list[SettlementToAmend] = field(default_factory=list)

    async def amend_settlement(self, settlement: SettlementToAmend) -> Sequence[Withhold]:
        if settlement.merchant_id != self.merchant_id:
            return ()
        self.asked.append(settlement)
        return self.answer(settlement)


@pytest.fixture
def register(shop: Shop) -> Iterator[Callable[[SettlementAmender], None]]:
    """As bootstrap does; taken back when the test is over."""
    service = shop.platform.payments.settlement
    before = list(service._amendments.amenders)
    yield service.register
    service._amendments.amenders[:] = before


def collections(till: Till, lender: str = "lender") -> LedgerAccount:
    return LedgerAccount(
        unit="CNY",
        owner=till.merchant_id,
        role="lender_collections",
        bucket=lender,
        guard="free",
        merchant_id=till.merchant_id,
    )


def repayment(till: Till, amount: int, *, reference: str = "fin_1", **changes: Any) -> Withhold:
    """So much of an advance: money to the lender, and the debt falls in the capability's own unit."""
    mine = {"owner": till.merchant_id, "merchant_id": till.merchant_id, "guard": "free"}
    debt = LedgerAccount(unit="debt:test", role="advance", **mine)
    paid = LedgerAccount(unit="debt:test", role="repaid", **mine)
    linked = LinkedTransfer(debit=debt, credit=paid, amount=amount, code="repayment")
    withhold = Withhold(reference=reference, amount_minor=amount, account=collections(till), transfers=(linked,))
    return replace(withhold, **changes)


def document(shop: Shop, till: Till, number: str) -> Insert:
    """A row of somebody else's table, with a natural key."""
    row = {
        "id": shop.platform.ids.mint("lic"),
        "merchant_id": till.merchant_id,
        "kind": "repayment",
        "number": number,
        "holder": "test",
        "valid_from": today(shop),
        "valid_to": None,
        "state": "accepted",
        "version": 1,
        "created_at": shop.clock.now(),
    }
    return Insert(MERCHANT_LICENCES, row)


async def test_a_capability_withholds_after_debt_and_reserve(
    shop: Shop, seller: Till, register: Callable[[SettlementAmender], None]
) -> None:
    await shop.platform.payments.settlement_admin.set_reserve(
        seller.merchant_id, currency="CNY", rate_bp=1_000, held_days=90
    )
    await owe(shop, seller, 700)
    work = await earn(shop, seller, 5_000)
    draft = document(shop, seller, "n1")
    lender = Lender("financing", seller.merchant_id, lambda asked: [repayment(seller, 1_500, document=draft)])
    second = Lender("savings", seller.merchant_id, lambda asked: [repayment(seller, asked.left_minor, reference="s1")])
    register(lender)
    register(second)
    await settle(shop, seller, work)
    [shown] = await settlements(seller)
    assert figures(shown) == {
        "gross_minor": 5_000,
        "moved_minor": 5_000,
        "debt_minor": 700,
        "reserve_minor": 500,
        "withheld_minor": 3_800,
    }
    assert shown["withholdings"] == [
        {"source": "financing", "reference": "fin_1", "role": "lender_collections", "amount_minor": 1_500},
        {"source": "savings", "reference": "s1", "role": "lender_collections", "amount_minor": 2_300},
    ]
    assert shown["degraded"] == []
    [asked] = lender.asked
    assert (asked.gross_minor, asked.debt_minor, asked.reserve_minor, asked.left_minor) == (5_000, 700, 500, 3_800)
    assert [one.left_minor for one in second.asked] == [2_300]
    balances = await seller.balances(shop.platform)
    assert (balances["lender_collections"], balances["repaid"], balances["advance"]) == (3_800, 3_800, -3_800)
    assert "merchant_available" not in balances
    moves = await shop.fetch(
        "SELECT code, amount FROM ledger_transfer WHERE reference = 'fin_1' AND merchant_id = $1 ORDER BY position",
        seller.merchant_id,
    )
    assert [tuple(row) for row in moves] == [("withhold", 1_500), ("repayment", 1_500)]
    assert await shop.fetch("SELECT 1 FROM merchant_licence WHERE id = $1", draft.row["id"])


async def test_money_of_earlier_days_is_never_withheld(
    shop: Shop, seller: Till, register: Callable[[SettlementAmender], None]
) -> None:
    await give(shop, seller, 9_000)
    lender = Lender("financing", seller.merchant_id, lambda asked: [repayment(seller, asked.left_minor)])
    register(lender)
    await settle(shop, seller, await earn(shop, seller, 5_000))
    assert [one.left_minor for one in lender.asked] == [5_000]
    assert (await seller.balances(shop.platform))["merchant_available"] == 9_000


def _raises(asked: SettlementToAmend) -> Sequence[Withhold]:
    raise LookupError("a bug of the capability")


BAD: dict[str, Callable[[Shop, Till], Answer]] = {
    "raised": lambda shop, till: _raises,
    "exceeds_available": lambda shop, till: lambda asked: [repayment(till, asked.left_minor + 1)],
    "bad_answer": lambda shop, till: lambda asked: [replace(repayment(till, 1), amount_minor=0)],
    "foreign_account": lambda shop, till: (
        lambda asked: [repayment(till, 5, account=replace(collections(till), role="merchant_payout", guard="ge0"))]
    ),
    "foreign_unit": lambda shop, till: (
        lambda asked: [
            repayment(
                till,
                5,
                transfers=[
                    LinkedTransfer(
                        debit=replace(collections(till), role="a"), credit=collections(till), amount=5, code="repayment"
                    )
                ],
            )
        ]
    ),
    "foreign_document": lambda shop, till: lambda asked: [repayment(till, 5, document=Insert(RESERVE_PLANS, {}))],
    "too_many": lambda shop, till: lambda asked: [repayment(till, 1)] * 21,
    "refused": lambda shop, till: (
        lambda asked: [repayment(till, 5, account=replace(collections(till), guard="le0", bucket="full"))]
    ),
}


@pytest.mark.parametrize("fault", BAD)
async def test_an_amender_that_breaks_a_rule_is_left_out_and_the_rest_goes_on(
    shop: Shop, seller: Till, register: Callable[[SettlementAmender], None], fault: str
) -> None:
    register(Lender("broken", seller.merchant_id, BAD[fault](shop, seller)))
    register(Lender("sound", seller.merchant_id, lambda asked: [repayment(seller, 40)]))
    await settle(shop, seller, await earn(shop, seller, 5_000))
    [shown] = await settlements(seller)
    assert shown["degraded"] == [{"source": "broken", "fault": fault}]
    assert (shown["withheld_minor"], shown["net_minor"]) == (40, 4_960)
    balances = await seller.balances(shop.platform)
    assert (balances["merchant_available"], balances["lender_collections"]) == (4_960, 40)
    told = await shop.fetch(
        "SELECT facts FROM audit_row WHERE kind = 'settlement.amender_dropped' AND subject = $1", shown["id"]
    )
    assert len(told) == 1


async def test_an_amender_whose_document_is_refused_is_left_out_with_its_money(
    shop: Shop, seller: Till, register: Callable[[SettlementAmender], None]
) -> None:
    register(
        Lender(
            "financing", seller.merchant_id, lambda asked: [repayment(seller, 9, document=document(shop, seller, "x"))]
        )
    )
    await settle(shop, seller, await earn(shop, seller, 5_000))
    shop.later(days=1)
    await settle(shop, seller, await earn(shop, seller, 3_000))
    first, second = await settlements(seller)
    assert (first["withheld_minor"], first["degraded"]) == (9, [])
    assert (second["withheld_minor"], second["degraded"]) == (0, [{"source": "financing", "fault": "refused"}])


async def test_an_amender_whose_row_the_database_will_not_have_is_left_out(
    shop: Shop, seller: Till, register: Callable[[SettlementAmender], None]
) -> None:
    broken = document(shop, seller, "x")
    row = {**broken.row, "state": "no such state"}
    answer = [repayment(seller, 9, document=Insert(MERCHANT_LICENCES, row))]
    register(Lender("financing", seller.merchant_id, lambda asked: answer))
    await settle(shop, seller, await earn(shop, seller, 5_000))
    [shown] = await settlements(seller)
    assert (shown["net_minor"], shown["degraded"]) == (5_000, [{"source": "financing", "fault": "refused"}])


async def test_a_late_amender_is_left_out(
    shop: Shop, seller: Till, register: Callable[[SettlementAmender], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amendments, "DEADLINE_S", 0.01)

    class Slow(Lender):
        async def amend_settlement(self, settlement: SettlementToAmend) -> Sequence[Withhold]:
            await asyncio.Event().wait()
            return ()

    register(Slow("slow", seller.merchant_id, lambda asked: ()))
    await settle(shop, seller, await earn(shop, seller, 5_000))
    [shown] = await settlements(seller)
    assert (shown["degraded"], shown["net_minor"]) == ([{"source": "slow", "fault": "late"}], 5_000)


async def test_two_capabilities_of_one_name_are_refused(
    shop: Shop, seller: Till, register: Callable[[SettlementAmender], None]
) -> None:
    register(Lender("financing", seller.merchant_id, lambda asked: ()))
    with pytest.raises(ValueError, match="financing amends settlements already"):
        register(Lender("financing", seller.merchant_id, lambda asked: ()))
