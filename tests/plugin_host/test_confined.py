"""Dispatch over real workers: what is cut, what is late, what a provider outside says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.plugin_bundle import VERSION
from platform_core.contracts.payments import (
    AmountLimit,
    NoticeRefused,
    Outcome,
    ProviderDescription,
    check_payment,
)
from platform_core.contracts.results import Verdict
from platform_core.contracts.runtime import FaultKind
from platform_core.plugin_host.answers import Decision
from platform_core.plugin_host.discovery import Plugin
from platform_core.plugin_host.installed import Release
from platform_core.plugin_host.object_calls import ObjectTools
from platform_core.plugin_host.outside_objects import outside_plugins
from platform_core.plugin_host.registry import build
from sandbox.runtime.spawner import Spawner
from tests.plugin_host.stage import MERCHANT, Stage, Stages, payment, release
from tests.plugin_host.test_outside_objects import Leftovers, call, notice
from tests.sandbox.runtime.stage import Stage as Workers
from tests.sandbox.runtime.stage import open_stage, started_spawner

pytestmark = pytest.mark.usefixtures("patient")

PROVIDER = """
from platform_core.contracts.payments import (
    AmountLimit, NoticeRefused, ProviderDescription, ProviderResult, ErrorClass, not_supported,
)

class Acme:
    def describe(self):
        return ProviderDescription(
            id="acme", forms=frozenset({"local"}), limits=(AmountLimit("CNY", amount_minor_min=1, amount_minor_max=9),)
        )

    async def pay(self, call):
        if call.subject == "raise":
            raise ConnectionError("gone")
        shop = call.channel_account.settings["shop"]
        return ProviderResult.success(
            amount_minor=call.amount_minor, occurred_at=call.now, provider_reference=f"{shop} {call.ctx.merchant_id}"
        )

    async def parse_notice(self, notice):
        raise NoticeRefused("bad_signature", f"{len(notice.raw_body)} bytes of a stranger")

    async def other(self, call):
        return not_supported("this")

    create = authorize = capture = void = refund = cancel = close = query = query_refund = other

    async def fetch_bill(self, request):
        raise LookupError("none yet")

@hookimpl
def register_payment_provider():
    return Acme()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of installed plugins."""
    made = tmp_path_factory.mktemp("dispatch") / "plugins"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
async def zygote(folder: Path) -> AsyncIterator[Spawner]:
    """At the highest level of this machine."""
    spawner = await started_spawner(folder)
    yield spawner
    await spawner.close()


@pytest.fixture
async def workers(zygote: Spawner, folder: Path) -> AsyncIterator[Workers]:
    """A supervisor of this test's own."""
    async with open_stage(zygote, folder) as workers:
        yield workers


def of(plugin_id: str, **about: Any) -> Release:
    return release(plugin_id, version=VERSION, **about)


async def asking(stages: Stages, workers: Workers, *codes: str, fields: Sequence[str] = ("amount",)) -> Stage:
    """A stage whose merchant runs these plugins in workers of their own, ready for the first call."""
    stage = stages()
    stage.runtimes["confined"] = workers.supervisor
    plugins = []
    for code in codes:
        use = {"name": "check_payment", "fields": list(fields)} | ({"deadline_ms": 300} if code is LOOPS else {})
        name = workers.plugin(code)
        plugins.append(Plugin(name, SimpleNamespace(), of(name, hooks=[use])))
    stage.dispatcher.swap(build(plugins))
    stage.enablement.enable(*plugins)
    for plugin in plugins:
        await workers.supervisor.warm(plugin.id, VERSION)
    return stage


async def check(stage: Stage) -> Decision[Verdict]:
    return await stage.dispatcher.check(
        check_payment, payment, merchant_id=MERCHANT, store_id="sto_1", idempotency_key="pay_1", amount_minor=1_200
    )


SEES = """
@hookimpl
def check_payment(ctx, payment):
    try:
        payment.subject
    except AttributeError as error:
        unsent = type(error).__name__
    return say([payment.amount.amount_minor, payment.payer_ref, payment.withheld, unsent, ctx.merchant_id,
                ctx.idempotency_key, ctx.now.isoformat(), ctx.config["limit"]])
"""


async def test_a_confined_plugin_sees_what_it_may_and_nothing_else(stages: Stages, workers: Workers) -> None:
    stage = await asking(stages, workers, SEES, fields=["amount", "payer_ref"])
    decision = await check(stage)
    assert decision.result.reasons[0].text == str(
        [1_200, None, ("payer_ref",), "FieldNotSent", MERCHANT, "pay_1", "2026-11-22T12:00:00+00:00", 3]
    )


DENIES = "@hookimpl\ndef check_payment(payment):\n    return Verdict.deny('no', 'No.')\n"
LOOPS = "@hookimpl\ndef check_payment(payment):\n    while True:\n        pass\n"
RAISES = "@hookimpl\ndef check_payment(payment):\n    raise ValueError('mine')\n"
DIES = "@hookimpl\ndef check_payment(payment):\n    os._exit(3)\n"
MUMBLES = "@hookimpl\ndef check_payment(payment):\n    return 'allow'\n"


async def test_looping_dying_raising_and_mumbling_neighbours_leave_a_denial_whole(
    stages: Stages, workers: Workers
) -> None:
    stage = await asking(stages, workers, LOOPS, RAISES, DENIES, DIES, MUMBLES)
    decision = await check(stage)
    assert decision.result.decision == "deny"
    assert [None if one.fault is None else one.fault.kind for one in decision.answers] == [
        FaultKind.TIMEOUT, FaultKind.EXCEPTION, None, FaultKind.DIED, FaultKind.BAD_RESULT,
    ]  # fmt: skip
    assert [one.kind for one in decision.degraded] == [
        FaultKind.TIMEOUT, FaultKind.EXCEPTION, FaultKind.DIED, FaultKind.BAD_RESULT,
    ]  # fmt: skip


async def test_a_provider_in_a_worker_is_a_provider_of_the_host(stages: Stages, workers: Workers) -> None:
    stage, leftovers = stages(), Leftovers()
    stage.runtimes["confined"] = workers.supervisor
    uses = [{"hook": "register_payment_provider", "id": "acme", "methods": ["describe", "pay"]}]
    name = workers.plugin(PROVIDER, hooks=["register_payment_provider"], providers=uses)
    await workers.supervisor.warm(name, VERSION)
    about = of(name, hooks=[{"name": "register_payment_provider"}], providers=uses)
    tools = ObjectTools(enablement=stage.enablement, tools=stage.dispatcher._tools, leftovers=leftovers)
    plugins, problems = await outside_plugins([about], tools)
    registry = build(plugins)
    assert (problems, registry.problems) == ((), ())
    stage.enablement.enable(about)
    provider = registry.payment_providers()["acme"]
    limit = AmountLimit("CNY", amount_minor_min=1, amount_minor_max=9)
    assert provider.describe() == ProviderDescription(id="acme", forms=frozenset({"local"}), limits=(limit,))
    paid = await provider.pay(call())
    assert (paid.outcome, paid.amount_minor, paid.provider_reference) == (Outcome.SUCCESS, 1_200, f"7 {MERCHANT}")
    raised = await provider.pay(call(subject="raise"))
    assert raised.error is not None
    assert (raised.outcome, raised.error.error_class.value) == (Outcome.FAILED, "not_sent")
    with pytest.raises(NoticeRefused) as refused:
        await provider.parse_notice(notice())
    assert refused.value.code == "bad_signature"
