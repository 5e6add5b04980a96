"""The contract kit finds what it is there to find: a plugin for each rule that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from platform_core.contracts.fields import Money
from platform_core.contracts.messages import ChannelDescription, MessageCall, MessageResult
from platform_core.contracts.payments import Basket, PaymentCaptured, PaymentToCheck, RoutingQuestion
from platform_core.contracts.plugin import EgressAnswer, HookContext, Refused
from platform_core.contracts.results import DONE, BasketOperations, Discount, Ranking, Rendered, RetryLater, Verdict
from platform_core.contracts.testing import Broken, InProcess, LoadedPlugin, Request, Setup, run_kit
from platform_core.contracts.testing.egress import answered
from platform_core.contracts.testing.kit import RULES
from tests.contracts.manifests import WORDS, manifest_of

pytestmark = pytest.mark.unit

EGRESS = f'[[egress]]\nhost = "api.acme.example"\nmethods = ["GET", "POST"]\npurpose = {WORDS}\n'


def plugin(more: str = "", version: str = "1.0.0", **hooks: Callable[..., Any]) -> LoadedPlugin:
    """A plugin of these functions that asks for every field."""
    return LoadedPlugin(manifest=manifest_of(*hooks, more=more, version=version), hooks=hooks)


def rules(found: list[Broken]) -> set[str]:
    return {broken.rule for broken in found}


def ok(request: Request) -> EgressAnswer:
    return answered(200, {"id": "m-1", "state": "sent"})


def check(ctx: HookContext, payment: PaymentToCheck) -> Verdict:
    """A good one: reads what may be withheld, and decides by amount."""
    if payment.amount is not None and payment.amount.amount_minor > 1_000_000:
        return Verdict.review("large", "A large amount.")
    return Verdict.allow(score=0 if payment.member is None else 1)


def told(ctx: HookContext, event: PaymentCaptured) -> Any:
    """A good one: passes the key on, keeps what it did."""
    answer = ctx.egress.fetch(
        "POST", "https://api.acme.example/orders", headers={"idempotency-key": ctx.idempotency_key}, body={"a": 1}
    )
    if answer.status != 200:
        return RetryLater(after_s=30, reason="busy")
    ctx.state.put(f"told:{event.payment_id}", ctx.idempotency_key, ttl_s=86_400)
    return DONE


class Texts:
    """A good channel."""

    def describe(self) -> ChannelDescription:
        return ChannelDescription(id="tried", medium="sms", body_bytes_max=210)

    async def send(self, call: MessageCall) -> MessageResult:
        return self._ask(call, "POST", f"https://api.acme.example/texts/{call.idempotency_key}")

    async def query(self, call: MessageCall) -> MessageResult:
        return self._ask(call, "GET", f"https://api.acme.example/texts/{call.idempotency_key}")

    def _ask(self, call: MessageCall, method: str, url: str) -> MessageResult:
        try:
            answer = call.ctx.egress.fetch(method, url)
        except Refused as refused:
            if refused.code == "plugin.egress_not_sent" and method == "POST":
                return MessageResult.failed("not_sent", "Nothing left.", is_repeatable=True)
            return MessageResult.unknown("lost", "No answer.")
        try:
            body = answer.json() if answer.status == 200 else {}
        except ValueError:
            body = {}
        return self.read(body)

    def read(self, body: dict[str, str]) -> MessageResult:
        if "id" not in body:
            return MessageResult.unknown("unreadable", "No id came.")
        return MessageResult.accepted(body["id"])


def test_good_plugins_break_nothing() -> None:
    good = plugin(more=EGRESS, check_payment=check, on_payment_captured=told, register_channel=Texts)
    assert run_kit(good, Setup(outside=ok, previous=good, elsewhere=InProcess("elsewhere"))) == []


def test_a_raising_hook_is_named_with_hook_and_fixture() -> None:
    def amend(ctx: HookContext, basket: Basket) -> BasketOperations:
        raise ZeroDivisionError(basket.basket_id if not basket.lines else "full")

    found = [broken for broken in run_kit(plugin(amend_basket=amend)) if broken.rule == "KIT-01"]
    assert [broken.fixture for broken in found] == [
        f"amend_basket/v1/{name}" for name in ("after_others", "empty", "large_home", "small_lunch")
    ]
    assert str(found[1]) == (
        f"KIT-01 amend_basket/v1/empty: ZeroDivisionError: bsk_01hx3t8k2m5n7p9q1r3s5t7v9w ({RULES['KIT-01']})"
    )


BAD_ANSWERS: list[tuple[str, Callable[..., Any], str]] = [
    ("check_payment", lambda ctx, payment: None, "NoneType came back"),
    ("check_payment", lambda ctx, payment: {"decision": "allow", "note": 1}, "dict came back"),
    (
        "amend_basket",
        lambda ctx, basket: BasketOperations(operations=(Discount(amount_minor=8_201, rule_id="a", label="b"),)),
        "below zero",
    ),
    (
        "amend_basket",
        lambda ctx, basket: BasketOperations(
            operations=(Discount(line_id="9", amount_minor=1, rule_id="a", label="b"),)
        ),
        "which the basket does not have",
    ),
    ("choose_route", lambda ctx, question: Ranking.of(["rt_77"]), "which was not offered"),
    (
        "render_receipt",
        lambda ctx, receipt: Rendered(
            media_type=receipt.media_type, blob=b"x", total=Money(amount_minor=1, currency="CNY")
        ),
        "the ledger's is",
    ),
    (
        "render_receipt",
        lambda ctx, receipt: Rendered(media_type="text/plain", blob=b"x", total=receipt.total),
        "was asked for",
    ),
]


@pytest.mark.parametrize(("hook", "function", "said"), BAD_ANSWERS)
def test_an_answer_beyond_type_or_bounds_is_found(hook: str, function: Callable[..., Any], said: str) -> None:
    found = run_kit(plugin(**{hook: function}), rules=frozenset({"KIT-01"}))
    assert found
    assert any(said in broken.said for broken in found)


async def _later() -> Verdict:
    return Verdict.allow()


def test_an_awaitable_is_no_answer() -> None:
    found = run_kit(plugin(check_payment=lambda ctx, payment: _later()), rules=frozenset({"KIT-01"}))
    assert len(found) == 4
    assert "an awaitable came back" in found[0].said


def test_a_hook_that_trips_over_a_newer_field_is_found() -> None:
    def tolerant(ctx: HookContext, payment: PaymentToCheck) -> Verdict:
        return Verdict.allow(score=len(payment.model_fields_set))

    lengths = iter(range(100))

    def intolerant(ctx: HookContext, payment: PaymentToCheck) -> Verdict:
        if next(lengths) % 2:  # the second call of each fixture is the one with the newer field
            raise ValueError("unknown field")
        return Verdict.allow()

    assert run_kit(plugin(check_payment=tolerant), rules=frozenset({"KIT-02"})) == []
    assert rules(run_kit(plugin(check_payment=intolerant), rules=frozenset({"KIT-02"}))) == {"KIT-02"}


def test_a_hook_that_needs_what_may_be_withheld_is_found() -> None:
    def greedy(ctx: HookContext, payment: PaymentToCheck) -> Verdict:
        return Verdict.allow(score=len(payment.payer_ref or "") if payment.device_ref != "" else 0)

    def greedier(ctx: HookContext, payment: PaymentToCheck) -> Verdict:
        if payment.form == "merchant_scan":
            return Verdict.allow(score=len(payment.payer_ref) % 100)  # type: ignore[arg-type]  # that is the fault
        return Verdict.allow()

    assert run_kit(plugin(check_payment=greedy), rules=frozenset({"KIT-03"})) == []
    found = run_kit(plugin(check_payment=greedier), rules=frozenset({"KIT-03"}))
    assert {broken.said.partition(": ")[0] for broken in found} == {"without payments.payer:read"}


def test_a_decision_by_chance_is_found() -> None:
    turns = iter(range(1_000))
    found = run_kit(
        plugin(check_payment=lambda ctx, payment: Verdict.allow(score=next(turns) % 100)), rules=frozenset({"KIT-04"})
    )
    assert len(found) == 4


def test_an_effect_per_delivery_is_found() -> None:
    def counts(ctx: HookContext, event: PaymentCaptured) -> Any:
        ctx.state.increment("captured")
        return DONE

    def keyless(ctx: HookContext, event: PaymentCaptured) -> Any:
        ctx.egress.fetch("POST", "https://api.acme.example/orders", body={"payment": event.payment_id})
        return DONE

    assert rules(run_kit(plugin(on_payment_captured=counts), rules=frozenset({"KIT-05"}))) == {"KIT-05"}
    found = run_kit(plugin(more=EGRESS, on_payment_captured=keyless), Setup(outside=ok), rules=frozenset({"KIT-05"}))
    assert [broken.said.partition(" is ")[0] for broken in found] == ["POST https://api.acme.example/orders"] * 3


class Boaster(Texts):
    """Says accepted whatever came."""

    def read(self, body: dict[str, str]) -> MessageResult:
        return MessageResult.accepted(body.get("id", "none"))


class Raiser(Texts):
    """Lets the refusal through."""

    def _ask(self, call: MessageCall, method: str, url: str) -> MessageResult:
        call.ctx.egress.fetch(method, url)
        return MessageResult.unknown("a", "b")


class Stranger(Texts):
    """Goes by another name than its manifest says."""

    def describe(self) -> ChannelDescription:
        return ChannelDescription(id="other", medium="sms", body_bytes_max=210)


class Keyless(Texts):
    """Sends without the key."""

    async def send(self, call: MessageCall) -> MessageResult:
        return self._ask(call, "POST", "https://api.acme.example/texts")


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        (Boaster, "send must be unknown when 200 with an empty object"),
        (Raiser, "send raised Refused when nothing left"),
        (Stranger, "the object is named other; plugin.toml declares tried."),
        (Keyless, "send sends a request without the key msg_"),
    ],
)
def test_a_channel_that_says_what_it_cannot_know_is_found(channel: type[Texts], said: str) -> None:
    found = run_kit(plugin(more=EGRESS, register_channel=channel), Setup(outside=ok), rules=frozenset({"KIT-06"}))
    assert any(broken.said.startswith(said) for broken in found), [broken.said for broken in found]


def test_a_version_that_cannot_read_the_older_state_is_found() -> None:
    def older(ctx: HookContext, question: RoutingQuestion) -> Ranking:
        ctx.state.put("seen", {"n": 1})
        return Ranking.of([])

    def newer(ctx: HookContext, question: RoutingQuestion) -> Ranking:
        seen = ctx.state.get("seen")
        ctx.state.put("seen", 1 if seen is None else seen.value + 1)
        return Ranking.of([])

    was, now = plugin(choose_route=older), plugin(version="1.1.0", choose_route=newer)
    found = run_kit(now, Setup(previous=was), rules=frozenset({"KIT-07"}))
    assert {broken.said.partition(": ")[0] for broken in found} == {"1.1.0 of 1.0.0 then 1.1.0"}


def test_another_answer_elsewhere_is_found() -> None:
    class Elsewhere(InProcess):
        def call(self, plugin: LoadedPlugin, hook: Any, *, ctx: HookContext, json: bytes) -> Any:
            return Verdict.allow(score=9)

    found = run_kit(plugin(check_payment=check), Setup(elsewhere=Elsewhere("in a worker")), rules=frozenset({"KIT-08"}))
    assert len(found) == 4
    assert "in a worker" in found[0].said


def test_every_rule_is_tried_here() -> None:
    assert RULES.keys() == {f"KIT-0{number}" for number in range(1, 9)}
