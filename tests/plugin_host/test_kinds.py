"""The kinds that ask one plugin after another: amend, choose, render; and telling one plugin."""

from __future__ import annotations

import json
from typing import Any

import pytest

from platform_core.contracts.fields import Money
from platform_core.contracts.payments import (
    Basket,
    PaymentCaptured,
    RoutingQuestion,
    amend_basket,
    choose_route,
    on_payment_captured,
    render_receipt,
)
from platform_core.contracts.payments.hooks import MerchantCard, ReceiptToRender
from platform_core.contracts.plugins import PluginChange, on_plugin_changed
from platform_core.contracts.results import (
    DONE,
    BasketOperations,
    Discount,
    Ranking,
    Rendered,
    RetryLater,
)
from platform_core.contracts.runtime import Answered, Fault, FaultKind
from platform_core.plugin_host.answers import Decision, Degraded
from platform_core.plugin_host.baskets import Amended
from platform_core.plugin_host.breakers import State
from platform_core.plugin_host.installed import HookPolicy
from platform_core.plugin_host.merging import Wanted
from tests.plugin_host.stage import MERCHANT, NOON, Stage, Stages, basket, outside, question

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("patient")]
CNY = Money(amount_minor=1_200, currency="CNY")
AMEND = [{"name": "amend_basket", "fields": ["total", "lines", "operations"]}]
CHOOSE = [{"name": "choose_route", "fields": ["routes"]}]
RENDER = [{"name": "render_receipt", "fields": ["total"]}]
ON = [{"name": "on_payment_captured", "fields": ["amount"]}, {"name": "on_plugin_changed", "fields": ["change"]}]


def off(amount_minor: int) -> Answered:
    return Answered(BasketOperations(operations=(Discount(amount_minor=amount_minor, rule_id="r", label="off"),)))


async def amend(stage: Stage, made: Basket | None = None) -> Decision[Amended | None]:
    return await stage.dispatcher.amend_basket(
        amend_basket,
        lambda: made or basket((1, 1_000)),
        merchant_id=MERCHANT,
        store_id=None,
        idempotency_key="bas_1",
    )


async def choose(stage: Stage, *route_ids: str) -> Decision[Ranking]:
    def built() -> RoutingQuestion:
        return question(*route_ids)

    return await stage.dispatcher.choose(
        choose_route, built, offered=route_ids, merchant_id=MERCHANT, store_id=None, idempotency_key="pay_1"
    )


async def render(stage: Stage) -> Decision[Rendered | None]:
    receipt = ReceiptToRender(
        payment_id="pay_1",
        out_trade_no="o1",
        merchant_card=MerchantCard(name="Tea", store=None, phone=None),
        lines=(),
        tenders=(),
        total=CNY,
        paid_at=NOON,
        time_zone="Asia/Shanghai",
        points_earned=None,
        invoice_ticket_url=None,
        locale="zh",
        media_type="text/html",
    )
    return await stage.dispatcher.render(
        render_receipt,
        lambda: receipt,
        wanted=Wanted(media_type="text/html", total=CNY),
        merchant_id=MERCHANT,
        store_id=None,
        idempotency_key="pay_1",
    )


async def test_each_plugin_sees_the_basket_as_the_ones_before_left_it(stages: Stages) -> None:
    stage = stages(outside("example.acme.a", hooks=AMEND), outside("example.acme.b", hooks=AMEND))
    stage.runtime.script("example.acme.a", off(100))
    stage.runtime.script("example.acme.b", off(50))
    decision = await amend(stage)
    first, second = (json.loads(call.arguments) for call in stage.runtime.begun)
    assert (first["total"]["amount_minor"], first["operations"]) == (1_000, [])
    assert (second["total"]["amount_minor"], len(second["operations"])) == (900, 1)
    assert decision.result is not None
    assert decision.result.basket.total.amount_minor == 850
    assert [(one.plugin_id, one.operation.type) for one in decision.result.operations] == [
        ("example.acme.a", "discount"), ("example.acme.b", "discount"),
    ]  # fmt: skip
    assert len(decision.parts) == 2


async def test_an_answer_out_of_bounds_is_skipped_and_flagged_and_the_next_sees_nothing_of_it(stages: Stages) -> None:
    plugins = [outside("example.acme.greedy", hooks=AMEND), outside("example.acme.b", hooks=AMEND)]
    stage = stages(*plugins)
    stage.enablement.enable(*plugins, policy=HookPolicy(amend_discount_max_bp=1_000))
    stage.runtime.script("example.acme.greedy", off(101))
    stage.runtime.script("example.acme.b", off(100))
    decision = await amend(stage)
    assert json.loads(stage.runtime.begun[1].arguments)["total"]["amount_minor"] == 1_000
    assert decision.result is not None
    assert decision.result.basket.total.amount_minor == 900
    assert decision.degraded == (Degraded("example.acme.greedy", "1.0.0", "amend_basket", FaultKind.BAD_RESULT),)
    assert [one.is_used for one in decision.answers] == [False, True]


