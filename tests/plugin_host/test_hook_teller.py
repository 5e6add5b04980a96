"""What becomes of a delivery: the plugin's answer, its fault, or that it is not there to be told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from platform_core.contracts.plugins import on_plugin_changed
from platform_core.contracts.results import DONE, RetryLater
from platform_core.contracts.runtime import Answered, Fault, FaultKind
from platform_core.plugin_host.hook_teller import HookTeller
from platform_core.plugin_host.installed import Enabled
from platform_core.plugin_host.telling import Telling, Told, plugin_change_of
from tests.plugin_host.stage import MERCHANT, NOON, Stage, Stages, outside

pytestmark = pytest.mark.unit
PLUGIN = "example.acme.sync"
HOOKS = [{"name": "on_plugin_changed", "fields": ["change", "to_version"]}]


class Last:
    """The installation as it ran last."""

    def __init__(self, enabled: Enabled | None) -> None:
        self.enabled = enabled
        self.asked: list[tuple[str, str]] = []

    async def last_of(self, merchant_id: str, installation_id: str) -> Enabled | None:
        self.asked.append((merchant_id, installation_id))
        return self.enabled


def told_of(change: str) -> Telling:
    body = {"last_change": change, "from_version": "0.9.0", "plugin_version": "1.0.0"}
    return Telling(
        merchant_id=MERCHANT,
        installation_id="ins_1",
        plugin_id=PLUGIN,
        hook="on_plugin_changed",
        event_id="evt_1",
        event_type=f"plugin.{change}",
        object_id="ins_1",
        sequence=4,
        occurred_at=NOON,
        body=json.dumps(body),
    )


def teller(stages: Stages, outcome: Any) -> tuple[HookTeller, Stage, Last]:
    plugin = outside(PLUGIN, hooks=HOOKS)
    stage = stages(plugin)
    stage.runtime.script(PLUGIN, outcome)
    last = Last(stage.enablement.enable(plugin).plugins[0])
    news = {"on_plugin_changed": (on_plugin_changed, plugin_change_of)}
    return HookTeller(stage.dispatcher, news, last), stage, last


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Answered(DONE), Told(outcome="done", version="1.0.0")),
        (
            Answered(RetryLater(after_s=90, reason="the CRM is away")),
            Told(outcome="retry", version="1.0.0", after_s=90, fault="the CRM is away"),
        ),
        (Fault(FaultKind.DIED, "signal 9"), Told(outcome="retry", version="1.0.0", fault="died: signal 9")),
        (
            Fault(FaultKind.EXCEPTION, "x" * 300),
            Told(outcome="retry", version="1.0.0", fault=f"exception: {'x' * 189}"),
        ),
    ],
)
async def test_what_the_plugin_answers_is_what_becomes_of_the_delivery(
    outcome: Any, told: Told, stages: Stages
) -> None:
    asks, _, _ = teller(stages, outcome)
    said = await asks.tell(told_of("upgraded"))
    assert (said.outcome, said.version, said.after_s, said.fault) == (
        told.outcome, told.version, told.after_s, told.fault,
    )  # fmt: skip
    assert list(said.parts) == [f"row of {PLUGIN}"]


async def test_a_plugin_that_is_gone_is_not_told_and_the_delivery_is_dropped(stages: Stages) -> None:
    asks, stage, last = teller(stages, Answered(DONE))
    stage.enablement.enable()
    assert (await asks.tell(told_of("upgraded"))).outcome == "off"
    assert stage.runtime.begun == []
    assert last.asked == []


async def test_that_it_was_disabled_is_the_last_that_a_plugin_hears(stages: Stages) -> None:
    asks, stage, last = teller(stages, Answered(DONE))
    stage.enablement.enable()
    assert (await asks.tell(told_of("disabled"))).outcome == "done"
    (call,) = stage.runtime.begun
    assert json.loads(call.arguments)["change"] == "disabled"
    assert last.asked == [(MERCHANT, "ins_1")]


async def test_one_that_a_switch_stopped_does_not_hear_even_that(stages: Stages) -> None:
    asks, stage, last = teller(stages, Answered(DONE))
    stage.enablement.enable()
    last.enabled = None
    assert (await asks.tell(told_of("disabled"))).outcome == "off"
    assert stage.runtime.begun == []


async def test_a_suspended_plugin_is_told_later(stages: Stages) -> None:
    asks, stage, _ = teller(stages, Answered(DONE))
    made = stage.enablement.merchants[MERCHANT]
    stage.enablement.merchants[MERCHANT] = replace(made, plugins=(), suspended=made.plugins)
    assert (await asks.tell(told_of("upgraded"))).outcome == "retry"
    assert stage.runtime.begun == []


async def test_while_nobody_can_say_who_is_enabled_it_is_tried_again(stages: Stages) -> None:
    asks, stage, _ = teller(stages, Answered(DONE))
    stage.enablement.is_readable = False
    said = await asks.tell(told_of("upgraded"))
    assert (said.outcome, stage.runtime.begun) == ("retry", [])
