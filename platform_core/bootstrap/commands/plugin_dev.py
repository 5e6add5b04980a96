"""`arsenal plugin dev | trace`: what is asked of plugins, live, and a plugin that is exchanged at every save."""

from __future__ import annotations

import asyncio
import getpass
import json
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape

from platform_core.bootstrap.commands.plugin_author import FolderArgument
from platform_core.bootstrap.commands.plugin_author_project import find_project
from platform_core.bootstrap.commands.plugin_dev_build import Builder, BuildFault
from platform_core.bootstrap.commands.plugin_dev_session import ASKS_AFTER_S, LOOK_S, DevSession, Wanted
from platform_core.bootstrap.commands.plugin_operation import MerchantOption
from platform_core.bootstrap.environment import load_settings, migrated_database, quiet_logs, reached
from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.bootstrap.rehearsal import rehearsing
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from platform_core.contracts import catalogue
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.tracing import RENEW_S, Trace, Watched, read_asks
from sandbox.runtime.levels import Level

ANSWER_SHOWN_MAX: Final = 160


def add_to(app: typer.Typer) -> None:
    """Enter the commands into `arsenal plugin`."""
    app.command("dev")(dev)
    app.command("trace")(trace)


@reporting
def dev(
    folder: FolderArgument = Path(),
    *,
    merchant: MerchantOption,
    config: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="JSON that the fixtures find; by default the schema's defaults."
        ),
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Try a plugin at a merchant in test mode while you edit it: every save is built, rehearsed and swapped in.

    Needs a platform in development mode, such as `arsenal demo`. Ctrl-C brings back what was enabled before. With
    --json: one object a line.
    """
    terminal = Terminal(is_json=is_json)
    project = find_project(folder)
    told = None if config is None else _json_object(config)

    async def work(platform: Platform, stop: asyncio.Event) -> None:
        settings, bundles = platform.settings, platform.plugin_life.bundles
        assert bundles is not None, "a platform that is opened keeps bundles"
        plugins = settings.home / "plugins"
        async with rehearsing(plugins, required=Level[settings.sandbox_require]) as rehearsal:
            builder = Builder(project, bundles=bundles, plugins=plugins, rehearsal=rehearsal)
            wanted = Wanted(project=project, merchant_id=merchant, by=operator(), config=told)
            await DevSession(platform, wanted, builder=builder, voice=TerminalVoice(terminal)).run(stop)

    try:
        until_stopped(work)
    except BuildFault as fault:  # of the very manifest, before anything was begun
        raise CliFailure(fault.said, fault.next_step, code="cli.plugin_refused") from fault


@reporting
def trace(
    *,
    merchant: MerchantOption,
    hook: Annotated[
        str | None, typer.Option("--hook", help="Only this hook; see: arsenal plugin list --hooks.")
    ] = None,
    plugin: Annotated[str | None, typer.Option("--plugin", help="Only this plugin, by its id.")] = None,
    calls: Annotated[int | None, typer.Option("--calls", min=1, help="End after so many calls.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Watch a merchant's hooks being asked, in whichever process, until Ctrl-C. With --json: one object a line.

    What plugins were told and answered is kept for 24 hours, without personal fields, for `arsenal plugin replay`.
    """
    terminal = Terminal(is_json=is_json)
    if hook is not None and hook not in catalogue.hooks():
        raise CliFailure(
            f"There is no hook {hook}.", "Run: arsenal plugin list --hooks", status=WRONG_USE, code="cli.wrong_use"
        )
    voice = TerminalVoice(terminal)

    async def work(platform: Platform, stop: asyncio.Event) -> None:
        await platform.parties.merchant(merchant)
        watched = Watched(merchant_id=merchant, plugin_id=plugin, hook=hook)
        await _watch(
            platform, Trace(platform.plugin_host.traces, watched, by=operator()), voice, stop=stop, calls_max=calls
        )

    until_stopped(work)


async def _watch(
    platform: Platform, watching: Trace, voice: TerminalVoice, *, stop: asyncio.Event, calls_max: int | None
) -> None:
    """Show calls until stopped, or until there were so many."""
    await watching.begin()
    loop, waiting, shown = asyncio.get_running_loop(), list[tuple[float, Record]](), 0
    renew_at = loop.time() + RENEW_S
    try:
        while not stop.is_set() and (calls_max is None or shown < calls_max):
            for row in await watching.new_rows():
                if row.kind == "here":
                    voice.process(row.process)
                elif row.kind == "call":
                    waiting.append((loop.time() + ASKS_AFTER_S, row))
            due = [row for at, row in waiting if at <= loop.time()]
            waiting = [(at, row) for at, row in waiting if at > loop.time()]
            asks = await read_asks(platform.database, [row.call_id for row in due if row.call_id])
            for row in due:
                voice.call(row, asks.get(row.call_id, []), [])
            shown += len(due)
            if loop.time() >= renew_at:
                renew_at = loop.time() + RENEW_S
                await watching.renew()
            await asyncio.sleep(LOOK_S)
    finally:
        await watching.end()


def operator() -> str:
    """Who is at the terminal, for the audit log."""
    return f"terminal:{getpass.getuser()}"


