"""Random histories of disputes beside captures, refunds, bounces and settlements, against the acquirer's book."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, rule

from platform_core.kernel.commit import Plan, PlanRefused
from platform_core.ledger.accounts import Account, Guard, Transfer
from sandbox.simulators.acquirer.disputes import Step
from tests.capabilities.payments.acquirer import Crash
from tests.capabilities.payments.invariants import Invariants, run_machine
from tests.capabilities.payments.shop import Shop

pytestmark = [pytest.mark.property, pytest.mark.database, pytest.mark.timeout(900)]
EXAMPLES, STEPS = 20, 45
PARTS = st.sampled_from([1, 700, 2_500, 4_100, 8_200])
REFUNDS = ("success", "success", "silent", "timeout_before_charge", "refund_failed", "refund_bounced", "unknown-1")


class Disputes(Invariants):
    """What happens long after capture."""

    payments = Bundle("payments")
    disputes = Bundle("disputes")

    @rule(target=payments, is_capture=st.sampled_from([True, True, False]))
    def pay(self, is_capture: bool) -> str:
        self.orders += 1
        number = f"d{self.orders}"
        code = f"sim:success:{self.till.merchant_id[-12:]}.{number}"
        fields = {"out_trade_no": number, "form": "merchant_scan", "order_minor": 8_200, "is_capture": is_capture}
        self.call(self.till.pay(key=number, auth_code=code, **fields))
        return number

    @rule(number=payments, amount=PARTS, is_final=st.booleans())
    def capture(self, number: str, amount: int, is_final: bool) -> None:
        body = {"out_request_no": f"c{next(self.till.keys)}", "amount_minor": amount, "is_final": is_final}
        self.call(self.act(number, "capture", body))

    @rule(number=payments, amount=PARTS, scenario=st.sampled_from(REFUNDS))
    def refund(self, number: str, amount: int, scenario: str) -> None:
        self.faults("refund", scenario, None)
        self.call(self.act(number, "refunds", {"out_request_no": f"r{next(self.till.keys)}", "amount_minor": amount}))
        self.clear()

    @rule(number=payments, is_meant=st.sampled_from([False, False, False, True]))
    def cancel(self, number: str, is_meant: bool) -> None:
        if is_meant:  # it takes a whole payment away
            self.call(self.act(number, "cancel", {}))

    @rule(
        target=disputes,
        number=payments,
        amount=st.sampled_from([0, 0, 1, 700, 2_500]),
        is_told=st.booleans(),
        decides=st.sampled_from(["none", "none", "won", "lost"]),
        part=st.sampled_from([0, -1]),
    )
    def buyer_disputes(self, number: str, amount: int, is_told: bool, decides: str, part: int) -> str:
        """At the acquirer; its notices arrive at once or later, in any order, or get lost. An amount of 0: all."""
        shown = self.run(self.till.get(f"/payments/out_trade_no:{number}?expand=transactions")).json()
        paid = [row["id"] for row in shown["transactions"] if row["kind"] in ("sale", "capture")]
        if not paid or not self.on_loop(self.shop.acquirer.knows, paid[part]):
            return ""
        reference: str = self.on_loop(
            self.shop.acquirer.dispute, paid[part], amount, decides=decides.removeprefix("none")
        )
        if is_told:
            self.run(self.shop.deliver(self.till))
        return reference

    @rule(reference=disputes, step=st.sampled_from(["withdrawn", "won", "lost"]))
    def acquirer_goes_on(self, reference: str, step: Step) -> None:
        if reference:
            self.on_loop(self.shop.acquirer.step, reference, step)

    @rule(target=disputes, decides=st.sampled_from(["none", "won", "lost"]), is_settled=st.booleans())
    def sale_is_disputed(self, decides: str, is_settled: bool) -> str:
        """A sale, perhaps settled, of which all is disputed, and told of at once."""
        number = self.pay(is_capture=True)
        if is_settled:
            self.time_passes(86_400)
            self.run(self.shop.work_for(self.till))
        return self.buyer_disputes(number=number, amount=0, is_told=True, decides=decides, part=0)

    @rule()
    def merchant_sends_evidence(self) -> None:
        for dispute in self.newest_open():
            files = {"file": ("proof.pdf", b"%PDF-" + str(next(self.till.keys)).encode())}
            path = f"/v1/disputes/{dispute['id']}/evidence"
            self.call(self.till.client.post(path, files=files, headers=self.till.headers()))

    @rule()
    def merchant_gives_in(self) -> None:
        for dispute in self.newest_open():
            self.call(self.till.post(f"/disputes/{dispute['id']}/accept", {}))

    def newest_open(self) -> list[dict[str, Any]]:
        found = self.run(self.till.get("/disputes?limit=100")).json()["data"]
        return [one for one in found if one["state"] in ("opened", "evidence_sent")][:1]

    @rule(order=st.sampled_from([1, -1]), is_lost=st.sampled_from([False, False, True]))
    def notices_arrive(self, order: int, is_lost: bool) -> None:
        if is_lost:
            for notice in self.on_loop(self.shop.acquirer.notices):
                if b'"dispute"' in notice.body and self.is_known(notice.body):
                    self.on_loop(self.shop.acquirer.book.end_notice, notice.number)
        assert set(self.run(self.shop.deliver(self.till, order=order))) <= {200}

    def is_known(self, body: bytes) -> bool:
        """Whether a notice is of a dispute that was told of before: the first word is repeated until it is heard."""
        sql = "SELECT provider_reference FROM pay_dispute WHERE merchant_id = $1"
        known = self.run(self.shop.fetch(sql, self.till.merchant_id))
        return any(row[0].encode() in body for row in known)

    @rule(seconds=st.sampled_from([10, 3_600, 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.shop.clock.advance(timedelta(seconds=seconds))

    @rule(crash=st.sampled_from([None, None, "query_dispute", "submit_evidence", "accept_dispute"]))
    def worker_runs(self, crash: str | None) -> None:
        if crash is not None:
            self.faults(crash, "success", "after")
        try:
            self.run(self.shop.work_for(self.till))
        except Crash:
            pass
        finally:
            self.clear()

    @rule(amount=PARTS, is_reserve=st.booleans())
    def money_is_paid_out_or_kept_back(self, amount: int, is_reserve: bool) -> None:
        """Settlement and payouts leave less for a dispute than it takes."""

        def account(role: str, guard: Guard) -> Account:
            return Account(self.till.merchant_id, "CNY", self.till.merchant_id, role, "", guard)

        to = account("merchant_reserve", Guard.GE0) if is_reserve else account("bank", Guard.FREE)
        id_ = f"test:{self.till.merchant_id}:{next(self.till.keys)}"
        moved = Transfer(id_, account("merchant_available", Guard.GE0), to, amount, "payout", "test")

        async def commit() -> None:
            with contextlib.suppress(PlanRefused):  # there is not so much
                await self.shop.platform.committer.commit(Plan(self.till.merchant_id, [moved]))

        self.run(commit())

    async def converge(self) -> None:
        """The acquirer decides what is open; every word arrives, and P10 holds of it too."""
        await self.shop.work_for(self.till)
        for one in self.shop.acquirer.book.disputes():
            if one.notify_url.endswith(self.till.channel_account_id):
                self.shop.acquirer.step(one.reference, "lost")
        for _ in range(3):
            await self.shop.deliver(self.till)
            self.shop.clock.advance(timedelta(days=1))
            await self.shop.work_for(self.till)
        await super().converge()


async def test_random_histories_of_disputes_keep_every_invariant(shop: Shop) -> None:
    before = await _told(shop)
    assert await run_machine(Disputes, shop, examples=EXAMPLES, steps=STEPS) >= 500
    after = await _told(shop)
    seen = {type_: after[type_] - before.get(type_, 0) for type_ in after}
    assert seen["dispute.opened"] >= 10, seen
    assert seen["dispute.opened"] == sum(seen.get(f"dispute.{end}", 0) for end in ("won", "lost", "accepted")), seen


async def _told(shop: Shop) -> dict[str, Any]:
    sql = "SELECT type, count(*) FROM outbox WHERE type LIKE 'dispute.%' GROUP BY type"
    return {row[0]: row[1] for row in await shop.fetch(sql)}