async def test_answers_out_of_bounds_open_the_breaker_as_other_faults_do(stages: Stages) -> None:
    stage = stages(outside("example.acme.greedy", hooks=AMEND))
    stage.runtime.script("example.acme.greedy", off(1_001))
    for _ in range(5):
        await amend(stage)
    assert [one.why for one in stage.book.openings] == ["faults"]


async def test_a_dry_run_takes_nothing_off(stages: Stages) -> None:
    plugins = [outside("example.acme.dry", hooks=AMEND), outside("example.acme.b", hooks=AMEND)]
    stage = stages(*plugins)
    stage.enablement.enable(*plugins, dry_run=["example.acme.dry"])
    stage.runtime.script("example.acme.dry", off(500))
    stage.runtime.script("example.acme.b", off(100))
    decision = await amend(stage)
    assert decision.result is not None
    assert decision.result.basket.total.amount_minor == 900
    assert decision.answers[0].value == off(500).value


@pytest.mark.usefixtures("on_time")
async def test_what_is_not_asked_in_the_time_of_all_together_is_skipped_and_holds_nothing_against_it(
    stages: Stages,
) -> None:
    plugins = [outside(f"example.acme.p{n}", hooks=AMEND) for n in range(4)]
    stage = stages(*plugins)
    for plugin in plugins:
        stage.runtime.script(plugin.id, off(1), delay_s=60)
    decision = await amend(stage)
    assert [one.kind for one in decision.degraded] == [FaultKind.TIMEOUT] * 4
    assert decision.answers[3].call_id == ""  # 100 + 100 + 50 ms, or less where the machine is slow
    first, *rest = [call.deadline for call in stage.runtime.begun]
    assert rest
    assert max(rest) <= first + 0.150 + 0.001
    assert stage.breakers.of("example.acme.p3", "amend_basket").state is State.CLOSED


async def test_nobody_who_amends_means_the_basket_is_not_built(stages: Stages) -> None:
    stage = stages(outside("example.acme.c", hooks=CHOOSE))
    assert await stage.dispatcher.amend_basket(
        amend_basket, raising, merchant_id=MERCHANT, store_id=None, idempotency_key="b"
    ) == Decision(None)


def raising() -> Any:
    raise AssertionError("nobody asks for it")


async def test_the_first_valid_ranking_decides_and_the_next_plugin_is_not_asked(stages: Stages) -> None:
    stage = stages(outside("example.acme.a", hooks=CHOOSE), outside("example.acme.b", hooks=CHOOSE))
    stage.runtime.script("example.acme.a", Answered(Ranking.of(["r3", "r1"])))
    decision = await choose(stage, "r1", "r2", "r3")
    assert decision.result.ids == ("r3", "r1", "r2")
    assert len(stage.runtime.begun) == 1
    assert decision.answers[0].is_used


async def test_a_ranking_of_what_was_not_offered_is_left_for_the_next_plugins(stages: Stages) -> None:
    stage = stages(outside("example.acme.a", hooks=CHOOSE), outside("example.acme.b", hooks=CHOOSE))
    stage.runtime.script("example.acme.a", Answered(Ranking.of(["r1", "mine"])))
    stage.runtime.script("example.acme.b", Answered(Ranking.of(["r2"])))
    decision = await choose(stage, "r1", "r2")
    assert decision.result.ids == ("r2", "r1")
    assert decision.degraded == (Degraded("example.acme.a", "1.0.0", "choose_route", FaultKind.BAD_RESULT),)


async def test_without_a_valid_ranking_the_hosts_order_stands(stages: Stages) -> None:
    plugins = [outside(f"example.acme.{name}", hooks=CHOOSE) for name in ("bad", "mute", "dry")]
    stage = stages(*plugins)
    stage.enablement.enable(*plugins, dry_run=["example.acme.dry"])
    stage.runtime.script("example.acme.bad", Fault(FaultKind.DIED))
    stage.runtime.script("example.acme.mute", Answered(Ranking.of([])))
    stage.runtime.script("example.acme.dry", Answered(Ranking.of(["r2"])))
    decision = await choose(stage, "r1", "r2")
    assert decision.result.ids == ("r1", "r2")
    assert [one.kind for one in decision.degraded] == [FaultKind.DIED]
    assert [one.is_used for one in decision.answers] == [False, False, False]


async def test_enablement_that_cannot_be_read_leaves_the_milder_kinds_as_they_are(stages: Stages) -> None:
    stage = stages()
    stage.enablement.is_readable = False
    chosen = await choose(stage, "r1", "r2")
    assert chosen.result.ids == ("r1", "r2")
    assert chosen.degraded == (Degraded("", "", "choose_route", FaultKind.UNAVAILABLE),)
    assert (await amend(stage)).result is None
    assert (await render(stage)).result is None


GOOD = Rendered(media_type="text/html", blob=b"page", total=CNY)


