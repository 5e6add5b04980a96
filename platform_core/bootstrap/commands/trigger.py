"""`arsenal trigger`: let paid orders go a certain way against a running platform."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from platform_core.bootstrap.environment import quiet_logs, run_async
from platform_core.bootstrap.sandbox_target import Target, find_target, speaking
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from sandbox.testbed.trigger import Order, Played, Player, lacking
from sandbox.testbed.trigger_scenarios import SCENARIOS, Scenario
from sandbox.testbed.trigger_till import TillRefused

AMOUNT_MINOR: Final = 8_200
AMOUNT_RANGE: Final = range(10, 1_000_001)
Skipped = dict[str, list[str]]


@reporting
def trigger(
    scenarios: Annotated[list[str] | None, typer.Argument(help="Names of scenarios; see --list.")] = None,
    *,
    show: Annotated[bool, typer.Option("--list", help="List the scenarios and end.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Play every scenario.")] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="amount_minor or another field of POST /v1/payments."),
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Play scenarios as paid orders and compare how they ended. Exit 1 if one ended otherwise.

    Address and credentials: ARSENAL_URL, ARSENAL_CLIENT_ID and ARSENAL_CLIENT_SECRET, else what `arsenal demo` wrote.
    A scenario that needs what the platform does not have is skipped, and the reason told.
    """
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    if show:
        listed = sorted(SCENARIOS.values(), key=lambda each: (each.group, each.name))
        rows = [(each.group, each.name, each.form, each.expect.state, each.summary) for each in listed]
        terminal.table(("group", "scenario", "form", "ends as", "what happens"), rows)
        terminal.document({"scenarios": [_listed(each) for each in SCENARIOS.values()]})
        return
    wanted = list(SCENARIOS.values()) if every else _known(scenarios or [])
    fields = fields_of(changes or [])
    with terminal.console.status(f"playing {', '.join(each.name for each in wanted)}"):
        played, skipped = run_async(_play(find_target(), wanted, fields))
    _tell(terminal, played, skipped)


def fields_of(changes: list[str]) -> dict[str, Any]:
    """`--set` as fields: JSON where it reads as such, else text. CliFailure for what cannot be."""
    fields: dict[str, Any] = {}
    for change in changes:
        name, is_there, value = change.partition("=")
        if not is_there or not name.isidentifier():
            raise _wrong(f"{change!r} does not read NAME=VALUE.", "Write for instance: --set amount_minor=990001")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    amount = fields.get("amount_minor", AMOUNT_MINOR)
    if type(amount) is not int or amount not in AMOUNT_RANGE:
        words = f"amount_minor is a whole number from {AMOUNT_RANGE.start} to {AMOUNT_RANGE.stop - 1}, not {amount!r}."
        raise _wrong(words, "Amounts are minor units: 8200 is CNY 82.00")
    return fields


def _known(names: list[str]) -> list[Scenario]:
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown or not names:
        raise _wrong(
            f"There is no scenario {', '.join(unknown)}." if unknown else "Name a scenario.",
            "Run: arsenal trigger --list",
        )
    return [SCENARIOS[name] for name in names]


def _wrong(said: str, next_step: str) -> CliFailure:
    return CliFailure(said, next_step, status=WRONG_USE, code="cli.wrong_use")


async def _play(target: Target, wanted: list[Scenario], fields: Mapping[str, Any]) -> tuple[list[Played], Skipped]:
    """All at once, but for those that turn the clock for everybody: they follow, one after another."""
    run = f"trigger_{datetime.now(UTC):%Y%m%d%H%M%S%f}"
    async with speaking(target) as client:
        document = (await client.get(f"{target.url}/openapi.json")).raise_for_status().json()
        lacks = {each.name: lacking(each, document) for each in wanted}
        orders = [_order(each, f"{run}_{place}", fields) for place, each in enumerate(wanted) if not lacks[each.name]]
        player = Player(target.till(client, patience_s=60.0), acquirer_url=target.acquirer_url)
        played = await asyncio.gather(*(_one(player, each) for each in orders if not each.scenario.turns_clock))
        played += [await _one(player, each) for each in orders if each.scenario.turns_clock]
    return played, {name: missing for name, missing in lacks.items() if missing}


async def _one(player: Player, order: Order) -> Played:
    """One order; what the platform refused against the scenario's word is told beside the others' ends."""
    try:
        return await player.play(order)
    except TillRefused as refused:
        where = ", ".join(str(each.get("param")) for each in refused.problem.get("errors", ()))
        return Played(order, {}, False, f"{order.scenario.name}: {refused}{f' ({where})' if where else ''}", 0.0)


def _order(scenario: Scenario, number: str, fields: Mapping[str, Any]) -> Order:
    more = dict(fields)
    amount = more.pop("amount_minor", scenario.amount_minor or AMOUNT_MINOR)
    return Order(scenario, number, amount, fields=more)


def _tell(terminal: Terminal, played: list[Played], skipped: Skipped) -> None:
    rows = [
        (
            each.order.scenario.name,
            each.payment.get("id", ""),
            each.payment.get("state", ""),
            each.fault or "as it must",
        )
        for each in played
    ]
    rows += [(name, "", "", f"skipped: there is no {', '.join(missing)} here") for name, missing in skipped.items()]
    terminal.table(("scenario", "payment", "state", "ended"), rows)
    told = {"orders": [_shown(each) for each in played], "skipped": skipped}
    faults = [each.fault for each in played if each.fault]
    if faults:
        raise CliFailure(
            f"{len(faults)} of {len(played)} ended otherwise: {'; '.join(faults)}.",
            "Look at the payment with arsenal events list, and run: arsenal doctor",
            code="cli.scenario_ended_otherwise",
            facts=told,
        )
    terminal.document(told)


def _listed(scenario: Scenario) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "group": scenario.group,
        "form": scenario.form,
        "state": scenario.expect.state,
        "summary": scenario.summary,
        "needs": list(scenario.needs),
    }


def _shown(played: Played) -> dict[str, Any]:
    return {
        "scenario": played.order.scenario.name,
        "payment_id": played.payment.get("id"),
        "state": played.payment.get("state"),
        "amounts": played.payment.get("amounts"),
        "was_unknown": played.was_unknown,
        "fault": played.fault or None,
    }
