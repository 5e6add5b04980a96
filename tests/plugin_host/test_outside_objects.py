"""Providers and channels of outside plugins: what travels, and what each fault means for the money."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from platform_core.contracts import blobs
from platform_core.contracts.hooks import CATALOGUE
from platform_core.contracts.messages import ChannelDescription, Delivery, MessageCall, MessageChannel, MessageResult
from platform_core.contracts.payments import (
    AmountLimit,
    Bill,
    BillRequest,
    ChannelAccount,
    ErrorClass,
    Notice,
    NoticeAnswer,
    NoticeOutcome,
    NoticeRefused,
    Outcome,
    PaymentProvider,
    ProviderCall,
    ProviderDescription,
    ProviderResult,
    ShowQr,
)
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.runtime import Answered, Fault, FaultKind, OutsideCall
from platform_core.identity.vault import Vault
from platform_core.plugin_host.answers import HookSeen
from platform_core.plugin_host.calls import Trail
from platform_core.plugin_host.listening import Listeners
from platform_core.plugin_host.object_calls import ObjectTools, method_of
from platform_core.plugin_host.outside_objects import PluginDidNotAnswer, outside_plugins
from platform_core.plugin_host.problems import ProblemKind
from platform_core.plugin_host.registry import build
from platform_core.plugin_host.secrets import VaultContexts
from tests.plugin_host.stage import MERCHANT, NOON, Stage, Stages, release
from tests.plugin_host.stage import Outcome as Played

pytestmark = pytest.mark.unit
PLUGIN = "example.acme.pay"
PROVIDER = {
    "hooks": [{"name": "register_payment_provider"}],
    "providers": [{"hook": "register_payment_provider", "id": "acme", "methods": ["pay"]}],
}
DESCRIPTION = ProviderDescription(
    id="acme",
    forms=frozenset({"merchant_scan"}),
    limits=(AmountLimit("CNY", 1, 5_000_000),),
    auth_code_pattern="[0-9]+",
)
PAID = ProviderResult.success(amount_minor=1_200, occurred_at=NOON, provider_reference="A1")


class Leftovers:
    def __init__(self) -> None:
        self.committed: list[tuple[str, Sequence[object]]] = []
        self.is_away = False

    async def commit(self, merchant_id: str, parts: Sequence[object], /) -> None:
        if self.is_away:
            raise OSError("the database is away")
        self.committed.append((merchant_id, parts))


class Acme:
    """A provider outside, on a stage."""

    def __init__(self, stage: Stage, made: Any, leftovers: Leftovers) -> None:
        self.stage = stage
        self.made = made
        self.leftovers = leftovers
        stage.runtime.begun.clear()
        leftovers.committed.clear()

    def plays(self, outcome: Played | Callable[[OutsideCall], Played], *, has_sent: bool = False) -> None:
        self.stage.runtime.script(PLUGIN, outcome)
        close = self.stage.calls.__class__.close

        def closing(handle: str) -> Trail:
            return replace(close(self.stage.calls, handle), has_sent=has_sent)

        self.stage.calls.close = closing  # type: ignore[method-assign]

    @property
    def begun(self) -> OutsideCall:
        return self.stage.runtime.begun[-1]


async def acme(
    stages: Stages, *, tier: Any = "confined", manifest: Any = PROVIDER, description: Any = DESCRIPTION
) -> Acme:
    stage, leftovers = stages(), Leftovers()
    about = release(PLUGIN, tier=tier, **manifest)
    stage.runtimes[tier] = stage.runtime
    stage.runtime.script(PLUGIN, Answered(description))
    tools = ObjectTools(enablement=stage.enablement, tools=stage.dispatcher._tools, leftovers=leftovers)
    plugins, problems = await outside_plugins([about], tools)
    assert problems == ()
    registry = build(plugins)
    assert registry.problems == ()
    stage.enablement.enable(about)
    hook = next(iter(manifest["providers"]))["hook"]
    (made,) = registry._objects[hook].values()
    return Acme(stage, made.value, leftovers)


def context() -> Any:
    return VaultContexts(Vault(b"k" * 32)).context(merchant_id=MERCHANT, secrets={"mac": ["sealed"]})


def call(**more: Any) -> ProviderCall:
    return ProviderCall(
        idempotency_key="att_1",
        kind="sale",
        payment_id="pay_1",
        attempt_id="att_1",
        amount_minor=1_200,
        currency="CNY",
        form="merchant_scan",
        channel_account=ChannelAccount(id="cha_1", settings={"shop": 7}, secret_names={"mac": "cha_1/mac"}),
        deadline_s=5.0,
        now=NOON,
        ctx=context(),
        auth_code="28763443825664394",
        store_id="sto_1",
        **more,
    )


async def test_it_is_a_provider_like_any_other_with_the_description_of_its_plugin(stages: Stages) -> None:
    provider = (await acme(stages)).made
    assert isinstance(provider, PaymentProvider)
    assert provider.describe() == DESCRIPTION


async def test_all_but_the_context_travels_and_the_result_comes_back(stages: Stages) -> None:
    one = await acme(stages)
    one.plays(Answered(PAID), has_sent=True)
    assert await one.made.pay(call()) == PAID
    sent = json.loads(one.begun.arguments)
    assert "ctx" not in sent
    assert (sent["idempotency_key"], sent["amount_minor"], sent["auth_code"]) == ("att_1", 1_200, "28763443825664394")
    assert sent["channel_account"] == {"id": "cha_1", "settings": {"shop": 7}, "secret_names": {"mac": "cha_1/mac"}}
    assert (one.begun.target, one.begun.major) == ("register_payment_provider/acme.pay", 1)
    assert one.begun.binding.merchant_id == MERCHANT
    facts = one.stage.calls.opened[-1]
    assert facts.secrets == {"mac": ["sealed"]}
    assert facts.operation == "register_payment_provider/acme.pay"
    assert json.loads(one.begun.context)["idempotency_key"] == "att_1"
    assert one.leftovers.committed == [(MERCHANT, (f"row of {PLUGIN}",))]


MOVING = ["create", "pay", "authorize", "capture", "void", "refund", "settle"]
ASKING = ["query", "query_refund", "cancel", "close"]


@pytest.mark.parametrize("method", MOVING + ASKING)
@pytest.mark.parametrize("kind", [FaultKind.TIMEOUT, FaultKind.DIED, FaultKind.BAD_RESULT, FaultKind.SATURATED])
async def test_a_fault_is_unknown_once_anything_may_have_left(method: str, kind: FaultKind, stages: Stages) -> None:
    one = await acme(stages)
    one.plays(Fault(kind), has_sent=True)
    result = await getattr(one.made, method)(call())
    assert (result.outcome, result.error.code) == (Outcome.UNKNOWN, kind.value)


@pytest.mark.parametrize("method", MOVING + ASKING)
async def test_a_fault_before_the_first_byte_is_not_sent_where_money_was_to_move(method: str, stages: Stages) -> None:
    one = await acme(stages)
    one.plays(Fault(FaultKind.DIED), has_sent=False)
    result = await getattr(one.made, method)(call())
    if method in MOVING:
        assert (result.outcome, result.error.error_class) == (Outcome.FAILED, ErrorClass.NOT_SENT)
    else:
        assert result.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("kind", "outcome"), [(FaultKind.TIMEOUT, Outcome.UNKNOWN), (FaultKind.SATURATED, Outcome.FAILED)]
)
async def test_a_remote_plugin_may_have_acted_unless_it_was_never_reached(
    kind: FaultKind, outcome: Outcome, stages: Stages
) -> None:
    one = await acme(stages, tier="remote")
    one.plays(Fault(kind), has_sent=False)
    assert (await one.made.pay(call())).outcome is outcome


async def test_a_plugin_that_is_not_enabled_or_drained_is_not_asked_for_new_payments(stages: Stages) -> None:
    one = await acme(stages)
    one.plays(Answered(PAID))
    enabled = one.stage.enablement.merchants[MERCHANT]
    one.stage.enablement.merchants[MERCHANT] = replace(enabled, draining=frozenset({PLUGIN}))
    for method in ("create", "pay", "authorize"):
        assert (await getattr(one.made, method)(call())).error.error_class is ErrorClass.NOT_SENT
    assert one.stage.runtime.begun == []
    assert (await one.made.refund(call())).outcome is Outcome.SUCCESS
    one.stage.enablement.enable()
    assert (await one.made.pay(call())).error.error_class is ErrorClass.NOT_SENT
    assert (await one.made.query(call())).outcome is Outcome.UNKNOWN
    one.stage.enablement.is_readable = False
    assert (await one.made.query(call())).outcome is Outcome.UNKNOWN
    assert len(one.stage.runtime.begun) == 1


async def test_the_version_that_the_merchant_runs_is_asked(stages: Stages) -> None:
    one = await acme(stages)
    one.plays(Answered(PAID))
    one.stage.enablement.enable(release(PLUGIN, version="2.0.0", **PROVIDER))
    await one.made.pay(call())
    assert one.begun.binding.version == "2.0.0"


async def test_an_open_breaker_answers_at_once_and_queries_stay_unknown(stages: Stages) -> None:
    one = await acme(stages)
    one.plays(Fault(FaultKind.DIED))
    for _ in range(6):
        await one.made.pay(call())
    assert len(one.stage.runtime.begun) == 5
    assert (await one.made.pay(call())).error.code == "breaker_open"
    assert (await one.made.query(call())).outcome is Outcome.UNKNOWN


async def test_calls_of_a_merchants_objects_are_seen_by_listeners_and_asking_what_it_is_is_not(stages: Stages) -> None:
    seen: list[HookSeen] = []
    stage = stages()
    stage.runtime.script(PLUGIN, Answered(DESCRIPTION))
    listeners = Listeners()
    listeners.add(SimpleNamespace(saw=seen.append))
    tools = ObjectTools(
        enablement=stage.enablement, tools=stage.dispatcher._tools, leftovers=Leftovers(), listeners=listeners
    )
    about = release(PLUGIN, **PROVIDER)
    plugins, _ = await outside_plugins([about], tools)
    stage.enablement.enable(about)
    stage.runtime.script(PLUGIN, Fault(FaultKind.DIED))
    await build(plugins).payment_providers()["acme"].pay(call())
    (one,) = seen
    assert (one.hook, one.merchant_id) == ("register_payment_provider/acme.pay", MERCHANT)
    assert (one.answers[0].fault, one.degraded[0].kind) == (Fault(FaultKind.DIED), FaultKind.DIED)


async def test_leftovers_that_cannot_be_kept_lose_no_outcome(stages: Stages) -> None:
    one = await acme(stages)
    one.leftovers.is_away = True
    one.plays(Answered(PAID))
    assert await one.made.pay(call()) == PAID
    assert one.stage.calls.forsaken == [f"row of {PLUGIN}"]


async def test_a_call_given_up_leaves_nothing_open(stages: Stages) -> None:
    one = await acme(stages)
    one.stage.runtime.script(PLUGIN, Answered(PAID), delay_s=60)
    asking = asyncio.create_task(one.made.pay(call()))
    await asyncio.sleep(0)
    assert len(one.stage.calls.open_handles) == 1
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert one.stage.calls.open_handles == set()
    assert one.leftovers.committed == []


def notice() -> Notice:
    return Notice(
        method="POST",
        path="/n",
        query="",
        headers={"x-sign": "s"},
        raw_body=b"\x00\xff" * 200_000,
        channel_account=ChannelAccount(id="cha_1"),
        now=NOON,
        ctx=context(),
    )


async def test_a_notices_raw_body_travels_beside_the_json_byte_for_byte(stages: Stages) -> None:
    one = await acme(stages)
    answer = NoticeAnswer(body=b"success")
    said = NoticeOutcome(notice_id="n1", idempotency_key="att_1", kind="sale", result=PAID, answer=answer)
    one.plays(Answered(said))
    assert await one.made.parse_notice(notice()) == said
    assert len(one.begun.blobs) == 2
    assert b"".join(one.begun.blobs) == notice().raw_body
    assert json.loads(one.begun.arguments)["raw_body"] == [0, 1]


async def test_a_notice_that_the_plugin_refuses_is_refused_and_one_it_could_not_read_is_repeated(
    stages: Stages,
) -> None:
    one = await acme(stages)
    told = {"NoticeRefused: stale: An old one.": "stale", "NoticeRefused: <b>: no code": "malformed"}
    for detail, code in [*told.items()] * 15:
        one.plays(Fault(FaultKind.EXCEPTION, detail))
        with pytest.raises(NoticeRefused) as refused:
            await one.made.parse_notice(notice())
        assert refused.value.code == code
    assert one.stage.book.openings == []  # a stranger who sends forged notices opens no breaker
    one.plays(Fault(FaultKind.TIMEOUT))
    with pytest.raises(PluginDidNotAnswer):
        await one.made.parse_notice(notice())


async def test_a_bill_that_is_not_there_yet_is_told_apart_from_a_plugin_that_is_not_there(stages: Stages) -> None:
    one = await acme(stages)
    request = BillRequest(
        day=date(2026, 11, 21), channel_account=ChannelAccount(id="cha_1"), deadline_s=5, now=NOON, ctx=context()
    )
    one.plays(Fault(FaultKind.EXCEPTION, "LookupError: tomorrow"))
    with pytest.raises(LookupError):
        await one.made.fetch_bill(request)
    one.plays(Fault(FaultKind.DIED))
    with pytest.raises(PluginDidNotAnswer):
        await one.made.fetch_bill(request)


CHANNEL = {
    "hooks": [{"name": "register_channel"}],
    "providers": [{"hook": "register_channel", "id": "sms", "methods": ["send"]}],
}


async def test_a_channel_outside_is_a_channel_and_its_faults_are_unknown_unless_nothing_left(stages: Stages) -> None:
    described = ChannelDescription(id="sms", medium="sms", body_bytes_max=160)
    one = await acme(stages, manifest=CHANNEL, description=described)
    assert isinstance(one.made, MessageChannel)
    ctx = HookContext(
        call_id="c", hook="register_channel", contract="1.0", merchant_id=MERCHANT, store_id=None, mode="live",
        now=NOON, deadline_ms=1, locale="zh", idempotency_key="k", config={}, clients=None,  # type: ignore[arg-type]
    )  # fmt: skip
    message = MessageCall(
        idempotency_key="msg_1", message_id="msg_1", recipient="+8613800000000", body="hi", locale="zh",
        deadline_s=5, now=NOON, ctx=ctx,
    )  # fmt: skip
    one.plays(Answered(MessageResult.accepted("R1")))
    assert (await one.made.send(message)).channel_reference == "R1"
    one.plays(Fault(FaultKind.DIED), has_sent=True)
    assert (await one.made.send(message)).delivery is Delivery.UNKNOWN
    one.plays(Fault(FaultKind.DIED), has_sent=False)
    failed = await one.made.send(message)
    assert (failed.delivery, failed.is_repeatable) == (Delivery.FAILED, True)
    assert (await one.made.query(message)).delivery is Delivery.UNKNOWN


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Fault(FaultKind.LOAD), ProblemKind.RAISED),
        (Fault(FaultKind.BAD_RESULT), ProblemKind.BAD_RESULT),
        (Answered(replace(DESCRIPTION, id="other")), ProblemKind.MANIFEST),
    ],
)
async def test_an_object_that_cannot_say_what_it_is_is_a_problem_and_not_handed_over(
    outcome: Played, kind: ProblemKind, stages: Stages
) -> None:
    stage = stages()
    stage.runtime.script(PLUGIN, outcome)
    tools = ObjectTools(enablement=stage.enablement, tools=stage.dispatcher._tools, leftovers=Leftovers())
    plugins, problems = await outside_plugins([release(PLUGIN, **PROVIDER)], tools)
    assert [one.kind for one in problems] == [kind]
    assert build(plugins).payment_providers() == {}


async def test_one_object_serves_all_versions_of_its_plugin(stages: Stages) -> None:
    stage = stages()
    stage.runtime.script(PLUGIN, Answered(DESCRIPTION))
    tools = ObjectTools(enablement=stage.enablement, tools=stage.dispatcher._tools, leftovers=Leftovers())
    versions = [release(PLUGIN, version=version, **PROVIDER) for version in ("1.1.0", "1.0.0")]
    plugins, problems = await outside_plugins(versions, tools)
    registry = build(plugins)
    assert (problems, registry.problems) == ((), ())
    assert list(registry.payment_providers()) == ["acme"]
    assert stage.calls.opened[0].operation == "register_payment_provider"
    assert stage.calls.opened[0].enabled.scopes == frozenset()


@pytest.mark.parametrize("method", MOVING + ASKING + ["parse_notice", "fetch_bill", "describe"])
def test_every_methods_result_travels_whole(method: str) -> None:
    result = method_of(CATALOGUE["register_payment_provider"], method).result
    action = ShowQr(code="weixin://1", expires_at=NOON)
    examples: dict[str, Any] = {
        "parse_notice": NoticeOutcome(
            notice_id="n", idempotency_key="k", kind="sale", result=PAID, answer=NoticeAnswer(body=b"\xff")
        ),
        "describe": DESCRIPTION,
        "fetch_bill": Bill(day=date(2026, 11, 21), rows=(), count=0, total_minor={"CNY": 0}, raw=b"\x00\xff"),
    }
    value = examples.get(method, replace(PAID, action=action))
    assert blobs.load(result, *blobs.dump(result, value)) == value