async def test_the_first_owner_draws(stages: Stages) -> None:
    stage = stages(outside("example.acme.a", hooks=RENDER), outside("example.acme.b", hooks=RENDER))
    stage.runtime.script("example.acme.a", Answered(GOOD))
    decision = await render(stage)
    assert decision.result == GOOD
    assert len(stage.runtime.begun) == 1
    assert stage.runtime.begun[0].deadline > 0


async def test_a_receipt_with_another_total_is_not_shown_and_no_other_plugin_is_asked(stages: Stages) -> None:
    stage = stages(outside("example.acme.a", hooks=RENDER), outside("example.acme.b", hooks=RENDER))
    wrong = GOOD.model_copy(update={"total": Money(amount_minor=1, currency="CNY")})
    stage.runtime.script("example.acme.a", Answered(wrong))
    decision = await render(stage)
    assert decision.result is None
    assert decision.degraded == (Degraded("example.acme.a", "1.0.0", "render_receipt", FaultKind.BAD_RESULT),)
    assert len(stage.runtime.begun) == 1


def captured() -> PaymentCaptured:
    return PaymentCaptured(
        event_id="evt_1",
        sequence=1,
        occurred_at=NOON,
        payment_id="pay_1",
        out_trade_no="o1",
        form="merchant_scan",
        channel=None,
        amount=CNY,
        store_id="sto_1",
    )


async def tell(stage: Stage, plugin_id: str) -> tuple[Any, list[object]]:
    telling = await stage.dispatcher.tell(
        on_payment_captured,
        captured(),
        plugin_id=plugin_id,
        merchant_id=MERCHANT,
        store_id="sto_1",
        idempotency_key="evt_1",
    )
    return telling.answer.fault or telling.answer.value, list(telling.parts)


async def test_only_the_plugin_concerned_is_told_and_its_parts_come_with_the_acknowledgement(stages: Stages) -> None:
    stage = stages(outside("example.acme.a", hooks=ON), outside("example.acme.b", hooks=ON))
    stage.runtime.script("example.acme.b", Answered(DONE))
    assert await tell(stage, "example.acme.b") == (DONE, ["row of example.acme.b"])
    (call,) = stage.runtime.begun
    assert (call.binding.plugin_id, call.target) == ("example.acme.b", "on_payment_captured")
    assert json.loads(call.context)["idempotency_key"] == "evt_1"


async def test_a_plugin_may_ask_to_be_told_later_and_a_fault_is_a_fault(stages: Stages) -> None:
    stage = stages(outside("example.acme.a", hooks=ON))
    later = RetryLater(after_s=60, reason="busy")
    stage.runtime.script("example.acme.a", Answered(later))
    assert (await tell(stage, "example.acme.a"))[0] == later
    stage.runtime.script("example.acme.a", Fault(FaultKind.DIED))
    assert await tell(stage, "example.acme.a") == (Fault(FaultKind.DIED), ["row of example.acme.a"])


async def test_telling_one_that_is_not_enabled_sends_nothing(stages: Stages) -> None:
    stage = stages(outside("example.acme.a", hooks=ON))
    stage.enablement.enable()
    told, parts = await tell(stage, "example.acme.a")
    assert told.kind is FaultKind.UNAVAILABLE
    assert parts == []
    assert stage.runtime.begun == []
    stage.enablement.is_readable = False
    assert (await tell(stage, "example.acme.a"))[0].kind is FaultKind.UNAVAILABLE


async def test_a_plugin_that_was_just_disabled_is_told_so(stages: Stages) -> None:
    plugin = outside("example.acme.a", hooks=ON)
    stage = stages(plugin)
    before = stage.enablement.enable(plugin)
    stage.enablement.enable()
    stage.runtime.script("example.acme.a", Answered(DONE))
    change = PluginChange(
        event_id="evt_2", sequence=2, occurred_at=NOON, change="disabled", from_version="1.0.0", to_version=None
    )
    telling = await stage.dispatcher.tell(
        on_plugin_changed,
        change,
        plugin_id="example.acme.a",
        merchant_id=MERCHANT,
        store_id=None,
        idempotency_key="evt_2",
        to=before.plugins[0],
    )
    assert telling.answer.value == DONE
    assert json.loads(stage.runtime.begun[0].arguments)["change"] == "disabled"


@pytest.mark.usefixtures("on_time")
async def test_a_manifest_may_lower_a_deadline_and_never_raise_it(stages: Stages) -> None:
    def hooks(deadline_ms: int) -> list[dict[str, object]]:
        return [{"name": "choose_route", "fields": ["routes"], "deadline_ms": deadline_ms}]

    stage = stages(outside("example.acme.a", hooks=hooks(20)), outside("example.acme.b", hooks=hooks(9_000)))
    for name in "ab":
        stage.runtime.script(f"example.acme.{name}", Fault(FaultKind.EXCEPTION))
    decision = await choose(stage, "r1")
    assert [one.deadline_ms for one in decision.answers] == [20, 50]
