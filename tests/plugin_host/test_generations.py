"""Generations: versions side by side, order, who is in and who is out, and orders that keep to one generation."""

from __future__ import annotations

import inspect
import json
from types import SimpleNamespace
from typing import Any

import pytest

from platform_core.contracts.hooks import CATALOGUE, hookimpl
from platform_core.contracts.payments import check_payment
from platform_core.contracts.results import Verdict
from platform_core.contracts.runtime import Answered, FaultKind, OutsideCall
from platform_core.plugin_host.answers import Decision
from platform_core.plugin_host.asking import Asking
from platform_core.plugin_host.discovery import Plugin, catalogue
from platform_core.plugin_host.dispatch import Pin
from platform_core.plugin_host.majors import families
from platform_core.plugin_host.members import Proxies
from platform_core.plugin_host.problems import ProblemKind
from platform_core.plugin_host.registry import CALLERS_MAX, build
from tests.plugin_host.second_major import (
    PaymentToCheckV2,
    VerdictV2,
    check_payment_v2,
    legacy_payment_v1,
    legacy_payment_v1_result,
    second_major,
)
from tests.plugin_host.stage import MERCHANT, Outcome, Stage, Stages, outside, payment, release, trusted

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("patient")]


def by_version(call: OutsideCall) -> Outcome:
    return Answered(Verdict.review(f"v{call.binding.version}", "so"))


async def rules(stage: Stage, *, merchant_id: str = MERCHANT, pin: Pin | None = None) -> list[str]:
    """The rule ids that a check comes to."""
    decision: Decision[Verdict] = await stage.dispatcher.check(
        check_payment,
        payment,
        merchant_id=merchant_id,
        store_id=None,
        idempotency_key="k",
        amount_minor=1,
        pin=pin,
    )
    return [reason.rule_id for reason in decision.result.reasons]


def versions(stage: Stage, *plugins: Plugin) -> None:
    for plugin in plugins:
        stage.runtime.script(plugin.id, by_version)


async def test_two_versions_stand_side_by_side_each_for_its_own_merchant(stages: Stages) -> None:
    old, new = outside("example.acme.risk"), outside("example.acme.risk", version="1.1.0")
    stage = stages(old, new)
    versions(stage, old)
    stage.enablement.enable(old, merchant_id="mer_old")
    stage.enablement.enable(new, merchant_id="mer_new")
    assert await rules(stage, merchant_id="mer_old") == ["v1.0.0"]
    assert await rules(stage, merchant_id="mer_new") == ["v1.1.0"]
    assert await rules(stage, merchant_id="mer_none") == []
    assert stage.registry.plugin_ids == ("example.acme.risk",)


async def test_enabling_for_one_merchant_asks_it_for_that_one_only(stages: Stages) -> None:
    ours, theirs = outside("example.acme.ours"), outside("example.acme.theirs")
    stage = stages(ours, theirs)
    versions(stage, ours, theirs)
    stage.enablement.enable(ours, merchant_id="mer_a")
    stage.enablement.enable(theirs, merchant_id="mer_b")
    await rules(stage, merchant_id="mer_a")
    await rules(stage, merchant_id="mer_b")
    assert [(call.binding.merchant_id, call.binding.plugin_id) for call in stage.runtime.begun] == [
        ("mer_a", "example.acme.ours"),
        ("mer_b", "example.acme.theirs"),
    ]


async def test_reordering_reorders_the_reasons(stages: Stages) -> None:
    one, two = outside("example.acme.one"), outside("example.acme.two")
    stage = stages(one, two)
    stage.runtime.script(one.id, Answered(Verdict.review("one", "so")))
    stage.runtime.script(two.id, Answered(Verdict.review("two", "so")))
    assert await rules(stage) == ["one", "two"]
    stage.enablement.enable(two, one)
    assert await rules(stage) == ["two", "one"]
    stage.dispatcher.swap(build([two, one]))
    assert await rules(stage) == ["two", "one"]
    assert [call.binding.plugin_id for call in stage.runtime.begun[-2:]] == [two.id, one.id]


async def test_an_order_that_is_pinned_keeps_its_versions_while_everything_is_swapped(stages: Stages) -> None:
    old, new = outside("example.acme.risk"), outside("example.acme.risk", version="2.0.0")
    stage = stages(old)
    versions(stage, old)
    pin = await stage.dispatcher.pin(MERCHANT)
    stage.dispatcher.swap(build([new]))
    stage.enablement.enable(new)
    assert await rules(stage, pin=pin) == ["v1.0.0"]
    assert await rules(stage) == ["v2.0.0"]
    assert await rules(stage, pin=pin) == ["v1.0.0"]


