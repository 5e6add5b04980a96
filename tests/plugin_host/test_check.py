"""Checks: all asked at once, the most severe wins, and whoever fails never reads as allow."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from datetime import timedelta
from typing import Any

import pytest

from platform_core.contracts.payments import PaymentToCheck, check_payment
from platform_core.contracts.results import Verdict
from platform_core.contracts.runtime import SECURITY_FAULTS, Answered, Fault, FaultKind, OutsideCall
from platform_core.plugin_host.answers import Decision, Degraded
from platform_core.plugin_host.breakers import State
from platform_core.plugin_host.depth import inside_hook
from platform_core.plugin_host.installed import HookPolicy
from tests.plugin_host.stage import MERCHANT, Outcome, Stage, Stages, outside, payment, release, trusted

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("patient")]
ALLOW = Answered(Verdict.allow())
REVIEW = Answered(Verdict.review("velocity", "Fifth payment today.", score=60))
DENY = Answered(Verdict.deny("stolen", "The card is stolen.", score=90))


async def check(stage: Stage, *, amount_minor: int | None = 1_200, **more: Any) -> Decision[Verdict]:
    return await stage.dispatcher.check(
        check_payment,
        lambda: payment(amount_minor or 0),
        merchant_id=MERCHANT,
        store_id="sto_1",
        idempotency_key="pay_1:1",
        amount_minor=amount_minor,
        **more,
    )


async def test_with_nobody_enabled_it_is_allowed_and_no_payload_is_built(stages: Stages) -> None:
    stage = stages(outside("example.acme.risk"))
    stage.enablement.enable()

    def built() -> PaymentToCheck:
        raise AssertionError("nobody asks for it")

    decision = await stage.dispatcher.check(
        check_payment, built, merchant_id=MERCHANT, store_id=None, idempotency_key="k", amount_minor=1
    )
    assert decision == Decision(Verdict.allow())
    assert stage.calls.opened == []
    assert not stage.dispatcher.is_asked(check_payment, await stage.dispatcher.pin(MERCHANT))


async def test_a_plugin_without_this_hook_is_not_asked(stages: Stages) -> None:
    stage = stages(outside("example.acme.off", hooks=[{"name": "amend_basket"}]))
    assert await check(stage) == Decision(Verdict.allow())
    assert stage.runtime.begun == []


async def test_the_most_severe_verdict_wins_with_all_reasons_in_the_operators_order(stages: Stages) -> None:
    stage = stages(outside("example.zulu.risk"), outside("example.acme.risk"), outside("example.mike.risk"))
    stage.runtime.script("example.zulu.risk", REVIEW)
    stage.runtime.script("example.acme.risk", ALLOW)
    stage.runtime.script("example.mike.risk", DENY)
    decision = await check(stage)
    assert (decision.result.decision, decision.result.score) == ("deny", 90)
    assert [one.rule_id for one in decision.result.reasons] == ["velocity", "stolen"]
    assert [one.plugin_id for one in decision.answers] == [
        "example.zulu.risk", "example.acme.risk", "example.mike.risk",
    ]  # fmt: skip
    assert [one.is_used for one in decision.answers] == [True, True, True]
    assert decision.degraded == ()
    assert sorted(map(str, decision.parts)) == [
        "row of example.acme.risk", "row of example.mike.risk", "row of example.zulu.risk",
    ]  # fmt: skip


async def test_all_are_sent_before_the_first_answer_is_awaited(stages: Stages) -> None:
    stage = stages(outside("example.acme.a"), outside("example.acme.b"))
    seen: list[int] = []

    def play(call: OutsideCall) -> Outcome:
        seen.append(len(stage.runtime.begun))
        return ALLOW

    stage.runtime.script("example.acme.a", play)
    stage.runtime.script("example.acme.b", play)
    await check(stage)
    assert seen == [2, 2]


async def test_slow_plugins_wait_beside_each_other_and_not_in_turn(stages: Stages) -> None:
    stage = stages(*(outside(f"example.acme.p{n}") for n in range(3)))
    barrier = asyncio.Barrier(3)

    class Meeting:
        """Answers only when all three are awaited at once."""

        async def outcome(self) -> Outcome:
            await barrier.wait()
            return ALLOW

    stage.runtime.begin = lambda call: Meeting()  # type: ignore[method-assign,assignment,return-value]
    decision = await check(stage)
    assert decision.degraded == ()


@pytest.mark.usefixtures("on_time")
async def test_a_quick_plugin_is_not_taken_for_slow_because_a_slow_one_is_waited_for_first(stages: Stages) -> None:
    stage = stages(outside("example.acme.slow"), outside("example.acme.quick"))
    loop = asyncio.get_running_loop()

    class Timed:
        """Goes on by itself."""

        def __init__(self, call: OutsideCall) -> None:
            self.finished_at: float | None = None
            self.over = asyncio.Event()
            is_slow = call.binding.plugin_id == "example.acme.slow"
            self.begun_at = time.monotonic()
            loop.call_later(0.02 if is_slow else 0.0, self.finish, 0.140 if is_slow else 0.001)

        def finish(self, took_s: float) -> None:
            self.finished_at = self.begun_at + took_s
            self.over.set()

        async def outcome(self) -> Outcome:
            await self.over.wait()
            return ALLOW

    stage.runtime.begin = Timed  # type: ignore[method-assign,assignment]
    for _ in range(20):
        decision = await check(stage)
        slow, quick = (one.ms for one in decision.answers)
        assert slow >= 140
        assert quick < slow
    assert [(one.plugin_id, one.why) for one in stage.book.openings] == [("example.acme.slow", "slow")]


@pytest.mark.parametrize("kind", list(FaultKind))
async def test_whatever_goes_wrong_counts_as_review_and_is_on_the_record(kind: FaultKind, stages: Stages) -> None:
    stage = stages(outside("example.acme.bad"), outside("example.acme.good"))
    stage.runtime.script("example.acme.bad", Fault(kind, "why"))
    stage.runtime.script("example.acme.good", ALLOW)
    decision = await check(stage)
    assert decision.result.decision == "review"
    assert [one.rule_id for one in decision.result.reasons] == [f"plugin.{kind.value}"]
    assert decision.degraded == (Degraded("example.acme.bad", "1.0.0", "check_payment", kind),)
    assert [one.is_used for one in decision.answers] == [False, True]
    assert len(decision.parts) == 2


async def test_a_failing_plugin_denies_from_the_merchants_amount_on(stages: Stages) -> None:
    plugin = outside("example.acme.bad")
    stage = stages(plugin)
    stage.runtime.script("example.acme.bad", Fault(FaultKind.DIED))
    stage.enablement.enable(plugin, policy=HookPolicy(check_deny_above_minor={"check_payment": 5_000}))
    assert (await check(stage, amount_minor=4_999)).result.decision == "review"
    assert (await check(stage, amount_minor=5_000)).result.decision == "deny"
    assert (await check(stage, amount_minor=None)).result.decision == "review"


@pytest.mark.usefixtures("on_time")
async def test_a_late_plugin_is_a_timeout_and_the_others_answers_stand(stages: Stages) -> None:
    late = outside("example.acme.late", hooks=[{"name": "check_payment", "fields": ["amount"], "deadline_ms": 20}])
    stage = stages(late, outside("example.acme.good"))
    stage.runtime.script("example.acme.late", ALLOW, delay_s=60)
    stage.runtime.script("example.acme.good", DENY)
    decision = await check(stage)
    assert decision.result.decision == "deny"
    assert decision.degraded == (Degraded("example.acme.late", "1.0.0", "check_payment", FaultKind.TIMEOUT),)
    assert [one.deadline_ms for one in decision.answers] == [20, 150]


async def test_a_value_that_is_no_verdict_counts_as_a_fault(stages: Stages) -> None:
    stage = stages(outside("example.acme.bad"))
    stage.runtime.script("example.acme.bad", Answered({"decision": "allow"}))
    decision = await check(stage)
    assert decision.result.decision == "review"
    assert decision.degraded == (Degraded("example.acme.bad", "1.0.0", "check_payment", FaultKind.BAD_RESULT),)


async def test_a_runtime_that_breaks_its_word_and_raises_loses_nobody_elses_answer(stages: Stages) -> None:
    stage = stages(outside("example.acme.bad"), outside("example.acme.good"))

    def broken(call: OutsideCall) -> Outcome:
        raise OSError("the runtime has a fault")

    stage.runtime.script("example.acme.bad", broken)
    stage.runtime.script("example.acme.good", DENY)
    decision = await check(stage)
    assert decision.result.decision == "deny"
    assert [one.kind for one in decision.degraded] == [FaultKind.UNAVAILABLE]


async def test_a_plugin_that_cannot_even_be_begun_loses_nobody_elses_answer(stages: Stages) -> None:
    stage = stages(outside("example.acme.bad"), outside("example.acme.good"))
    stage.runtime.script("example.acme.good", DENY)
    begin = stage.runtime.begin

    def broken(call: OutsideCall) -> Any:
        if call.binding.plugin_id == "example.acme.bad":
            raise RuntimeError("no more descriptors")
        return begin(call)

    stage.runtime.begin = broken  # type: ignore[method-assign]
    decision = await check(stage)
    assert decision.result.decision == "deny"
    assert [one.fault for one in decision.answers] == [Fault(FaultKind.UNAVAILABLE, "RuntimeError"), None]


async def test_a_version_that_is_not_loaded_here_counts_as_review(stages: Stages) -> None:
    good = outside("example.acme.good")
    stage = stages(good)
    stage.runtime.script("example.acme.good", ALLOW)
    stage.enablement.enable(release("example.acme.gone"), good)
    decision = await check(stage)
    assert decision.result.decision == "review"
    assert decision.degraded == (Degraded("example.acme.gone", "1.0.0", "check_payment", FaultKind.UNAVAILABLE),)
    assert [one.plugin_id for one in decision.answers] == ["example.acme.gone", "example.acme.good"]


async def test_a_suspended_plugin_is_never_called_and_counts_as_review(stages: Stages) -> None:
    good = outside("example.acme.good")
    stage = stages(good)
    stage.runtime.script("example.acme.good", ALLOW)
    made = stage.enablement.enable(release("example.acme.stopped"))
    stopped = dataclasses.replace(made, plugins=(), suspended=made.plugins)
    stage.enablement.merchants[MERCHANT] = stopped
    decision = await check(stage)
    assert decision.result.decision == "review"
    assert decision.degraded == (Degraded("example.acme.stopped", "1.0.0", "check_payment", FaultKind.UNAVAILABLE),)
    live = stage.enablement.enable(good)
    stage.enablement.merchants[MERCHANT] = dataclasses.replace(live, suspended=made.plugins)
    assert (await check(stage)).result.decision == "review"
    assert [call.binding.plugin_id for call in stage.runtime.begun] == ["example.acme.good"]


async def test_a_tier_without_a_runtime_counts_as_review(stages: Stages) -> None:
    stage = stages(outside("example.acme.far", tier="remote"))
    assert (await check(stage)).degraded == (
        Degraded("example.acme.far", "1.0.0", "check_payment", FaultKind.UNAVAILABLE),
    )


async def test_enablement_that_cannot_be_read_means_review(stages: Stages) -> None:
    stage = stages(outside("example.acme.risk"))
    stage.enablement.is_readable = False
    decision = await check(stage)
    assert decision.result.decision == "review"
    assert decision.degraded == (Degraded("", "", "check_payment", FaultKind.UNAVAILABLE),)
    assert stage.dispatcher.is_asked(check_payment, await stage.dispatcher.pin(MERCHANT))


async def test_a_dry_run_is_asked_and_shown_and_changes_nothing(stages: Stages) -> None:
    plugins = [outside("example.acme.dry"), outside("example.acme.broken"), outside("example.acme.live")]
    stage = stages(*plugins)
    stage.enablement.enable(*plugins, dry_run=["example.acme.dry", "example.acme.broken"])
    stage.runtime.script("example.acme.dry", DENY)
    stage.runtime.script("example.acme.broken", Fault(FaultKind.EXCEPTION))
    stage.runtime.script("example.acme.live", ALLOW)
    decision = await check(stage)
    assert decision.result == Verdict.allow()
    assert decision.degraded == ()
    assert [(one.value and one.value.decision, one.is_dry_run, one.is_used) for one in decision.answers] == [
        ("deny", True, False),
        (None, True, False),
        ("allow", False, True),
    ]


@pytest.mark.usefixtures("on_time")
async def test_a_plugin_gets_the_fields_that_it_asks_for_and_may_see(stages: Stages) -> None:
    fields = ["amount", "store_id", "payer_ref"]
    stage = stages(outside("example.acme.risk", hooks=[{"name": "check_payment", "fields": fields}]))
    stage.runtime.script("example.acme.risk", ALLOW)
    decision = await check(stage)
    (call,) = stage.runtime.begun
    assert json.loads(call.arguments) == {
        "amount": {"amount_minor": 1_200, "currency": "CNY"},
        "store_id": "sto_1",
        "payer_ref": None,
        "withheld": ["payer_ref"],
    }
    assert decision.answers[0].withheld == ("payer_ref",)
    assert json.loads(call.context) == {
        "call_id": call.id,
        "deadline_ms": 150,
        "hook": "check_payment",
        "contract": "1.0",
        "store_id": "sto_1",
        "now": "2026-11-22T12:00:00Z",
        "idempotency_key": "pay_1:1",
    }
    assert (call.target, call.major, call.binding.merchant_id, call.binding.config) == (
        "check_payment", 1, MERCHANT, b'{"limit":3}',
    )  # fmt: skip
    assert call.handle == f"{0:032x}"
    assert len(call.id) == 32


async def test_a_payload_is_written_once_for_each_field_set(stages: Stages) -> None:
    wide = [{"name": "check_payment", "fields": ["amount", "form"]}]
    stage = stages(outside("example.acme.a"), outside("example.acme.b"), outside("example.acme.c", hooks=wide))
    for name in "abc":
        stage.runtime.script(f"example.acme.{name}", ALLOW)
    await check(stage)
    first, second, third = (call.arguments for call in stage.runtime.begun)
    assert first is second
    assert json.loads(third).keys() == {"amount", "form", "withheld"}


async def test_each_call_has_an_id_of_its_own(stages: Stages) -> None:
    stage = stages(outside("example.acme.a"), outside("example.acme.b"))
    for name in "ab":
        stage.runtime.script(f"example.acme.{name}", ALLOW)
    await check(stage)
    await check(stage)
    assert len({call.id for call in stage.runtime.begun}) == 4


async def test_a_handle_that_is_misused_is_a_security_fault(stages: Stages) -> None:
    stage = stages(outside("example.acme.thief"))
    stage.runtime.script("example.acme.thief", ALLOW)
    stage.calls.misused.add("example.acme.thief")
    decision = await check(stage)
    assert decision.answers[0].fault is not None
    assert decision.answers[0].fault.is_security
    assert decision.result.decision == "review"
    assert stage.quarantine.held == {("example.acme.thief", "1.0.0"): decision.answers[0].fault}


@pytest.mark.parametrize("kind", sorted(SECURITY_FAULTS))
async def test_a_version_that_committed_a_security_fault_is_not_called_again(kind: FaultKind, stages: Stages) -> None:
    stage = stages(outside("example.acme.evil"))
    stage.runtime.script("example.acme.evil", Fault(kind))
    await check(stage)
    stage.runtime.script("example.acme.evil", ALLOW)
    decision = await check(stage)
    assert decision.degraded == (Degraded("example.acme.evil", "1.0.0", "check_payment", FaultKind.QUARANTINED),)
    assert decision.result.decision == "review"
    assert len(stage.runtime.begun) == 1


async def test_inside_of_a_hook_no_hook_is_asked(stages: Stages) -> None:
    stage = stages(outside("example.acme.risk"))
    with inside_hook():
        assert await check(stage) == Decision(Verdict.allow())
        assert not stage.dispatcher.is_asked(check_payment, await stage.dispatcher.pin(MERCHANT))
    assert stage.runtime.begun == []
    stage.runtime.script("example.acme.risk", DENY)
    assert (await check(stage)).result.decision == "deny"


async def test_five_faults_open_the_breaker_and_then_nothing_is_sent(stages: Stages) -> None:
    stage = stages(outside("example.acme.bad"))
    stage.runtime.script("example.acme.bad", Fault(FaultKind.EXCEPTION))
    for _ in range(5):
        await check(stage)
    assert len(stage.book.openings) == 1
    decision = await check(stage)
    assert decision.degraded == (Degraded("example.acme.bad", "1.0.0", "check_payment", FaultKind.BREAKER_OPEN),)
    assert len(stage.runtime.begun) == 5
    assert len(stage.calls.opened) == 5
    stage.clock.advance(timedelta(seconds=120))
    stage.runtime.script("example.acme.bad", ALLOW)
    for _ in range(3):
        assert (await check(stage)).result == Verdict.allow()
    assert stage.breakers.of("example.acme.bad", "check_payment").state is State.CLOSED


async def test_a_caller_that_gives_up_leaves_no_handle_and_no_trial_behind(stages: Stages) -> None:
    stage = stages(outside("example.acme.a"), outside("example.acme.b"))
    for name in "ab":
        stage.runtime.script(f"example.acme.{name}", Fault(FaultKind.EXCEPTION))
    for _ in range(5):
        await check(stage)
    stage.clock.advance(timedelta(seconds=120))
    for name in "ab":
        stage.runtime.script(f"example.acme.{name}", ALLOW, delay_s=0.05)
    asking = asyncio.create_task(check(stage))
    await asyncio.sleep(0)
    assert len(stage.calls.open_handles) == 2
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert stage.calls.open_handles == set()
    assert sorted(map(str, stage.calls.forsaken)) == ["row of example.acme.a", "row of example.acme.b"]
    assert (await check(stage)).result == Verdict.allow()


def raising(ctx: Any, payment: Any) -> Verdict:
    raise RuntimeError("boom")


async def test_a_raising_trusted_plugin_leaves_the_others_results_whole(stages: Stages) -> None:
    stage = stages(trusted("example.ours.bad", check_payment=raising), outside("example.acme.good"))
    stage.runtime.script("example.acme.good", DENY)
    decision = await check(stage)
    assert decision.result.decision == "deny"
    assert decision.answers[0].fault == Fault(FaultKind.EXCEPTION, "RuntimeError")
