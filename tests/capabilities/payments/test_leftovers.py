"""What calls of plugins left behind for a plan that is not to be: handed back, and once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from platform_core.capabilities.payments.leftovers import forsaken_unless_written
from platform_core.contracts.results import Verdict
from platform_core.kernel.commit import Audit, Duplicate, PlanRefused
from platform_core.kernel.commit.errors import COMMIT_BUSY, COMMIT_UNAVAILABLE, COMMIT_UNKNOWN
from tests.capabilities.payments.plugins import Script, ScriptedPlugins
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_screening import BASKET, allow, code, code_of, grown, ten_off
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]


@dataclass
class Trail:
    """Leaves one audit row at each call, numbered."""

    till: Till
    left: list[object] = field(default_factory=list)

    def __call__(self) -> list[object]:
        row = Audit("payment.review_decided", "example.late", f"trail_{len(self.left)}", self.till.merchant_id)
        self.left.append(row)
        return [row]


def scripted(shop: Shop, till: Till, **said: Any) -> Trail:
    trail = Trail(till)
    shop.plugins.scripts[till.merchant_id] = Script(parts=trail, **said)
    shop.plugins.forsaken.clear()
    return trail


async def test_an_order_refused_before_any_plan_hands_everything_back(shop: Shop, seller: Till) -> None:
    trail = scripted(shop, seller, take=ten_off, judge=allow)
    before = await shop.counts()
    answer = await seller.pay(basket=BASKET, order_minor=None, expected_payable_minor=8_200)
    assert code_of(answer) == (409, "payments.payable_changed")
    assert len(trail.left) == 1
    assert shop.plugins.forsaken == trail.left
    answer = await seller.pay(form="merchant_scan")
    assert code_of(answer) == (409, "payments.no_route")
    assert grown(before, await shop.counts()) == {}


async def test_a_plan_that_is_refused_and_an_attempt_too_late_hand_theirs_back(shop: Shop, seller: Till) -> None:
    trail = scripted(shop, seller, judge=allow)
    await seller.pay(out_trade_no="left_1")
    assert shop.plugins.forsaken == []
    taken = await seller.pay(out_trade_no="left_1", order_minor=100)
    assert code_of(taken) == (409, "payments.out_trade_no_taken")
    assert shop.plugins.forsaken == trail.left[1:]
    shown = await seller.pay(form="merchant_scan", auth_code=code("decline_balance"))
    assert shown.json()["state"] == "created"
    shop.plugins.forsaken.clear()
    path = f"/payments/{shown.json()['id']}/attempts"
    before = await shop.counts()
    assert code_of(await seller.post(path, {"form": "merchant_scan"})) == (409, "payments.no_route")
    assert shop.plugins.forsaken == trail.left[-1:]
    assert grown(before, await shop.counts()) == {}
    paid = await seller.post(path, {"form": "merchant_scan", "auth_code": code()})
    assert paid.json()["state"] == "captured"
    assert len(shop.plugins.forsaken) == 1, "what was written is not handed back as well"


async def test_a_refund_that_is_refused_hands_its_own_back(shop: Shop, seller: Till) -> None:
    id_ = (await seller.pay()).json()["id"]
    trail = scripted(shop, seller, judge_refund=allow)
    too_much = {"out_request_no": "r1", "amount_minor": 9_000}
    before = await shop.counts()
    answer = await seller.post(f"/payments/{id_}/refunds", too_much)
    assert code_of(answer) == (409, "payments.refund_exceeds_refundable")
    assert shop.plugins.forsaken == trail.left
    assert grown(before, await shop.counts()) == {}
    shop.plugins.forsaken.clear()
    done = await seller.post(f"/payments/{id_}/refunds", {"out_request_no": "r2", "is_full": True})
    assert done.json()["state"] == "succeeded"
    assert shop.plugins.forsaken == []


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (lambda: PlanRefused(Duplicate("pay_payment", ("id",), "pay_1")), True),
        (COMMIT_BUSY.error, True),
        (COMMIT_UNAVAILABLE.error, True),
        (COMMIT_UNKNOWN.error, False),
        (asyncio.CancelledError, False),
    ],
    ids=["refused", "busy", "away", "unknown", "canceled"],
)
def test_nothing_is_handed_back_that_may_be_written(error: Callable[[], BaseException], is_kept: bool) -> None:
    plugins, parts = ScriptedPlugins(), [object()]
    wanted = list(parts) if is_kept else []
    raised = error()
    with pytest.raises(type(raised)), forsaken_unless_written(plugins, parts):
        raise raised
    assert plugins.forsaken == wanted


def test_a_block_that_wrote_them_hands_nothing_back() -> None:
    plugins, parts = ScriptedPlugins(), [object()]

    def written_and_then_refused() -> None:
        with forsaken_unless_written(plugins, parts):
            parts.clear()
            raise PlanRefused(Duplicate("pay_payment", ("id",), "pay_1"))

    with pytest.raises(PlanRefused):
        written_and_then_refused()
    assert plugins.forsaken == []


def test_an_order_that_was_there_already_hands_back_what_was_asked_in_vain() -> None:
    plugins, parts = ScriptedPlugins(), [Verdict.allow()]
    with forsaken_unless_written(plugins, list(parts)):
        pass
    assert plugins.forsaken == parts
