"""Trusted plugins: the same trimming and judging as outside, threads for whoever asks, late answers, the watchdog."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from platform_core.contracts.fields import FieldNotSent
from platform_core.contracts.payments import check_payment
from platform_core.contracts.results import Reason, Verdict
from platform_core.contracts.runtime import Answered, Fault, FaultKind
from platform_core.plugin_host.answers import Decision
from platform_core.plugin_host.metrics import BLOCKS, LATE
from platform_core.plugin_host.trusted import THREADS_MAX, WAITING_MAX, asks_nothing
from tests.plugin_host.stage import MERCHANT, NOON, Stage, Stages, outside, payment, release, trusted, until

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("patient")]
STATE = {"tables": {"state": {"keys_max": 10}}}
"""A manifest that asks for the store, so that the plugin runs in threads."""


async def check(stage: Stage) -> Decision[Verdict]:
    return await stage.dispatcher.check(
        check_payment,
        payment,
        merchant_id=MERCHANT,
        store_id="sto_1",
        idempotency_key="pay_1:1",
        amount_minor=1_200,
    )


async def fault_of(stage: Stage) -> Fault | None:
    return (await check(stage)).answers[0].fault


async def test_a_trusted_plugin_is_shown_the_same_as_an_outside_one(stages: Stages) -> None:
    seen: dict[str, Any] = {}

    def look(ctx: Any, payment: Any) -> Verdict:
        seen.update(amount=payment.amount.amount_minor, withheld=payment.withheld, payer=payment.payer_ref, ctx=ctx)
        with pytest.raises(FieldNotSent):
            payment.subject  # noqa: B018 - touching it is the test
        return Verdict.allow()

    stage = stages(trusted("example.ours.risk", fields=["amount", "payer_ref"], check_payment=look))
    assert await fault_of(stage) is None
    assert (seen["amount"], seen["withheld"], seen["payer"]) == (1_200, ("payer_ref",), None)
    ctx = seen["ctx"]
    assert (ctx.merchant_id, ctx.store_id, ctx.hook, ctx.now, ctx.deadline_ms) == (
        MERCHANT, "sto_1", "check_payment", NOON, 20_000,
    )  # fmt: skip
    assert (ctx.locale, ctx.mode, ctx.config, ctx.idempotency_key) == ("zh", "live", {"limit": 3}, "pay_1:1")
    with pytest.raises(TypeError):
        ctx.config["limit"] = 4


async def coroutine() -> Verdict:
    return Verdict.allow()


def allows() -> Verdict:
    return Verdict.allow()


class Louder(Verdict):
    loudness: int = 3


@pytest.mark.parametrize(
    "made",
    [
        None,
        True,
        "allow",
        {"decision": "allow"},
        Verdict.model_construct(decision="deny", score=0, reasons=()),
        Verdict.model_construct(decision="perhaps", score=0, reasons=()),
        Louder(decision="allow"),
    ],
)
async def test_what_is_no_whole_verdict_is_a_bad_result(made: object, stages: Stages) -> None:
    stage = stages(trusted("example.ours.risk", check_payment=lambda: made))
    fault = await fault_of(stage)
    assert fault is not None
    assert fault.kind is FaultKind.BAD_RESULT


async def test_an_awaitable_that_comes_back_is_closed_and_a_bad_result(stages: Stages) -> None:
    made: list[Any] = []

    def forgets_to_await() -> Any:
        made.append(coroutine())
        return made[-1]

    stage = stages(trusted("example.ours.risk", check_payment=forgets_to_await))
    fault = await fault_of(stage)
    assert fault is not None
    assert fault.kind is FaultKind.BAD_RESULT
    assert made[0].cr_frame is None  # closed


@pytest.mark.parametrize(
    ("error", "kind"), [(ValueError("of mine"), FaultKind.EXCEPTION), (MemoryError(), FaultKind.MEMORY)]
)
async def test_what_it_raises_is_its_own_fault_and_its_words_stay_with_it(
    error: Exception, kind: FaultKind, stages: Stages
) -> None:
    def raises() -> Verdict:
        raise error

    fault = await fault_of(stages(trusted("example.ours.risk", check_payment=raises)))
    assert fault == Fault(kind, type(error).__name__)


async def test_one_that_asks_for_nothing_runs_on_the_loop_and_one_that_asks_does_not(stages: Stages) -> None:
    threads: dict[str, int] = {}

    def where(name: str) -> Any:
        def note() -> Verdict:
            threads[name] = threading.get_ident()
            return Verdict.allow()

        return note

    stage = stages(
        trusted("example.ours.plain", check_payment=where("plain")),
        trusted("example.ours.state", check_payment=where("state"), **STATE),
    )
    await check(stage)
    assert threads["plain"] == threading.get_ident()
    assert threads["state"] != threading.get_ident()


async def test_one_that_asks_all_the_same_is_moved_to_a_thread_for_good_and_works(stages: Stages) -> None:
    runs: list[int] = []

    def counts(ctx: Any) -> Verdict:
        runs.append(threading.get_ident())
        try:
            ctx.state.increment("calls")
        except Exception:  # noqa: BLE001 - what plugins write
            return Verdict.deny("swallowed", "It caught what was none of its business.")
        return Verdict.allow()

    stage = stages(trusted("example.ours.state", check_payment=counts))
    assert (await check(stage)).result == Verdict.allow()
    assert (await check(stage)).result == Verdict.allow()
    assert stage.calls.clients.counts == {"calls": 2}
    assert [one == threading.get_ident() for one in runs] == [True, False, False]


async def test_the_log_is_there_on_the_loop_too(stages: Stages) -> None:
    def says(ctx: Any) -> Verdict:
        ctx.log.info("looked", limit=3)
        return Verdict.allow()

    stage = stages(trusted("example.ours.risk", check_payment=says))
    assert await fault_of(stage) is None
    assert stage.calls.clients.log.lines == [("looked", {"limit": 3})]


def test_a_manifest_with_state_egress_secrets_or_money_asks_for_something() -> None:
    host = {"host": "api.acme.example", "purpose": {"zh": "一", "en": "x"}}
    secret = {"name": "key", "kind": "mac_key", "label": {"zh": "一", "en": "x"}}
    assert asks_nothing(release("example.ours.a"))
    assert not asks_nothing(release("example.ours.a", state={}))
    assert not asks_nothing(release("example.ours.a", egress=[host]))
    assert not asks_nothing(release("example.ours.a", secrets=[secret]))


class Counted:
    """Counts what a metric is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []

    def add(self, amount: int, attributes: Any = None) -> None:
        self.told.append(dict(attributes))


