"""Random histories of splits, releases, refunds with returns, cancels, settlements, crashes and lost answers.

After every step the invariants of payments.md section 10 that apply here are read from the database: P1, P2, P3, P4, P7
and P13; at the end the janitor must bring every open outcome to the acquirer's book (P6, P10, P12). A history is its
seed: a failure names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from random import Random
from typing import Any

import httpx
import pytest

from platform_core.capabilities.payments.folds import check
from platform_core.capabilities.payments.splits.check import differences
from tests.capabilities.payments.acquirer import Crash
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.splits.scene import bind, drained
from tests.support.world import Till

pytestmark = [pytest.mark.property, pytest.mark.database, pytest.mark.timeout(900)]
HISTORIES, STEPS = 8, 60
ANSWERS = ("success",) * 5 + ("decline_balance", "timeout_before_charge", "timeout_after_charge", "busy", "broken_body")
PARTS = (1, 3, 97, 250, 333, 999)
EXPECTED = frozenset({200, 201, 202, 409})
Outcomes = Counter[tuple[str, str]]


class History:
    """One merchant with three receivers, and what a seed makes of it."""

    def __init__(self, shop: Shop, seed: int, outcomes: Outcomes) -> None:
        self.shop = shop
        self.random = Random(seed)
        self.outcomes = outcomes
        self.numbers: list[str] = []
        self.requests = 0

    async def open(self) -> None:
        self.till: Till = await self.shop.new_till()
        await self.shop.platform.payment_setup.add_channel_account(
            self.till.merchant_id,
            provider_id="plain_acquirer",
            name="Plain",
            settings={"gateway_url": self.shop.acquirer_url, "merchant_no": "M1"},
            secrets={"signing_key": b"0" * 32},
        )
        self.receivers = [await bind(self.till) for _ in range(3)]
        self.cap_bp = self.random.choice([3_000, 10_000])
        await self.shop.platform.payments.receivers.set_share_cap(self.till.merchant_id, self.cap_bp)
        self.shop.later(seconds=2)
        await self.pay()

    async def step(self) -> None:
        acts = {
            self.pay: 2,
            self.split: 5,
            self.release: 3,
            self.refund: 4,
            self.cancel: 0.5,
            self.repeat: 0.5,
            self.somebody_takes_money_out: 1.2,
            self.worker_runs: 2,
        }
        [act] = self.random.choices(list(acts), list(acts.values()))
        await act()
        await self.check()

    async def call(self, act: Awaitable[httpx.Response], operation: str, *scenarios: str) -> None:
        """Do it, with the next call of an operation going one of these ways; the process may die in it."""

        async def die() -> None:
            raise Crash

        scenario = self.random.choice(scenarios or ("success",))
        crash = self.random.choice([None] * 8 + ["before", "after"]) if scenarios else None
        if crash is not None:
            getattr(self.shop.acquirer, crash)[operation] = die
        elif scenario != "success":
            self.shop.acquirer.script(scenario, operation=operation)
        try:
            answer = await act
        except Crash:
            self.outcomes[operation, "crash"] += 1
            return
        finally:
            self.shop.acquirer.forget_faults()
        assert answer.status_code in EXPECTED, answer.text
        said = answer.json()
        self.outcomes[operation, said.get("code") or f"{said['object']} {said['state']}"] += 1

    def path(self, name: str) -> str:
        return f"/payments/out_trade_no:{self.random.choice(self.numbers)}/{name}"

    def number(self) -> str:
        self.requests += 1
        return f"q{self.requests}"

    async def pay(self) -> None:
        number = self.number()
        is_capture = self.random.random() < 0.7
        fields: dict[str, Any] = {
            "out_trade_no": number,
            "form": "merchant_scan",
            "order_minor": self.random.choice([999, 10_000, 10_000]),
            "auth_code": f"sim:success:{self.till.merchant_id[-12:]}.{number}",
            "channel": self.random.choice(["simulated_acquirer", "plain_acquirer"]),
            "is_capture": is_capture,
        }
        if self.random.random() < 0.4:
            who = self.random.sample(self.receivers, 2)
            fields["splits"] = [{"receiver_id": id_, "percent_bp": self.random.choice([333, 2_000])} for id_ in who]
        await self.call(self.till.pay(**fields), "pay")
        self.numbers.append(number)
        for part, is_final in () if is_capture else ((self.random.choice(PARTS), False), (None, True)):
            body = {"out_request_no": self.number(), "is_final": is_final, "amount_minor": part}
            await self.call(self.till.post(f"/payments/out_trade_no:{number}/capture", body), "capture")

    async def split(self) -> None:
        who = self.random.sample(self.receivers, self.random.randint(1, 3))
        body = {
            "out_request_no": self.number(),
            "mode": self.random.choice(["partial"] * 4 + ["all_or_nothing"]),
            "is_frozen": self.random.random() < 0.4,
            "shares": [{"receiver_id": id_, "amount_minor": self.random.choice(PARTS)} for id_ in who],
        }
        self.last = self.path("splits"), body
        await self.call(self.till.post(*self.last), "settle", *ANSWERS)

    async def repeat(self) -> None:
        """The same request under another key."""
        if hasattr(self, "last"):
            await self.call(self.till.post(*self.last), "settle")

    async def release(self) -> None:
        sql = "SELECT id FROM pay_split WHERE merchant_id = $1 AND state = 'frozen' ORDER BY id"
        rows = await self.shop.fetch(sql, self.till.merchant_id)
        if not rows:
            return
        body: dict[str, Any] = {"is_final": self.random.random() < 0.4}
        if self.random.random() < 0.5:
            amount = self.random.choice([None, 1, 97])
            body["shares"] = [{"receiver_id": self.random.choice(self.receivers), "amount_minor": amount}]
        await self.call(self.till.post(f"/splits/{self.random.choice(rows)['id']}/release", body), "settle", *ANSWERS)

    async def refund(self) -> None:
        how = {"amount_minor": self.random.choice((*PARTS, 4_000))} if self.random.random() < 0.8 else {"is_full": True}
        body = {"out_request_no": self.number(), **how, "merchant_covers_splits": self.random.random() < 0.3}
        path = self.path("refunds")
        if self.random.random() < 0.3:
            sql = (
                "SELECT s.split_id, s.receiver_id, s.settled_minor + s.frozen_minor AS amount_minor "
                "FROM pay_split_share AS s JOIN pay_payment AS p ON p.id = s.payment_id WHERE p.merchant_id = $1 "
                "AND p.out_trade_no = $2 AND s.settled_minor + s.frozen_minor > 0 ORDER BY s.id LIMIT 2"
            )
            rows = await self.shop.fetch(sql, self.till.merchant_id, path.split(":")[1].split("/")[0])
            body |= {"split_returns": [dict(row) for row in rows]} if rows else {}
        await self.call(self.till.post(path, body), "refund", *ANSWERS, "refund_failed", "refund_bounced")

    async def cancel(self) -> None:
        await self.call(self.till.post(self.path("cancel"), {}), "cancel", *ANSWERS)

    async def somebody_takes_money_out(self) -> None:
        role = self.random.choice(["receiver_available", "receiver_pending", "merchant_available", "merchant_pending"])
        records = await self.shop.platform.ledger.balances(self.till.merchant_id, role=role)
        free = next((record.available for record in records if record.available), None)
        if free:
            await drained(self.shop, self.till, self.random.randint(1, free), role=role)

    async def worker_runs(self) -> None:
        self.shop.later(seconds=self.random.choice([5, 30, 600, 600, 86_400, 31 * 86_400]))
        await self.shop.work_for(self.till)

    async def check(self) -> None:
        """P1 to P4, P7 and P13, of this merchant, as the database has them now."""
        merchant = self.till.merchant_id
        accounts = await self.shop.platform.ledger.balances(merchant, limit=1_000)
        assert sum(record.posted for record in accounts) == 0, "P1"
        for record in accounts:
            if record.role == "customer_clearing":
                assert record.posted == 0, "P2"
            if record.guard == "ge0":
                assert record.posted - record.debits_pending >= 0, f"P3 {record}"
        assert await check(self.shop.platform.database, [differences]) == [], "P7"
        sql = (
            "SELECT p.*, coalesce(sum(s.frozen_minor + s.settled_minor), 0) AS live, "
            "coalesce(sum(s.amount_minor - s.given_back_minor) FILTER (WHERE s.state <> 'failed'), 0) AS given "
            "FROM pay_payment AS p LEFT JOIN pay_split_share AS s ON s.payment_id = p.id "
            "WHERE p.merchant_id = $1 GROUP BY p.id"
        )
        for payment in await self.shop.fetch(sql, merchant):
            assert payment["given"] <= payment["captured_minor"] * self.cap_bp // 10_000, "P4"
            assert payment["refunded_minor"] + payment["refunding_minor"] <= payment["captured_minor"], "P4"
            if payment["state"] == "canceled":
                assert payment["live"] == 0, "nothing of a canceled payment stays with anybody"
            await self.shop.events(self.till, payment["id"])

    async def converge(self) -> None:
        """The janitor brings every open outcome to the acquirer's book, which moved each key once."""
        merchant = self.till.merchant_id
        open_sql = "SELECT * FROM pay_transaction WHERE merchant_id = $1 AND state IN ('pending', 'unknown')"
        for _ in range(40):
            await self.shop.work_for(self.till)
            if not await self.shop.fetch(open_sql, merchant):
                break
            self.shop.later(hours=3)
        assert [dict(row) for row in await self.shop.fetch(open_sql, merchant)] == []
        settles = await self.shop.fetch(
            "SELECT id, state FROM pay_transaction WHERE merchant_id = $1 AND kind = 'settle'", merchant
        )
        moved = self.shop.acquirer.moved("settle")
        done = {row["id"]: row["state"] == "succeeded" for row in settles}
        assert done == {row["id"]: moved.get(row["id"], 0) == 1 for row in settles}, "P6, P10"
        for _ in range(4):
            self.shop.later(days=1)
            await self.shop.work_for(self.till)
        left = await self.shop.platform.ledger.balances(merchant, limit=1_000)
        assert [r for r in left if r.role in ("receiver_pending", "merchant_pending") and r.posted] == [], "T+1"
        held = await self.shop.pending(self.till)
        assert {role: amount for role, amount in held.items() if role != "channel_receivable"} == {}, "P12"
        await self.check()


async def test_random_histories_of_splits_keep_every_invariant(shop: Shop) -> None:
    outcomes: Outcomes = Counter()
    for seed in range(HISTORIES):
        history = History(shop, seed, outcomes)
        await history.open()
        for step in range(STEPS):
            try:
                await history.step()
            except BaseException as error:
                error.add_note(f"seed {seed}, step {step}")
                raise
        await history.converge()
    wanted = {
        ("settle", "split settled"),
        ("settle", "split frozen"),
        ("settle", "split failed"),
        ("settle", "split unknown"),
        ("settle", "crash"),
        ("settle", "payments.split_limit_exceeded"),
        ("refund", "refund succeeded"),
        ("refund", "refund failed"),
        ("refund", "refund bounced"),
        ("refund", "payments.receiver_insufficient_balance"),
        ("cancel", "payment canceled"),
    }
    assert wanted <= outcomes.keys(), wanted - outcomes.keys()