async def test_a_plugin_of_a_later_generation_is_not_in_a_caller_of_an_earlier_one(stages: Stages) -> None:
    first, second = outside("example.acme.first"), outside("example.acme.second")
    stage = stages(first)
    versions(stage, first, second)
    early = stage.registry.caller("check_payment", digest="d", keys=[first.release.key])  # type: ignore[union-attr]
    later = build([first, second])
    assert later.caller("check_payment", digest="d", keys=[first.release.key]) is not early  # type: ignore[union-attr]
    stage.dispatcher.swap(later)
    assert await rules(stage) == ["v1.0.0"]
    assert {call.binding.plugin_id for call in stage.runtime.begun} == {"example.acme.first"}


def test_a_caller_is_kept_for_its_set_and_the_least_used_are_let_go() -> None:
    plugin = outside("example.acme.risk")
    registry = build([plugin, outside("example.acme.other")])
    keys = [("example.acme.risk", "1.0.0")]
    first = registry.caller("check_payment", digest="first", keys=keys)
    assert registry.caller("check_payment", digest="first", keys=keys) is first
    for number in range(CALLERS_MAX):
        registry.caller("check_payment", digest=f"d{number}", keys=keys)
        if number % 1_000 == 0:
            assert registry.caller("check_payment", digest="first", keys=keys) is first
    for number in range(CALLERS_MAX):
        registry.caller("check_payment", digest=f"e{number}", keys=keys)
    assert registry.caller("check_payment", digest="first", keys=keys) is not first


@pytest.mark.parametrize("name", sorted(name for name, spec in catalogue().items() if spec.payload is not None))
def test_every_proxy_has_exactly_the_hookspecs_arguments_and_hands_all_values_on(name: str) -> None:
    spec = CATALOGUE[name]
    proxies = Proxies(("example.acme.risk", "1.0.0"))
    proxies.add(spec)
    proxy = getattr(proxies, name)
    assert tuple(inspect.signature(proxy).parameters) == spec.arguments
    assert proxy.__code__.co_varnames[: proxy.__code__.co_argcount] == spec.arguments
    seen: list[object] = []
    asks = SimpleNamespace(ask=lambda *values: seen.append(values) or "answer")
    payload = object()
    assert proxy(**dict(zip(spec.arguments, (asks, payload), strict=True))) == "answer"
    assert seen == [(("example.acme.risk", "1.0.0"), payload)]


def test_a_proxys_text_holds_nothing_of_a_manifest() -> None:
    evil = "example.acme.risk'); import os  #"
    proxies = Proxies((evil, "1.0.0"))
    proxies.add(CATALOGUE["check_payment"])
    asked: list[object] = []
    proxies.check_payment(SimpleNamespace(ask=lambda key, _: asked.append(key)), None)  # type: ignore[attr-defined]
    assert asked == [(evil, "1.0.0")]


def verdict(ctx: Any, payment: Any) -> Verdict:
    return Verdict.allow()


def test_a_hook_that_the_manifest_does_not_list_and_the_reverse_keep_a_trusted_plugin_out() -> None:
    about = release("example.ours.risk", tier="trusted", hooks=[{"name": "check_refund"}])
    code = SimpleNamespace(check_payment=hookimpl(verdict))
    registry = build([Plugin("example.ours.risk", code, about), outside("example.acme.good")])
    assert registry.plugin_ids == ("example.acme.good",)
    assert [(one.kind, one.hook) for one in registry.problems] == [
        (ProblemKind.MANIFEST, "check_payment"),
        (ProblemKind.MANIFEST, "check_refund"),
    ]
    assert registry.problems[0].where == f"{__file__}:{verdict.__code__.co_firstlineno}"


def test_hooks_without_any_manifest_are_a_problem_and_not_asked_in_silence() -> None:
    registry = build([Plugin("example.ours.risk", SimpleNamespace(check_payment=hookimpl(verdict)))])
    assert [(one.kind, one.hook) for one in registry.problems] == [(ProblemKind.MANIFEST, "check_payment")]
    assert registry.plugin_ids == ()


@pytest.mark.parametrize("contract", [">=1.5,<2", ">=2,<3", "nonsense"])
def test_a_plugin_for_another_contract_is_left_out_and_told_which_would_fit(contract: str) -> None:
    registry = build([outside("example.acme.new", contract=contract), outside("example.acme.good")])
    assert registry.plugin_ids == ("example.acme.good",)
    (problem,) = registry.problems
    assert problem.kind is ProblemKind.CONTRACT
    assert "includes 1.0" in problem.message


def test_a_field_or_hook_that_this_contract_lacks_is_a_problem() -> None:
    fields = outside("example.acme.a", hooks=[{"name": "check_payment", "fields": ["amount", "iris_scan"]}])
    hooks = outside("example.acme.b", hooks=[{"name": "check_weather"}])
    registry = build([fields, hooks])
    assert registry.plugin_ids == ()
    assert [one.message for one in registry.problems] == [
        "check_payment has no iris_scan; the manifest asks for it.",
        "There is no hook check_weather in this contract; the manifest lists it.",
    ]


