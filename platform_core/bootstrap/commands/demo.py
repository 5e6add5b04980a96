"""`arsenal demo`: see everything run."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.live import Live
from rich.table import Table

from platform_core.bootstrap.commands.serve import listening
from platform_core.bootstrap.demo import DemoResult, Watcher, as_document, run_demo, sandbox
from platform_core.bootstrap.demo_plan import MIX
from platform_core.bootstrap.environment import leave_on_signal, load_settings, migrated_database, quiet_logs, run_async
from platform_core.bootstrap.terminal import CliFailure, JsonOption, Terminal, reporting
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.money import Money
from platform_core.kernel.settings import Settings
from sandbox.testbed.trigger import Order, Played

# What the demo does not take from the environment: it keeps everything under `home`.
_OWN: Final = dict.fromkeys(
    ("database_url", "database_app_url", "database_job_url", "database_auth_url", "database_writer_url", "broker_url")
)


@reporting
def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="Exit after the checks: 0 only if every one held.")] = False,
    no_orders: Annotated[
        bool, typer.Option("--no-orders", help="Play and check nothing: start everything, seed, and serve.")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Start everything on this machine, play 200 paid orders over HTTP, check what came of them, keep serving.

    Uses the embedded database and broker under ARSENAL_HOME, whatever else is set. Safe to run again.
    """
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    settings = with_free_port(load_settings().model_copy(update={**_OWN, "is_sandbox": True}))
    leave_on_signal()
    terminal.say("database, migrations")
    urls = migrated_database(settings)
    try:
        run_async(_serve(settings, urls, terminal) if no_orders else _show(settings, urls, terminal, is_once=once))
    except (KeyboardInterrupt, asyncio.CancelledError):
        terminal.say("Stopped. Everything that the demo started has ended.")


async def _serve(settings: Settings, urls: DatabaseUrls, terminal: Terminal) -> None:
    _cancel_on_sigterm()
    async with sandbox(settings, urls, Board(terminal)) as made:
        terminal.say(f"Serving on [bold]{made.url}[/] until Ctrl-C.")
        terminal.document({"url": made.url})
        await asyncio.Event().wait()


def _cancel_on_sigterm() -> None:
    me = asyncio.current_task()
    assert me is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)


def with_free_port(settings: Settings) -> Settings:
    """The settings, with any free port if 8080 is taken and nobody asked for it."""
    if "listen_port" in settings.model_fields_set:
        return settings
    try:
        listening(settings).close()
    except CliFailure:
        return settings.model_copy(update={"listen_port": 0})
    return settings


async def _show(settings: Settings, urls: DatabaseUrls, terminal: Terminal, *, is_once: bool) -> None:
    _cancel_on_sigterm()
    board = Board(terminal)
    with board:
        async with aclosing(run_demo(settings, urls, board)) as demo:
            result = await anext(demo)
            board.close()
            report(terminal, result)
            if result.failed:
                names = "; ".join(f"{check.name} ({check.words})" for check in result.failed)
                raise CliFailure(
                    f"A check did not hold: {names}.",
                    f"Read the logs under {settings.home / 'logs'}, then run: arsenal doctor",
                    code="cli.demo_check_failed",
                    facts={"demo": as_document(result)},
                )
            terminal.document(as_document(result))
            if not is_once:
                terminal.say(f"Serving on [bold]{result.url}[/] until Ctrl-C.")
                await asyncio.Event().wait()


