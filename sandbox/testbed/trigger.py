"""Plays a scenario: takes the order over HTTP, does what follows, waits for its end, compares it with what must be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sandbox.testbed.trigger_scenarios import Scenario, Step
from sandbox.testbed.trigger_till import Json, Till, TillRefused

END_WITHIN_S: Final = 90.0
LOOK_EVERY_S: Final = 0.5
MOVING: Final = frozenset({"processing", "unknown", "in_review"})
REVIEWS_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Order:
    """One order to be played. `number` is the merchant's own and begins every key."""

    scenario: Scenario
    number: str
    amount_minor: int
    currency: str = "CNY"
    store_id: str | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """How an order went. `fault` says in words what is not as the scenario has it, else it is empty."""

    order: Order
    payment: Json
    was_unknown: bool
    fault: str
    seconds: float


class Player:
    """Plays orders at one merchant's till. `acquirer_url`: where the customer's phone scans QR codes."""

    def __init__(self, till: Till, *, acquirer_url: str, end_within_s: float = END_WITHIN_S) -> None:
        self._till = till
        self._acquirer_url = acquirer_url
        self._end_within_s = end_within_s

    async def play(self, order: Order, heard: Callable[[Order, str], None] = lambda order, state: None) -> Played:
        """Play one order; `heard(order, state)` is told each state that is seen. Raises TillRefused, PlatformAway."""
        began = time.monotonic()
        states: list[str] = []

        def note(state: str) -> None:
            if not states or states[-1] != state:
                states.append(state)
                heard(order, state)

        payment = await self._till.post("/payments", _creation(order), key=order.number)
        note(payment["state"])
        payment = await self._looked_at(order, payment, note)
        for place, step in enumerate(order.scenario.steps):
            if step.kind != "scan":
                payment = await self._end_of(payment, note)
            payment = await self._do(step, order, payment, key=f"{order.number}_{place}")
            note(payment["state"])
        payment = await self._end_of(payment, note)
        fault = fault_of(order, payment)
        return Played(order, payment, "unknown" in states, fault, time.monotonic() - began)

    async def _looked_at(self, order: Order, payment: Json, note: Callable[[str], None]) -> Json:
        """A payment that waits for a person only because a plugin's check gave no answer: the person lets it go on."""
        path = f"/payments/{payment['id']}"
        for place in range(REVIEWS_MAX):
            if payment["state"] != "in_review" or not payment.get("degraded"):
                break
            word = {"decision": "allow", "reason": "The check gave no answer; looked at by hand."}
            await self._till.post(f"{path}/review", word, key=f"{order.number}_review_{place}")
            again = {name: value for name, value in _creation(order).items() if name in ("form", "auth_code")}
            payment = await self._till.post(f"{path}/attempts", again, key=f"{order.number}_attempt_{place}")
            note(payment["state"])
        return payment

    async def _do(self, step: Step, order: Order, payment: Json, *, key: str) -> Json:
        path, amount = f"/payments/{payment['id']}", order.amount_minor * step.percent // 100
        if step.kind == "scan":
            body = {"qr_code": payment["next_action"]["code"], "scenario": "success"}
            answer = await self._till.client.post(f"{self._acquirer_url}/buyer/scan", json=body)
            answer.raise_for_status()
        elif step.kind == "cancel":
            await self._till.post(f"{path}/cancel", {}, key=key)
        elif step.kind == "refund":
            await self._refund(path, {"out_request_no": key, "amount_minor": amount, "reason": order.scenario.name})
        elif step.kind == "capture":
            body = {"out_request_no": key, "amount_minor": amount, "is_final": True}
            await self._till.post(f"{path}/capture", body, key=key)
        else:
            await self._till.post(f"{path}/void", {"out_request_no": key}, key=key)
        return await self._till.get(path)

    async def _refund(self, path: str, body: Json) -> None:
        """Give money back; where a plugin wants a person to look first, the person has looked."""
        key = body["out_request_no"]
        try:
            await self._till.post(f"{path}/refunds", body, key=key)
        except TillRefused as refused:
            if refused.problem.get("code") != "payments.refund_needs_review":
                raise
            looked = body | {"review": {"reason": "Looked at by hand."}}
            await self._till.post(f"{path}/refunds", looked, key=f"{key}_review")

    async def _end_of(self, payment: Json, note: Callable[[str], None]) -> Json:
        """The payment once nothing is on its way any more, or as it stands when the time is over."""
        deadline = time.monotonic() + self._end_within_s
        while is_moving(payment) and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_EVERY_S)
            payment = await self._till.get(f"/payments/{payment['id']}")
            note(payment["state"])
        return payment


def is_moving(payment: Json) -> bool:
    """Whether an outcome is still to come: of the payment, or of a refund that holds a part of its amount."""
    amounts: dict[str, Any] = payment["amounts"]
    is_refunding = amounts["captured_minor"] - amounts["refunded_minor"] != amounts["refundable_minor"]
    return payment["state"] in MOVING or is_refunding


def fault_of(order: Order, payment: Json) -> str:
    """What differs from the scenario's end, in words; empty if nothing does."""
    scenario, amounts = order.scenario, payment["amounts"]
    wanted = {
        "state": scenario.state,
        "captured_minor": order.amount_minor * scenario.captured // 100,
        "refunded_minor": order.amount_minor * scenario.refunded // 100,
    }
    found = {"state": payment["state"], **{name: amounts[name] for name in ("captured_minor", "refunded_minor")}}
    differing = [f"{name} is {found[name]}, not {wanted[name]}" for name in wanted if found[name] != wanted[name]]
    return f"{scenario.name} {payment['id']}: {', '.join(differing)}" if differing else ""


def _creation(order: Order) -> Json:
    scenario = order.scenario
    body: Json = {
        "out_trade_no": order.number,
        "subject": scenario.summary[:60],
        "form": scenario.form,
        "currency": order.currency,
        "order_minor": order.amount_minor,
        "is_capture": scenario.is_capture,
    }
    if scenario.form == "merchant_scan":
        body["auth_code"] = f"sim:{scenario.acquirer}:{order.number}"
    if order.store_id is not None:
        body["store_id"] = order.store_id
    return body