def test_one_version_twice_is_refused_by_pluggy_and_loses_nobody_else() -> None:
    registry = build([outside("example.acme.a"), outside("example.acme.b"), outside("example.acme.a")])
    assert [(one.plugin_id, one.kind) for one in registry.problems] == [("example.acme.a", ProblemKind.REFUSED)]
    assert sorted(registry.keys) == [("example.acme.a", "1.0.0"), ("example.acme.b", "1.0.0")]


def second(ctx: Any, payment: PaymentToCheckV2) -> VerdictV2:
    return VerdictV2(decision="deny", risk=len(payment.parts))


async def ask_second(stage: Stage, newer: PaymentToCheckV2) -> list[Any]:
    """What each plugin answers to the newest major, through its own call."""
    pin = await stage.dispatcher.pin(MERCHANT)
    assert pin.plugins is not None
    crew = pin.crews.of(families(catalogue())["check_payment"], pin.plugins)
    assert crew is not None
    asking = Asking(stage.dispatcher._tools, crew, merchant_id=MERCHANT, store_id=None, idempotency_key="k", until=None)
    begun = [one for major, caller in crew.callers for one in asking.asked(major, caller, newer)]
    answers = {one.plugin_id: one for one in await asking.collect(begun)}
    return [answers[key[0]].value for key in crew.order]


async def test_of_two_majors_the_newer_is_called_and_an_older_plugin_gets_what_it_knows(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    with second_major(monkeypatch, legacy_payment_v1, legacy_payment_v1_result):
        both = Plugin(
            "example.ours.both",
            SimpleNamespace(check_payment=hookimpl(verdict), check_payment_v2=hookimpl(optionalhook=True)(second)),
            release(
                "example.ours.both",
                tier="trusted",
                hooks=[
                    {"name": "check_payment", "fields": ["amount"]},
                    {"name": "check_payment_v2", "version": 2, "fields": ["parts"]},
                ],
            ),
        )
        older = outside("example.acme.older", hooks=[{"name": "check_payment", "fields": ["amount", "payment_id"]}])
        stage = stages(older, both)
        stage.runtime.script(older.id, Answered(Verdict.review("r", "so", score=70)))
        money = payment(5).amount
        answers = await ask_second(stage, PaymentToCheckV2(payment_id="pay_2", parts=(money, money)))
        assert answers == [VerdictV2(decision="review", risk=700), VerdictV2(decision="deny", risk=2)]
        (call,) = stage.runtime.begun
        assert (call.target, call.major) == ("check_payment", 1)
        assert json.loads(call.arguments) == {
            "payment_id": "pay_2",
            "amount": {"amount_minor": 10, "currency": "CNY"},
            "withheld": [],
        }
        assert families(catalogue())["check_payment"].newest.name == check_payment_v2.__name__


def stumbling(older: Verdict) -> VerdictV2:
    raise KeyError(older.decision)


stumbling.__name__ = "legacy_payment_v1_result"


async def test_an_answer_that_the_hosts_own_rules_stumble_over_loses_nobody_elses(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    with second_major(monkeypatch, legacy_payment_v1, stumbling):
        newer = [{"name": "check_payment_v2", "version": 2, "fields": ["parts"]}]
        older, new = outside("example.acme.older"), outside("example.acme.new", hooks=newer)
        stage = stages(older, new)
        stage.runtime.script(older.id, Answered(Verdict.allow()))
        stage.runtime.script(new.id, Answered(VerdictV2(decision="deny", risk=1)))
        answers = await ask_second(stage, PaymentToCheckV2(payment_id="pay_2", parts=()))
        assert answers == [None, VerdictV2(decision="deny", risk=1)]


@pytest.mark.parametrize("legacy", [(), (legacy_payment_v1,)])
def test_an_older_major_that_nothing_leads_to_stops_the_host_at_once(
    legacy: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with second_major(monkeypatch, *legacy), pytest.raises(ValueError, match="has no legacy_payment_v1"):
        families(catalogue())


async def test_a_plugin_with_a_newer_major_than_the_hosts_is_asked_for_the_one_both_know(stages: Stages) -> None:
    hooks = [
        {"name": "check_payment", "fields": ["amount"]},
        {"name": "check_payment_v2", "version": 2, "fields": ["parts"]},
    ]
    stage = stages(outside("example.acme.ahead", hooks=hooks))
    stage.runtime.script("example.acme.ahead", by_version)
    assert await rules(stage) == ["v1.0.0"]
    assert stage.runtime.begun[0].target == "check_payment"


async def test_a_loaded_trusted_plugin_is_asked_through_its_own_function(stages: Stages) -> None:
    stage = stages(trusted("example.ours.risk", check_payment=lambda payment: Verdict.deny("mine", "no")))
    assert await rules(stage) == ["mine"]
    assert stage.runtime.begun == []
    stage.dispatcher.swap(build([]))
    assert await rules(stage) == [f"plugin.{FaultKind.UNAVAILABLE.value}"]
