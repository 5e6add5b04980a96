"""`arsenal clock`: where a sandbox's business time is, and turning it."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, Progress, TextColumn

from platform_core.bootstrap.environment import quiet_logs, run_async
from platform_core.bootstrap.sandbox_target import SANDBOX, Target, find_target, speaking
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from sandbox.testbed.trigger_till import Till

Json = dict[str, Any]
CLOCK: Final = f"{SANDBOX}/clock"
LOOK_EVERY_S: Final = 0.2
NO_WORKER_S: Final = 30.0
"""Real seconds without a step after which it is said that nobody drains."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN: Final = re.compile(r"(?:[0-9]{1,6}[smhdw])+")

app = typer.Typer(help="Turn a sandbox's clock: business time of everybody in it.", no_args_is_help=True)


def seconds_of(text: str) -> int:
    """A span such as 3d, 36h or 1d12h30m in seconds. CliFailure for anything else."""
    if _SPAN.fullmatch(text) is None:
        raise CliFailure(
            f"{text!r} is no span of time.",
            "Write numbers with a unit, s m h d or w: arsenal clock advance 1d12h",
            status=WRONG_USE,
            code="cli.wrong_use",
        )
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhdw])", text))


@app.command("show")
@reporting
def show_clock(*, is_json: JsonOption = False) -> None:
    """Business time, and how far from real time it is."""
    _run(Terminal(is_json=is_json), "GET", "", None)


@app.command("advance")
@reporting
def advance_clock(
    span: Annotated[str, typer.Argument(help="How far: 3d, 36h, 1d12h30m, 90s.")],
    *,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until everything due is done.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Go forwards: what comes due on the way is done at its own moment, in order, with the events that follow.

    Settlement at 02:00 sees 02:00. A worker does it; may be interrupted and looked at again with `arsenal clock show`.
    """
    _run(Terminal(is_json=is_json), "POST", "/advance", {"by_s": seconds_of(span)}, is_waiting=not no_wait)


@app.command("set")
@reporting
def set_clock(
    moment: Annotated[datetime, typer.Argument(formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"], help="RFC 3339.")],
    *,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until everything due is done.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Go forwards to a moment, such as 2027-01-01T00:00:00+08:00."""
    _run(Terminal(is_json=is_json), "POST", "/set", {"to": moment.isoformat()}, is_waiting=not no_wait)


@app.command("reset")
@reporting
def reset_clock(*, is_json: JsonOption = False) -> None:
    """Back to real time. What was written ahead of it keeps its moments."""
    _run(Terminal(is_json=is_json), "POST", "/reset", {})


def _run(terminal: Terminal, method: str, path: str, body: Json | None, *, is_waiting: bool = False) -> None:
    quiet_logs()
    clock = run_async(_turn(terminal, find_target(), method, path, body=body, is_waiting=is_waiting))
    state = f"; a drain is under way to {clock['target_at']}" if clock["target_at"] else ""
    terminal.say(f"{clock['now']}  ({_ahead(int(clock['ahead_s']))}){state}")
    terminal.document(clock)


async def _turn(
    terminal: Terminal, target: Target, method: str, path: str, *, body: Json | None, is_waiting: bool
) -> Json:
    async with speaking(target) as client:
        till = target.till(client)
        if method == "GET":
            return await till.get(CLOCK)
        clock = await till.post(f"{CLOCK}{path}", body or {}, key=f"clock-{secrets.token_hex(8)}")
        return await _drained(terminal, till, clock) if is_waiting else clock


async def _drained(terminal: Terminal, till: Till, clock: Json) -> Json:
    """Wait until the clock runs again, and show how far it is."""
    began, target = _moment(clock["now"]), _moment(clock["target_at"])
    moved_at, version = time.monotonic(), clock["version"]
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, console=terminal.console, transient=True) as progress:
        task = progress.add_task("draining", total=max((target - began).total_seconds(), 1.0))
        while clock["target_at"] is not None:
            progress.update(task, completed=(_moment(clock["now"]) - began).total_seconds(), description=clock["now"])
            await asyncio.sleep(LOOK_EVERY_S)
            clock = await till.get(CLOCK)
            if clock["version"] != version:
                moved_at, version = time.monotonic(), clock["version"]
            elif time.monotonic() - moved_at > NO_WORKER_S:
                raise CliFailure(
                    f"The clock stands at {clock['now']} and nobody does what is due.",
                    "Run: arsenal worker (it goes on from here), or arsenal clock reset",
                    code="cli.nobody_drains",
                    facts={"clock": clock},
                )
    return clock


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _ahead(seconds: int) -> str:
    if abs(seconds) < 1:
        return "real time"
    days, rest = divmod(abs(seconds), 86_400)
    words = f"{days} d {rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{words} {'ahead of' if seconds > 0 else 'behind'} real time"
