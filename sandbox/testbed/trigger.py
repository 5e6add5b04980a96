"""Plays a scenario: takes the order over HTTP, does what follows, waits for its end, compares it with what must be."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.testbed.seed import acquirer_no_of
from sandbox.testbed.trigger_scenarios import Read, Scenario, Step, filled, value_at
from sandbox.testbed.trigger_till import Json, Till, TillRefused

END_WITHIN_S: Final = 90.0
LOOK_EVERY_S: Final = 0.5
CLOCK: Final = "/sandbox/v1/clock"
MOVING: Final = frozenset({"processing", "unknown", "in_review"})
REVIEWS_MAX: Final = 5
AT_ONCE: Final = frozenset({"scan", "cancel", "close", "advance"})
"""Steps that do not wait until the payment stands still."""
_PARAMETER: Final = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class Order:
    """One order to be played. `number` is the merchant's own and begins every key; `fields` go into the payment."""

    scenario: Scenario
    number: str
    amount_minor: int
    currency: str = "CNY"
    store_id: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Played:
    """How an order went. `fault` says in words what is not as the scenario has it, else it is empty."""

    order: Order
    payment: Json
    was_unknown: bool
    fault: str
    seconds: float


def lacking(scenario: Scenario, document: Json) -> list[str]:
    """What a scenario needs and a platform's OpenAPI document does not have: operations, and its form of payment."""
    had = {f"{method.upper()} {_bare(path)}" for path, methods in document["paths"].items() for method in methods}
    forms = document["components"]["schemas"]["PaymentCreate"]["properties"]["form"].get("enum", [scenario.form])
    missing = [need for need in scenario.needs if _bare(need) not in had]
    return missing if scenario.form in forms else [*missing, f"form {scenario.form}"]


def _bare(path: str) -> str:
    return _PARAMETER.sub("{}", path)


class Player:
    """Plays orders at one merchant's till. `acquirer_url`: where the customer's phone scans QR codes."""

    def __init__(self, till: Till, *, acquirer_url: str, end_within_s: float = END_WITHIN_S) -> None:
        self._till = till
        self._acquirer_url = acquirer_url
        self._end_within_s = end_within_s

    async def play(self, order: Order, heard: Callable[[Order, str], None] = lambda order, state: None) -> Played:
        """Play one order; `heard(order, state)` is told each state that is seen. Raises TillRefused, PlatformAway."""
        began = time.monotonic()
        playing = _Playing(self, order, heard)
        fault = await playing.through()
        return Played(order, playing.payment, "unknown" in playing.states, fault, time.monotonic() - began)

    @property
    def till(self) -> Till:
        """The merchant's app."""
        return self._till

    @property
    def acquirer_url(self) -> str:
        """Where the customer's phone is."""
        return self._acquirer_url

    @property
    def end_within_s(self) -> float:
        """How long the end of anything is waited for."""
        return self._end_within_s


class _NoCode(Exception):
    """There is nothing that a customer could scan."""