class Board(Watcher):
    """Shows how the demo goes: a table that is redrawn in a terminal, lines elsewhere."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._begun: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._states: dict[str, str] = {}
        self._doubted: set[str] = set()
        is_live = terminal.console.is_terminal and not terminal.is_json
        self._live = (
            Live(get_renderable=self._table, console=terminal.console, refresh_per_second=4) if is_live else None
        )
        self._drawing = False

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop redrawing; the last state stays."""
        if self._live is not None and self._drawing:
            self._live.stop()
        self._drawing = False

    def step(self, words: str) -> None:
        """A line for each step."""
        self._terminal.say(words)

    def warn(self, words: str) -> None:
        """A line that stands out, on standard error."""
        self._terminal.warn(words)

    def serving(self, url: str, env_path: Path) -> None:
        """Name the file of credentials, whole and on one line: scripts wait for it."""
        self._terminal.say(f"The server answers on {url}; address and credentials are in {env_path}")
        if self._live is not None:
            self._live.start()
            self._drawing = True

    def heard(self, order: Order, state: str) -> None:
        """Count it in."""
        if order.number not in self._states:
            self._begun[order.scenario.name] += 1
        if state == "unknown":
            self._doubted.add(order.number)
        self._states[order.number] = state

    def ended(self, played: Played) -> None:
        """Count it out."""
        self._ended[played.order.scenario.name] += 1
        if self._live is None and sum(self._ended.values()) % 50 == 0:
            self._terminal.say(f"  {sum(self._ended.values())} orders ended")

    def _table(self) -> Table:
        table = Table(title="orders", title_justify="left")
        for name in ("scenario", "planned", "begun", "ended"):
            table.add_column(name, justify="left" if name == "scenario" else "right")
        for name, planned in MIX.items():
            table.add_row(name, str(planned), str(self._begun[name]), str(self._ended[name]))
        now = Counter(self._states.values())
        table.caption = (
            f"captured {now['captured']}  declined {now['created']}  on their way {now['processing']}  "
            f"unknown {now['unknown']} of {len(self._doubted)} ever"
        )
        return table


def report(terminal: Terminal, result: DemoResult) -> None:
    """What was done, with amounts that add up, and where to look next."""
    outcomes: dict[str, list[Played]] = {}
    for each in result.played:
        outcomes.setdefault(_outcome(each), []).append(each)
    rows = [
        (
            name,
            len(each),
            _yuan(sum(one.payment["amounts"]["captured_minor"] for one in each)),
            _yuan(sum(one.payment["amounts"]["refunded_minor"] for one in each)),
        )
        for name, each in sorted(outcomes.items())
    ]
    terminal.table(("outcome", "orders", "captured", "refunded"), rows, title="Orders of this run, CNY")
    columns = ("merchant", "orders", "gross", "- fees", "- refunds", "= net", "balance")
    books = [
        (each.merchant, each.orders, *map(_yuan, (each.gross_minor, each.fees_minor, each.refunds_minor)),
         _yuan(each.net_minor), _yuan(each.balance_minor))
        for each in result.books
    ]  # fmt: skip
    terminal.table(columns, books, title="Merchants, by their payments and by the ledger, CNY")
    terminal.table(("webhook", "events"), sorted(result.webhooks.items()), title="Webhooks received and verified")
    for check in result.checks:
        terminal.say(f"{'[green]held[/]  ' if check.is_held else '[red]failed[/]'} {check.name}: {check.words}")
    if result.plugin is not None and result.plugin.why_not:
        terminal.warn(f"NO PLUGIN RAN: {result.plugin.why_not}")
    terminal.say(
        f"{len(result.played)} orders in {result.seconds:.0f} s. Look next: arsenal outbox, arsenal ledger verify,"
    )
    terminal.say("arsenal trigger --list, docs/tutorials/first-payment.md")


def _outcome(played: Played) -> str:
    payment, amounts = played.payment, played.payment["amounts"]
    if played.was_unknown:
        return f"unknown, then {'captured' if amounts['captured_minor'] else 'failed'}"
    if payment["state"] == "canceled":
        return "canceled"
    if amounts["refunded_minor"]:
        return "refunded" if amounts["refunded_minor"] == amounts["captured_minor"] else "refunded in part"
    return "paid" if amounts["captured_minor"] else "declined"


def _yuan(amount_minor: int) -> str:
    return Money(amount_minor, "CNY").plain()
