"""Calls of honest plugins, and of merely buggy ones, in real workers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import TypeAdapter

from platform_core.contracts import blobs as beside
from platform_core.contracts.payments import Notice, NoticeOutcome, ProviderDescription, ProviderResult
from platform_core.contracts.results import Acknowledgement, Rendered, RetryLater, Verdict
from platform_core.contracts.runtime import Answered, Fault, FaultKind, Told
from tests.sandbox.runtime.stage import PATIENT_S, Stage

ECHO = """
@hookimpl
def check_payment(ctx, payment):
    return say(json.dumps([payment.subject, payment.amount.amount_minor, ctx.merchant_id, ctx.store_id, ctx.mode,
        ctx.locale, ctx.now.isoformat(), ctx.config, ctx.idempotency_key]))
"""


async def test_payload_context_and_configuration_arrive(stage: Stage) -> None:
    plugin = stage.plugin(ECHO)
    arguments = {"subject": "茶", "amount": {"amount_minor": 7, "currency": "CNY"}, "news": "a field of a later minor"}
    said = await stage.say(plugin, arguments=arguments, config={"limit": 3}, mode="live")
    assert said == (
        '["\\u8336", 7, "mer_1", "sto_1", "live", "en", "2026-11-22T12:00:00+00:00", {"limit": 3}, "key_1"]'
    )


async def test_another_revision_configures_the_same_worker_anew(stage: Stage) -> None:
    plugin = stage.plugin("""
seen = []

@hookimpl
def check_payment(ctx, payment):
    seen.append(ctx.config["limit"])
    return say(seen)
""")
    said = [await stage.say(plugin, revision=n, config={"limit": n}) for n in (1, 1, 2)]
    assert said == ["[1]", "[1, 1]", "[1, 1, 2]"]


@pytest.mark.parametrize(
    ("signature", "said"),
    [("", "none"), ("payment", "tea"), ("ctx", "mer_1"), ("payment, ctx", "tea mer_1")],
)
async def test_an_implementation_may_name_fewer_arguments(stage: Stage, signature: str, said: str) -> None:
    body = {"": "'none'", "payment": "payment.subject", "ctx": "ctx.merchant_id"}
    what = body.get(signature, "payment.subject + ' ' + ctx.merchant_id")
    plugin = stage.plugin(f"@hookimpl\ndef check_payment({signature}):\n    return say({what})\n")
    assert await stage.say(plugin, arguments={"subject": "tea"}) == said


async def test_a_field_that_was_not_sent_is_named_with_file_and_line(stage: Stage) -> None:
    plugin = stage.plugin("@hookimpl\ndef check_payment(ctx, payment):\n    return say(payment.payer_ref)\n")
    fault = await stage.fault(plugin, arguments={"subject": "tea"})
    assert fault.kind is FaultKind.EXCEPTION
    assert fault.detail.startswith("FieldNotSent: PaymentToCheck.payer_ref was not sent")
    assert "(acme_probe/__init__.py:" in fault.detail
    assert "in check_payment)" in fault.detail


RAISING = """
calls = 0

@hookimpl
def check_payment(ctx, payment):
    global calls
    calls += 1
    if payment.subject:
        raise ValueError(f"call {calls}\\x1b[31m")
    return say(calls)
"""


async def test_a_hundred_exceptions_keep_one_worker(stage: Stage) -> None:
    """Mistake 9: a merely buggy plugin cost a process each call."""
    plugin = stage.plugin(RAISING)
    for number in range(1, 101):
        fault = await stage.fault(plugin, arguments={"subject": "raise"})
        assert fault.kind is FaultKind.EXCEPTION
        assert fault.detail.startswith(f"ValueError: call {number}\\x1b[31m (acme_probe/__init__.py:")
    assert await stage.say(plugin, arguments={"subject": ""}) == "101"
    assert stage.listener.faults == []


@pytest.mark.parametrize(
    ("code", "kind", "detail"),
    [
        ("return None", FaultKind.BAD_RESULT, "NoneType came back"),
        ("return 'allow'", FaultKind.BAD_RESULT, "str came back"),
        ("return Verdict.model_construct(decision='maybe')", FaultKind.BAD_RESULT, ""),
        ("return Verdict.model_construct(decision='allow', score=10**40)", FaultKind.BAD_RESULT, ""),
        ("async def late():\n        pass\n    return late()", FaultKind.BAD_RESULT, "an awaitable came back"),
        ("sys.exit(3)", FaultKind.EXCEPTION, "SystemExit: 3"),
        ("raise KeyboardInterrupt", FaultKind.EXCEPTION, "KeyboardInterrupt"),
        ("raise type('x' * 200, (Exception,), {})('y' * 900)", FaultKind.EXCEPTION, "x" * 80 + ": " + "y" * 100),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})", FaultKind.EXCEPTION, "Odd: (its text"),
        ("raise ValueError('\\ud800')", FaultKind.EXCEPTION, "ValueError: \\ud800"),
    ],
)
async def test_a_plugins_mistake_is_told_and_the_worker_goes_on(
    stage: Stage, code: str, kind: FaultKind, detail: str
) -> None:
    plugin = stage.plugin(f"""
