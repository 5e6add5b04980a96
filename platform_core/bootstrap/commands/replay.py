"""`arsenal record` and `arsenal replay`: what an app asked, written down and asked again elsewhere."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from platform_core.bootstrap.environment import leave_on_signal, quiet_logs, run_async
from platform_core.bootstrap.sandbox_target import SANDBOX, find_target, speaking
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from sandbox.testbed.replay import Difference, Renaming, Replayer
from sandbox.testbed.trigger_till import Till

Json = dict[str, Any]
LOOK_EVERY_S: Final = 0.5
AppOption = Annotated[str | None, typer.Option("--app", help="Name of an app that the sandbox was seeded with.")]


@reporting
def record(
    out: Annotated[Path, typer.Option("--out", help="File to write, one exchange a line.")],
    *,
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="When the recording ends by itself.")] = 60,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many exchanges.")] = None,
    client: AppOption = None,
    is_json: JsonOption = False,
) -> None:
    """Write down what the app asks of the sandbox and is answered, without secrets, until Ctrl-C."""
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    leave_on_signal()
    written = 0

    async def run() -> None:
        nonlocal written
        target = find_target(client)
        async with speaking(target) as session:
            till = target.till(session)
            path, key = f"{SANDBOX}/recordings", f"record-{secrets.token_hex(8)}"
            recording = await till.post(path, {"minutes": minutes}, key=key)
            terminal.say(f"Recording {target.client_id} into {out} until {recording['until']}; stop: Ctrl-C")
            ends_at, after = time.monotonic() + 60 * minutes, ""
            with out.open("w", encoding="utf-8") as file:
                while time.monotonic() < ends_at and (count is None or written < count):
                    page = await till.get(f"{path}/{recording['id']}/exchanges", {"after": after})
                    for line in page["lines"][: None if count is None else count - written]:
                        file.write(line + "\n")
                        written += 1
                    file.flush()
                    after = page["next"] or after
                    if page["next"] is None:
                        await asyncio.sleep(LOOK_EVERY_S)

    with suppress(KeyboardInterrupt, asyncio.CancelledError, SystemExit):
        run_async(run())
    terminal.say(f"{written} exchanges in {out}. Replay: arsenal replay {out}")
    terminal.document({"exchanges": written, "out": str(out)})


@reporting
def replay(
    recorded: Annotated[Path, typer.Argument(help="What `arsenal record` wrote.")],
    *,
    suffix: Annotated[str | None, typer.Option(help="Makes order numbers new; random by default.")] = None,
    client: AppOption = None,
    is_json: JsonOption = False,
) -> None:
    """Ask everything again, in order, of the sandbox of this environment; exit 1 where status or shape differ.

    Ids in answers are mapped into the requests that follow, and order numbers, request numbers and codes are renewed.
    """
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    exchanges = _read(recorded)
    differences = run_async(_replay(exchanges, suffix or secrets.token_hex(3), client))
    terminal.table(("exchange", "request", "differs"), [(each.number, each.request, each.what) for each in differences])
    told = {"exchanges": len(exchanges), "differences": [asdict(each) for each in differences]}
    if differences:
        raise CliFailure(
            f"{len(differences)} of {len(exchanges)} answers differ in status or shape.",
            "Compare the versions of both sandboxes: arsenal doctor",
            code="cli.replay_differs",
            facts=told,
        )
    terminal.say(f"{len(exchanges)} exchanges, every answer as it was.")
    terminal.document(told)


def _read(path: Path) -> list[Json]:
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        if all({"method", "path", "query", "headers", "body", "status", "answer"} <= each.keys() for each in found):
            return found
    except (OSError, ValueError, AttributeError) as error:
        reason = f": {error}"
    else:
        reason = ""
    raise CliFailure(
        f"{path} is no recording{reason}.",
        "Write one: arsenal record --out FILE",
        status=WRONG_USE,
        code="cli.wrong_use",
    )


async def _replay(exchanges: list[Json], suffix: str, client: str | None) -> list[Difference]:
    target = find_target(client)
    async with speaking(target) as session:
        till = target.till(session)
        renaming = Renaming(suffix)
        await _know_stores(till, exchanges, renaming)
        found = []
        for number, exchange in enumerate(exchanges, start=1):
            replayer = Replayer(session, target.url, await till.access_token(), renaming)
            difference = await replayer.play(number, exchange)
            if difference is not None:
                found.append(difference)
        return found


async def _know_stores(till: Till, exchanges: list[Json], renaming: Renaming) -> None:
    """Stores are not made by what is replayed: those of the recording stand for the target's, in order."""
    named = dict.fromkeys(
        each["body"]["store_id"]
        for each in exchanges
        if isinstance(each["body"], dict) and each["body"].get("store_id")
    )
    if named:
        own = [each["id"] for each in (await till.get("/stores"))["data"]]
        renaming.known.update({store: own[place % len(own)] for place, store in enumerate(named) if own})
