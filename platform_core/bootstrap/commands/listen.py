"""`arsenal listen`: events as they happen, handed on to a receiver on this machine."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import httpx
import typer
from rich.markup import escape

from platform_core.bootstrap.environment import leave_on_signal, load_settings, quiet_logs, run_async
from platform_core.bootstrap.sandbox_target import Target, find_target, speaking
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from platform_core.kernel.http.webhook_signing import make_secret, secret_bytes, secret_text
from sandbox.testbed.listener import Forwarded, Listener, forward, shown

Json = dict[str, Any]
LOCAL: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@reporting
def listen(
    *,
    forward_to: Annotated[
        str | None, typer.Option(metavar="URL", help="Receiver on this machine, such as http://127.0.0.1:3000/hook.")
    ] = None,
    events: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="payment.captured, payment.* ...; may be repeated.")
    ] = None,
    app: Annotated[str | None, typer.Option(help="Name of an app that the sandbox was seeded with.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Show the app's events as they happen, signed as webhooks are, until Ctrl-C; forward them to a local receiver.

    Needs no public address and no endpoint. The signing secret is the app's own on this machine, and is printed.
    With --json one line for each event.
    """
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    if forward_to is not None:
        _check_local(forward_to)
    target = find_target(app)
    secret = secret_of(load_settings().home, target.client_id)
    leave_on_signal()
    try:
        run_async(_listen(terminal, target, forward_to, patterns=events or ["*"], secret=secret, count=count))
    except (KeyboardInterrupt, asyncio.CancelledError):
        terminal.say("Stopped.")


def secret_of(home: Path, client_id: str) -> bytes:
    """The secret that an app's events are signed with here; made at first use, readable by its owner alone."""
    path = home / "listen" / f"{client_id}.secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_text(secret_text(make_secret(secrets.token_bytes)), encoding="utf-8")
    return secret_bytes(path.read_text(encoding="utf-8"))


def _check_local(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname not in LOCAL:
        raise CliFailure(
            f"{url} is no receiver on this machine.",
            "Name one on the loopback, such as --forward-to http://127.0.0.1:3000/hook; others are webhook endpoints",
            status=WRONG_USE,
            code="cli.wrong_use",
        )


async def _listen(
    terminal: Terminal, target: Target, url: str | None, *, patterns: list[str], secret: bytes, count: int | None
) -> None:
    async with speaking(target) as client:
        listener = Listener(target.till(client), patterns, on_away=lambda reason: terminal.warn(f"away: {reason}"))
        place = await listener.begin()
        terminal.say(f"Listening for {', '.join(patterns)} of {target.client_id}; stop: Ctrl-C")
        terminal.say(f"Verify with the secret {secret_text(secret)}")
        terminal.document({"listening": True, "client_id": target.client_id, "secret": secret_text(secret)})
        heard = 0
        async with httpx.AsyncClient(trust_env=False) as local:
            async for event in listener.events(place):
                done = None if url is None else await forward(local, url, event, secret=secret)
                _tell(terminal, event, done)
                heard += 1
                if heard == count:
                    return


def _tell(terminal: Terminal, event: Json, done: Forwarded | None) -> None:
    words = ""
    if done is not None:
        is_taken = done.status is not None and 200 <= done.status < 300
        outcome = str(done.status) if done.status is not None else f"{done.error}, send it again with events resend"
        words = f"  [{'green' if is_taken else 'red'}]-> {outcome}[/]"
    at = event["occurred_at"][11:23]
    terminal.say(f"[dim]{at}[/]  [bold]{escape(event['type'])}[/]  {event['object_id']}  [dim]{event['id']}[/]{words}")
    terminal.document(shown(event, done))
