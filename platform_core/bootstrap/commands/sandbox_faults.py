"""`arsenal sandbox faults`: what is to go wrong for an app."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from platform_core.bootstrap.environment import quiet_logs, run_async
from platform_core.bootstrap.sandbox_target import SANDBOX, find_target, speaking
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from sandbox.testbed.faults import MEANING
from sandbox.testbed.trigger_till import Till

Json = dict[str, Any]
FAULTS = f"{SANDBOX}/faults"
AppOption = Annotated[str | None, typer.Option("--app", help="Name of an app that the sandbox was seeded with.")]

app = typer.Typer(help="Scripted faults of an app: its own requests and webhooks, no other's.", no_args_is_help=True)


@app.command("add")
@reporting
def add_fault(
    operation: Annotated[str, typer.Argument(help="'POST /v1/payments', 'POST /v1/payments/*/refunds', or webhook.")],
    effect: Annotated[str, typer.Argument(help=", ".join(MEANING))],
    *,
    argument: Annotated[str, typer.Option(help="A status, milliseconds, a scenario ...: docs/how-to/testbed.md.")] = "",
    times: Annotated[int, typer.Option(min=1, max=1_000)] = 1,
    match: Annotated[
        list[str] | None, typer.Option(metavar="PATH=VALUE", help="Only where the body, or the event, holds this.")
    ] = None,
    client: AppOption = None,
    is_json: JsonOption = False,
) -> None:
    """Let the app's next requests, or webhooks, go wrong."""
    terminal = Terminal(is_json=is_json)
    wanted = {
        "operation": operation,
        "effect": effect,
        "argument": argument,
        "times": times,
        "match": dict(_pair(each) for each in match or []),
    }
    made = _work(client, lambda till: till.post(FAULTS, wanted, key=f"fault-{secrets.token_hex(8)}"))
    terminal.say(
        f"{made['id']}: {made['operation']} goes by {made['effect']} {made['argument']}, {made['times_left']} times"
    )
    terminal.document(made)


@app.command("list")
@reporting
def list_faults(*, client: AppOption = None, is_json: JsonOption = False) -> None:
    """The app's faults that are left, and where they were used."""
    _show(Terminal(is_json=is_json), _work(client, lambda till: till.get(FAULTS)))


@app.command("clear")
@reporting
def clear_faults(*, client: AppOption = None, is_json: JsonOption = False) -> None:
    """End all faults of the app."""
    cleared = _work(client, lambda till: till.post(f"{FAULTS}/clear", {}, key=f"clear-{secrets.token_hex(8)}"))
    _show(Terminal(is_json=is_json), cleared)


def _pair(text: str) -> tuple[str, Any]:
    name, is_there, value = text.partition("=")
    if not is_there:
        words = f"{text!r} does not read PATH=VALUE."
        raise CliFailure(words, "Write for instance: --match order_minor=8200", status=WRONG_USE, code="cli.wrong_use")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _show(terminal: Terminal, found: Json) -> None:
    rows = [
        (each["id"], each["operation"], each["effect"], each["argument"], each["times_left"]) for each in found["data"]
    ]
    terminal.table(("fault", "operation", "effect", "argument", "left"), rows)
    used = [(each["used_at"], each["effect"], each["subject"], each["fault_id"]) for each in found["uses"]]
    terminal.table(("used at", "effect", "on", "fault"), used)
    terminal.document(found)


def _work(client: str | None, work: Callable[[Till], Awaitable[Json]]) -> Json:
    quiet_logs()

    async def run() -> Json:
        target = find_target(client)
        async with speaking(target) as session:
            return await work(target.till(session))

    return run_async(run())