async def test_a_late_answer_from_a_thread_is_discarded_and_counted(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, go = Counted(), threading.Event()
    monkeypatch.setattr(LATE, "_instrument", late)

    def hangs() -> Verdict:
        go.wait(30)
        return Verdict.allow()

    stage = stages(
        trusted("example.ours.late", check_payment=hangs, deadline_ms=50, **STATE), outside("example.acme.good")
    )
    stage.runtime.script("example.acme.good", Answered(Verdict.deny("r", "no")))
    decision = await check(stage)
    assert decision.result.decision == "deny"
    assert decision.answers[0].fault == Fault(FaultKind.TIMEOUT, "no answer within 50 ms")
    mine = {"plugin": "example.ours.late", "hook": "check_payment"}
    assert mine not in late.told  # others' threads may end late just now
    go.set()
    await until(lambda: late.told.count(mine) == 1)


async def test_a_plugin_that_hangs_fills_its_own_threads_and_no_others(stages: Stages) -> None:
    go = threading.Event()

    def hangs() -> Verdict:
        go.wait(30)
        return Verdict.allow()

    slow = trusted("example.ours.slow", check_payment=hangs, deadline_ms=50, **STATE)
    good = trusted("example.ours.good", check_payment=allows, **STATE)
    stage = stages(slow, good)
    runs = stage.trusted
    stage.enablement.enable(slow)
    late = await asyncio.gather(*(fault_of(stage) for _ in range(THREADS_MAX)))
    assert late == [Fault(FaultKind.TIMEOUT, "no answer within 50 ms")] * THREADS_MAX
    threads = runs._threads["example.ours.slow"]
    assert threads._count == THREADS_MAX
    threads._waiting.extend([SimpleNamespace(run=lambda: None)] * WAITING_MAX)  # type: ignore[list-item]
    fault = await fault_of(stage)
    assert fault is not None
    assert fault.kind is FaultKind.SATURATED
    stage.enablement.enable(good)
    assert (await check(stage)).result == Verdict.allow()
    go.set()


async def test_a_late_answer_on_the_loop_is_discarded_and_counted(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Counted()
    monkeypatch.setattr(LATE, "_instrument", late)

    def holds_up() -> Verdict:
        time.sleep(0.06)
        return Verdict.allow()

    stage = stages(trusted("example.ours.slow", check_payment=holds_up, deadline_ms=50))
    decision = await check(stage)
    assert decision.result.decision == "review"
    assert decision.answers[0].fault is not None
    assert decision.answers[0].fault.kind is FaultKind.TIMEOUT
    assert len(late.told) == 1


async def test_the_watchdog_names_who_holds_up_the_loop_while_it_still_does(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = Counted()
    monkeypatch.setattr(BLOCKS, "_instrument", blocks)
    named_meanwhile: list[bool] = []

    def holds_up() -> Verdict:
        for _ in range(3_000):
            if blocks.told:
                break
            time.sleep(0.01)
        named_meanwhile.append(bool(blocks.told))
        return Verdict.allow()

    stage = stages(trusted("example.ours.slow", check_payment=holds_up))
    with capture_logs() as logs:
        await check(stage)
    assert named_meanwhile == [True]
    assert blocks.told == [{"plugin": "example.ours.slow", "hook": "check_payment"}]
    (line,) = [one for one in logs if one["event"] == "plugin.blocks_loop"]
    assert (line["plugin"], line["version"], line["log_level"]) == ("example.ours.slow", "1.0.0", "error")


async def test_a_wrong_reason_made_around_its_model_does_not_reach_the_merge(stages: Stages) -> None:
    endless = Reason.model_construct(rule_id="r", text="x" * 9_000)
    made = Verdict.model_construct(decision="deny", score=1, reasons=(endless,))
    fault = await fault_of(stages(trusted("example.ours.risk", check_payment=lambda: made)))
    assert fault is not None
    assert fault.kind is FaultKind.BAD_RESULT