class _Playing:
    """One order on its way. `known`: what templates may name."""

    def __init__(self, player: Player, order: Order, heard: Callable[[Order, str], None]) -> None:
        self._player, self._till, self._order, self._heard = player, player.till, order, heard
        self.known: Json = {"number": order.number, "amount_minor": order.amount_minor, "currency": order.currency}
        self.payment: Json = {}
        self.states: list[str] = []

    async def through(self) -> str:
        """To the end; returns what is not as it must be."""
        order = self._order
        for place, step in enumerate(order.scenario.before):
            if fault := await self._try(step, key=f"{order.number}_before_{place}"):
                return fault
        self._take(await self._till.post("/payments", creation(order), key=order.number))
        await self._look_by_hand()
        for place, step in enumerate(order.scenario.steps):
            if step.do not in AT_ONCE:
                await self._end()
            if fault := await self._try(step, key=f"{order.number}_{place}"):
                return fault
            self._take(await self._till.get(f"/payments/{self.payment['id']}"))
        await self._end()
        return fault_of(order, self.payment) or await self._fault_of_reads()

    def _take(self, payment: Json) -> None:
        self.payment = self.known["payment"] = payment
        self.known["acquirer_merchant"] = acquirer_no_of(payment["merchant_id"])
        if not self.states or self.states[-1] != payment["state"]:
            self.states.append(payment["state"])
            self._heard(self._order, payment["state"])

    async def _try(self, step: Step, *, key: str) -> str:
        """Do a step; a refusal that it names is what it wants, and the lack of one is a fault."""
        try:
            await self._do(step, key=key)
        except _NoCode as no_code:
            return str(no_code)
        except TillRefused as refused:
            if not step.code:
                raise
            found = str(refused.problem.get("code"))
            return "" if found == step.code else f"{self._words}: {step.do} was refused as {found}, not {step.code}"
        return f"{self._words}: {step.do} was not refused as {step.code}" if step.code else ""

    @property
    def _words(self) -> str:
        return f"{self._order.scenario.name} {self.payment.get('id', self._order.number)}"

    async def _do(self, step: Step, *, key: str) -> None:
        amount = self._order.amount_minor * step.percent // 100 if step.amount_minor is None else step.amount_minor
        path = f"/payments/{self.payment['id']}" if self.payment else ""
        if step.do == "scan":
            await self._control("/buyer/scan", {"qr_code": self._code(), "scenario": step.scenario})
        elif step.do == "control":
            await self._control(filled(step.path, self.known), filled(step.body, self.known))
        elif step.do == "refund":
            reason = self._order.scenario.name
            await self._refund(path, {"out_request_no": key, "amount_minor": amount, "reason": reason})
        elif step.do == "capture":
            body = {"out_request_no": key, "amount_minor": amount, "is_final": True}
            await self._till.post(f"{path}/capture", body, key=key)
        elif step.do == "void":
            await self._till.post(f"{path}/void", {"out_request_no": key}, key=key)
        elif step.do in ("cancel", "close"):
            await self._till.post(f"{path}/{step.do}", {}, key=key)
        elif step.do == "request":
            await self._request(step, key=key)
        elif step.do == "until":
            await self._until(step)
        else:
            await self._advance(step.span_s, key=key)

    def _code(self) -> str:
        action = self.payment.get("next_action") or {}
        if "code" not in action:
            raise _NoCode(f"{self._words}: shows no code to scan, it is {self.payment['state']}")
        return str(action["code"])

    async def _control(self, path: str, body: Json) -> None:
        answer = await self._till.client.post(f"{self._player.acquirer_url}{path}", json=body)
        answer.raise_for_status()

    async def _request(self, step: Step, *, key: str) -> None:
        path = filled(step.path, self.known)
        if step.method == "GET":
            answer = await self._till.get(path)
        else:
            answer = await self._till.post(path, filled(step.body, self.known), key=key)
        if step.save:
            self.known[step.save] = answer

    async def _until(self, step: Step) -> None:
        """Look until a field has its value, or the time is over: the comparison at the end says what is missing."""
        deadline, path, wanted = self._deadline(), filled(step.path, self.known), filled(step.equals, self.known)
        while time.monotonic() < deadline:
            try:
                if value_at(await self._till.get(path), step.field) == wanted:
                    return
            except KeyError:
                pass
            await asyncio.sleep(LOOK_EVERY_S)

    async def _advance(self, span_s: int, *, key: str) -> None:
        """Turn the sandbox's clock and wait until what came due is done."""
        deadline = self._deadline()
        clock = await self._till.post(f"{CLOCK}/advance", {"by_s": span_s}, key=key)
        while clock["state"] == "draining" and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_EVERY_S)
            clock = await self._till.get(CLOCK)

    async def _look_by_hand(self) -> None:
        """A payment that waits for a person only because a plugin's check gave no answer: the person lets it go on."""
        path = f"/payments/{self.payment['id']}"
        for place in range(REVIEWS_MAX):
            if self.payment["state"] != "in_review" or not self.payment.get("degraded"):
                break
            number = self._order.number
            word = {"decision": "allow", "reason": "The check gave no answer; looked at by hand."}
            await self._till.post(f"{path}/review", word, key=f"{number}_review_{place}")
            again = {name: value for name, value in creation(self._order).items() if name in ("form", "auth_code")}
            self._take(await self._till.post(f"{path}/attempts", again, key=f"{number}_attempt_{place}"))

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

    async def _end(self) -> None:
        """Wait until nothing is on its way any more, or the time is over."""
        deadline = self._deadline()
        while is_moving(self.payment) and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_EVERY_S)
            self._take(await self._till.get(f"/payments/{self.payment['id']}"))

    async def _fault_of_reads(self) -> str:
        for read in self._order.scenario.expect.reads:
            found = await self._till.get(filled(read.path, self.known))
            if not self._holds(read, found):
                wanted = filled(dict(read.contains) or {read.field: read.equals}, self.known)
                return f"{self._words}: {filled(read.path, self.known)} has no {wanted}"
        return ""

    def _holds(self, read: Read, found: Json) -> bool:
        if read.contains:
            wanted = filled(read.contains, self.known)
            return any(all(row.get(name) == value for name, value in wanted.items()) for row in found["data"])
        try:
            return bool(value_at(found, read.field) == filled(read.equals, self.known))
        except KeyError:
            return False

    def _deadline(self) -> float:
        return time.monotonic() + self._player.end_within_s


def is_moving(payment: Json) -> bool:
    """Whether an outcome is still to come: of the payment, or of a refund that holds a part of its amount."""
    amounts: dict[str, Any] = payment["amounts"]
    is_refunding = amounts["captured_minor"] - amounts["refunded_minor"] != amounts["refundable_minor"]
    return payment["state"] in MOVING or is_refunding


def fault_of(order: Order, payment: Json) -> str:
    """What differs from the scenario's end, in words; empty if nothing does."""
    expect, amounts = order.scenario.expect, payment["amounts"]
    wanted = {
        "state": expect.state,
        "captured_minor": _share(order, expect.captured_percent, expect.captured_minor),
        "refunded_minor": _share(order, expect.refunded_percent, expect.refunded_minor),
    }
    found = {"state": payment["state"], **{name: amounts[name] for name in ("captured_minor", "refunded_minor")}}
    differing = [f"{name} is {found[name]}, not {wanted[name]}" for name in wanted if found[name] != wanted[name]]
    return f"{order.scenario.name} {payment['id']}: {', '.join(differing)}" if differing else ""


def _share(order: Order, percent: int, amount_minor: int | None) -> int:
    return order.amount_minor * percent // 100 if amount_minor is None else amount_minor


def creation(order: Order) -> Json:
    """The body of POST /v1/payments."""
    scenario = order.scenario
    body: Json = {
        "out_trade_no": order.number,
        "subject": scenario.summary[:60],
        "form": scenario.form,
        "currency": order.currency,
        "order_minor": order.amount_minor,
        "is_capture": scenario.is_capture,
    }
    if scenario.form == "preauth":
        del body["is_capture"]
    if scenario.form in ("merchant_scan", "preauth"):
        body["auth_code"] = f"sim:{scenario.acquirer}:{order.number}"
    if order.store_id is not None:
        body["store_id"] = order.store_id
    known = {"number": order.number, "amount_minor": order.amount_minor, "currency": order.currency}
    return {**body, **filled(scenario.fields, known), **order.fields}
