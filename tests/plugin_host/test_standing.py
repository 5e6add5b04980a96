"""How payment providers stand with a merchant: enabled, drained, behind an open breaker, or the operator's own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from platform_core.capabilities.payments.hosted import HostedPlugins
from platform_core.capabilities.payments.screening import Standing
from platform_core.contracts.runtime import Answered
from platform_core.plugin_host.breakers import OPEN_S
from platform_core.plugin_host.discovery import Plugin
from platform_core.plugin_host.object_calls import ObjectTools
from platform_core.plugin_host.outside_objects import outside_plugins
from platform_core.plugin_host.registry import build
from platform_core.plugin_host.schemas import SwitchPull
from plugins import cash
from tests.plugin_host.conftest import Market
from tests.plugin_host.stage import MERCHANT, Stage, Stages, release
from tests.plugin_host.test_outside_objects import DESCRIPTION, PLUGIN, PROVIDER, Leftovers

OPERATORS = "dev.arsenal.cash"


async def providers(stages: Stages) -> Stage:
    """A stage with an outside provider, `acme`, and one of the operator's own, `cash`."""
    stage = stages()
    about = release(PLUGIN, **PROVIDER)
    stage.runtime.script(PLUGIN, Answered(DESCRIPTION))
    tools = ObjectTools(enablement=stage.enablement, tools=stage.dispatcher._tools, leftovers=Leftovers())
    outside, _ = await outside_plugins([about], tools)
    registry = build([*outside, Plugin(OPERATORS, cash)])
    assert sorted(registry.payment_providers()) == ["acme", "cash"], registry.problems
    stage.dispatcher.swap(registry)
    stage.enablement.enable(about)
    return stage


def change(stage: Stage, **changed: object) -> None:
    stage.enablement.merchants[MERCHANT] = replace(stage.enablement.merchants[MERCHANT], **changed)  # type: ignore[arg-type]


@pytest.mark.unit
async def test_a_provider_is_offered_while_it_is_enabled_and_not_drained(stages: Stages) -> None:
    stage = await providers(stages)
    plugins = HostedPlugins(stage.dispatcher)
    assert await plugins.standing(MERCHANT) == Standing(frozenset(), {"acme": "up"})
    assert (await plugins.standing("mer_none")).closed == frozenset({"acme"}), (
        "the operator's own needs no installation"
    )
    change(stage, draining=frozenset({PLUGIN}))
    assert (await plugins.standing(MERCHANT)).closed == frozenset({"acme"})
    change(stage, draining=frozenset({OPERATORS}))
    assert (await plugins.standing(MERCHANT)).closed == frozenset({"cash"})
    stage.enablement.is_readable = False
    assert await plugins.standing(MERCHANT) == Standing()


@pytest.mark.unit
async def test_an_open_breaker_closes_it_until_a_trial_is_due(stages: Stages) -> None:
    stage = await providers(stages)
    plugins = HostedPlugins(stage.dispatcher)
    stage.breakers.of(PLUGIN, "register_payment_provider").open_for(OPEN_S)
    assert await plugins.standing(MERCHANT) == Standing(frozenset({"acme"}), {"acme": "down"})
    stage.clock.advance(timedelta(seconds=OPEN_S))
    assert await plugins.standing(MERCHANT) == Standing(frozenset(), {"acme": "degraded"})


@pytest.mark.database
async def test_a_plugin_that_nobody_installs_is_drained_by_its_switch_alone(market: Market) -> None:
    provider = '[[providers]]\nhook = "register_payment_provider"\nid = "wallet"\nmethods = ["describe", "pay"]\n'
    await market.publish(plugin_id="example.acme.pay", hooks="register_payment_provider", more=provider)
    merchant, other = await market.merchant(), await market.merchant()
    assert (await market.life.enablement.of(merchant)).draining == frozenset()
    pull = SwitchPull(
        plugin_id="example.acme.pay", merchant_id=merchant, mode="drain", rule="PLG-007", reason="It is renewed."
    )
    await market.life.switches.pull(pull, by="per_ops")
    await market.feed.poll()
    assert (await market.life.enablement.of(merchant)).draining == frozenset({"example.acme.pay"})
    assert (await market.life.enablement.of(other)).draining == frozenset()