calls = 0

@hookimpl
def check_payment(ctx, payment):
    global calls
    calls += 1
    if not payment.subject:
        return say(calls)
    {code}
""")
    fault = await stage.fault(plugin, arguments={"subject": "go"})
    assert fault.kind is kind
    assert fault.detail.startswith(detail)
    assert len(fault.detail) <= 300
    assert await stage.say(plugin, arguments={"subject": ""}) == "2"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("bytearray(10**12)", FaultKind.MEMORY),
        ("x = []\n    while True: x.append(bytearray(10**7))", FaultKind.MEMORY),
        ("return say('x' * 10).model_copy(update={'reasons': tuple(say('y' * 200).reasons * 800)})", None),
        ("os._exit(3)", FaultKind.DIED),
        ("os.abort()", FaultKind.DIED),
        ("import ctypes; ctypes.string_at(0)", FaultKind.DIED),
    ],
)
async def test_what_breaks_a_worker_is_told_and_the_next_call_has_another(
    stage: Stage, code: str, kind: FaultKind | None
) -> None:
    plugin = stage.plugin(f"""
calls = 0

@hookimpl
def check_payment(ctx, payment):
    global calls
    calls += 1
    if not payment.subject:
        return say(calls)
    {code}
""")
    assert await stage.say(plugin, arguments={"subject": ""}) == "1"
    fault = await stage.fault(plugin, arguments={"subject": "go"})
    assert fault.kind in ({kind} if kind else {FaultKind.OVERSIZE, FaultKind.BAD_RESULT})
    if kind is FaultKind.DIED:
        assert fault.detail.startswith("the worker ended in the call: ")
    if kind is not None:
        assert await stage.say(plugin, arguments={"subject": ""}) == "1"


ASKING = """
@hookimpl
def check_payment(ctx, payment):
    try:
        return say(eval(payment.subject))
    except (Refused, KeyError, RuntimeError, ValueError) as error:
        return say(f"{type(error).__name__} {getattr(error, 'code', '')} {error}")
