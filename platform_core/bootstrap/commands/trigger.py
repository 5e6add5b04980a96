"""`arsenal trigger`: let paid orders go a certain way against a running platform."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import typer

from platform_core.bootstrap.environment import quiet_logs, run_async
from platform_core.bootstrap.sandbox_target import Target, find_target
from platform_core.bootstrap.terminal import UNREACHABLE, WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from sandbox.testbed.trigger import Order, Played, Player
from sandbox.testbed.trigger_scenarios import SCENARIOS
from sandbox.testbed.trigger_till import PlatformAway, Till, TillRefused


@reporting
def trigger(
    scenarios: Annotated[list[str] | None, typer.Argument(help="Names of scenarios; see --list.")] = None,
    *,
    show: Annotated[bool, typer.Option("--list", help="List the scenarios and end.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Play every scenario.")] = False,
    amount_minor: Annotated[
        int, typer.Option(min=10, max=900_000, help="Amount of each order, minor units of CNY.")
    ] = 8_200,
    is_json: JsonOption = False,
) -> None:
    """Play scenarios as paid orders and compare how they ended. Exit 1 if one ended otherwise.

    Address and credentials: ARSENAL_URL, ARSENAL_CLIENT_ID and ARSENAL_CLIENT_SECRET, else what `arsenal demo` wrote.
    """
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    if show:
        rows = [(each.name, each.form, each.state, each.summary) for each in SCENARIOS.values()]
        terminal.table(("scenario", "form", "ends as", "what happens"), rows)
        told = [{"name": each.name, "form": each.form, "state": each.state, "summary": each.summary}
                for each in SCENARIOS.values()]  # fmt: skip
        terminal.document({"scenarios": told})
        return
    names = list(SCENARIOS) if every else _known(scenarios or [])
    target = find_target()
    with terminal.console.status(f"playing {', '.join(names)}"):
        played = run_async(_play(target, names, amount_minor=amount_minor))
    rows = [(each.order.scenario.name, each.payment["id"], each.payment["state"], each.fault or "as it must be")
            for each in played]  # fmt: skip
    terminal.table(("scenario", "payment", "state", "ended"), rows)
    faults = [each.fault for each in played if each.fault]
    if faults:
        raise CliFailure(
            f"{len(faults)} of {len(played)} ended otherwise: {'; '.join(faults)}.",
            f"Look at: curl {target.url}/v1/payments/{played[0].payment['id']}, and run: arsenal doctor",
            code="cli.scenario_ended_otherwise",
            facts={"orders": [_order(each) for each in played]},
        )
    terminal.document({"orders": [_order(each) for each in played]})


def _known(names: list[str]) -> list[str]:
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown or not names:
        said = f"There is no scenario {', '.join(unknown)}." if unknown else "Name a scenario."
        raise CliFailure(said, "Run: arsenal trigger --list", status=WRONG_USE, code="cli.wrong_use")
    return names


async def _play(target: Target, names: list[str], *, amount_minor: int) -> list[Played]:
    run = f"trigger_{datetime.now(UTC):%Y%m%d%H%M%S%f}"
    async with httpx.AsyncClient(timeout=30.0, trust_env=False) as client:
        till = Till(client, target.url, target.client_id, target.client_secret)
        player = Player(till, acquirer_url=target.acquirer_url)
        orders = [Order(SCENARIOS[name], f"{run}_{place}", amount_minor) for place, name in enumerate(names)]
        try:
            return list(await asyncio.gather(*(player.play(order) for order in orders)))
        except PlatformAway as error:
            raise CliFailure(
                f"The platform does not answer: {error}.",
                "Run: arsenal demo, or arsenal serve",
                status=UNREACHABLE,
                code="cli.platform_unreachable",
            ) from error
        except (TillRefused, httpx.HTTPError) as error:
            said = str(error) or type(error).__name__
            raise CliFailure(
                f"An order was refused: {said}.",
                "Check the app's scopes and credentials; the demo writes new ones at every start",
                code="cli.order_refused",
            ) from error


def _order(played: Played) -> dict[str, Any]:
    return {
        "scenario": played.order.scenario.name,
        "payment_id": played.payment["id"],
        "state": played.payment["state"],
        "amounts": played.payment["amounts"],
        "was_unknown": played.was_unknown,
        "fault": played.fault or None,
    }
