"""Random histories of calls, notices, clock moves, worker runs, crashes and lost answers, against a plain model.

The model knows what a client was told and what the acquirer's book holds. After every step the invariants of
payments.md
section 10 that apply here are read from the database; at the end the janitor must bring everything to the book.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.capabilities.payments.acquirer import Crash
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_forms import lead
from tests.support.world import ORIGIN, Till

pytestmark = [pytest.mark.property, pytest.mark.database, pytest.mark.timeout(900)]
EXAMPLES, STEPS = 60, 45  # somewhat less than 2,700 steps a run: some histories end early
T = TypeVar("T")
FINAL = ("succeeded", "failed")
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
EXPECTED = frozenset({200, 201, 202, 303, 409})


class Payments(RuleBasedStateMachine):
    """One merchant's payments. The steps run on a loop of their own thread's making."""

    shop: ClassVar[Shop]
    run: ClassVar[Callable[[Awaitable[Any]], Any]]
    steps: ClassVar[int] = 0
    payments = Bundle("payments")

    def __init__(self) -> None:
        super().__init__()
        self.captured_once: dict[str, str] = {}  # final states seen, by payment
        self.finals: dict[str, str] = {}  # final states of transactions seen
        self.orders = 0

    @initialize()
    def open_shop(self) -> None:
        self.till: Till = self.run(self.shop.new_till())
        self.clear()

    def call(self, act: Awaitable[httpx.Response]) -> httpx.Response | None:
        """Do it; None if the process died in it."""
        try:
            answer: httpx.Response = self.run(act)
        except Crash:
            return None
        assert answer.status_code in EXPECTED, answer.text
        return answer

    def faults(self, operation: str, scenario: str, crash: str | None) -> None:
        """How the next call of an operation goes."""
        if crash is not None:

            async def die() -> None:
                raise Crash

            getattr(self.shop.acquirer, crash)[operation] = die
        elif scenario != "success":
            self.on_loop(self.shop.acquirer.script, scenario, operation=operation)

    def on_loop(self, act: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call something where the acquirer's book lives."""

        async def called() -> T:
            return act(*arguments, **named)

        result: T = self.run(called())
        return result

    def clear(self) -> None:
        """Faults that nobody met do not wait for another step."""
        self.on_loop(self.shop.acquirer.forget_faults)

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

    async def act(self, number: str, name: str, body: dict[str, Any]) -> httpx.Response:
        return await self.till.post(f"/payments/out_trade_no:{number}/{name}", body)

    @invariant()
    def books_hold(self) -> None:
        if hasattr(self, "till"):
            Payments.steps += 1
            self.run(self.check())

    async def check(self) -> None:
        """P1 to P5, P7 to P9, P12, of this merchant, as the database has them now."""
        merchant = self.till.merchant_id
        accounts = await self.shop.platform.ledger.balances(merchant)
        assert sum(record.posted for record in accounts) == 0, "P1"
        for record in accounts:
            if record.role in ("customer_clearing",):
                assert record.posted == 0, "P2"
            if record.role.startswith("merchant_") or record.role == "unapplied":
                assert record.posted - record.debits_pending >= 0, f"P3 {record}"
        payments = await self.shop.fetch("SELECT * FROM pay_payment WHERE merchant_id = $1", merchant)
        transactions = await self.shop.fetch("SELECT * FROM pay_transaction WHERE merchant_id = $1", merchant)
        attempts = await self.shop.fetch("SELECT * FROM pay_attempt WHERE merchant_id = $1", merchant)
        for row in transactions:
            if row["id"] in self.finals and self.finals[row["id"]] != row["state"]:
                attempt = next(a for a in attempts if a["id"] == row["attempt_id"])
                assert attempt["state"] == "canceled", "P8"  # late money: the cancel's word, then the sale's own
            if row["state"] in FINAL:
                self.finals[row["id"]] = row["state"]
        for payment in payments:
            mine = [row for row in transactions if row["payment_id"] == payment["id"]]
            tried = {row["id"]: row["state"] for row in attempts if row["payment_id"] == payment["id"]}
            self.check_payment(payment, mine, tried)
            await self.shop.events(self.till, payment["id"])  # P9

    def check_payment(self, payment: Any, transactions: list[Any], attempts: dict[str, str]) -> None:
        assert sum(state in ("started", "waiting_customer", "unknown") for state in attempts.values()) <= 1, "P5"
        done = [row for row in transactions if row["state"] == "succeeded"]

        def total(*kinds: str) -> int:
            counted = [row for row in done if row["kind"] in kinds]
            return sum(
                row["amount_minor"]
                for row in counted
                if row["kind"] != "sale" or attempts[row["attempt_id"]] == "succeeded"
            )

        captured = total("sale", "capture")
        assert payment["captured_minor"] == captured <= payment["payable_minor"], "P4, P7"
        canceled = sum(row["amount_minor"] for row in done if row["kind"] == "cancel" and len(row["holds"]) > 2)
        assert payment["refunded_minor"] == total("refund") - total("refund_bounce") + canceled <= captured, "P4, P7"
        if payment["id"] in self.captured_once:
            assert payment["state"] == self.captured_once[payment["id"]], "P8"
        if payment["state"] in ("closed", "canceled"):
            self.captured_once[payment["id"]] = payment["state"]
            assert payment["authorization_id"] is None, "P12"

    def teardown(self) -> None:
        if hasattr(self, "till"):
            self.run(self.converge())

    async def converge(self) -> None:
        """P6, P10, P12: the janitor brings every open outcome to the acquirer's book, which moved each key once."""
        merchant = self.till.merchant_id
        open_sql = "SELECT * FROM pay_transaction WHERE merchant_id = $1 AND state IN ('pending', 'unknown')"
        for _ in range(40):
            await self.shop.deliver(self.till)
            await self.shop.work_for(self.till)
            if not await self.shop.fetch(open_sql, merchant):
                break
            self.shop.clock.advance(timedelta(hours=3))
        left = await self.shop.fetch(open_sql, merchant)
        assert left == [], [dict(row) for row in left]
        keys = {
            row["id"]
            for row in await self.shop.fetch("SELECT id FROM pay_transaction WHERE merchant_id = $1", merchant)
        }
        assert all(count == 1 for key, count in self.shop.acquirer.moved().items() if key in keys), "P6"
        receivable = -sum(
            record.posted
            for record in await self.shop.platform.ledger.balances(merchant)
            if record.role == "channel_receivable" and record.bucket == self.till.channel_account_id
        )
        assert receivable == self.shop.acquirer.collected(keys), "P10"
        held = await self.shop.pending(self.till)
        assert {role: amount for role, amount in held.items() if role != "channel_receivable"} == {}, "P12"
        await self.check()


async def test_random_histories_keep_every_invariant(shop: Shop) -> None:
    loop = asyncio.get_running_loop()

    def run(act: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await act

        return asyncio.run_coroutine_threadsafe(awaited(), loop).result(timeout=60)

    Payments.shop, Payments.run, Payments.steps = shop, staticmethod(run), 0
    bounds = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, Payments, settings=bounds)
    assert Payments.steps >= 2_000