"""
_ITEM = b'{"key":"k","value":[1],"version":4}'


@pytest.mark.parametrize(
    ("code", "operation", "arguments", "answer", "said"),
    [
        ("ctx.call('payments.get', id='pay_1')", "payments.get", {"id": "pay_1"}, b'{"a":1}', "{'a': 1}"),
        ("ctx.state.get('k')", "state.get", {"key": "k"}, b"null", "None"),
        ("ctx.state.get('k').value", "state.get", {"key": "k"}, _ITEM, "[1]"),
        ("ctx.state.list('p', limit=3)[0].version", "state.list", {"prefix": "p", "limit": 3}, b"[%b]" % _ITEM, "4"),
        ("ctx.state.put('k', {'b': 2})", "state.put", {"key": "k", "value": {"b": 2}}, b"5", "5"),
        (
            "ctx.state.put('k', 1, expected_version=0, ttl_s=60)",
            "state.put",
            {"key": "k", "value": 1, "expected_version": 0, "ttl_s": 60},
            b"1",
            "1",
        ),
        ("ctx.state.increment('k', 2, ttl_s=9)", "state.increment", {"key": "k", "by": 2, "ttl_s": 9}, b"8", "8"),
        ("ctx.state.delete('k')", "state.delete", {"key": "k"}, b"null", "None"),
        ("ctx.secrets.mac('n', b'm')", "secrets.mac", {"name": "n", "message": "bQ=="}, b'"AP8="', "b'\\x00\\xff'"),
        (
            "ctx.secrets.verify('n', b'm', b's')",
            "secrets.verify",
            {"name": "n", "message": "bQ==", "signature": "cw=="},
            b"true",
            "True",
        ),
        (
            "ctx.secrets.open('n', b'm', associated_data=b's')",
            "secrets.open",
            {"name": "n", "message": "bQ==", "associated_data": "cw=="},
            b'"AP8="',
            "b'\\x00\\xff'",
        ),
        (
            "ctx.egress.fetch('GET', 'https://a.example/', body={'a': 1}, secrets=['t']).status",
            "egress.fetch",
            {
                "method": "GET",
                "url": "https://a.example/",
                "headers": {},
                "media_type": "application/json",
                "secrets": ["t"],
            },
            b'{"status":200,"headers":{}}',
            "200",
        ),
        (
            "ctx.problems.report('k', 'm', severity='critical')",
            "problems.report",
            {"key": "k", "message": "m", "hint": "", "severity": "critical"},
            b"null",
            "None",
        ),
    ],
)
async def test_each_client_asks_the_gate(
    stage: Stage, code: str, operation: str, arguments: dict[str, Any], answer: bytes, said: str
) -> None:
    plugin = stage.plugin(ASKING)
    stage.gate.answers = {operation: Told(value=answer)}
    call = stage.call(plugin, arguments={"subject": code})
    answered = await stage.supervisor.begin(call).outcome()
    assert isinstance(answered, Answered), answered
    assert answered.value.reasons[0].text == said
    (ask,) = stage.gate.asked
    assert (ask.operation, ask.arguments, ask.sequence) == (operation, arguments, 1)
    assert (ask.call_id, ask.handle) == (call.id, call.handle)


async def test_a_refusal_is_raised_with_code_and_hint(stage: Stage) -> None:
    plugin = stage.plugin(ASKING)
    stage.gate.answers = {
        "refunds.create": Told(code="plugin.write_in_decision", hint="Use an on_ hook."),
        "secrets.mac": Told(code="plugin.secret_unknown", hint="no such name"),
    }
    said = await stage.say(plugin, arguments={"subject": "ctx.call('refunds.create', key='1')"})
    assert said == "Refused plugin.write_in_decision plugin.write_in_decision: Use an on_ hook."
    assert await stage.say(plugin, arguments={"subject": "ctx.secrets.mac('x', b'')"}) == "KeyError  'x'"


async def test_what_cannot_travel_is_refused_in_the_worker_and_asks_nothing(stage: Stage) -> None:
    plugin = stage.plugin(ASKING)
    assert (await stage.say(plugin, arguments={"subject": "ctx.state.put('k', float('nan'))"})).startswith("ValueError")
    said = await stage.say(plugin, arguments={"subject": "ctx.state.put('k', 'x' * 70_000)"})
    assert said.startswith("Refused plugin.ask_too_large")
    assert stage.gate.asked == []


async def test_an_answer_that_is_too_large_for_a_worker_is_a_refusal(stage: Stage) -> None:
    plugin = stage.plugin(ASKING)
    stage.gate.answers = {"payments.list": Told(value=b'"' + b"x" * 300_000 + b'"')}
    said = await stage.say(plugin, arguments={"subject": "ctx.call('payments.list')"})
    assert said.startswith("Refused plugin.answer_too_large")


async def test_bodies_of_egress_travel_beside_the_json_both_ways(stage: Stage) -> None:
    plugin = stage.plugin(
        """
from platform_core.contracts.results import RetryLater

@hookimpl
def on_payment_captured(ctx, event):
    answer = ctx.egress.fetch("POST", "https://crm.example/", headers={"a": "b"}, body=b"\\xff" * 600_000)
    assert answer.body == b"\\xfe" * 500_000, len(answer.body)
    return RetryLater(after_s=answer.status, reason=answer.headers["x"])