def until_stopped(work: Callable[[Platform, asyncio.Event], Awaitable[None]]) -> None:
    """Work on this installation until SIGINT or SIGTERM, which set the event; a second one interrupts the going."""
    quiet_logs()
    settings = load_settings()
    urls = migrated_database(settings)

    async def run() -> None:
        stop, me, loop = asyncio.Event(), asyncio.current_task(), asyncio.get_running_loop()
        assert me is not None

        def heard() -> None:
            if stop.is_set():
                me.cancel()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, heard)
        async with open_platform(
            settings, urls, is_asking_plugins=False, application_name="arsenal-plugin-dev"
        ) as platform:
            await work(platform, stop)

    try:
        reached(run())
    except asyncio.CancelledError:
        raise CliFailure(
            "It was interrupted while it put things back.",
            "Within a minute the platform does it by itself; look: arsenal plugin list --merchant ...",
            code="cli.interrupted",
        ) from None


class TerminalVoice:
    """A `plugin_dev_session.Voice`: lines for people, or one object a line for programs."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def _tell(self, event: str, words: str, **facts: object) -> None:
        self._terminal.say(words)
        self._terminal.document({"event": event, **facts})

    def waiting(self) -> None:
        """No process answers yet."""
        self._tell("waiting", "No process of this platform asks plugins yet. Start one: arsenal demo")

    def process(self, name: str) -> None:
        """A process shows what it asks."""
        self._tell("process", f"watching {escape(name)}", process=name)

    def began(self, processes: int) -> None:
        """So many processes will show what they ask."""
        self._tell("began", f"watching {processes} processes; save to build, Ctrl-C to end", processes=processes)

    def swapped(self, version: str, *, saved_to_swapped_ms: int, processes: int, missing: int) -> None:
        """The merchant's orders are decided by this draft."""
        late = f", {missing} did not answer" if missing else ""
        words = f"[green]swapped[/] {version} in {processes} processes{late}, {saved_to_swapped_ms} ms after the save"
        self._tell(
            "swapped",
            words,
            version=version,
            saved_to_swapped_ms=saved_to_swapped_ms,
            processes=processes,
            missing=missing,
        )

    def fault(self, fault: BuildFault, *, running: str | None) -> None:
        """A change was not taken."""
        goes_on = f"{running} goes on." if running is not None else "Nothing was changed at the merchant."
        words = (
            f"[bold red]{fault.stage}:[/] {escape(fault.said)} {goes_on}\n  [bold]next:[/] {escape(fault.next_step)}"
        )
        self._tell("fault", words, stage=fault.stage, said=fault.said, next_step=fault.next_step, running=running)

    def call(self, row: Record, asks: list[str], refused: list[str]) -> None:
        """A plugin was asked."""
        took_ms = round(row.took_us / 1000, 1)
        answer = None if row.answer is None else json.loads(row.answer)
        parts = [
            f"{row.seen_at:%H:%M:%S}",
            f"[bold]{row.hook}[/]",
            row.object_id or row.idempotency_key,
            f"{row.plugin_id} {row.plugin_version}",
            f"[red]{row.outcome}[/] {escape(row.detail)}" if row.outcome != "ok" else escape(brief(answer)),
            f"{took_ms} ms",
        ]
        if asks:
            parts.append(f"asked {escape(', '.join(asks))}")
        if refused:
            parts.append(f"[red]refused kernel calls: {escape('; '.join(refused))}[/]")
        parts.append(f"[dim]{row.call_id}[/]")
        self._tell("call", "  ".join(parts), **_call_document(row, answer, took_ms, asks=asks, refused=refused))

    def ended(self, *, is_restored: bool) -> None:
        """The session is over."""
        words = "What was enabled before is back." if is_restored else "Nothing was changed."
        self._tell("ended", words, is_restored=is_restored)


def _call_document(
    row: Record, answer: object, took_ms: float, *, asks: list[str], refused: list[str]
) -> Mapping[str, object]:
    return {
        "hook": row.hook,
        "object_id": row.object_id,
        "plugin_id": row.plugin_id,
        "plugin_version": row.plugin_version,
        "tier": row.tier,
        "process": row.process,
        "call_id": row.call_id,
        "fields": row.fields.split(),
        "withheld": row.withheld.split(),
        "outcome": row.outcome,
        "detail": row.detail,
        "answer": answer,
        "is_used": row.is_used,
        "result": row.result,
        "took_ms": took_ms,
        "deadline_ms": row.deadline_ms,
        "asks": asks,
        "refused_kernel_calls": refused,
        "seen_at": row.seen_at.isoformat(),
    }


def brief(answer: Any) -> str:  # Any: JSON
    """An answer in a few words: a verdict by its decision and rules, anything else as JSON, cut."""
    if isinstance(answer, dict) and "decision" in answer:
        rules = ", ".join(f"{reason['rule_id']}: {reason['text']}" for reason in answer.get("reasons", ()))
        text = f"{answer['decision']}{f' ({rules})' if rules else ''}"
    else:
        text = json.dumps(answer, ensure_ascii=False)
    return text if len(text) <= ANSWER_SHOWN_MAX else f"{text[:ANSWER_SHOWN_MAX]}..."


def _json_object(path: Path) -> bytes:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CliFailure(f"{path} is no JSON: {error}.", "Write an object.", status=WRONG_USE) from error
    if not isinstance(found, dict):
        raise CliFailure(f"{path} is no JSON object.", "Write an object.", status=WRONG_USE)
    return json.dumps(found).encode()
