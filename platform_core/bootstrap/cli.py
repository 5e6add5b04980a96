"""The command line `arsenal`: one module of `commands` for each noun, gathered here."""

from __future__ import annotations

import typer

from platform_core.bootstrap.commands import (
    audit,
    bill,
    clock,
    events,
    ledger,
    outbox,
    parties,
    plugin_author,
    plugin_dev,
    plugin_health,
    plugin_operation,
    plugin_replay,
    sandbox,
    sandbox_alipay,
    staff,
)
from platform_core.bootstrap.commands.alipay_methods import methods as alipay_methods
from platform_core.bootstrap.commands.demo import demo
from platform_core.bootstrap.commands.doctor import doctor
from platform_core.bootstrap.commands.listen import listen
from platform_core.bootstrap.commands.migrate import migrate
from platform_core.bootstrap.commands.replay import record, replay
from platform_core.bootstrap.commands.serve import serve
from platform_core.bootstrap.commands.trigger import trigger
from platform_core.bootstrap.commands.worker import worker

app = typer.Typer(
    name="arsenal",
    help="An open platform: payment and what hangs on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command()(worker)
app.command()(migrate)
app.command()(doctor)
app.add_typer(audit.app, name="audit")
app.add_typer(ledger.app, name="ledger")
app.add_typer(bill.app, name="bill")
app.add_typer(outbox.app, name="outbox")
app.add_typer(clock.app, name="clock")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(events.app, name="events")
app.add_typer(staff.app, name="staff")
app.add_typer(parties.merchant, name="merchant")
app.add_typer(parties.isv, name="isv")
app.add_typer(parties.client_app, name="app")
for authoring in (plugin_author, plugin_dev, plugin_replay, plugin_health):
    authoring.add_to(plugin_operation.app)
app.add_typer(plugin_operation.app, name="plugin")
sandbox_alipay.app.command("methods")(alipay_methods)
sandbox.app.add_typer(sandbox_alipay.app, name="alipay")
app.command()(trigger)
app.command()(listen)
app.command()(record)
app.command()(replay)
app.command()(demo)


def main() -> None:
    """The entry point of the distribution."""
    app()