""",
        hooks=["on_payment_captured"],
    )
    body = b"\xfe" * 250_000
    stage.gate.answers = {"egress.fetch": Told(value=b'{"status":202,"headers":{"x":"y"}}', blobs=(body, body))}
    adapter: TypeAdapter[Any] = TypeAdapter(Acknowledgement | RetryLater)
    answered = await stage.ask(plugin, target="on_payment_captured", result=adapter)
    assert answered == Answered(RetryLater(after_s=202, reason="y"))
    (ask,) = stage.gate.asked
    assert b"".join(ask.blobs) == b"\xff" * 600_000
    assert ask.arguments == {"method": "POST", "url": "https://crm.example/", "headers": {"a": "b"}}


async def test_fifty_capabilities_may_be_asked_for(stage: Stage) -> None:
    plugin = stage.plugin(ASKING)
    stage.gate.answers = {"state.increment": Told(value=b"1")}
    code = "sum(map(ctx.state.increment, ['k'] * 50))"
    assert await stage.say(plugin, arguments={"subject": code}) == "50"
    assert [ask.sequence for ask in stage.gate.asked] == list(range(1, 51))


async def test_threads_of_a_plugin_may_ask_at_once(stage: Stage) -> None:
    plugin = stage.plugin("""
from concurrent.futures import ThreadPoolExecutor

@hookimpl
def check_payment(ctx, payment):
    with ThreadPoolExecutor(8) as pool:
        return say(sum(pool.map(lambda n: ctx.state.increment(str(n)), range(40))))
""")
    stage.gate.answers = {"state.increment": Told(value=b"1")}
    assert await stage.say(plugin) == "40"


async def test_a_context_is_void_when_its_call_has_returned(stage: Stage) -> None:
    plugin = stage.plugin("""
kept = []

@hookimpl
def check_payment(ctx, payment):
    kept.append(ctx)
    try:
        kept[0].state.get("k")
    except RuntimeError as error:
        return say(error)
    return say("asked")
""")
    assert await stage.say(plugin) == "asked"
    assert (await stage.say(plugin)).startswith("state.get: the call has returned")
    assert len(stage.gate.asked) == 1


async def test_a_document_comes_back_beside_the_json(stage: Stage) -> None:
    plugin = stage.plugin(
        """
from platform_core.contracts.results import Rendered

@hookimpl
def render_receipt(ctx, receipt):
    return Rendered(media_type="application/pdf", blob=b"\\xff" * (2 * 1024 * 1024))
""",
        hooks=["render_receipt"],
    )
    answered = await stage.ask(plugin, target="render_receipt", result=TypeAdapter(Rendered))
    assert isinstance(answered, Answered), answered
    assert answered.value.blob == b"\xff" * (2 * 1024 * 1024)
    assert [len(blob) for blob in answered.blobs] == [256 * 1024] * 8


PROVIDER = """
import asyncio
from platform_core.contracts.payments import *

class Provider:
    loops = set()

    def describe(self):
        limit = AmountLimit("CNY", amount_minor_min=1, amount_minor_max=5)
        return ProviderDescription(id="vouchers", forms=frozenset({"local"}), limits=(limit,))

    async def pay(self, call):
        await asyncio.sleep(0)
        self.loops.add(id(asyncio.get_running_loop()))
        assert len(self.loops) == 1
        if call.subject == "raise":
            raise ConnectionError("gone")
        call.ctx.secrets.mac("key", call.idempotency_key.encode())
        return ProviderResult.success(amount_minor=call.amount_minor, occurred_at=call.now)

    async def parse_notice(self, notice):
        if notice.raw_body == b"":
            raise NoticeRefused("bad_signature", "Not genuine.")
        answer = NoticeAnswer(body=notice.raw_body[::-1])
        result = ProviderResult.failed(ErrorClass.BUSY, "busy", notice.headers["h"])
        return NoticeOutcome(notice_id="n", idempotency_key="k", kind="sale", result=result, answer=answer)

    async def other(self, call):
        return not_supported("this")

    create = authorize = capture = void = refund = cancel = close = query = query_refund = other

    async def fetch_bill(self, request):
        raise LookupError("none yet")

@hookimpl
def register_payment_provider():
    return Provider()
