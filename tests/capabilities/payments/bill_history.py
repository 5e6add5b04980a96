"""Random histories of one merchant over several days, for what must agree at their end: ledger, API and bill.

A further noun adds its operations by `OPERATIONS["split"] = Operation(weight, act)`, where `act(history)` does one
thing over the API and says whether it did; nothing else here needs to know.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.capabilities.payments.shop import Shop
from tests.support.world import Till

DONE = (200, 201, 202)
REFUSED = (409,)


@dataclass
class History:
    """What was done so far. `chance` decides everything, so that a seed is a history."""

    shop: Shop
    till: Till
    chance: random.Random
    payments: list[dict[str, Any]] = field(default_factory=list)
    authorized: list[dict[str, Any]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    numbers: int = 0

    def number(self) -> str:
        """A number that this history has not used."""
        self.numbers += 1
        return f"h{self.numbers}"

    def amount(self, most: int = 20_000) -> int:
        return self.chance.randint(1, most)

    def code(self, scenario: str) -> str:
        return f"sim:{scenario}:{self.number()}.{self.till.merchant_id[-12:]}"

    async def act(self, payment: dict[str, Any], name: str, **body: Any) -> bool:
        """A follow-up; one that the payment's state or balance does not allow is refused, and is none."""
        answer = await self.till.post(f"/payments/{payment['id']}/{name}", body)
        assert answer.status_code in (*DONE, *REFUSED), answer.text
        return answer.status_code in DONE


@dataclass(frozen=True)
class Operation:
    """One thing that may happen, `weight` times as often as one of weight 1."""

    weight: int
    act: Callable[[History], Awaitable[bool]]


async def _pay(history: History, **fields: Any) -> dict[str, Any]:
    store = history.chance.choice([None, history.till.store_id])
    more = {} if store is None else {"store_id": store}
    answer = await history.till.pay(
        out_trade_no=history.number(), order_minor=history.amount(), key=history.number(), **more, **fields
    )
    assert answer.status_code in DONE, answer.text
    return dict(answer.json())


async def cash(history: History) -> bool:
    history.payments.append(await _pay(history))
    return True


async def sale(history: History) -> bool:
    scenario = history.chance.choice(["success"] * 6 + ["decline_balance", "timeout_after_charge", "paying-1"])
    history.payments.append(await _pay(history, form="merchant_scan", auth_code=history.code(scenario)))
    return True


async def authorize(history: History) -> bool:
    paid = await _pay(history, form="merchant_scan", is_capture=False, auth_code=history.code("success"))
    history.authorized.append(paid)
    history.payments.append(paid)
    return True


async def capture(history: History) -> bool:
    if not history.authorized:
        return False
    payment = history.chance.choice(history.authorized)
    final = history.chance.random() < 0.5
    body = {"out_request_no": history.number(), "amount_minor": history.amount(3_000), "is_final": final}
    return await history.act(payment, "capture", **body)


async def void(history: History) -> bool:
    if not history.authorized:
        return False
    body = {"out_request_no": history.number(), "amount_minor": history.amount(3_000)}
    return await history.act(history.chance.choice(history.authorized), "void", **body)


async def refund(history: History) -> bool:
    if not history.payments:
        return False
    payment = history.chance.choice(history.payments)
    how: dict[str, Any] = {"amount_minor": history.amount(5_000)}
    if history.chance.random() < 0.3:
        how = {"is_full": True}
    if history.chance.random() < 0.2:
        scenario = history.chance.choice(["decline_balance", "timeout_after_charge", "silent", "busy"])
        history.shop.acquirer.script(scenario, operation="refund")
    did = await history.act(payment, "refunds", out_request_no=history.number(), **how)
    history.shop.acquirer.forget_faults()
    return did


async def cancel(history: History) -> bool:
    if not history.payments:
        return False
    return await history.act(history.chance.choice(history.payments[-5:]), "cancel")


OPERATIONS: dict[str, Operation] = {
    "cash": Operation(3, cash),
    "sale": Operation(6, sale),
    "authorize": Operation(2, authorize),
    "capture": Operation(2, capture),
    "void": Operation(1, void),
    "refund": Operation(5, refund),
    "cancel": Operation(1, cancel),
}


async def live(history: History, *, operations: int, hours: float) -> None:
    """So many operations, spread over some hours of the test clock, with the worker at work in between."""
    names = list(OPERATIONS)
    weights = [OPERATIONS[name].weight for name in names]
    pause = timedelta(hours=hours / operations)
    for _ in range(operations):
        [name] = history.chance.choices(names, weights)
        if await OPERATIONS[name].act(history):
            history.done[name] += 1
        history.shop.clock.advance(pause)
        if history.chance.random() < 0.1:
            await history.shop.work_for(history.till)


async def come_to_rest(history: History, *, days: int) -> None:
    """Let days pass without further operations, the worker at work each hour, until bills of all of them are made."""
    for _ in range(days * 24):
        history.shop.later(hours=1)
        await history.shop.work_for(history.till)
