"""Random histories of calls, notices, clock moves, worker runs, crashes and lost answers, against a plain model.

The model knows what a client was told and what the acquirer's book holds. After every step the invariants of
payments.md
section 10 that apply here are read from the database; at the end the janitor must bring everything to the book.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, rule

from tests.capabilities.payments.acquirer import Crash
from tests.capabilities.payments.invariants import Invariants, run_machine
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_forms import lead
from tests.support.world import ORIGIN

pytestmark = [pytest.mark.property, pytest.mark.database, pytest.mark.timeout(900)]
EXAMPLES, STEPS = 60, 45  # somewhat less than 2,700 steps a run: some histories end early
SCENARIOS = (
    "success",
    "success",
    "decline_balance",
    "decline_limit",
    "busy",
    "silent",
    "timeout_before_charge",
    "timeout_after_charge",
    "broken_body",
    "wrong_amount",
    "unknown-1",
    "unknown_failed-1",
    "duplicate_callback",
    "unordered_callback",
)
SALES = (*SCENARIOS, "paying-1", "paying-2", "paying_declined-1", "paying_never")
AMOUNTS = st.integers(min_value=1, max_value=12_000)


class Payments(Invariants):
    """Sales in every form, what follows them, and everything that can go wrong on the way."""

    payments = Bundle("payments")

    @rule(
        target=payments,
        form=st.sampled_from(["merchant_scan", "merchant_scan", "customer_scan", "page", "preauth", "local"]),
        is_capture=st.booleans(),
        scenario=st.sampled_from(SALES),
        amount=AMOUNTS,
        crash=st.sampled_from([None, None, None, "before", "after"]),
    )
    def pay(self, form: str, is_capture: bool, scenario: str, amount: int, crash: str | None) -> str:
        self.orders += 1
        number = f"m{self.orders}"
        fields: dict[str, Any] = {"out_trade_no": number, "form": form, "order_minor": amount}
        if form == "merchant_scan":
            fields |= {"is_capture": is_capture, "auth_code": f"sim:{scenario}:{self.till.merchant_id[-12:]}.{number}"}
        if form == "preauth":
            fields |= {"freeze_by": "qr" if is_capture else "app"}
        shown = dict.fromkeys(("customer_scan", "page", "preauth"), "precreate")
        operation = {**shown, "merchant_scan": "pay" if is_capture else "authorize"}.get(form, "")
        self.faults(operation, "success" if form == "merchant_scan" or "paying" in scenario else scenario, crash)
        self.call(self.till.pay(key=number, **fields))
        self.clear()
        return number

    @rule(number=payments, scenario=st.sampled_from(SALES), crash=st.sampled_from([None, None, "before", "after"]))
    def try_again(self, number: str, scenario: str, crash: str | None) -> None:
        key = next(self.till.keys)
        code = f"sim:{scenario}:{self.till.merchant_id[-12:]}.again.{key}"
        self.faults("pay", "success", crash)
        self.call(self.act(number, "attempts", {"form": "merchant_scan", "auth_code": code}))
        self.clear()

    @rule(
        number=payments,
        name=st.sampled_from(["capture", "capture", "void", "refunds", "refunds", "refunds", "cancel", "close"]),
        amount=AMOUNTS,
        request=st.integers(1, 6),
        is_final=st.booleans(),
        scenario=st.sampled_from(SCENARIOS),
        crash=st.sampled_from([None, None, None, "before", "after"]),
    )
    def follow_up(
        self, number: str, name: str, amount: int, request: int, is_final: bool, scenario: str, crash: str | None
    ) -> None:
        body: dict[str, Any] = {}
        if name in ("capture", "void", "refunds"):
            body = {"out_request_no": f"{name}{request}", "amount_minor": amount}
        if name == "capture":
            body["is_final"] = is_final
        self.faults({"refunds": "refund"}.get(name, name), scenario, crash)
        self.call(self.act(number, name, body))
        self.clear()

    @rule(
        number=payments, scenario=st.sampled_from(["success", "paying-1", "duplicate_callback", "unordered_callback"])
    )
    def buyer_scans(self, number: str, scenario: str) -> None:
        shown = self.run(self.till.get(f"/payments/out_trade_no:{number}")).json()
        if (shown.get("next_action") or {}).get("type") in ("show_qr", "redirect", "invoke_app"):
            self.on_loop(self.shop.acquirer.scan, lead(shown), scenario)

    @rule(number=payments, scenario=st.sampled_from(SCENARIOS), crash=st.sampled_from([None, None, "before", "after"]))
    def payer_presses_the_button(self, number: str, scenario: str, crash: str | None) -> None:
        """On a phone: leaves a shown code for the wallet, or tries again what failed."""
        shown = self.run(self.till.get(f"/payments/out_trade_no:{number}?expand=attempts")).json()
        if shown.get("pay_url") is None or shown["state"] not in ("created", "processing", "unknown"):
            return
        self.faults("close", scenario, crash)
        pressed = {"attempt": str(len(shown["attempts"])), "wallet": "simulated_acquirer"}
        path, headers = shown["pay_url"].removeprefix(ORIGIN), {"User-Agent": "Mobile"}
        self.call(self.shop.client.post(path, data=pressed, headers=headers))
        self.clear()

    @rule(order=st.sampled_from([1, -1]))
    def notices_arrive(self, order: int) -> None:
        assert set(self.run(self.shop.deliver(self.till, order=order))) <= {200}

    @rule(seconds=st.sampled_from([1, 5, 10, 30, 60, 600, 7_200, 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.shop.clock.advance(timedelta(seconds=seconds))

    @rule(is_down=st.booleans(), crash=st.sampled_from([None, None, "query", "cancel", "refund"]))
    def worker_runs(self, is_down: bool, crash: str | None) -> None:
        self.shop.acquirer.is_down = is_down
        if crash is not None:
            self.faults(crash, "success", "after")
        try:
            self.run(self.shop.work_for(self.till))
        except Crash:
            pass
        finally:
            self.shop.acquirer.is_down = False
            self.clear()


async def test_random_histories_keep_every_invariant(shop: Shop) -> None:
    assert await run_machine(Payments, shop, examples=EXAMPLES, steps=STEPS) >= 2_000