"""
CALL = {
    "idempotency_key": "tra_1",
    "kind": "sale",
    "payment_id": "pay_1",
    "attempt_id": "att_1",
    "amount_minor": 5,
    "currency": "CNY",
    "form": "local",
    "channel_account": {"id": "cha_1", "settings": {"a": 1}},
    "deadline_s": 10.0,
    "now": "2026-11-22T12:00:00Z",
}


def provider(stage: Stage) -> str:
    methods = ["describe", "pay"]
    use = {"hook": "register_payment_provider", "id": "vouchers", "methods": methods}
    return stage.plugin(PROVIDER, hooks=["register_payment_provider"], providers=[use])


async def test_an_async_provider_is_called_on_one_event_loop(stage: Stage) -> None:
    plugin = provider(stage)
    stage.gate.answers = {"secrets.mac": Told(value=b'"AAA="')}
    target, result = "register_payment_provider/vouchers.", TypeAdapter(ProviderResult)
    for _ in range(3):
        answered = await stage.ask(plugin, target=f"{target}pay", arguments=CALL, result=result)
        assert isinstance(answered, Answered), answered
        assert (answered.value.outcome, answered.value.amount_minor) == ("success", 5)
        fault = await stage.fault(plugin, target=f"{target}pay", arguments=CALL | {"subject": "raise"}, result=result)
        assert fault.kind is FaultKind.EXCEPTION
        assert fault.detail.startswith("ConnectionError: gone")
    described = await stage.ask(plugin, target=f"{target}describe", result=TypeAdapter(ProviderDescription))
    assert isinstance(described, Answered), described
    assert described.value.id == "vouchers"


async def test_a_notice_reaches_its_provider_byte_by_byte(stage: Stage) -> None:
    plugin = provider(stage)
    notice = {"method": "POST", "path": "/", "query": "", "headers": {"h": "v"}, "raw_body": [0]}
    notice |= {"channel_account": {"id": "cha_1"}, "now": "2026-11-22T12:00:00Z"}
    assert set(notice) | {"ctx"} == set(Notice.__dataclass_fields__)
    options: dict[str, Any] = {
        "target": "register_payment_provider/vouchers.parse_notice",
        "result": TypeAdapter(NoticeOutcome),
    }
    answered = await stage.ask(plugin, arguments=notice, blobs=(b"\xff\x00a",), **options)
    assert isinstance(answered, Answered), answered
    assert answered.value.answer.body == b"a\x00\xff"
    assert answered.value.result.error.message == "v"
    fault = await stage.fault(plugin, arguments=notice | {"raw_body": []}, **options)
    assert fault.detail.startswith("NoticeRefused: bad_signature: Not genuine.")


SLEEPER = """
@hookimpl
def check_payment(ctx, payment):
    if payment.subject == "sleep":
        time.sleep(60)
    while payment.subject == "loop":
        pass
    if payment.subject == "ask":
        ctx.state.get("k")
    return say("done")
"""


@pytest.mark.parametrize("how", ["sleep", "loop", "ask"])
async def test_at_the_deadline_the_worker_ends_and_the_next_call_is_answered(stage: Stage, how: str) -> None:
    plugin = stage.plugin(SLEEPER)
    assert await stage.say(plugin, arguments={"subject": ""}) == "done"
    before = set(stage.supervisor.pids(plugin))

    async def never(ask: Any) -> Told:
        await asyncio.sleep(PATIENT_S)
        return Told()

    if how == "ask":
        stage.gate.tell = never  # type: ignore[method-assign]  # the gate of this test hangs
    fault = await stage.fault(plugin, arguments={"subject": how}, deadline_s=0.1)
    assert fault == Fault(FaultKind.TIMEOUT, "no answer by the deadline")
    assert await stage.say(plugin, arguments={"subject": ""}) == "done"
    assert before - set(stage.supervisor.pids(plugin))


async def test_a_payload_over_the_limit_costs_no_worker(stage: Stage) -> None:
    plugin = stage.plugin(RAISING)
    assert await stage.say(plugin, arguments={"subject": ""}) == "1"
    fault = await stage.fault(plugin, arguments={"subject": "x" * 300_000})
    assert fault.kind is FaultKind.OVERSIZE
    assert await stage.say(plugin, arguments={"subject": ""}) == "2"
    fault = await stage.fault(plugin, revision=2, config={"x": "y" * 20_000})
    assert fault.kind is FaultKind.OVERSIZE
    assert await stage.say(plugin, arguments={"subject": ""}) == "3"


async def test_a_payload_of_200_kib_and_its_blobs_arrive(stage: Stage) -> None:
    plugin = stage.plugin("@hookimpl\ndef check_payment(ctx, payment):\n    return say(len(payment.subject))\n")
    assert await stage.say(plugin, arguments={"subject": "x" * 200_000}) == "200000"


def test_the_verdict_of_these_tests_survives_the_journey() -> None:
    adapter = TypeAdapter(Verdict)
    value = Verdict.deny("r", "t")
    assert beside.load(adapter, *beside.dump(adapter, value)) == value
