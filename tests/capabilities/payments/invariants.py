"""What holds of a merchant's payments after every step of a random history, and in its end.

The model knows what a client was told and what the acquirer's book holds: payments.md section 10.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import httpx
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, run_state_machine_as_test

from platform_core.ledger.records import AccountRecord
from tests.capabilities.payments.acquirer import Crash
from tests.capabilities.payments.shop import Shop
from tests.support.world import Till

T = TypeVar("T")
FINAL = ("succeeded", "failed")
EXPECTED = frozenset({200, 201, 202, 303, 409})  # 303: from a page to its next


class Invariants(RuleBasedStateMachine):
    """One merchant's payments. The steps run on a loop of their own thread's making."""

    shop: ClassVar[Shop]
    run: ClassVar[Callable[[Awaitable[Any]], Any]]
    steps: ClassVar[int] = 0

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

    async def act(self, number: str, name: str, body: dict[str, Any]) -> httpx.Response:
        return await self.till.post(f"/payments/out_trade_no:{number}/{name}", body)

    @invariant()
    def books_hold(self) -> None:
        if hasattr(self, "till"):
            type(self).steps += 1
            self.run(self.check())

    async def check(self) -> None:
        """P1 to P5, P7 to P9, P12, of this merchant, as the database has them now."""
        merchant = self.till.merchant_id
        accounts = await self.shop.platform.ledger.balances(merchant)
        assert sum(record.posted for record in accounts) == 0, "P1"
        for record in accounts:
            if record.role in ("customer_clearing",):
                assert record.posted == 0, "P2"
            if record.role == "merchant_debt":
                assert record.posted + record.credits_pending <= 0, f"P3 {record}"
            elif record.role.startswith("merchant_") or record.role == "unapplied":
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
        disputes = await self.shop.fetch("SELECT * FROM pay_dispute WHERE merchant_id = $1", merchant)
        self.check_disputes(disputes, accounts)
        for payment in payments:
            held = [row for row in disputes if row["payment_id"] == payment["id"]]
            assert payment["disputes"] == len(held), "P7"
            assert payment["disputed_minor"] == sum(row["held_minor"] for row in held if row["state"] != "won"), "P7"
            gone = payment["refunded_minor"] + payment["refunding_minor"] + payment["disputed_minor"]
            assert gone <= payment["captured_minor"], "P4"
            mine = [row for row in transactions if row["payment_id"] == payment["id"]]
            tried = {row["id"]: row["state"] for row in attempts if row["payment_id"] == payment["id"]}
            self.check_payment(payment, mine, tried)
            await self.shop.events(self.till, payment["id"])  # P9

    def check_disputes(self, disputes: list[Any], accounts: list[AccountRecord]) -> None:
        """P7, P8: what stands for disputes is what open ones hold; an ended one stays as it is."""
        for row in disputes:
            assert self.finals.get(row["id"], row["state"]) == row["state"], "P8"
            if row["state"] in ("won", "lost", "accepted"):
                self.finals[row["id"]] = row["state"]
        held = sum(row["held_minor"] for row in disputes if row["state"] != "won" and not row["is_withdrawn"])
        assert held == sum(record.posted for record in accounts if record.role == "merchant_dispute"), "P7"

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


async def run_machine(machine: type[Invariants], shop: Shop, *, examples: int, steps: int) -> int:
    """Run the histories of a machine; returns how many steps were checked."""
    loop = asyncio.get_running_loop()

    def run(act: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await act

        return asyncio.run_coroutine_threadsafe(awaited(), loop).result(timeout=60)

    machine.shop, machine.run, machine.steps = shop, staticmethod(run), 0
    bounds = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, machine, settings=bounds)
    return machine.steps
