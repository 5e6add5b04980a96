"""`arsenal outbox`: what waits to be told, and what was given up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Final

import typer

from platform_core.bootstrap.environment import load_settings, migrated_database, quiet_logs, reached
from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from platform_core.delivery.outbox_admin import DeadWork, OutboxState, list_dead, read_state, resend
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.pools import Database, DatabaseUrls

DEAD_SHOWN: Final = 20
DEAD_MAX: Final = 1_000
app = typer.Typer(invoke_without_command=True, help="See what waits to be told, and send it again.")


@app.callback()
@reporting
def outbox(context: typer.Context, *, is_json: JsonOption = False) -> None:
    """How much waits, how old the oldest is, and what was given up. With a command: see there."""
    if context.invoked_subcommand is not None:
        return
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    state, dead = reached(_look(migrated_database(load_settings())))
    rows = [
        ("events not yet relayed", state.unrelayed, f"{state.oldest_unrelayed_s:.0f} s", "-"),
        ("webhooks", state.webhooks.waiting, f"{state.webhooks.oldest_due_s:.0f} s", str(state.webhooks.dead)),
        ("events for parts of the platform", state.handlings.waiting, f"{state.handlings.oldest_due_s:.0f} s",
         str(state.handlings.dead)),
        ("events for plugins", state.plugins.waiting, f"{state.plugins.oldest_due_s:.0f} s", str(state.plugins.dead)),
    ]  # fmt: skip
    terminal.table(("queue", "waiting", "oldest due", "dead"), rows)
    if dead:
        shown = [(each.id, each.kind, each.receiver, each.since.isoformat(), each.last_error or "") for each in dead]
        terminal.table(("dead", "kind", "receiver", "since", "last error"), shown)
        terminal.say("Send again: arsenal outbox resend ID..., or arsenal outbox resend --dead")
    terminal.document({**asdict(state), "dead": [asdict(each) for each in dead]})


@app.command("resend")
@reporting
def resend_work(
    ids: Annotated[list[str] | None, typer.Argument(help="Deliveries (whd_..., pld_...) or dead event work.")] = None,
    *,
    dead: Annotated[bool, typer.Option("--dead", help="Everything that was given up, at most 1,000.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Put work on its way again, under its own ids, by a new run of the schedule. Exit 1 if some could not be."""
    terminal = Terminal(is_json=is_json)
    if bool(ids) == dead:
        raise CliFailure(
            "Name what to send again: either ids or --dead.",
            "Run: arsenal outbox (lists what is dead)",
            status=WRONG_USE,
            code="cli.wrong_use",
        )
    quiet_logs()
    urls = migrated_database(load_settings())
    done = reached(_resend(urls, ids))
    left = [work_id for work_id, is_sent in done.items() if not is_sent]
    if left:
        raise CliFailure(
            f"Nothing to send again for: {', '.join(left)}.",
            "Run: arsenal outbox (what waits already needs no resend)",
            code="cli.nothing_to_resend",
            facts={"resent": [work_id for work_id, is_sent in done.items() if is_sent], "left": left},
        )
    terminal.say(f"{len(done)} on their way again. See: arsenal outbox")
    terminal.document({"resent": list(done), "left": []})


async def _look(urls: DatabaseUrls) -> tuple[OutboxState, list[DeadWork]]:
    database = Database(urls, application_name="arsenal-outbox")
    try:
        return await read_state(database, SystemClock()), await list_dead(database, limit=DEAD_SHOWN)
    finally:
        await database.close()


async def _resend(urls: DatabaseUrls, ids: list[str] | None) -> dict[str, bool]:
    async with _opened(urls) as platform:
        if ids is None:
            ids = [work.id for work in await list_dead(platform.database, limit=DEAD_MAX)]
        return {
            work_id: await resend(platform.database, platform.committer, work_id=work_id, clock=platform.clock)
            for work_id in ids
        }


@asynccontextmanager
async def _opened(urls: DatabaseUrls) -> AsyncIterator[Platform]:
    async with open_platform(load_settings(), urls, application_name="arsenal-outbox") as platform:
        yield platform
