"""`arsenal events`: what happened to a merchant, over the API, and sending it again."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import typer

from platform_core.bootstrap.environment import quiet_logs, run_async
from platform_core.bootstrap.sandbox_target import find_target, speaking
from platform_core.bootstrap.terminal import CliFailure, JsonOption, Terminal, reporting
from sandbox.testbed.trigger_till import Till, TillRefused

Json = dict[str, Any]
PAGE_MAX: Final = 100
AppOption = Annotated[str | None, typer.Option("--app", help="Name of an app that the sandbox was seeded with.")]

app = typer.Typer(help="A merchant's events, and sending them again.", no_args_is_help=True)


@app.command("list")
@reporting
def list_events(
    *,
    kind: Annotated[str | None, typer.Option("--type", help="Such as payment.captured.")] = None,
    object_id: Annotated[str | None, typer.Option("--object", help="Such as pay_...: its whole history.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=PAGE_MAX)] = 20,
    client: AppOption = None,
    is_json: JsonOption = False,
) -> None:
    """The newest events of the merchant that the app acts for."""
    terminal = Terminal(is_json=is_json)
    asked = {"type": kind, "object_id": object_id, "limit": str(limit)}
    params = {name: value for name, value in asked.items() if value is not None}

    async def read(till: Till) -> Json:
        return await till.get("/events", params)

    page = _with_till(client, read)
    rows = [(each["occurred_at"], each["type"], each["object_id"], each["id"]) for each in page["data"]]
    terminal.table(("at", "event", "object", "id"), rows)
    terminal.document(page)


@app.command("show")
@reporting
def show_event(
    event_id: Annotated[str, typer.Argument(help="evt_...")], *, client: AppOption = None, is_json: JsonOption = False
) -> None:
    """One event with its object as it was then, and where it was sent."""
    terminal = Terminal(is_json=is_json)

    async def read(till: Till) -> Json:
        return {"event": await till.get(f"/events/{event_id}"), "deliveries": await _deliveries(till, event_id)}

    found = _with_till(client, read)
    if not is_json:
        terminal.console.print_json(json.dumps(found["event"], ensure_ascii=False))
    rows = [
        (each["endpoint_id"], each["state"], each["attempts"], each["last_status"] or each["last_error"], each["id"])
        for each in found["deliveries"]
    ]
    terminal.table(("endpoint", "state", "attempts", "last answer", "delivery"), rows)
    terminal.document(found)


@app.command("resend")
@reporting
def resend_event(
    event_id: Annotated[str, typer.Argument(help="evt_...")], *, client: AppOption = None, is_json: JsonOption = False
) -> None:
    """Send an event to its endpoints again: same id and bytes, a new run of the schedule. Exit 1 if it went nowhere."""
    terminal = Terminal(is_json=is_json)

    async def send(till: Till) -> Json:
        done: list[Json] = []
        left: list[Json] = []
        for each in await _deliveries(till, event_id):
            key = f"resend-{each['id']}-{each['attempts']}"
            try:
                done.append(await till.post(f"/webhook-deliveries/{each['id']}/resend", {}, key=key))
            except TillRefused as refused:
                left.append({"delivery": each["id"], "code": refused.problem.get("code")})
        return {"resent": done, "left": left}

    sent = _with_till(client, send)
    if not sent["resent"] or sent["left"]:
        raise CliFailure(
            f"{event_id} was sent to {len(sent['resent'])} endpoints and could not be to {len(sent['left'])}.",
            f"Run: arsenal events show {event_id} (an app's endpoints get what its merchant lets it see)",
            code="cli.nothing_to_resend",
            facts=sent,
        )
    terminal.say(f"On its way again to {len(sent['resent'])} endpoints. See: arsenal events show {event_id}")
    terminal.document(sent)


async def _deliveries(till: Till, event_id: str) -> list[Json]:
    page = await till.get("/webhook-deliveries", {"event_id": event_id, "limit": str(PAGE_MAX)})
    return list(page["data"])


def _with_till(client: str | None, work: Any) -> Json:  # Any: a coroutine function of one till
    quiet_logs()

    async def run() -> Json:
        target = find_target(client)
        async with speaking(target) as session:
            return dict(await work(target.till(session)))

    return run_async(run())
